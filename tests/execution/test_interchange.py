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

from alflow.execution import interchange as contract
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
    CampaignFiles(Path(sys.argv[1])),
    Site("test", {"*": local_pool(workers=2, heartbeat_s=1, patience_s=8)}),
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
    # Long enough that both workers have one, even if the second one is slow to come up.
    attempts = [publish("sleep", {"seconds": 12}) for _ in range(6)]
    manager = subprocess.Popen(
        [sys.executable, "-c", MANAGER, str(files.root)], start_new_session=True
    )
    monkeypatch.delenv("ALFLOW_TEST_MARK")

    def running():
        found = [attempt for attempt in attempts if files.read_progress(attempt)]
        are_busy = not any(map(files.has_result, found))
        return found if len(found) == 2 and are_busy else None

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
    assert contract.broken_contract() == []
    for name in contract._HOOKS:
        assert name in vars(LameDuckInterchange)


class Changed:
    """An interchange as it might come to be."""

    def start(self):
        self.process_tasks_to_send()
        self.expire_drained_managers()

    def process_tasks_to_send(self):
        """No queue any more."""

    def expire_drained_managers(self):
        """Has: _ready_managers, draining, PKL_SHUTDOWN_CODE."""


def test_a_parsl_that_has_changed_is_noticed(monkeypatch):
    monkeypatch.setattr(contract, "Interchange", Changed)
    assert contract.broken_contract() == [
        "process_tasks_to_send: pending_task_queue",
        "process_tasks_to_send: interesting_managers",
        "start() does not call process_tasks_to_send in its place",
    ]
    monkeypatch.setattr(contract, "Interchange", type("Empty", (), {}))
    monkeypatch.setattr(contract, "ManagerRecord", Changed)
    assert len(contract.broken_contract()) >= 6


@pytest.mark.slow
@pytest.mark.recovery
def test_without_the_lame_duck_what_runs_is_finished_and_nothing_idles(
    files, publish, until, monkeypatch
):
    monkeypatch.setenv("ALFLOW_TEST_MARK", str(files.root))
    monkeypatch.setenv(contract.STOCK_VARIABLE, "1")
    monkeypatch.setenv(contract.ADOPTION_VARIABLE, "6")
    attempts = [publish("sleep", {"seconds": 3}) for _ in range(6)]
    manager = subprocess.Popen(
        [sys.executable, "-c", MANAGER, str(files.root)], start_new_session=True
    )
    monkeypatch.delenv("ALFLOW_TEST_MARK")
    until(lambda: sum(bool(files.read_progress(one)) for one in attempts) >= 2, 60)
    started = [one for one in attempts if files.read_progress(one)]
    manager.kill()
    manager.wait(10)
    until(lambda: all(map(files.has_result, started)), 30)
    assert all(files.read_result(one).failure is None for one in started)
    until(lambda: not processes_of(files), 60)


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


def test_a_lame_duck_drops_the_queue_and_sends_pools_home(monkeypatch, tmp_path):
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
    duck._campaign = None
    duck._is_dismissed = False
    duck._idle_since = None
    duck._next_look = 0.0
    duck._excluded = tmp_path / "excluded-hosts"
    duck._ready_managers = {b"pool": {"draining": False, "hostname": "n1"}}
    duck.pending_task_queue = [1, 2]
    duck.expire_drained_managers(set(), None)
    duck.process_tasks_to_send(set(), None)
    assert not duck._ready_managers[b"pool"]["draining"]
    duck._manager_pid = -1
    duck.expire_drained_managers(set(), None)
    duck.process_tasks_to_send(set(), None)
    assert duck._ready_managers[b"pool"]["draining"]
    assert calls == ["expire", 2, "expire", 0]


def test_workers_on_excluded_hosts_are_sent_home(monkeypatch, tmp_path):
    monkeypatch.setattr(stock.Interchange, "expire_drained_managers", lambda *_: None)
    duck = LameDuckInterchange.__new__(LameDuckInterchange)
    duck._manager_pid = os.getppid()
    duck._is_dismissed = False
    duck._next_look = 0.0
    duck._excluded = tmp_path / "excluded-hosts"
    pools = {
        name.encode(): {"draining": False, "hostname": name} for name in ("n1", "n2", "n3")
    }
    duck._ready_managers = pools
    duck.expire_drained_managers(set(), None)
    duck._excluded.write_text("n1\nn3")
    duck.expire_drained_managers(set(), None)
    assert not any(pool["draining"] for pool in pools.values()), "it does not look always"
    duck._next_look = 0.0
    duck.expire_drained_managers(set(), None)
    assert [pool["draining"] for pool in pools.values()] == [True, False, True]
