import os
import signal
import time
from dataclasses import replace

import pytest

from alflow.core.errors import SiteError
from alflow.core.labels import FailureKind
from alflow.execution.parsl import ParslExecutor
from alflow.execution.processes import start_time
from alflow.execution.sites import Site, local_pool

pytestmark = pytest.mark.parsl


@pytest.fixture
def site():
    return Site("test", {"*": local_pool(workers=2, heartbeat_s=1, patience_s=8)})


@pytest.fixture
def start(files, site):
    """Start executors; whatever the test did to them, they are closed in the end."""
    started = []

    def start(site=site):
        executor = ParslExecutor(files, site)
        started.append(executor)
        executor.start()
        return executor

    yield start
    for executor in started:
        executor.close(cancel=True)


def processes_of(executor):
    [htex] = executor._kernel._executors.values()
    return htex.interchange_proc, htex.provider._blocks


@pytest.mark.slow
def test_attempts_run_on_parsl_whatever_their_bodies_do(
    files, publish, start, drive, monkeypatch
):
    monkeypatch.setenv("PATH", "")
    executor = start()
    assert executor.slots()["toy-echo"] == 2
    poisons = [publish("poison", {"how": how}) for how in ("exception", "exit", "number")]
    crashes = [publish("crash", {"how": how}) for how in ("signal", "exit")]
    good = [publish("echo") for _ in range(4)]
    revoked = publish("echo")
    files.revoke(revoked)
    for attempt in [*poisons, *crashes, revoked, *good]:
        executor.submit(attempt)
    assert drive(executor, [*poisons, *crashes, *good]) == {}
    assert {files.read_result(attempt).failure.kind for attempt in poisons} == {
        FailureKind.BUG
    }
    assert {files.read_result(attempt).failure.kind for attempt in crashes} == {
        FailureKind.CRASH
    }
    assert all(files.read_result(attempt).failure is None for attempt in good)
    assert not files.has_result(revoked)

    begun = time.monotonic()
    more = [publish("echo") for _ in range(20)]
    for attempt in more:
        executor.submit(attempt)
    assert drive(executor, more) == {}
    assert (time.monotonic() - begun) / len(more) < 1.0

    interchange, blocks = processes_of(executor)
    begun = time.monotonic()
    executor.close(cancel=True)
    assert time.monotonic() - begun < 15
    assert interchange.poll() is not None
    assert all(block.poll() is not None for block in blocks.values())
    assert (files.root / "logs" / "parsl.log").stat().st_size > 0
    with pytest.raises(SiteError, match="not started"):
        executor.submit(more[0])


@pytest.mark.slow
@pytest.mark.recovery
def test_killed_workers_and_pools_are_told_and_replaced(
    files, publish, start, drive, until
):
    executor = start()
    attempt = publish("sleep", {"seconds": 60})
    executor.submit(attempt)
    pids = until(lambda: files.read_progress(attempt), 60)["pids"]
    os.kill(files.claim_of(attempt).pid, signal.SIGKILL)
    [failure] = drive(executor, [attempt]).values()
    assert failure.kind is FailureKind.LOST
    assert "WorkerLost" in failure.message
    until(lambda: not any(map(start_time, pids)))

    attempt = publish("sleep", {"seconds": 60})
    executor.submit(attempt)
    until(lambda: files.read_progress(attempt), 60)
    _, blocks = processes_of(executor)
    for block in blocks.values():
        block.kill()
    drive(executor, [attempt])
    assert files.read_result(attempt).failure.kind is FailureKind.LOST
    # Until the dispatcher notices, it hands work to the dead pool: lost, and tried again.
    after = publish("echo")
    executor.submit(after)
    if drive(executor, [after]):
        after = replace(after, number=2)
        executor.submit(after)
        assert drive(executor, [after]) == {}
    assert files.read_result(after).failure is None


@pytest.mark.slow
@pytest.mark.recovery
def test_a_dead_dispatcher_is_noticed_and_replaced(files, publish, start, drive, until):
    executor = start()
    running = publish("sleep", {"seconds": 60})
    executor.submit(running)
    until(lambda: files.read_progress(running), 60)
    interchange, blocks = processes_of(executor)
    queued = [publish("sleep", {"seconds": 60}) for _ in range(3)]
    for attempt in queued:
        executor.submit(attempt)
    interchange.kill()
    lost = drive(executor, [running, *queued])
    assert lost.keys() >= {
        attempt for attempt in queued if files.claim_of(attempt).is_revoked
    }
    assert all("dispatcher" in failure.message for failure in lost.values())
    after = publish("echo")
    executor.submit(after)
    assert drive(executor, [after]) == {}
    until(lambda: all(block.poll() is not None for block in blocks.values()), 30)
