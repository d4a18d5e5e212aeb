"""A small campaign in a database, and a runner for command lines."""

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
from alflow.store import NewStructure, NewTask, open_store

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
