"""Limits that follow the labels and the yield."""

import numpy as np
import pytest

from alflow.acquisition.calibrated import CalibratedSettings
from alflow.acquisition.calibrated_rule import CalibratedRule
from alflow.core.past import Checked, PastIteration
from alflow.core.sampling import Candidate, Decision, Spread


def past(n_flagged: int, ratio: float = 0.0, count: int = 0) -> PastIteration:
    """An iteration of 100 trajectories and 50 places, errors a fixed ratio of spreads."""
    spread = np.full(count, 0.02)
    checked = Checked(
        ratio * spread,
        spread,
        ratio * spread,
        spread,
        np.ones(count),
        np.zeros(count, bool),
    )
    excess = 1 + np.linspace(0, 9, n_flagged)
    return PastIteration(1, 100, n_flagged, 50, excess, checked)


def rule(**changes: object) -> CalibratedRule:
    return CalibratedRule(
        CalibratedSettings.model_validate({"per_iteration": 50} | changes)
    )


def test_limits_are_tolerances_by_learnt_ratios_times_the_factor() -> None:
    tolerance = {"base": 0.06, "per_force": 0.03}
    one = rule(force_tolerance_eV_per_A=tolerance, energy_tolerance_meV=9, start_factor=1)
    gate = one.gate(1, [past(60, ratio=3.0, count=40)])
    limits = [gate.force_mean, gate.force_max, gate.energy]
    numbers = [(one.base, one.per_force) for one in limits if one is not None]
    assert numbers == [
        pytest.approx(pair) for pair in ((0.02, 0.01), (0.08, 0.04), (0.003, 0))
    ]


def test_an_overconfident_ensemble_gets_tighter_limits() -> None:
    gates = [rule().gate(1, [past(60, ratio, 40)]) for ratio in (1.0, 2.0)]
    limits = [gate.force_mean for gate in gates]
    assert limits[0] is not None
    assert limits[1] is not None
    assert limits[1].base == pytest.approx(limits[0].base / 2)


def test_the_factor_follows_the_yield_within_its_bounds() -> None:
    one = rule(
        start_factor=2, step=0.5, largest_factor=16, smallest_factor=0.5, flagged_share=0.7
    )
    assert one.factor([]) == 2
    assert one.factor([past(49)]) == 1
    assert one.factor([past(50)]) == 2
    assert one.factor([past(70)]) == 2
    # 70 of the 100 flagged frames were at or beyond the limit that 29 of them were below
    assert one.factor([past(100)]) == pytest.approx(2 * (1 + 9 * 29 / 99))
    assert one.factor([past(100)] * 5) == 16
    assert one.factor([past(0)] * 9) == 0.5
    assert one.factor([past(100)] * 5 + [past(49), past(30)]) == 4
    assert one.factor([past(100)] * 5 + [past(49), past(10)]) == 2


def test_looser_limits_leave_more_flagged_frames_than_places() -> None:
    few = rule(start_factor=2, flagged_share=0.1, step=0.4)
    assert few.factor([past(100)]) == pytest.approx(2 * (1 + 9 * 39 / 99))


def test_limits_are_loosened_no_faster_than_they_are_tightened() -> None:
    one = rule(start_factor=2, flagged_share=0.1, step=0.8)
    assert one.factor([past(100)]) == pytest.approx(2 / 0.8**2)


def test_the_next_iteration_begins_where_further_rounds_ended() -> None:
    one = rule(start_factor=4, step=0.5, flagged_share=0.7)

    def found(*excess: float) -> PastIteration:
        return PastIteration(1, 100, len(excess), 50, np.array(excess), Checked.none())

    # Fifty frames were found when limits were a quarter of those that it began with.
    assert one.factor([found(*[1.5] * 20, *[0.3] * 30)]) == pytest.approx(4 * 0.3)
    # Of eighty, the seventy-first had 0.6 of the first limit.
    assert one.factor([found(*[2.0] * 70, *[0.6] * 10)]) == pytest.approx(4 * 0.6)
    # Even at the tightest there were too few.
    assert one.factor([found(*[1.5] * 20, *[0.3] * 20)]) == pytest.approx(4 * 0.3 * 0.5)
    assert one.factor([found(1.5, 0.3)]) == pytest.approx(4 * 0.3 * 0.25)


def test_another_round_is_tighter() -> None:
    one = rule(start_factor=2, step=0.5, smallest_factor=0.8)
    limits = [one.gate(0, [], number).force_mean for number in range(3)]
    bases = [limit.base for limit in limits if limit is not None]
    assert bases == [pytest.approx(0.025 * factor) for factor in (2, 1, 0.8)]


def test_an_ensemble_that_is_wrong_throughout_does_not_close_the_gate() -> None:
    one = rule(largest_ratio=5, start_factor=1, force_tolerance_eV_per_A=0.05)
    limit = one.gate(1, [past(60, ratio=500.0, count=40)]).force_mean
    assert limit is not None
    assert limit.base == pytest.approx(0.01)


def test_selection_measures_by_the_gate_that_sampled() -> None:
    spread = Spread(energy=0.01, force_mean=0.1, force_max=0.2, force_scale=0.0)
    frame = Candidate("a", spread, "flagged", "force_mean", np.zeros(2))
    one = rule(rejected_factor=10, start_factor=2.5)
    wide, narrow = one.gate(0), one.gate(0).scaled(0.1)
    assert one.select([frame], 5, 1, wide)["a"].decision is Decision.SELECTED
    assert one.select([frame], 5, 1, narrow)["a"].decision is Decision.FILTERED


def test_a_start_factor_out_of_bounds_is_refused() -> None:
    with pytest.raises(ValueError, match="start_factor: 99 is not between"):
        rule(start_factor=99)
