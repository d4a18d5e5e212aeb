"""Workers and queues as discrete events, against what can be said in closed form."""

import math
from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alflow.core.errors import SettingsError
from alflow.loop.machine import Job, Machine, PoolModel


def machine(*pools, seed=0):
    return Machine(pools, np.random.default_rng(seed))


def after(seconds):
    return lambda _rng: seconds


def run_all(one, jobs):
    """Submit jobs at once and wait until all have ended."""
    for job in jobs:
        one.submit(job)
    ended = []
    while news := one.step():
        ended += news
    return ended


def equal_jobs(n, seconds, pool="p", first=0):
    return [Job(first + k, "label", pool, seconds) for k in range(n)]


@pytest.mark.parametrize(("n_jobs", "workers"), [(1, 1), (7, 3), (9, 3), (2, 5)])
def test_equal_jobs_take_as_many_rounds_as_they_fill(n_jobs, workers):
    one = machine(PoolModel("p", workers))
    run_all(one, equal_jobs(n_jobs, 2.5))
    rounds = math.ceil(n_jobs / workers)
    use = one.usage()["p"]
    assert one.now == rounds * 2.5
    assert use.busy_s == {"label": n_jobs * 2.5}
    assert use.barrier_s == (workers * rounds - n_jobs) * 2.5
    assert (use.queue_s, use.start_s) == (0.0, 0.0)
    assert use.held_s == workers * one.now


def test_a_stage_that_waits_for_another_leaves_workers_idle():
    one = machine(PoolModel("p", 4))
    run_all(one, equal_jobs(8, 1.0))
    run_all(one, equal_jobs(1, 6.0, first=8))
    use = one.usage()["p"]
    assert one.now == 8.0
    assert use.barrier_s / (4 * one.now) == 3 * 6 / (4 * 8)


def test_two_pools_work_side_by_side():
    one = machine(PoolModel("p", 1), PoolModel("q", 1))
    run_all(one, [*equal_jobs(3, 2.0), *equal_jobs(1, 4.0, "q", 3)])
    assert one.now == 6.0
    assert one.usage()["q"].barrier_s == 2.0


def test_the_urgent_ones_go_first_and_then_those_that_came_first():
    one = machine(PoolModel("p", 1))
    jobs = [Job(k, "any", "p", 1.0, priority) for k, priority in enumerate((0, 1, 0, 1))]
    assert [run.job.number for run in run_all(one, jobs)] == [1, 3, 0, 2]


def test_blocks_wait_and_start_before_they_work():
    one = machine(PoolModel("p", 4, blocks=2, queue=after(10.0), start=after(5.0)))
    run_all(one, equal_jobs(4, 1.0))
    use = one.usage()["p"]
    assert one.now == 16.0
    assert (use.queue_s, use.start_s) == (4 * 10.0, 4 * 5.0)
    assert use.held_s == 4 * 6.0


def test_no_more_blocks_are_asked_for_than_have_something_to_do():
    one = machine(PoolModel("p", 6, blocks=3, queue=after(10.0)))
    run_all(one, equal_jobs(2, 1.0))
    use = one.usage()["p"]
    assert use.held_s == 2.0
    assert use.queue_s == 20.0
    assert use.barrier_s == 4 * 11.0


def test_an_idle_block_is_given_back_and_waits_again():
    one = machine(PoolModel("p", 1, queue=after(10.0), idle_s=3.0), PoolModel("q", 1))
    run_all(one, [*equal_jobs(1, 1.0), *equal_jobs(1, 100.0, "q", 1)])
    run_all(one, equal_jobs(1, 1.0, first=2))
    use = one.usage()["p"]
    assert one.now == 111.0
    assert use.held_s == 1.0 + 3.0 + 1.0
    assert use.queue_s == 20.0


def test_what_a_block_did_not_finish_begins_anew_in_the_next():
    one = machine(PoolModel("p", 1, walltime_s=10.0))
    ended = run_all(one, equal_jobs(2, 6.0))
    assert [(run.start, run.end, run.is_cut) for run in one.runs] == [
        (0.0, 6.0, False),
        (6.0, 10.0, True),
        (10.0, 16.0, False),
    ]
    assert [run.job.number for run in ended] == [0, 1]


def test_what_no_block_can_finish_is_refused():
    with pytest.raises(SettingsError, match="does not fit into a block"):
        machine(PoolModel("p", 1, walltime_s=10.0)).submit(Job(0, "train", "p", 11.0))


def test_blocks_have_equally_many_workers():
    with pytest.raises(SettingsError, match="each block must have as many"):
        PoolModel("p", 5, blocks=2)


TIMES = st.floats(0.0, 50.0)
POOLS = st.builds(
    lambda blocks, each, wait, start, idle, wall: PoolModel(
        "p",
        blocks * each,
        blocks=blocks,
        queue=lambda rng: wait * rng.random(),
        start=after(start),
        idle_s=idle,
        walltime_s=wall,
    ),
    st.integers(1, 3),
    st.integers(1, 3),
    TIMES,
    st.floats(0.0, 5.0),
    st.none() | st.floats(0.1, 10.0),
    st.none() | st.floats(60.0, 90.0),
)


@settings(deadline=None)
@given(POOLS, st.lists(st.lists(TIMES, max_size=12), max_size=4), st.integers(0, 9))
def test_nothing_is_lost_doubled_or_done_at_once(pool, waves, seed):
    one, number = machine(pool, seed=seed), 0
    for wave in waves:
        jobs = [Job(number + k, "any", "p", seconds) for k, seconds in enumerate(wave)]
        number += len(jobs)
        ended = run_all(one, jobs)
        assert sorted(run.job.number for run in ended) == [job.number for job in jobs]
    whole = [run for run in one.runs if not run.is_cut]
    assert sorted(run.job.number for run in whole) == list(range(number))
    assert all(run.end - run.start == pytest.approx(run.job.wall_s) for run in whole)
    by_worker = defaultdict(list)
    for run in one.runs:
        by_worker[run.worker].append((run.start, run.end))
    assert len(by_worker) <= pool.workers
    for spans in by_worker.values():
        assert all(a[1] <= b[0] for a, b in pairwise(sorted(spans)))
    use = one.usage()["p"]
    assert use.all_busy_s == pytest.approx(sum(run.end - run.start for run in one.runs))
    parts = (use.all_busy_s, use.queue_s, use.start_s, use.barrier_s)
    assert min(parts) >= -1e-9
    assert sum(parts) == pytest.approx(pool.workers * one.now)
    assert use.all_busy_s <= use.held_s + 1e-9 <= pool.workers * one.now + 1e-6
