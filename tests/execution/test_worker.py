import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from alflow.core.labels import FailureKind
from alflow.execution import worker
from alflow.execution.files import CampaignFiles
from alflow.execution.processes import start_time
from alflow.execution.worker import COMMITTED, NOT_CLAIMED, run_attempt

RUN = """
import json, sys
from alflow.execution.worker import run_attempt
run_attempt(*json.loads(sys.argv[1]))
"""


def arguments(files, attempt):
    return [str(files.root), *asdict(attempt).values()]


def run(files, attempt):
    answer = run_attempt(*arguments(files, attempt))
    assert answer["status"] == COMMITTED
    assert pickle.loads(pickle.dumps(answer)) == json.loads(json.dumps(answer))
    return files.read_result(attempt)


def begin(files, attempt):
    """Run an attempt in a worker process of its own, as the child of this one."""
    return subprocess.Popen(
        [sys.executable, "-c", RUN, json.dumps(arguments(files, attempt))]
    )


def is_gone(pids):
    return not any(start_time(pid) for pid in pids)


def once_running(files, attempt, act):
    """Do something to a sleeping attempt from another thread as soon as it sleeps."""

    def watch():
        end = time.monotonic() + 60
        while not (found := files.read_progress(attempt)) and time.monotonic() < end:
            time.sleep(0.02)
        act(found["pids"])

    threading.Thread(target=watch).start()


def test_a_task_runs_in_a_child_of_its_own(files, publish):
    attempt = publish("echo", {"x": 1}, inputs={"a": files.write_blob(b"text")})
    outcome = run(files, attempt)
    assert outcome.failure is None
    assert outcome.values["x"] == 1
    folder = files.attempt_directory(attempt)
    assert (folder / "stdout").read_text() == "hello\n"
    assert (folder / "stderr").read_text() == "oops\n"
    assert files.claim_of(attempt).pid == os.getpid()
    assert files.read_output(attempt, "joined.txt") == b"text"


def test_every_child_has_the_same_pinned_surroundings_and_a_scratch_folder(files, publish):
    first, second = (run(files, publish("look")).values for _ in range(2))
    assert (
        first["variables"]["OMP_NUM_THREADS"]
        == first["variables"]["MKL_NUM_THREADS"]
        == "1"
    )
    assert first["variables"]["MKL_CBWR"] == "AUTO"
    assert first["hash"] == second["hash"]
    assert first["is_group_leader"]
    assert first["pid"] != second["pid"]
    assert first["cwd"] != second["cwd"]
    assert first["cwd"] == first["variables"]["TMPDIR"]
    assert not Path(first["cwd"]).exists()


def test_an_attempt_is_run_once(files, publish):
    attempt = publish("echo")
    assert run_attempt(*arguments(files, attempt))["status"] == COMMITTED
    assert run_attempt(*arguments(files, attempt))["status"] == NOT_CLAIMED


def test_a_revoked_attempt_is_not_run(files, publish):
    attempt = publish("echo")
    files.revoke(attempt)
    assert run_attempt(*arguments(files, attempt))["status"] == NOT_CLAIMED
    assert files.read_result(attempt) is None


@pytest.mark.parametrize(
    ("how", "kind", "word"),
    [
        ("exception", FailureKind.BUG, "PoisonError: one"),
        ("exit", FailureKind.BUG, "SystemExit: 3"),
        ("memory", FailureKind.RESOURCE, "MemoryError"),
        ("value", FailureKind.BUG, "not JSON serializable"),
        ("number", FailureKind.BUG, "not JSON compliant"),
    ],
)
def test_whatever_a_body_does_the_answer_is_plain(files, publish, how, kind, word):
    failure = run(files, publish("poison", {"how": how})).failure
    assert failure.kind is kind
    assert word in failure.message
    assert "Traceback" in failure.details["traceback"]


@pytest.mark.parametrize(
    ("how", "word"), [("disk", "No space left"), ("licence", "no licence is free")]
)
def test_a_trouble_that_passes_is_told_as_one(files, publish, how, word):
    failure = run(files, publish("poison", {"how": how})).failure
    assert failure.is_transient
    assert failure.is_retryable
    assert word in failure.message
    assert not run(files, publish("poison", {"how": "exception"})).failure.is_transient


@pytest.mark.parametrize(
    ("how", "word"), [("signal", "SIGSEGV"), ("exit", "exit status 7")]
)
def test_a_child_that_dies_is_a_crash(files, publish, how, word):
    failure = run(files, publish("crash", {"how": how})).failure
    assert failure.kind is FailureKind.CRASH
    assert word in failure.message
    if how == "signal":
        assert "Segmentation fault" in failure.details["stderr"]


def test_a_killed_batch_keeps_its_items_and_the_next_attempt_skips_them(files, publish):
    items = tuple("abcde")
    attempt = publish("batch", {"kill_after": 2}, items=items)
    failure = run(files, attempt).failure
    assert failure.kind is FailureKind.CRASH
    assert "SIGKILL" in failure.message
    assert sorted(files.read_items(attempt.task_id)) == ["a", "b"]
    assert files.read_progress(attempt) == {"done": 2}

    run(files, replace(attempt, number=2, token="t2"))
    last = run(files, replace(attempt, number=3, token="t3"))
    assert last.failure is None
    assert last.values == {"computed": ["e"]}
    assert files.read_items(attempt.task_id) == {item: {"length": 1} for item in items}


def test_a_timeout_kills_grandchildren_too(files, publish, until):
    attempt = publish("sleep", {"seconds": 60, "timeout_s": 4.0})
    failure = run(files, attempt).failure
    assert failure.kind is FailureKind.RESOURCE
    assert "timeout_s = 4 s" in failure.message
    until(lambda: is_gone(files.read_progress(attempt)["pids"]))


def test_an_attempt_yields_before_its_block_ends(files, publish, monkeypatch):
    monkeypatch.setenv("ALFLOW_BLOCK_MARGIN_S", "10")
    monkeypatch.setattr(worker, "_SHORTEST_S", 0.0)
    monkeypatch.setenv("ALFLOW_BLOCK_END", str(time.time() + 10 + 1))
    attempt = publish("sleep", {"seconds": 60, "timeout_s": 50})
    failure = run(files, attempt).failure
    assert (failure.kind, failure.message) == (
        FailureKind.LOST,
        "its block was about to end",
    )


def test_a_worker_without_time_takes_nothing(files, publish, monkeypatch):
    monkeypatch.setattr(worker, "_SHORTEST_S", 0.1)
    monkeypatch.setenv("ALFLOW_BLOCK_END", str(time.time()))
    attempt = publish("echo")
    answer = run_attempt(*arguments(files, attempt))
    assert answer["status"] == "its block was about to end"
    assert files.claim_of(attempt) is None
    # What nobody can read is no end.
    monkeypatch.setenv("ALFLOW_BLOCK_END", "soon")
    assert run(files, attempt).failure is None


def test_grandchildren_do_not_outlive_a_child_that_ended(files, publish, until):
    attempt = publish("sleep", {"seconds": 60})
    once_running(files, attempt, lambda pids: os.kill(pids[0], 9))
    assert run(files, attempt).failure.kind is FailureKind.CRASH
    # What is killed takes a moment to be gone.
    until(lambda: is_gone(files.read_progress(attempt)["pids"]))


def test_a_timeout_that_is_no_number_is_a_failure(files, publish):
    failure = run(files, publish("echo", {"timeout_s": "soon"})).failure
    assert failure.kind is FailureKind.BUG


def test_a_dead_fork_server_costs_one_attempt(files, publish, until):
    attempt = publish("sleep", {"seconds": 60})
    run(files, publish("echo"))
    server = worker.forkserver()._process
    once_running(files, attempt, lambda _: server.kill())
    failure = run(files, attempt).failure
    assert failure.kind is FailureKind.CRASH
    assert "fork server" in failure.message
    pid, _ = files.read_progress(attempt)["pids"]
    until(lambda: is_gone([pid]))
    assert run(files, publish("echo")).failure is None


def test_nothing_is_raised_when_the_disk_is_full(files, publish, monkeypatch):
    attempt = publish("crash", {"how": "exit"})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(CampaignFiles, "commit_result", full)
    answer = run_attempt(*arguments(files, attempt))
    assert "No space left" in answer["status"]
    assert files.read_result(attempt) is None


@pytest.mark.recovery
def test_a_terminated_worker_kills_its_child_and_says_so(files, publish, until):
    attempt = publish("sleep", {"seconds": 60})
    process = begin(files, attempt)
    pids = until(lambda: files.read_progress(attempt))["pids"]
    assert files.is_alive(attempt)
    process.terminate()
    assert process.wait(10) == -signal.SIGTERM
    assert is_gone(pids)
    assert files.read_result(attempt).failure.kind is FailureKind.LOST


@pytest.mark.recovery
def test_a_killed_worker_takes_everything_along_and_is_dead_at_once(files, publish, until):
    attempt = publish("sleep", {"seconds": 60})
    process = begin(files, attempt)
    pids = until(lambda: files.read_progress(attempt))["pids"]
    process.kill()
    process.wait()
    assert not files.is_alive(attempt)
    assert files.read_result(attempt) is None
    assert not files.revoke(attempt)
    until(lambda: is_gone(pids), 5)


@pytest.mark.recovery
def test_a_worker_ends_when_its_pool_is_killed(files, publish, until):
    attempt = publish("sleep", {"seconds": 60})
    command = [sys.executable, "-c", RUN, json.dumps(arguments(files, attempt))]
    pool = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys; subprocess.run(sys.argv[1:])",
            *command,
        ]
    )
    pids = until(lambda: files.read_progress(attempt))["pids"]
    pool.kill()
    pool.wait()
    until(lambda: is_gone([files.claim_of(attempt).pid, *pids]))
    assert files.read_result(attempt).failure.kind is FailureKind.LOST


def test_an_attempt_costs_milliseconds_once_the_server_runs(
    files, publish, record_property
):
    run(files, publish("echo"))
    attempts = [publish("echo") for _ in range(10)]
    begun = time.monotonic()
    for attempt in attempts:
        run(files, attempt)
    per_attempt = (time.monotonic() - begun) / len(attempts)
    record_property("overhead_s", per_attempt)
    assert per_attempt < 1.0


def test_no_room_for_a_child_is_a_failure_of_resources(
    files, publish, tmp_path, monkeypatch
):
    worker.close_forkserver()
    monkeypatch.setenv("ALFLOW_SCRATCH", str(tmp_path / "missing"))
    failure = run(files, publish("echo")).failure
    assert failure.kind is FailureKind.RESOURCE
    assert "No such file" in failure.message
    worker.close_forkserver()
