"""A campaign directory, and toy task kinds installed as a third party would install them."""

import contextlib
import itertools
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from alflow import registry
from alflow.core.tasks import AttemptRef, TaskSpec
from alflow.execution.files import CampaignFiles
from alflow.execution.worker import close_forkserver

KINDS = ("echo", "fail", "poison", "crash", "batch", "sleep", "look")


@pytest.fixture(scope="session")
def toy_distribution(tmp_path_factory):
    """Folder with an importable module and the metadata that announces its entry points."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(Path(__file__).parent / "toy" / "alflow_toy.py", folder)
    metadata = folder / "alflow_toy-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: alflow-toy\nVersion: 1.0\n"
    )
    lines = [f"toy-{kind} = alflow_toy:{kind}" for kind in KINDS]
    (metadata / "entry_points.txt").write_text("\n".join(["[alflow.tasks]", *lines, ""]))
    yield folder
    close_forkserver()


@pytest.fixture(autouse=True)
def toy_kinds(toy_distribution, monkeypatch):
    """Make the toy kinds known here and in every process started from here."""
    path = [str(toy_distribution), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, path)))
    monkeypatch.setenv("ALFLOW_PRELOAD", "")
    monkeypatch.setenv("ALFLOW_SCRATCH", str(toy_distribution))
    monkeypatch.setattr(sys, "path", [str(toy_distribution), *sys.path])
    registry.available.cache_clear()
    yield
    registry.available.cache_clear()


@pytest.fixture
def files(tmp_path):
    return CampaignFiles(tmp_path / "campaign")


@pytest.fixture
def publish(files):
    """Write the spec of a new task and name its first attempt."""
    numbers = itertools.count(1)

    def publish(kind, settings=None, **more):
        task_id = next(numbers)
        spec = TaskSpec(f"toy-{kind}", f"{kind}/{task_id}", 7, settings or {}, **more)
        files.write_spec(task_id, spec)
        return AttemptRef(task_id, 1, "abc", spec.kind)

    return publish


@pytest.fixture
def until():
    """Wait until something is true; the test fails at the deadline."""

    def until(condition, deadline_s=20.0):
        end = time.monotonic() + deadline_s
        while not (found := condition()):
            if time.monotonic() > end:
                pytest.fail(f"not true within {deadline_s} s: {condition}")
            time.sleep(0.02)
        return found

    return until


@pytest.fixture
def fake_scheduler(tmp_path, monkeypatch):
    """Imitations of schedulers, first on PATH; their folder. Jobs that are left are ended."""
    folder = tmp_path / "scheduler"
    (folder / "bin").mkdir(parents=True)
    program = Path(__file__).parent / "fake" / "scheduler.py"
    for name in (
        "qsub",
        "qstat",
        "qdel",
        "qselect",
        "bsub",
        "bjobs",
        "bkill",
        "flux",
        "kubectl",
    ):
        command = folder / "bin" / name
        command.write_text(f"#!{sys.executable} -IS\n{program.read_text('utf-8')}")
        command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    yield folder
    for path in folder.glob("jobs/*/pid"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int(path.read_text()), signal.SIGKILL)


@pytest.fixture
def drive(files):
    """Wait until attempts have a result or are lost; what was lost."""

    def drive(executor, attempts, deadline_s=60.0):
        end = time.monotonic() + deadline_s
        lost = {}
        while not all(files.has_result(attempt) or attempt in lost for attempt in attempts):
            assert time.monotonic() < end, f"no end within {deadline_s} s"
            executor.wait(0.2)
            lost.update(executor.lost())
        return lost

    return drive
