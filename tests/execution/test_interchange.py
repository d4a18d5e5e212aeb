"""The lame duck, and the parts of Parsl that it leans on."""

import inspect
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from parsl.executors.high_throughput import executor as htex
from parsl.executors.high_throughput import interchange as stock
from parsl.executors.high_throughput.manager_record import ManagerRecord

from alflow.execution.interchange import LameDuckInterchange
from alflow.execution.parsl import ParslExecutor
from alflow.execution.processes import start_time
from alflow.execution.sites import Site, local_pool

pytestmark = pytest.mark.parsl

MANAGER = """
import json, sys, time
from pathlib import Path
from alflow.core.tasks import AttemptRef
from alflow.execution.files import CampaignFiles
from alflow.execution.parsl import ParslExecutor
from alflow.execution.sites import Site, local_pool
executor = ParslExecutor(
    CampaignFiles(Path(sys.argv[1])), Site("test", {"*": local_pool(workers=2, heartbeat_s=1)})
)
executor.start()
for number in range(1, 7):
    executor.submit(AttemptRef(number, 1, "abc", "toy-sleep"))
time.sleep(120)
"""


def processes_of(files):
    """Living processes that have to do with a campaign, by their surroundings."""
    mark = str(files.root).encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
        except OSError:
            continue
        if mark in environment and start_time(int(process.name)):
            found.append(int(process.name))
    return found


@pytest.mark.slow
@pytest.mark.recovery
@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGTERM])
def test_what_runs_outlives_a_killed_manager_and_nothing_else_does(
    files, publish, until, monkeypatch, way
):
    monkeypatch.setenv("ALFLOW_TEST_MARK", str(files.root))
    attempts = [publish("sleep", {"seconds": 6}) for _ in range(6)]
    manager = subprocess.Popen(
        [sys.executable, "-c", MANAGER, str(files.root)], start_new_session=True
    )
    monkeypatch.delenv("ALFLOW_TEST_MARK")

    def running():
        found = [attempt for attempt in attempts if files.read_progress(attempt)]
        return found if len(found) == 2 else None

    started = until(running, 60)
    assert len(processes_of(files)) > 6
    manager.send_signal(way)
    manager.wait(10)
    until(lambda: all(map(files.has_result, started)), 30)
    assert [files.read_result(attempt).failure for attempt in started] == [None, None]
    until(lambda: not processes_of(files), 30)
    queued = [attempt for attempt in attempts if attempt not in started]
    assert [files.claim_of(attempt) for attempt in queued] == [None] * 4


@pytest.mark.slow
@pytest.mark.recovery
def test_closing_without_cancel_lets_what_runs_finish(files, publish, until, monkeypatch):
    monkeypatch.setenv("ALFLOW_TEST_MARK", str(files.root))
    executor = ParslExecutor(
        files, Site("test", {"*": local_pool(workers=1, heartbeat_s=1)})
    )
    executor.start()
    running, queued = (publish("sleep", {"seconds": 4}) for _ in range(2))
    executor.submit(running)
    executor.submit(queued)
    until(lambda: files.read_progress(running), 60)
    begun = time.monotonic()
    executor.close(cancel=False)
    assert time.monotonic() - begun < 4
    monkeypatch.delenv("ALFLOW_TEST_MARK")
    until(lambda: files.has_result(running), 30)
    assert files.read_result(running).failure is None
    until(lambda: not processes_of(files), 30)
    assert files.claim_of(queued).is_revoked


def test_parsl_still_has_what_the_lame_duck_overrides():
    for name in ("expire_drained_managers", "process_tasks_to_send"):
        assert name in vars(stock.Interchange)
        assert name in vars(LameDuckInterchange)
    loop = inspect.getsource(stock.Interchange.start)
    calls = ["expire_drained_managers(", "process_tasks_to_send("]
    assert [call for call in calls if f"self.{call}" in loop] == calls
    assert loop.index(calls[0]) < loop.index(calls[1])
    assert "draining" in ManagerRecord.__annotations__
    drained = inspect.getsource(stock.Interchange.expire_drained_managers)
    assert "PKL_SHUTDOWN_CODE" in drained
    assert "_ready_managers" in drained
    assert "pending_task_queue" in inspect.getsource(
        stock.Interchange.process_tasks_to_send
    )


def test_parsl_still_starts_its_processes_as_alflow_expects():
    assert htex.DEFAULT_LAUNCH_CMD.startswith("process_worker_pool.py ")
    assert htex.DEFAULT_INTERCHANGE_LAUNCH_CMD == ["interchange.py"]
    source = inspect.getsource(stock)
    main = source[source.index('if __name__ == "__main__"') :]
    assert "config = pickle.load(sys.stdin.buffer)" in main
    assert "Interchange(**config)" in main
    executor = htex.HighThroughputExecutor(address="127.0.0.1")
    for name in (
        "interchange_proc",
        "_result_queue_thread",
        "_result_queue_thread_exit",
        "job_ids_to_block",
        "bad_state_is_set",
        "block_error_handler",
    ):
        assert hasattr(executor, name), name


def test_a_lame_duck_drops_the_queue_and_sends_pools_home(monkeypatch):
    calls = []
    monkeypatch.setattr(
        stock.Interchange,
        "expire_drained_managers",
        lambda self, *_: calls.append("expire"),
    )
    monkeypatch.setattr(
        stock.Interchange,
        "process_tasks_to_send",
        lambda self, *_: calls.append(len(self.pending_task_queue)),
    )
    duck = LameDuckInterchange.__new__(LameDuckInterchange)
    duck._manager_pid = os.getppid()
    duck._is_dismissed = False
    duck._idle_since = None
    duck._ready_managers = {b"pool": {"draining": False}}
    duck.pending_task_queue = [1, 2]
    duck.expire_drained_managers(set(), None)
    duck.process_tasks_to_send(set(), None)
    assert not duck._ready_managers[b"pool"]["draining"]
    duck._manager_pid = -1
    duck.expire_drained_managers(set(), None)
    duck.process_tasks_to_send(set(), None)
    assert duck._ready_managers[b"pool"]["draining"]
    assert calls == ["expire", 2, "expire", 0]
