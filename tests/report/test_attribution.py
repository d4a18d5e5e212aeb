"""Hand-made timelines, of which every second is known."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from alflow.report.attribution import NO_KIND, Use, Waiting, attributed
from alflow.report.estimates import PAUSE_S, Work, timeline


def done(kind, start, end, handed=None, iteration=0):
    return Work("a", kind, start, end, is_failed=False, handed=handed, iteration=iteration)


def seconds(work, waiting=(), n_slots=2):
    return attributed(work, waiting, n_slots).seconds


def test_two_slots_that_always_compute():
    work = [done("label", 0.0, 10.0), done("label", 0.0, 4.0), done("train", 4.0, 10.0)]
    assert seconds(work) == {
        "label": {Use.COMPUTING: 14.0},
        "train": {Use.COMPUTING: 6.0},
    }


def test_who_is_done_early_waits_at_the_barrier():
    work = [done("label", 0.0, 10.0), done("label", 0.0, 7.0)]
    assert seconds(work) == {"label": {Use.COMPUTING: 17.0, Use.BARRIER: 3.0}}


def test_a_slot_that_has_nothing_to_do_but_a_task_waits():
    # One slot is free from 4 on; a task waits for it from 4 to 6, handed out at 6.
    work = [done("label", 0.0, 10.0), done("label", 0.0, 4.0), done("label", 6.0, 10.0)]
    found = seconds(work, [Waiting("label", 4.0, 6.0)])
    assert found == {"label": {Use.COMPUTING: 18.0, Use.QUEUE: 2.0}}


def test_waiting_while_all_slots_compute_is_no_loss():
    work = [done("label", 0.0, 10.0), done("label", 0.0, 10.0)]
    found = seconds(work, [Waiting("label", 0.0, 10.0), Waiting("label", 3.0, 10.0)])
    assert found == {"label": {Use.COMPUTING: 20.0}}


def test_start_up_is_from_the_hand_out_to_the_body():
    work = [done("label", 0.0, 10.0), done("train", 5.0, 10.0, handed=2.0)]
    assert seconds(work) == {
        "label": {Use.COMPUTING: 10.0, Use.BARRIER: 2.0},
        "train": {Use.COMPUTING: 5.0, Use.START_UP: 3.0},
    }


def test_more_tasks_handed_out_than_slots_take_only_the_free_ones():
    work = [
        done("label", 0.0, 10.0),
        done("label", 6.0, 10.0, handed=0.0),
        done("label", 10.0, 12.0, handed=0.0),
    ]
    # Before 6 one slot is free and two tasks are handed out; from 10 on one slot has no task.
    assert seconds(work) == {
        "label": {Use.COMPUTING: 16.0, Use.START_UP: 6.0, Use.BARRIER: 2.0}
    }


def test_attempts_without_a_result_are_failed_time():
    lost = Work("a", "label", 0.0, 5.0, is_failed=True)
    assert seconds([lost, done("label", 0.0, 5.0)]) == {
        "label": {Use.FAILED: 5.0, Use.COMPUTING: 5.0}
    }


def test_one_far_longer_than_its_like_is_a_straggler():
    # The median of 2, 2, 2, 2 and 10 is 2: from 4 on the last one straggles.
    work = [*(done("label", 0.0, 2.0) for _ in range(4)), done("label", 0.0, 10.0)]
    found = seconds(work, n_slots=5)
    assert found == {"label": {Use.COMPUTING: 18.0, Use.BARRIER: 8.0, Use.STRAGGLER: 24.0}}


def test_among_few_or_in_another_iteration_nobody_straggles():
    few = [*(done("label", 0.0, 2.0) for _ in range(2)), done("label", 0.0, 10.0)]
    assert Use.STRAGGLER not in seconds(few, n_slots=3)["label"]
    other = [
        *(done("label", 0.0, 2.0) for _ in range(4)),
        done("label", 0.0, 10.0, iteration=1),
    ]
    assert Use.STRAGGLER not in seconds(other, n_slots=5)["label"]


def test_a_straggler_of_which_others_are_not_late_is_a_barrier():
    work = [
        *(done("label", 0.0, 2.0) for _ in range(4)),
        done("label", 0.0, 10.0),
        done("train", 2.0, 10.0),
    ]
    found = seconds(work, n_slots=5)
    assert found["label"][Use.BARRIER] == pytest.approx(12.0)
    assert found["train"][Use.BARRIER] == pytest.approx(12.0)
    assert Use.STRAGGLER not in found["label"]


def test_nothing_runs_between_stages():
    work = [done("label", 0.0, 5.0), done("train", 8.0, 10.0)]
    assert seconds(work, n_slots=1) == {
        "label": {Use.COMPUTING: 5.0},
        "train": {Use.COMPUTING: 2.0},
        NO_KIND: {Use.BETWEEN: 3.0},
    }


def test_a_pause_of_the_campaign_counts_for_nothing():
    night = PAUSE_S + 100.0
    work = [done("label", 0.0, 5.0), done("label", 5.0 + night, 10.0 + night)]
    waiting = [Waiting("label", 5.0, 5.0 + night)]
    assert seconds(work, waiting, 1) == {"label": {Use.COMPUTING: 10.0}}
    # A batch system that has the task all night is no pause of the campaign.
    handed = [work[0], done("label", 5.0 + night, 10.0 + night, handed=5.0)]
    assert seconds(handed, n_slots=1) == {
        "label": {Use.COMPUTING: 10.0, Use.START_UP: night}
    }


def test_no_work_and_no_time():
    assert seconds([]) == {}
    assert seconds([done("build", 3.0, 3.0)]) == {}


spans = st.tuples(
    st.sampled_from(["label", "train"]),
    st.floats(0, 4000),
    st.floats(0, 300),
    st.floats(0, 2000),
    st.booleans(),
    st.integers(0, 2),
)


@given(st.lists(spans, min_size=1, max_size=30), st.lists(spans, max_size=10))
@example([("label", t, 0.0, 0.0, False, 0) for t in (0.0, 1.0, 901.0)], [])
def test_every_second_of_every_slot_is_told_once(items, more):
    work = [
        Work("a", kind, start, start + length, failed, start - before, number)
        for kind, start, length, before, failed, number in items
    ]
    waiting = [Waiting(kind, start, start + length) for kind, start, length, *_ in more]
    drawn = timeline(work)
    found = attributed(work, waiting, len(drawn.lanes)).by_use()
    total = len(drawn.lanes) * (drawn.span_s - drawn.paused_s)
    assert sum(found.values()) == pytest.approx(total, abs=1e-5)
    assert all(spent > 0 for spent in found.values())
    computed = found.get(Use.COMPUTING, 0.0) + found.get(Use.FAILED, 0.0)
    assert computed == pytest.approx(3600 * sum(drawn.hours.values()), abs=1e-5)
