from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alflow.acquisition.threshold import ThresholdSettings
from alflow.core.sampling import Candidate, Decision, Spread


def candidate(
    name, force_max=0.5, *, reason="flagged", place=0.0, is_known=False, energy=1e-4
):
    spread = Spread(energy, 0.01, force_max, 0.0)
    measure = "force_max" if reason == "flagged" else ""
    return Candidate(
        name, spread, reason, measure, np.array([place, 2.0 * place, 1.0]), is_known
    )


def rule(**changes):
    values = {"per_iteration": 8, "force_spread_max_eV_per_A": 0.1, "audit_fraction": 0.25}
    return ThresholdSettings.model_validate({**values, **changes}).create()


candidates = st.lists(
    st.builds(
        candidate,
        st.sampled_from([f"{k:02d}" for k in range(30)]),
        st.sampled_from([0.0, 0.15, 0.5, 0.5, 1.0, 3.0, float("nan"), float("inf")]),
        reason=st.sampled_from(["flagged", "audit"]),
        place=st.sampled_from([0.0, 1.0, 1.0, 2.5, 7.0]),
        is_known=st.booleans(),
        energy=st.sampled_from([1e-4, 1e-2, 1.0]),
    ),
    max_size=40,
)


@given(candidates, st.integers(0, 12), st.integers(0, 5), st.randoms(), st.floats(0.0, 1.0))
def test_verdicts_are_complete_within_budget_and_blind_to_order(
    found, budget, seed, random, min_distance
):
    chooser = rule(min_distance=min_distance)
    verdicts = chooser.select(found, budget, seed)
    assert set(verdicts) == {one.id for one in found}
    ranks = sorted(v.rank for v in verdicts.values() if v.rank is not None)
    assert ranks == list(range(len(ranks)))
    assert len(ranks) <= budget
    assert all(
        (v.rank is not None) == (v.decision is Decision.SELECTED) for v in verdicts.values()
    )
    assert all(v.reason for v in verdicts.values())
    shuffled = list(found)
    random.shuffle(shuffled)
    assert chooser.select(shuffled, budget, seed) == verdicts


def test_known_structures_are_duplicates():
    verdicts = rule().select([candidate("a", is_known=True), candidate("b")], 4, 0)
    assert verdicts["a"].decision is Decision.DUPLICATE
    assert verdicts["b"].decision is Decision.SELECTED


def test_a_structure_met_twice_counts_once():
    both = [candidate("a", reason="audit"), candidate("a"), candidate("a", is_known=False)]
    verdicts = rule().select(both, 4, 0)
    assert len(verdicts) == 1
    assert verdicts["a"].rank == 0
    assert rule().select([*both, candidate("a", is_known=True)], 4, 0)["a"].decision is (
        Decision.DUPLICATE
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_filtered(value):
    blank = candidate("a")
    spread_broken = replace(blank, spread=replace(blank.spread, energy=value))
    print_broken = replace(blank, id="b", fingerprint=np.array([1.0, value, 0.0]))
    verdicts = rule().select([spread_broken, print_broken], 4, 0)
    assert {v.decision for v in verdicts.values()} == {Decision.FILTERED}


def test_what_is_too_far_off_is_filtered_with_numbers():
    verdicts = rule(rejected_factor=20).select([candidate("a", 2.5)], 4, 0)
    assert verdicts["a"].decision is Decision.FILTERED
    assert verdicts["a"].reason == (
        "too far off: force_max spread 2.5 eV/Å is 25 times its limit of 0.1 eV/Å, more than 20"
    )


def test_the_largest_excess_is_first_and_the_farthest_is_next():
    found = [
        candidate("a", 0.2, place=0.0),
        candidate("b", 0.9, place=1.0),
        candidate("c", 0.3, place=9.0),
        candidate("d", 0.8, place=1.1),
    ]
    verdicts = rule(audit_fraction=0).select(found, 2, 0)
    assert verdicts["b"].rank == 0
    assert verdicts["b"].reason.startswith("force_max spread 0.9 eV/Å is 9 times its limit")
    assert verdicts["c"].rank == 1
    assert "distance" in verdicts["c"].reason
    assert verdicts["a"].decision is Decision.OVER_BUDGET
    assert "4 flagged candidates for 2 places" in verdicts["a"].reason


def test_near_duplicates_name_what_they_are_near_to():
    found = [
        candidate("a", 0.9),
        candidate("b", 0.8, place=0.01),
        candidate("c", place=5.0),
    ]
    verdicts = rule(min_distance=0.1).select(found, 4, 0)
    assert verdicts["b"].decision is Decision.DUPLICATE
    assert "to the selected a, less than 0.1" in verdicts["b"].reason


def test_audit_places_are_a_share_of_the_budget_rounded_up():
    found = [candidate(f"f{k:02d}", place=k) for k in range(30)]
    found += [candidate(f"a{k:02d}", 0.0, reason="audit", place=k) for k in range(30)]
    for fraction, budget, expected in (
        (0.05, 20, 1),
        (0.05, 21, 2),
        (0.07, 100, 7),
        (0, 9, 0),
    ):
        verdicts = rule(audit_fraction=fraction).select(found, budget, 1)
        drawn = [
            name for name, v in verdicts.items() if name[0] == "a" and v.rank is not None
        ]
        assert len(drawn) == expected
        assert sum(v.rank is not None for v in verdicts.values()) == min(
            budget, 30 + expected
        )


def test_audit_candidates_are_drawn_by_the_seed_whatever_their_spread():
    found = [candidate(f"{k:02d}", k / 50, reason="audit") for k in range(20)]
    counts = np.zeros(20)
    for seed in range(60):
        verdicts = rule().select(found, 16, seed)
        drawn = [v.rank is not None for _, v in sorted(verdicts.items())]
        assert sum(drawn) == 4
        counts += drawn
    # 12 expected each; four standard deviations of a binomial either way
    assert np.abs(counts - 12).max() < 4 * np.sqrt(12 * 0.8)


def test_places_that_audit_does_not_need_go_to_flagged_ones():
    verdicts = rule().select([candidate(f"{k}", place=k) for k in range(9)], 8, 0)
    assert sum(v.rank is not None for v in verdicts.values()) == 8


def dear_and_cheap():
    """Three flagged candidates; the worst one is dear, and so is the one that is farthest off."""
    costs = {"a": 100.0, "b": 1.0, "c": 1.0, "d": 1000.0}
    found = [
        candidate("a", 1.0),
        candidate("b", 0.5, place=0.1),
        candidate("c", 0.4, place=5.0),
        candidate("d", 0.3, place=9.0),
    ]
    return [replace(one, cost_core_s=costs[one.id]) for one in found]


def order(verdicts):
    """What was selected, by rank."""
    chosen = {v.rank: name for name, v in verdicts.items() if v.rank is not None}
    return [chosen[rank] for rank in sorted(chosen)]


def test_what_a_core_second_teaches_decides_where_costs_count():
    found = dear_and_cheap()
    assert order(rule().select(found, 2, 0)) == ["a", "d"]
    verdicts = rule(cost_power=1).select(found, 2, 0)
    assert order(verdicts) == ["b", "c"]
    assert verdicts["c"].reason.startswith(
        "force_max spread 0.4 eV/Å is 4 times its limit of 0.1 eV/Å, 1 core-seconds expected; "
    )


def test_costs_do_not_count_where_one_is_not_known():
    found = [*dear_and_cheap()[:3], candidate("d", 0.3, place=9.0)]
    assert order(rule(cost_power=1).select(found, 2, 0)) == ["a", "d"]


def test_verdicts_tell_the_expected_cost_whatever_was_decided():
    found = dear_and_cheap()
    verdicts = rule().select([replace(found[0], is_known=True), *found[1:]], 1, 0)
    assert [verdicts[name].cost_core_s for name in "abcd"] == [100.0, 1.0, 1.0, 1000.0]
