"""A manager that leaves: by a signal while its tasks run, or by becoming a fresh process."""

import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from alflow.cli import run
from alflow.cli.run import FRESH_STARTS_VARIABLE, StopChoice
from alflow.core.errors import SiteLost
from alflow.execution.sites import load_site
from alflow.store import open_store
from alflow.store.views import progress

CAMPAIGN = """
name: small
seed: 7
system:
  elements: [H, O]
  builders: [{kind: molecules, smiles: [O], molecules_per_structure: [2, 2], rattle_A: [0.02, 0.1]}]
label:
  primary: hf
  audit: null
  batch_size: 1
  levels: {hf: {kind: pyscf, method: hf, basis: 6-31g}}
model: {kind: ani, members: 2, hidden: [4]}
train: {epochs: 1, warm_epochs: 1, minimum_steps: 0, folds: 2}
sample:
  kind: nemd
  replicas: 2
  duration_ps: 0.01
  temperature_K: {start: [50, 600], end: [50, 1000]}
acquire: {kind: threshold, per_iteration: 2}
loop: {bootstrap: 4, max_iterations: 0}
"""
CODE = "import sys; from alflow.cli.main import main; sys.exit(main())"
DEADLINE_S = 100.0


def alflow(directory, *arguments):
    """The command, where no program can be found by its name."""
    environment = {**os.environ, "PATH": "", "ALFLOW_LOCAL_WORKERS": "2"}
    with (directory / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", CODE, *arguments],
            cwd=directory,
            env=environment,
            stderr=log,
        )


def n_claims(directory):
    return len(list((directory / "small" / "tasks").glob("*/attempts/*/claim.json")))


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parsl
@pytest.mark.recovery
def test_tasks_go_on_without_a_manager_that_detaches(tmp_path):
    (tmp_path / "campaign.yaml").write_text(CAMPAIGN)
    manager = alflow(tmp_path, "run", "campaign.yaml", "--on-stop", "detach")
    end = time.monotonic() + DEADLINE_S
    while n_claims(tmp_path) < 3:  # the first one builds
        assert manager.poll() is None, (tmp_path / "log").read_text()
        assert time.monotonic() < end
        time.sleep(0.1)
    manager.send_signal(signal.SIGTERM)
    assert manager.wait(30) == 128 + signal.SIGTERM
    said = (tmp_path / "log").read_text()
    assert "running tasks go on" in said
    assert "alflow resume small.db" in said
    (report,) = tmp_path.rglob("report.html")
    assert "Nobody runs it" in report.read_text("utf-8")
    resumed = alflow(tmp_path, "resume", "small.db")
    assert resumed.wait(DEADLINE_S) == 0, (tmp_path / "log").read_text()
    with open_store(tmp_path / "small.db", read_only=True) as store:
        assert progress(store).labels == {"pending": 0, "ok": 4, "failed": 0}
    folder = tmp_path / "small" / "tasks"
    names = [path.stem for path in folder.glob("*/attempts/*/out/items/*.json")]
    assert sorted(names) == sorted(set(names)), "no label was computed twice"


@pytest.fixture
def exec_calls(monkeypatch):
    calls = []

    def execv(program, arguments):
        calls.append((program, arguments))
        raise SystemExit(0)

    monkeypatch.setattr(run.os, "execv", execv)
    monkeypatch.setenv(FRESH_STARTS_VARIABLE, "0")
    monkeypatch.setenv("ALFLOW_DB", "")
    return calls


def how(**changes):
    return run._Run(
        "x.db", load_site("local"), "local", on_stop=StopChoice.DETACH, **changes
    )


def lose_the_site(how):
    with run._afresh(how), nullcontext():
        raise SiteLost("the dispatcher of pool 'x' died, for the 4th time")


def test_a_manager_that_lost_its_site_becomes_a_fresh_one(exec_calls):
    for n in (1, 2):
        with pytest.raises(SystemExit):
            lose_the_site(how())
        assert os.environ[FRESH_STARTS_VARIABLE] == str(n)
    assert os.environ["ALFLOW_DB"] == "x.db", "a URL with a password is no argument"
    (program, arguments), _ = exec_calls
    assert program == sys.executable
    assert arguments[-5:] == ["resume", "--site", "local", "--on-stop", "detach"]
    with pytest.raises(SiteLost, match="4th time"):
        lose_the_site(how())
    assert len(exec_calls) == 2


def test_a_run_of_so_many_iterations_is_not_continued_by_itself(exec_calls):
    with pytest.raises(SiteLost):
        lose_the_site(how(iterations=1))
    assert exec_calls == []


def test_the_fresh_command_is_one_that_alflow_understands(tmp_path):
    command = [*run._fresh_command(how()), "--dry-run"]
    environment = {**os.environ, "ALFLOW_DB": str(tmp_path / "missing.db")}
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        env=environment,
        cwd=Path.cwd(),
    )
    assert done.returncode == 2
    assert "missing.db" in done.stderr
