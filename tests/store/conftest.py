"""A store with a campaign, and a small world to put into it, on each kind of database."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from alflow.core.labels import Label
from alflow.core.sampling import (
    Decision,
    Frame,
    Spread,
    StopReason,
    Trajectory,
    Verdict,
)
from alflow.core.structures import Structure
from alflow.core.tasks import AttemptRef, Outcome, TaskSpec
from alflow.store import (
    Lease,
    NewStructure,
    NewTask,
    PredictionRow,
    Snapshot,
    Store,
    TrajectoryRow,
    open_store,
)

LEVEL = "dft"


def water(seed: int) -> Structure:
    """A water molecule, a little different for each seed."""
    rng = np.random.default_rng(seed)
    positions = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
    return Structure(np.array([8, 1, 1], np.uint8), positions + rng.normal(0, 0.05, (3, 3)))


def crystal(seed: int) -> Structure:
    """A periodic cell of two atoms."""
    rng = np.random.default_rng(seed)
    return Structure(
        np.array([29, 29], np.uint8),
        rng.uniform(0, 3, (2, 3)),
        np.diag([3.6, 3.7, 3.8]) + 0.1,
        np.array([True, True, False]),
        charge=1,
        multiplicity=2,
    )


def label_of(structure: Structure) -> Label:
    """A label that follows from the structure alone."""
    rng = np.random.default_rng(int(structure.hash[:12], 16))
    forces = rng.normal(size=(structure.n_atoms, 3))
    return Label(float(-2000 + rng.normal()), forces, None, {"cycles": 9})


@dataclass
class World:
    """A store with its lease, and steps of a small campaign.

    `url` opens the store again; on SQLite it is the path of the file.
    """

    url: str | Path
    store: Store
    lease: Lease
    train: list[Structure] = field(default_factory=lambda: [water(k) for k in range(6)])
    test: list[Structure] = field(
        default_factory=lambda: [water(100 + k) for k in range(2)]
    )
    frames: list[Structure] = field(
        default_factory=lambda: [water(50 + k) for k in range(4)]
    )

    @property
    def path(self) -> Path:
        """The file; for tests of SQLite only."""
        assert isinstance(self.url, Path), "use the fixture sqlite_world"
        return self.url

    def task(self, kind: str, name: str, iteration: int = 0, **more) -> NewTask:
        spec = TaskSpec(kind, f"{kind}/{name}", 7, more.pop("settings", {}), {}, **more)
        return NewTask(spec, iteration, 0, LEVEL if kind == "label" else None)

    def label_tasks(self, structures, iteration: int = 0, size: int = 4) -> list[NewTask]:
        hashes = [one.hash for one in structures]
        return [
            self.task(
                "label", f"i{iteration}/{k}", iteration, items=tuple(hashes[k : k + size])
            )
            for k in range(0, len(hashes), size)
        ]

    def attempt(self, kind: str) -> AttemptRef:
        return self.store.start_attempt(self.store.queued({kind: 1})[0].id)

    def bootstrap(self) -> None:
        """Structures of iteration 0 with label tasks."""
        self.store.register_level(LEVEL, {"kind": "pyscf", "method": "pbe"})
        self.store.begin_iteration(0, "build", [self.task("build", "bootstrap")])
        self.store.finish_task(self.attempt("build"), Outcome({"sources": ["x"]}))
        new = [
            NewStructure(one, f"test/{k}", "test", "molecules")
            for k, one in enumerate(self.test)
        ]
        new += [
            NewStructure(one, f"train/{k}", "train", "molecules")
            for k, one in enumerate(self.train)
        ]
        tasks = self.label_tasks([one.structure for one in new])
        self.store.add_structures(new, tasks, iteration=0)

    def label_all(self) -> None:
        """Do all queued label tasks, one after the other."""
        for task in self.store.queued({"label": 1000}):
            ref = self.store.start_attempt(task.id)
            found = self.store.structures(task.spec.items)
            results = {one.hash: label_of(one) for one in found}
            self.store.commit_items(ref, results, "analytic 1")
            self.store.finish_task(ref, Outcome(wall_s=1.0, environment={"host": "n1"}))

    def train_generation(self, number: int = 0) -> None:
        """Begin and finish a generation."""

        def tasks(snapshot: Snapshot) -> list[NewTask]:
            settings = {"n": len(snapshot.items), "digest": snapshot.digest}
            return [self.task("train", f"g{number}", number, settings=settings)]

        parent = number - 1 if number else None
        self.store.begin_generation(
            number, number, LEVEL, {"kind": "ani"}, tasks, parent=parent
        )
        members = [{"seed": 3, "best_epoch": 5, "force_rmse": 0.1}, {"seed": 4}]
        epochs = [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": float("nan")}]
        self.store.finish_training(
            self.attempt("train"), Outcome(), b"weights" + bytes([number]), members, epochs
        )

    def predict(self, generation: int, split: str, iteration: int = 0) -> None:
        """Let a generation predict all labels of a split."""
        task = self.task("validate", f"g{generation}/{split}", iteration)
        self.store.publish([task], phase="validate")
        rows = [
            PredictionRow(item.label_id, item.label.energy + 0.1, 0.01, 0.2, 0.1, 0.3, 1.5)
            for item in self.store.labelled(split, LEVEL)
        ]
        values = {"force_rmse": 0.2, "n": len(rows), "bad": float("nan"), "note": "text"}
        ref = self.attempt("validate")
        self.store.add_predictions(ref, Outcome(values), generation, rows)

    def trajectories(self, key: str) -> list[TrajectoryRow]:
        """Two trajectories with two frames each, of which one spread is not finite."""
        rows = []
        for place in range(2):
            flagged, audit = self.frames[2 * place : 2 * place + 2]
            spread = Spread(float("nan") if place else 0.1, 0.2, 0.3, 1.0)
            path = Trajectory(
                start=water(20 + place),
                seed=11 + place,
                schedule={"start_K": 300.0},
                n_steps=100,
                time_fs=50.0,
                stop_reason=StopReason.FLAGGED,
                frames=(
                    Frame(
                        flagged, 100, 50.0, 300.0, spread, "flagged", "energy", np.zeros(3)
                    ),
                    Frame(audit, 40, 20.0, 310.0, spread, "audit", "", np.zeros(3)),
                ),
                trace={"time_fs": [0.0, 50.0], "energy_spread": [0.0, float("nan")]},
            )
            rows.append(TrajectoryRow(path, key, place, "nemd", "molecules"))
        return rows

    def verdicts(self) -> dict[str, Verdict]:
        """The first two frames are selected."""
        chosen = {
            one.hash: Verdict(Decision.SELECTED, "large spread", rank)
            for rank, one in enumerate(self.frames[:2])
        }
        rest = {
            one.hash: Verdict(Decision.OVER_BUDGET, "rank 3") for one in self.frames[2:]
        }
        return chosen | rest

    def sample(self, number: int = 1) -> bool:
        """An iteration's sampling, up to its published label tasks."""
        task = self.task("sample", f"i{number}/r0/0", number)
        if self.store.begin_iteration(number, "sample", [task]):
            self.store.finish_task(self.attempt("sample"), Outcome({"n_flagged": 2}))
        rows = self.trajectories(task.spec.key)
        labels = self.label_tasks(self.frames[:2], number)
        return self.store.record_selection(
            number, number - 1, rows, self.verdicts(), labels
        )

    def whole(self) -> None:
        """Two iterations of a campaign."""
        self.bootstrap()
        self.label_all()
        self.train_generation(0)
        self.predict(0, "test")
        self.store.end_iteration(0, {"n_labelled": 8})
        self.sample(1)
        self.label_all()
        self.train_generation(1)


def world_at(url: str | Path) -> World:
    store = open_store(url, create=True)
    store.create_campaign("water", {"seed": 5, "nested": {"a": [1, 2]}}, 5)
    return World(url, store, store.acquire_lease("tester"))


@pytest.fixture
def new_url(request, backend: str, tmp_path_factory) -> Callable[[], str | Path]:
    """Makes places for one more store each; on a server they hold an empty store already."""
    if backend == "postgres":
        return request.getfixturevalue("new_postgres_store")
    return lambda: tmp_path_factory.mktemp("world") / "water.db"


@pytest.fixture
def new_world(new_url: Callable[[], str | Path]) -> Iterator[Callable[[], World]]:
    """Makes worlds, and closes them in the end."""
    made: list[World] = []

    def new() -> World:
        made.append(world_at(new_url()))
        return made[-1]

    yield new
    for world in made:
        world.store.close()


@pytest.fixture
def world(new_world: Callable[[], World]) -> World:
    return new_world()


@pytest.fixture
def sqlite_world(tmp_path: Path) -> Iterator[World]:
    made = world_at(tmp_path / "water.db")
    yield made
    made.store.close()


@pytest.fixture
def postgres_world(new_postgres_store: Callable[[], str]) -> Iterator[World]:
    made = world_at(new_postgres_store())
    yield made
    made.store.close()


@pytest.fixture
def make_world() -> Iterator[Callable[[str | Path], World]]:
    """Makes a world at a path or URL, and closes it in the end."""
    made: list[World] = []

    def new(url: str | Path) -> World:
        made.append(world_at(url))
        return made[-1]

    yield new
    for world in made:
        world.store.close()


@pytest.fixture
def make_label():
    return label_of


@pytest.fixture
def make_crystal():
    return crystal


@pytest.fixture
def make_water():
    return water


def _of_file(connection):
    """What a SQLite database is made of, whatever the order of constraints."""
    query = "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'alflow_schema%'"
    found = {}
    for name, sql in connection.execute(text(query)):
        if sql is not None:
            columns, *_ = sql.split("CONSTRAINT")
            parts = [columns, *sorted(re.split(r",\s*(?=CONSTRAINT)", sql[len(columns) :]))]
            words = re.sub(r"[\s,()]+|STRICT|WITHOUT ROWID", " ", " ".join(parts)).split()
            found[name] = [*words, "WITHOUT ROWID" in sql]
    return found


_CATALOGUES = (
    (
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE connamespace = 'public'::regnamespace"
    ),
    "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    (
        "SELECT table_name, column_name, data_type, is_nullable, column_default, collation_name "
        "FROM information_schema.columns WHERE table_schema = 'public'"
    ),
)


def _of_server(connection):
    """What a PostgreSQL database is made of."""
    rows = [tuple(row) for query in _CATALOGUES for row in connection.execute(text(query))]
    return sorted(repr(row) for row in rows if not row[0].startswith("alflow_schema"))


@pytest.fixture
def describe():
    """What a database is made of, to be compared with that of another one."""

    def described(connection):
        is_server = connection.dialect.name == "postgresql"
        return _of_server(connection) if is_server else _of_file(connection)

    return described
