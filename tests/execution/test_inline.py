from pathlib import Path

from alflow.core.labels import FailureKind
from alflow.execution.files import CampaignFiles, Claim
from alflow.execution.inline import InlineExecutor


def run(files, *attempts):
    executor = InlineExecutor(files)
    executor.start()
    for attempt in attempts:
        executor.submit(attempt)
    for _ in attempts:
        executor.wait(1.0)
    executor.close(cancel=False)
    return executor


def test_a_task_runs_from_spec_to_outcome(files, publish):
    inputs = {"a": files.write_blob(b"left "), "b": files.write_blob(b"right")}
    attempt = publish("echo", {"x": 1.5}, inputs=inputs)
    here = Path.cwd()
    assert list(run(files, attempt).lost()) == []
    outcome = files.read_result(attempt)
    assert outcome.failure is None
    assert outcome.values == {"seed": 7, "inputs": ["a", "b"], "x": 1.5}
    assert files.read_output(attempt, "joined.txt") == b"left right"
    assert outcome.environment["alflow"]
    assert outcome.wall_s >= 0
    assert Path.cwd() == here


def test_each_wait_runs_one_attempt(files, publish):
    first, second = publish("echo"), publish("echo")
    executor = InlineExecutor(files)
    executor.submit(first)
    executor.submit(second)
    executor.wait(0.0)
    assert files.has_result(first)
    assert not files.has_result(second)
    executor.close(cancel=True)
    assert not files.claim(second, Claim()), "what was queued can never start"


def test_an_attempt_that_was_revoked_is_not_run(files, publish):
    attempt = publish("echo")
    assert files.revoke(attempt)
    run(files, attempt)
    assert files.read_result(attempt) is None


def test_a_failure_is_a_value(files, publish):
    attempt = publish("fail")
    run(files, attempt)
    failure = files.read_result(attempt).failure
    assert (failure.kind, failure.details) == (FailureKind.NOT_CONVERGED, {"cycles": 50})


def test_an_unknown_kind_is_a_failure_that_says_so(files, publish):
    attempt = publish("nonsense")
    run(files, attempt)
    failure = files.read_result(attempt).failure
    assert failure.kind is FailureKind.INVALID_INPUT
    assert "no plug-in 'toy-nonsense'" in failure.message


def test_a_missing_spec_is_a_failure(files, publish):
    attempt = publish("echo")
    (files.root / "tasks" / str(attempt.task_id) / "spec.json").unlink()
    run(files, attempt)
    assert "spec.json" in files.read_result(attempt).failure.message


def test_slots_name_every_installed_kind(files):
    slots = InlineExecutor(files).slots()
    assert slots["toy-echo"] == 1
    assert slots["label"] == 1


def test_a_result_that_cannot_be_written_is_lost(files, publish, monkeypatch):
    attempt = publish("echo")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(CampaignFiles, "commit_result", full)
    executor = run(files, attempt)
    [(lost, failure)] = executor.lost()
    assert lost == attempt
    assert failure.kind is FailureKind.LOST
    assert "No space left" in failure.message
    assert list(executor.lost()) == [], "told once"
