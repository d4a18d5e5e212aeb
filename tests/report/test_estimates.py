from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alflow.report.estimates import (
    MAX_LANES,
    MAX_STEPS,
    Work,
    calibration_factor,
    coverage,
    fraction_at,
    packed,
    rank_correlation,
    survival_curve,
    timeline,
)


def test_survival_follows_kaplan_and_meier():
    # The textbook case: a censored path counts as long as it lasted.
    curve = survival_curve(3, [1.0, 2.0, 2.0, 3.0, 4.0], [True, False, True, True, False])
    assert curve.times_fs == (0.0, 1.0, 2.0, 3.0, 4.0)
    assert curve.fractions == pytest.approx((1.0, 0.8, 0.6, 0.3, 0.3))
    assert curve.median_fs == 3.0
    assert (curve.generation, curve.n_trajectories, curve.n_ended) == (3, 5, 3)
    assert fraction_at(curve, 2.5) == pytest.approx(0.6)
    assert fraction_at(curve, 5.0) is None


def test_survival_without_events_has_no_median():
    curve = survival_curve(0, [2000.0, 2000.0], [False, False])
    assert curve.fractions == (1.0, 1.0)
    assert curve.median_fs is None
    assert survival_curve(0, [], []).fractions == (1.0,)


@given(st.lists(st.tuples(st.floats(0.1, 1e4), st.booleans()), min_size=1, max_size=300))
def test_survival_only_falls(paths):
    curve = survival_curve(0, [time for time, _ in paths], [ended for _, ended in paths])
    assert np.all(np.diff(curve.fractions) <= 0)
    assert np.all(np.diff(curve.times_fs) > 0)
    assert curve.fractions[0] == 1.0
    assert curve.fractions[-1] >= -1e-12
    assert len(curve.times_fs) <= MAX_STEPS


def test_factor_is_the_median_ratio_of_what_is_finite():
    spread = np.array([1.0, 2.0, 0.0, 4.0, np.nan])
    error = np.array([2.0, 2.0, 9.0, 12.0, 1.0])
    assert calibration_factor(spread, error) == pytest.approx(2.0)
    assert calibration_factor(np.zeros(2), np.ones(2)) is None


def test_coverage_of_a_normal_error_is_nominal():
    rng = np.random.default_rng(0)
    spread = rng.uniform(0.5, 2.0, 20_000)
    seen = coverage(spread, spread * rng.normal(size=20_000))
    for nominal, share in seen.items():
        assert share == pytest.approx(nominal, abs=0.015)
    assert coverage(np.zeros(0), np.zeros(0)) == {}


def test_rank_correlation_sees_order_alone():
    x = np.arange(10.0)
    assert rank_correlation(x, np.exp(x)) == pytest.approx(1.0)
    assert rank_correlation(x, -(x**3)) == pytest.approx(-1.0)
    assert rank_correlation(x, np.ones(10)) is None
    assert rank_correlation(x[:4], x[:4]) is None
    ties = np.array([1.0, 1.0, 2.0, 2.0, 3.0])
    assert rank_correlation(ties, ties) == pytest.approx(1.0)


def test_lanes_hold_one_attempt_at_a_time():
    work = [
        Work("a", "label", 0.0, 10.0, is_failed=False),
        Work("a", "label", 5.0, 15.0, is_failed=True),
        Work("a", "train", 10.0, 20.0, is_failed=False),
        Work("b", "label", 0.0, 20.0, is_failed=False),
    ]
    drawn = timeline(work)
    assert drawn.lanes == ("a #1", "a #2", "b #1")
    assert drawn.busy_fraction == pytest.approx(50 / 60)
    assert drawn.span_s == 20.0
    assert drawn.hours == pytest.approx({"label": 40 / 3600, "train": 10 / 3600})
    assert drawn.counts == {"label": 3, "train": 1}
    assert [bar.lane for bar in drawn.bars] == [0, 0, 1, 2]


def test_short_neighbours_become_one_bar():
    work = [Work("a", "label", float(k), k + 0.9999, is_failed=False) for k in range(5000)]
    drawn = timeline(work)
    assert len(drawn.bars) == 1
    assert drawn.counts["label"] == 5000


def test_nothing_and_no_time_at_all():
    assert timeline([]).busy_fraction is None
    instant = timeline([Work("a", "build", 5.0, 5.0, is_failed=False)])
    assert instant.busy_fraction is None
    assert len(instant.bars) == 1


def test_a_night_off_is_a_pause_and_not_idleness():
    work = [
        Work("a", "label", 0.0, 100.0, is_failed=False),
        Work("a", "label", 50_000.0, 50_100.0, is_failed=False),
        Work("a", "label", 50_200.0, 50_300.0, is_failed=False),
    ]
    drawn = timeline(work)
    assert drawn.paused_s == 49_900.0
    assert drawn.busy_fraction == pytest.approx(300 / 400)


def test_more_lanes_than_a_page_holds_are_counted_but_not_drawn():
    work = [Work("a", "label", 0.0, 10.0, is_failed=False) for _ in range(MAX_LANES + 9)]
    drawn = timeline(work)
    assert len(drawn.lanes) == MAX_LANES + 9
    assert max(bar.lane for bar in drawn.bars) == MAX_LANES - 1
    assert drawn.busy_fraction == pytest.approx(1.0)


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.floats(0, 100), st.floats(0.1, 50)),
        min_size=1,
        max_size=40,
    )
)
def test_work_in_a_lane_never_overlaps(items):
    work = [
        Work(host, "label", at, at + length, is_failed=False) for host, at, length in items
    ]
    drawn = timeline(work)
    total = sum(item.end - item.start for item in work) / 3600
    assert sum(drawn.hours.values()) == pytest.approx(total)
    for lane in range(len(drawn.lanes)):
        bars = sorted((bar.start, bar.end) for bar in drawn.bars if bar.lane == lane)
        assert all(one[1] <= two[0] for one, two in pairwise(bars))


def body(start, end, handed=0.0, worker="a"):
    return Work(worker, "label", start, end, is_failed=False, handed=handed)


def test_results_that_were_taken_in_at_once_need_no_more_workers_than_there_are():
    work = [body(4.0, 10.0), body(5.0, 10.0), body(7.0, 10.0), body(8.0, 10.0, 7.5)]
    moved = packed(work, 2)
    assert [(one.start, one.end) for one in moved] == [
        (1.0, 7.0),
        (3.0, 8.0),
        *[(7.0, 10.0)],
        (8.0, 10.0),
    ]
    assert len(timeline(moved).lanes) == 2
    assert len(timeline(work).lanes) == 4
    assert packed(work, 4) == work
    assert packed(work, 0) == work


def test_nothing_is_moved_before_it_was_handed_out_nor_to_another_machine():
    late = [body(4.0, 10.0, 4.0), body(5.0, 10.0, 4.0)]
    assert packed(late, 1) == late
    apart = [body(4.0, 10.0), body(5.0, 10.0, worker="b")]
    assert packed(apart, 1) == apart


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(0, 20), st.integers(0, 9)), max_size=30
    ),
    st.integers(0, 4),
)
def test_what_is_moved_stays_as_long_and_within_what_is_known(spans, n_workers):
    work = [body(float(s), float(s + d), float(max(0, s - h))) for s, d, h in spans]
    for before, after in zip(work, packed(work, n_workers), strict=True):
        assert after.end - after.start == before.end - before.start
        assert before.handed <= after.start <= before.start
