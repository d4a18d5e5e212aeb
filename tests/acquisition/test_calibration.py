"""How errors go with spreads: quantiles, coverage, scales."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alflow.acquisition.calibration import (
    FEWEST,
    LEVELS,
    adapted,
    calibrate,
    conformal_quantile,
    covered,
)
from alflow.core.past import Checked, PastIteration


def iteration(number: int, count: int, seed: int, *, ratio: float = 1.0) -> PastIteration:
    """Labels whose errors are normal, `ratio` times their spread wide."""
    rng = np.random.default_rng(seed)
    spread = rng.uniform(0.01, 0.1, count)
    error = np.abs(rng.normal(size=count)) * ratio * spread
    checked = Checked(
        error, spread, 2 * error, 3 * spread, np.ones(count), np.arange(count) % 5 == 0
    )
    return PastIteration(number, 96, 60, 50, checked=checked)


@given(st.integers(1, 200), st.sampled_from([0.6, 0.8, 0.9, 0.95]))
@settings(deadline=None)
def test_the_quantile_has_the_rank_of_split_conformal_prediction(
    count: int, coverage: float
) -> None:
    values = np.random.default_rng(count).normal(size=count)
    found = conformal_quantile(values, coverage)
    below = int((values <= found).sum())
    assert found in values
    assert below == count or below / (count + 1) >= coverage - 1e-9
    if below < count:
        assert (below - 1) / (count + 1) < coverage


def test_the_next_error_stays_below_its_bound_as_often_as_stated() -> None:
    """Split conformal prediction is exact for exchangeable draws: here over many repetitions."""
    hits = []
    for seed in range(400):
        by = calibrate([iteration(1, 39, seed)], coverage=0.9, window=3, prior_ratio=2.0)
        hits.append(covered(iteration(2, 1, 10_000 + seed), by).force)
    assert np.mean(hits) == pytest.approx(0.9, abs=0.04)


def test_scales_are_the_error_in_units_of_the_spread() -> None:
    found = calibrate([iteration(1, 4000, 1)], coverage=0.9, window=1, prior_ratio=2.0)
    assert found.n_labels == 4000
    assert found.energy_scale == pytest.approx(1.0, rel=0.1)
    assert found.force_scale == pytest.approx(2 / 3 * 0.6745, rel=0.1)
    assert found.energy == pytest.approx(1.645, rel=0.1)
    assert found.force == pytest.approx(1.645 * 2 / 3, rel=0.1)


def test_only_the_last_iterations_count_unless_they_are_too_small() -> None:
    old, new = iteration(1, 100, 1, ratio=9.0), iteration(2, 100, 2)
    small = iteration(3, FEWEST - 1, 3)
    kwargs = {"coverage": 0.9, "prior_ratio": 2.0}
    assert calibrate([old, new], window=1, **kwargs).force < 2.0
    assert calibrate([old, new], window=2, **kwargs).force > 2.0
    both = calibrate([old, new], window=1, energy_window=2, **kwargs)
    assert both.force < 2.0 < both.energy
    assert calibrate([old, new, small], window=1, **kwargs).n_labels == 100 + FEWEST - 1


def test_without_labels_enough_the_prior_stands() -> None:
    for past in ([], [iteration(1, FEWEST - 1, 1)]):
        found = calibrate(past, coverage=0.9, window=3, prior_ratio=2.5)
        assert (found.force, found.energy, found.n_labels) == (2.5, 2.5, 0)


def test_labels_without_forces_and_spreads_of_zero_do_not_count() -> None:
    one = iteration(1, 60, 1).checked
    force_error, energy_spread = one.force_error.copy(), one.energy_spread.copy()
    force_error[:30], energy_spread[30:35] = np.nan, 0.0
    checked = Checked(
        one.energy_error,
        energy_spread,
        force_error,
        one.force_spread,
        one.force_scale,
        one.is_audit,
    )
    past = PastIteration(1, 96, 60, 50, checked=checked)
    found = calibrate([past], coverage=0.8, window=1, prior_ratio=2.0)
    ratios = (force_error / one.force_spread)[30:]
    assert found.force == conformal_quantile(ratios, 0.8)
    assert np.isfinite([found.energy, found.energy_scale, found.force_scale]).all()


def test_coverage_tells_frames_drawn_at_random_apart() -> None:
    past = iteration(1, 50, 1)
    c = past.checked
    by = calibrate([iteration(0, 100, 2)], coverage=0.7, window=1, prior_ratio=2.0)
    found = covered(past, by)
    is_below = c.force_error <= by.force * c.force_spread
    assert found.force == is_below.mean()
    assert found.force_audit == is_below[c.is_audit].mean()
    assert (found.n_labels, found.n_audit) == (50, 10)


def drifting(adaptation: float, drift: float) -> Iterator[float]:
    """Coverage of each of many iterations whose errors grow beside their spreads."""
    past: list[PastIteration] = []
    for number in range(150):
        now = iteration(number, 60, number, ratio=(1 + drift) ** number)
        by = calibrate(past, coverage=0.9, window=1, prior_ratio=2.0, adaptation=adaptation)
        share = covered(now, by).force
        past.append(
            replace(now, n_labelled=60, coverage_force=share, coverage_energy=share)
        )
        yield share


def test_coverage_holds_in_the_long_run_where_each_generation_is_more_sure_of_itself() -> (
    None
):
    assert np.mean(list(drifting(0.0, 0.25))) < 0.85
    assert np.mean(list(drifting(0.2, 0.25))) == pytest.approx(0.9, abs=0.015)


@given(
    st.lists(st.tuples(st.floats(0, 1) | st.just(np.nan), st.integers(0, 500))),
    st.floats(0, 1),
)
def test_the_level_follows_coverage_within_limits(
    known: list[tuple[float, int]], step: float
) -> None:
    shares, counts = [one[0] for one in known], [one[1] for one in known]
    level = adapted(0.9, shares, counts, step)
    assert LEVELS[0] <= level <= LEVELS[1]
    assert adapted(0.9, [*shares, 0.9, np.nan], [*counts, 40, 40], step) == pytest.approx(
        level
    )
    after = adapted(0.9, [*shares, 0.5], [*counts, 40], step)
    assert level <= after <= level + 0.4 * step + 1e-12
    assert adapted(0.9, [*shares, 1.0], [*counts, 40], step) <= level


def test_few_labels_say_little_about_coverage() -> None:
    assert adapted(0.9, [0.0], [1], 0.2) == pytest.approx(0.9 + 0.2 * 0.9 / FEWEST)
