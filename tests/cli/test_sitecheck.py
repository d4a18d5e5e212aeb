"""What is said about a site that was tried out."""

import pytest

from alflow.cli import probe, sitecheck
from alflow.execution import probe as worker
from alflow.execution.tryout import PoolTrial

ANSWER = {
    "host": "cn1",
    "python": "3.11.7",
    "cores": 4.0,
    "versions": {},
    "imports": {"torch": ""},
    "programs": {"sh": "/bin/sh"},
    "devices": "",
    "gpus": [],
    "scratch": {"folder": "/tmp", "error": "", "free_GB": 9.0, "MB_per_s": 100.0},
    "lock": "held",
}


@pytest.fixture
def answer(monkeypatch):
    monkeypatch.setattr("platform.python_version", lambda: "3.11.7")
    return {**ANSWER, "versions": worker.versions()}


def _said(answer, patience_s=60.0):
    trial = PoolTrial("cpu", 4, answers=[answer], waited_s=[1.5], took_s=[0.1])
    return {one.subject: one for one in sitecheck._trial(trial, patience_s)}


def test_a_fit_pool(answer):
    said = _said(answer)
    assert {one.state for one in said.values()} == {"ok"}
    assert said["cpu: workers"].detail == "answered after 1.5 s from cn1, 4 cores"


@pytest.mark.parametrize(
    ("change", "subject", "state", "words"),
    [
        ({"python": "3.12.1"}, "environment", "FAIL", "python 3.12.1 there, 3.11.7 here"),
        ({"imports": {"torch": "OSError: x"}}, "environment", "FAIL", "torch: OSError: x"),
        ({"lock": "free"}, "locks", "warn", "is not seen there"),
        ({"programs": {"psi4": None}}, "programs", "FAIL", "psi4"),
        ({"gpus": None}, "GPUs", "warn", "does not answer"),
        (
            {"scratch": {"folder": "/x", "error": "No space left"}},
            *("scratch", "FAIL", "/x: No space left"),
        ),
    ],
)
def test_what_is_wrong_is_named(answer, change, subject, state, words):
    said = _said({**answer, **change})
    wrong = {name: one for name, one in said.items() if one.state != "ok"}
    assert list(wrong) == [f"cpu: {subject}"]
    assert wrong[f"cpu: {subject}"].state == state
    assert words in wrong[f"cpu: {subject}"].detail


def test_another_numpy_is_a_warning(answer):
    versions = {**answer["versions"], "numpy": "1.0"}
    assert _said({**answer, "versions": versions})["cpu: environment"].state == "warn"


def test_waiting_is_no_fault_and_a_refusal_is():
    waiting = PoolTrial("gpu", 4, news=["its job waits: Resources"])
    (one,) = sitecheck._trial(waiting, 60.0)
    assert (one.state, "Resources" in one.detail) == ("warn", True)
    refused = PoolTrial("gpu", 4, failures=["Invalid account"])
    (one,) = sitecheck._trial(refused, 60.0)
    assert (one.state, one.detail) == ("FAIL", "Invalid account")


@pytest.mark.parametrize(
    ("seconds", "cores"),
    [
        ({1: 10.0}, 1),
        ({1: 10.0, 2: 5.5, 4: 3.4, 8: 3.0}, 4),
        ({1: 10.0, 2: 12.0}, 1),
        ({2: 6.0, 4: 3.1}, 4),
    ],
)
def test_recommended_cores(seconds, cores):
    assert probe.recommended(seconds) == cores


@pytest.mark.slow
@pytest.mark.parsl
@pytest.mark.timeout(120)
def test_a_real_site_is_tried_out(alflow, tmp_path, monkeypatch):
    monkeypatch.setenv("ALFLOW_LOCAL_WORKERS", "1")
    monkeypatch.setenv("ALFLOW_PRELOAD", "json")
    monkeypatch.setattr(sitecheck, "_MODULES", ("json", "no_such_module"))
    result = alflow("doctor", tmp_path, "--site", "local", "--program", "sh", "--json")
    said = {row["what"]: row for row in result.json}
    assert said["local: workers"]["state"] == "ok"
    assert "no_such_module" in said["local: environment"]["found"]
    assert "sh" in said["local: programs"]["found"]
    assert said["local: locks"]["state"] == "ok"
    assert result.code == 3
    told = alflow("sites", "probe", "local", "--no-scaling", "--json").json[0]
    assert (told["pool"], told["problem"]) == ("local", "")
    assert told["queue_s"] > 0
    assert 0 < told["task_s"] < told["queue_s"] + told["start_s"]
    assert [path.name for path in tmp_path.iterdir()] == []
