"""A small campaign in a database, one that is only looked at, and a runner for command lines."""

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from alflow.cli.main import run_command
from alflow.core.labels import Failure, FailureKind, Label
from alflow.core.structures import Structure
from alflow.core.tasks import Outcome, TaskSpec
from alflow.loop.watching import Pool, Running, Seen, Stage
from alflow.store import NewStructure, NewTask, open_store
from alflow.store.standing import Standing, Trouble
from alflow.store.views import ManagerStatus

CONFIG = {
    "name": "water",
    "seed": 7,
    "label": {"primary": "dft", "levels": {"dft": {"kind": "pyscf"}}},
}
WEIGHTS = b"the weights of an ensemble"


@dataclass(frozen=True)
class Result:
    """What a command line did."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def alflow(capsys, monkeypatch, tmp_path) -> Callable[..., Result]:
    """Runs a command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ALFLOW_DB", raising=False)
    monkeypatch.setenv("TERMINAL_WIDTH", "100")

    def run(*arguments: str) -> Result:
        capsys.readouterr()
        code = run_command([str(argument) for argument in arguments])
        told = capsys.readouterr()
        return Result(code, told.out, told.err)

    return run


def _water(shift: float) -> Structure:
    positions = np.array([[0.0, 0, 0], [0.96, 0, 0], [0, 0.96, shift]])
    return Structure(np.array([8, 1, 1], np.uint8), positions)


@pytest.fixture
def database(tmp_path) -> Path:
    """Iteration 0 of a campaign: two labels, one failure, one trained generation."""
    path = tmp_path / "water.db"
    molecules = [_water(0.1 * k) for k in range(3)]
    attempts = itertools.count()
    with open_store(path, create=True) as store:
        store.create_campaign("water", CONFIG, 7)
        lease = store.acquire_lease("node1 (pid 1)")
        store.register_level("dft", {"kind": "pyscf", "method": "wb97x", "basis": "6-31g*"})
        spec = TaskSpec("build", "build/i0", 1)
        store.begin_iteration(0, "build", [NewTask(spec, 0)])
        (build,) = store.tasks(0, "build")
        store.finish_task(store.start_attempt(build.id), Outcome(wall_s=1.0))
        items = tuple(molecule.hash for molecule in molecules)
        label = NewTask(TaskSpec("label", "label/i0/0", 2, items=items), 0, lot="dft")
        splits = ["train", "test", "train"]
        store.add_structures(
            [
                NewStructure(m, f"group-{next(attempts)}", split, "molecules")
                for m, split in zip(molecules, splits, strict=True)
            ],
            [label],
            iteration=0,
        )
        (task,) = store.tasks(0, "label")
        attempt = store.start_attempt(task.id)
        forces = np.arange(9.0).reshape(3, 3)
        results = {
            items[0]: Label(-2078.5, forces),
            items[1]: Label(-2078.25, -forces),
            items[2]: Failure(FailureKind.NOT_CONVERGED, "no convergence in 100 cycles"),
        }
        store.commit_items(attempt, results, "PySCF 2.8")
        store.finish_task(attempt, Outcome(wall_s=2.0))
        train = NewTask(TaskSpec("train", "train/g0", 3), 0)
        store.begin_generation(0, 0, "dft", {"kind": "ani"}, [train])
        (task,) = store.tasks(0, "train")
        members = [{"seed": 1, "best_epoch": 5, "metrics": {"force_rmse": 0.1}}]
        store.finish_training(
            store.start_attempt(task.id), Outcome(wall_s=3.0), WEIGHTS, members, []
        )
        lease.release()
    return path


NOW = 100_000.0
ALIVE = ManagerStatus(alive=True, holder="login3 (pid 41201)", silent_s=4.0)
LOST = Trouble(
    7, NOW - 30, "task-requeued", "warning", "t-905", "SCF not converged, " + "again " * 30
)
NOTE = Trouble(8, NOW - 10, "spread-drifts", "warning", "i7", "19 of 46 errors were beyond")
STAGES = (
    Stage("sample", 96, 1, 16, 16, 41.0, 100.0),
    Stage("label", 38, 2, 8, 18, 125.0, 400.0),
    Stage("train", 4, 0, 0, 0, 190.0, None),
)


def _standing(**changes):
    values = {
        "campaign": "ethanol-burst",
        "config": {
            "loop": {"max_iterations": 20},
            "stop": {"converged": {"force_rmse_eV_per_A": 0.015, "survival_ps": 10.0}},
        },
        "state": "running",
        "verdict": "",
        "stop_requested": None,
        "iteration": 7,
        "phase": "label",
        "under_way": {7: "label"},
        "began": NOW - 4364.0,
        "generation": 6,
        "stages": (),
        "labels": {"ok": 538, "pending": 26, "failed": 2},
        "curves": {
            "test_force_rmse_eV_per_A": {k: 0.1 / (k + 1) for k in range(7)},
            "n_flagged": {k: 40.0 - 5 * k for k in range(1, 8)},
            "n_trajectories": dict.fromkeys(range(1, 8), 50.0),
        },
        "attempts": (),
        "manager": ALIVE,
        "troubles": (NOTE, LOST),
    }
    return Standing(**{**values, **changes})


def _view(stages=STAGES, n_running=24, **changes):
    alive = changes.get("manager", ALIVE).alive
    running = [
        Running(k, f"label/i7/{k}", "label", "cpu-07", NOW - 92 - k)
        for k in range(n_running)
    ]
    pools = [Pool("cpu", 28, 20), Pool("gpu", 4, 4)]
    standing = _standing(**changes)
    return Seen(standing, stages, running if alive else [], pools if alive else [], NOW)


@pytest.fixture
def a_view() -> Callable[..., Seen]:
    """Makes a campaign as somebody sees it who watches; changes are those of its `Standing`."""
    return _view
