"""What a model of costs must do with any measurements, and with few, many and bad ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alflow.core.cost import Measured, compositions, fit

ORGANIC = {1: 5.0, 6: 14.0, 8: 14.0}
"""Basis functions of an atom: what the made-up program's time follows."""
MOLECULE = st.lists(st.sampled_from([1, 6, 7, 8, 29]), min_size=1, max_size=30)
TIMES = st.floats(1e-5, 1e5)
MEASURED = st.lists(
    st.builds(
        lambda numbers, wall_s, cores: Measured(np.array(numbers, np.uint8), wall_s, cores),
        MOLECULE,
        TIMES,
        st.integers(1, 8),
    ),
    min_size=1,
    max_size=12,
)


def counts(*structures):
    return compositions(np.array(numbers, np.uint8) for numbers in structures)


def molecule(rng):
    carbons = int(rng.integers(1, 8))
    others = [1] * int(rng.integers(1, 2 * carbons + 2)) + [8] * int(rng.integers(0, 3))
    return [6] * carbons + others


def true_s(numbers, power=3.2):
    return 2e-5 * sum(ORGANIC[z] for z in numbers) ** power


def campaign(n, seed, *, noise=0.15, rescued=0.1, power=3.2, cores=1):
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        numbers = molecule(rng)
        wall_s = true_s(numbers, power) * np.exp(rng.normal(0, noise))
        wall_s *= 10 if rng.random() < rescued else 1
        found.append(Measured(np.array(numbers, np.uint8), float(wall_s), cores))
    return found


def test_without_measurements_nothing_is_said():
    assert fit([]) is None
    assert fit([Measured(np.array([1], np.uint8), 0.0)]) is None


@settings(max_examples=60, deadline=None)
@given(MEASURED, MOLECULE, MOLECULE)
def test_costs_are_positive_and_more_atoms_never_cost_less(measured, small, more):
    model = fit(measured)
    both = counts(small, small + more)
    for found in (model.median_core_s(both), model.mean_core_s(both)):
        assert np.isfinite(found).all()
        assert found[0] > 0
        assert found[1] >= found[0] * (1 - 1e-12)
    assert (model.upper_core_s(both, 0.99) >= model.median_core_s(both)).all()


@settings(max_examples=40, deadline=None)
@given(MEASURED, MOLECULE, st.randoms())
def test_the_order_of_atoms_and_of_measurements_does_not_matter(measured, numbers, random):
    mixed = random.sample(numbers, len(numbers))
    turned = random.sample(measured, len(measured))
    model, again = fit(measured), fit(turned)
    here, there = model.median_core_s(counts(numbers, mixed))
    assert here == there
    np.testing.assert_allclose(again.median_core_s(counts(mixed)), here, rtol=1e-3)


@settings(max_examples=40, deadline=None)
@given(MEASURED, MOLECULE, st.floats(0.01, 100.0))
def test_a_machine_that_is_slower_throughout_has_costs_that_are_larger_throughout(
    measured, numbers, factor
):
    slower = [Measured(one.numbers, factor * one.wall_s, one.cores) for one in measured]
    asked = counts(numbers)
    expected = factor * fit(measured).median_core_s(asked)
    np.testing.assert_allclose(fit(slower).median_core_s(asked), expected, rtol=1e-3)


def test_one_measurement_is_repeated():
    numbers = [8, 1, 1]
    model = fit([Measured(np.array(numbers, np.uint8), 3.0, 4)])
    assert model.median_core_s(counts(numbers)) == pytest.approx(12.0)
    assert model.cores == 4
    larger = model.median_core_s(counts(2 * numbers))[0] / 12.0
    assert larger == pytest.approx(4.0), (
        "by the prior, cost grows with the square of the size"
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("power", [1.0, 2.0, 3.2, 5.0])
def test_a_power_law_is_found_behind_noise_and_rescues(power, seed):
    model = fit(campaign(400, seed, power=power))
    rng = np.random.default_rng(seed + 100)
    others = [molecule(rng) for _ in range(200)]
    ratio = model.median_core_s(counts(*others)) / [true_s(one, power) for one in others]
    assert model.power == pytest.approx(power, abs=0.25)
    assert np.exp(np.log(ratio).mean()) == pytest.approx(1.0, abs=0.06)
    assert np.abs(np.log(ratio)).max() < 0.3


def test_thrice_the_size_is_foretold():
    large = [6] * 20 + [1] * 42
    for seed in range(3):
        found = fit(campaign(300, seed)).median_core_s(counts(large))[0]
        assert 0.7 < found / true_s(large) < 1.4


def test_five_measurements_are_better_than_none():
    rng = np.random.default_rng(3)
    others = [molecule(rng) for _ in range(50)]
    expected = np.array([true_s(one) for one in others])
    for seed in range(5):
        model = fit(campaign(5, seed, rescued=0.0))
        error = np.abs(np.log(model.median_core_s(counts(*others)) / expected))
        assert np.median(error) < 0.5


def test_means_may_be_summed_though_some_are_rescued():
    measured = campaign(2000, 5)
    total = sum(one.core_s for one in measured)
    foretold = fit(measured[:1000]).mean_core_s(
        compositions(one.numbers for one in measured[1000:])
    )
    spent = sum(one.core_s for one in measured[1000:])
    assert foretold.sum() == pytest.approx(spent, rel=0.15)
    assert (
        total
        > 1.5
        * fit(measured).median_core_s(compositions(one.numbers for one in measured)).sum()
    )


def test_an_upper_bound_holds_as_often_as_it_says():
    model, rng = fit(campaign(500, 8)), np.random.default_rng(9)
    fresh = campaign(2000, int(rng.integers(1000)))
    bound = model.upper_core_s(compositions(one.numbers for one in fresh), 0.9)
    below = np.mean([one.core_s <= limit for one, limit in zip(fresh, bound, strict=True)])
    assert 0.87 < below < 0.97


def test_elements_that_were_never_seen_make_an_upper_bound_wider():
    model = fit(campaign(200, 1, rescued=0.0))
    known, strange = counts([6, 6, 1, 1], [6, 6, 9, 9])
    ratio = [
        model.upper_core_s(one[None], 0.99)[0] / model.median_core_s(one[None])[0]
        for one in (known, strange)
    ]
    assert ratio[1] > 10 * ratio[0]


def test_costs_that_do_not_grow_are_not_made_to_shrink():
    rng = np.random.default_rng(0)
    measured = [
        Measured(np.array([13] * n, np.uint8), 1e-3 * n**-0.5 * rng.lognormal(0, 0.05))
        for n in range(2, 60)
    ]
    assert fit(measured).power == 0.0


def test_five_thousand_measurements_take_no_time():
    measured = campaign(5000, 2)
    assert fit(measured).power == pytest.approx(3.2, abs=0.1)
