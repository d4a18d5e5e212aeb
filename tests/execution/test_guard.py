"""When a pool may ask for blocks."""

import pytest
from parsl.jobs.states import JobState, JobStatus

from alflow.execution import guard as guards
from alflow.execution.breaker import CircuitBreaker
from alflow.execution.guard import PoolGuard


class Provider:
    max_blocks = 4


class Executor:
    def connected_blocks(self):
        return ["0"]


def failed(**more):
    return JobStatus(JobState.FAILED, **more)


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when told to."""
    now = [1000.0]
    monkeypatch.setattr(guards.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(
        guards, "CircuitBreaker", lambda waits: CircuitBreaker(waits, clock=lambda: now[0])
    )

    def pass_s(seconds):
        now[0] += seconds

    return pass_s


@pytest.fixture
def guard(clock):
    return PoolGuard("x", Provider())


def limit(guard, status):
    guard.handle(Executor(), status)
    return guard._provider.max_blocks


def test_three_bad_blocks_make_a_pause_then_one_may_try(guard, clock):
    blocks = {str(k): failed(exit_code=1) for k in range(2)}
    assert limit(guard, blocks) == 4
    blocks["2"] = failed(exit_code=127)
    assert limit(guard, blocks) == 0
    assert limit(guard, blocks) == 0, "a block counts once"
    assert guard.is_paused
    assert guard.refusal() == "block 2 failed: exit status 127"
    clock(61)
    assert limit(guard, blocks) == 1
    assert guard.refusal() is None
    blocks["3"] = failed()
    assert limit(guard, blocks) == 0
    clock(61)
    assert limit(guard, blocks) == 0, "the second pause is longer"
    clock(240)
    assert limit(guard, blocks) == 1


def test_a_pool_that_worked_is_waited_for(guard, clock):
    guard.worked()
    blocks = {str(k): failed() for k in range(3)}
    assert limit(guard, blocks) == 0
    assert guard.refusal() is None, "it is paused, and not given up"
    clock(61)
    assert limit(guard, blocks) == 1
    guard.worked()
    assert limit(guard, blocks) == 4
    assert guard.news()[-1] == "it works again"


def test_a_pool_with_a_living_block_is_not_shut(guard):
    blocks = {"0": JobStatus(JobState.RUNNING), **{str(k): failed() for k in (1, 2, 3)}}
    assert limit(guard, blocks) == 0, "it gets no further block"
    assert not guard.is_paused
    assert guard.refusal() is None
    blocks["0"] = JobStatus(JobState.COMPLETED)
    limit(guard, blocks)
    assert guard.is_paused
    assert guard.refusal() is not None


def test_a_block_that_lives_clears_the_pool(guard, clock):
    blocks = {str(k): failed() for k in range(2)}
    blocks["2"] = JobStatus(JobState.RUNNING)
    assert limit(guard, blocks) == 4
    clock(61)
    assert limit(guard, blocks) == 4
    blocks["3"] = failed()
    assert limit(guard, blocks) == 4, "it is the first failure again"


def test_a_pool_that_keeps_failing_is_given_up(guard, clock):
    guard.worked()
    blocks = {}
    for k in range(20):
        blocks[str(k)] = failed(message="no such partition\nmore")
        limit(guard, blocks)
        clock(1000)
    assert guard.refusal() == "block 19 failed: no such partition"
    assert limit(guard, blocks) == 0


def test_blocks_that_end_as_they_should_are_no_failure(guard):
    ends = (JobState.COMPLETED, JobState.CANCELLED, JobState.TIMEOUT, JobState.SCALED_IN)
    assert limit(guard, {str(k): JobStatus(end) for k, end in enumerate(ends)}) == 4


def test_nothing_is_raised_into_the_poller(guard, caplog):
    guard.handle(Executor(), {"not a number": failed()})
    assert "blocks of pool x" in caplog.text


def test_a_provider_that_knows_better_is_asked(clock):
    class Own:
        is_shut = True
        seen = None

        def observe(self, status, connected):
            self.seen = (status, connected)

        def news(self):
            return ["job 7 waits (Resources)"]

        def refusal(self):
            return "no such partition"

        def exclude(self, hosts):
            self.hosts = hosts

    guard = PoolGuard("x", Own())
    guard.handle(Executor(), {"0": failed()})
    assert guard._provider.seen[1] == ["0"]
    assert guard.is_paused
    assert guard.news() == ["job 7 waits (Resources)"]
    assert guard.refusal() == "no such partition"
    assert guard.exclude(["n1"])
    assert guard._provider.hosts == ["n1"]
