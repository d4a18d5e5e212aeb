import os
import signal

import pytest

from alflow.core.errors import SiteError
from alflow.core.labels import FailureKind
from alflow.execution.process import ProcessExecutor
from alflow.execution.processes import start_time

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture
def start(files):
    """Start executors; whatever the test did to them, they are closed in the end."""
    started = []

    def start(workers=2):
        executor = ProcessExecutor(files, workers)
        started.append(executor)
        executor.start()
        return executor

    yield start
    for executor in started:
        executor.close(cancel=True)


def test_attempts_run_whatever_their_bodies_do(files, publish, start, drive):
    executor = start()
    assert executor.slots()["toy-echo"] == 2
    poisons = [publish("poison", {"how": how}) for how in ("exception", "exit", "number")]
    crashes = [publish("crash", {"how": how}) for how in ("signal", "exit")]
    good = [publish("echo") for _ in range(20)]
    looks = [publish("look") for _ in range(2)]
    revoked = publish("echo")
    files.revoke(revoked)
    for attempt in [*poisons, *crashes, revoked, *good, *looks]:
        executor.submit(attempt)
    assert drive(executor, [*poisons, *crashes, *good, *looks]) == {}
    kinds = [
        {files.read_result(attempt).failure.kind for attempt in some}
        for some in (poisons, crashes)
    ]
    assert kinds == [{FailureKind.BUG}, {FailureKind.CRASH}]
    assert all(files.read_result(attempt).failure is None for attempt in good)
    assert not files.has_result(revoked)
    first, second = (files.read_result(attempt).values for attempt in looks)
    assert first["cwd"] != second["cwd"]
    assert first["variables"]["OMP_NUM_THREADS"] == "1"
    assert first["is_group_leader"]
    folder = files.attempt_directory(good[0])
    assert (folder / "stdout").read_text() == "hello\n"
    executor.close(cancel=True)
    with pytest.raises(SiteError, match="not started"):
        executor.submit(good[0])


@pytest.mark.recovery
def test_a_killed_worker_is_told_and_replaced(files, publish, start, drive, until):
    executor = start(workers=1)
    attempt = publish("sleep", {"seconds": 60})
    executor.submit(attempt)
    pids = until(lambda: files.read_progress(attempt), 60)["pids"]
    os.kill(files.claim_of(attempt).pid, signal.SIGKILL)
    [failure] = drive(executor, [attempt]).values()
    assert (failure.kind, failure.message) == (FailureKind.LOST, "its worker died")
    # A worker is told to be dead when its body is; a dying process closes its files first.
    until(lambda: not any(map(start_time, pids)), 1)
    after = publish("echo")
    executor.submit(after)
    assert drive(executor, [after]) == {}


@pytest.mark.recovery
def test_a_killed_foreman_is_replaced(files, publish, start, drive, until):
    executor = start(workers=1)
    running, queued = publish("sleep", {"seconds": 60}), publish("echo")
    for attempt in (running, queued):
        executor.submit(attempt)
    pids = until(lambda: files.read_progress(running), 60)["pids"]
    os.kill(executor._foreman.pid, signal.SIGKILL)
    lost = drive(executor, [running, queued])
    assert queued in lost
    assert running in lost or files.read_result(running).failure.kind is FailureKind.LOST
    until(lambda: not any(map(start_time, pids)))
    after = publish("echo")
    executor.submit(after)
    assert drive(executor, [after]) == {}


@pytest.mark.recovery
@pytest.mark.parametrize("cancel", [True, False])
def test_closing_ends_what_runs_or_lets_it_end(files, publish, start, drive, until, cancel):
    executor = start(workers=1)
    running, queued = publish("sleep", {"seconds": 2}), publish("echo")
    for attempt in (running, queued):
        executor.submit(attempt)
    pids = until(lambda: files.read_progress(running), 60)["pids"]
    foreman = executor._foreman
    executor.close(cancel=cancel)
    until(lambda: files.has_result(running))
    failure = files.read_result(running).failure
    assert (failure.kind if failure else None) == (FailureKind.LOST if cancel else None)
    until(lambda: not any(map(start_time, pids)))
    assert foreman.wait(20) == 0
    assert files.claim_of(queued).is_revoked
