"""A writer that is killed loses nothing that it was told is written, and leaves no half rows."""

import random
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import func, select

from alflow.core.labels import Failure, FailureKind
from alflow.core.tasks import Outcome
from alflow.store import NewStructure, open_store
from alflow.store.schema import label, label_item, task

WRITER = textwrap.dedent(
    """
    import sys
    import numpy as np
    from alflow.core.labels import Failure, FailureKind, Label
    from alflow.core.structures import Structure
    from alflow.core.tasks import Outcome, TaskSpec
    from alflow.store import NewStructure, NewTask, open_store

    N = 40

    def structure(k):
        return Structure(np.array([1, 1], np.uint8), np.array([[0, 0, 0], [0, 0, 0.7 + k / N]]))

    with open_store(sys.argv[1], create=True) as store:
        if store.campaign_or_none() is None:
            store.create_campaign("x", {}, 1)
        store.acquire_lease("writer")
        store.register_level("dft", {})
        store.begin_iteration(0, "build")
        print("ready", flush=True)
        for k in range(N):
            one = structure(k)
            spec = TaskSpec("label", f"label/{k}", k, items=(one.hash,))
            new = NewStructure(one, f"g{k}", "train", "x")
            store.add_structures([new], [NewTask(spec, 0, 0, "dft")], iteration=0)
        for attempt in store.open_attempts():
            lost = Failure(FailureKind.LOST, "its manager died")
            store.requeue(attempt.ref, lost, charged=False)
        for task in store.queued({"label": N}):
            ref = store.start_attempt(task.id)
            k = task.spec.seed
            label = Label(-1.0 - k, np.full((2, 3), k / 3.0))
            store.commit_items(ref, {task.spec.items[0]: label}, "v")
            print(task.spec.items[0], flush=True)
            store.finish_task(ref, Outcome())
        print("digest", store.content_digest(), flush=True)
    """
)


def write(path, kill_after=None):
    """Run the writer; kill it after so many lines. What it said."""
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        said = []
        for line in process.stdout:
            said.append(line.strip())
            if kill_after is not None and len(said) >= kill_after:
                process.kill()
                break
        said += [line.strip() for line in process.stdout if line.endswith("\n")]
    return said


@pytest.mark.recovery
def test_a_killed_writer_keeps_its_word(tmp_path):
    calm = write(tmp_path / "calm.db")
    assert calm[-1].startswith("digest")
    path = tmp_path / "chaos.db"
    rng = random.Random(3)
    promised = set()
    for kill_after in (1, rng.randint(2, 10), rng.randint(2, 10)):
        promised.update(word for word in write(path, kill_after) if len(word) == 64)
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        with open_store(path, read_only=True) as store:
            kept = {item.structure.hash for item in store.labelled(None, "dft")}
        assert promised <= kept
    assert write(path)[-1] == calm[-1]
    with open_store(path, read_only=True) as store, store.read() as connection:
        assert connection.scalar(select(func.count()).select_from(label)) == 40
        assert connection.scalar(select(func.count()).where(task.c.state != "done")) == 0


class LabelMachine(RuleBasedStateMachine):
    """Hand out, commit, finish, lose, fail and take over, in any order."""

    attempts = Bundle("attempts")
    folder = None
    make_world = None
    label_of = None
    water = None
    count = 0

    @initialize()
    def start(self):
        cls = type(self)
        cls.count += 1
        self.world = cls.make_world()
        self.world.store.register_level("dft", {})
        self.world.store.begin_iteration(0, "build")
        self.n_structures = 0
        self.committed = {}

    @rule(n=st.integers(1, 3))
    def publish(self, n):
        first = self.n_structures
        self.n_structures += n
        made = [type(self).water(k) for k in range(first, first + n)]
        new = [NewStructure(one, one.hash[:8], "train", "x") for one in made]
        task_of = self.world.task(
            "label", f"{first}", items=tuple(one.hash for one in made)
        )
        for _ in range(2):
            self.world.store.add_structures(new, [task_of], iteration=0)

    @rule(target=attempts)
    def hand_out(self):
        tasks = self.world.store.queued({"label": 1})
        if not tasks:
            return multiple()
        return (self.world.store.start_attempt(tasks[0].id), tasks[0].spec.items)

    @rule(attempt=attempts, n=st.integers(1, 3))
    def commit(self, attempt, n):
        ref, items = attempt
        for one in self.world.store.structures(items[:n]):
            before = self.is_pending(one.hash)
            made = self.world.store.commit_items(
                ref, {one.hash: type(self).label_of(one)}, "v"
            )
            assert made == before
            if made:
                self.committed[one.hash] = type(self).label_of(one).energy

    @rule(attempt=attempts)
    def finish(self, attempt):
        ref, items = attempt
        current = ref in [row.ref for row in self.world.store.open_attempts()]
        if current:
            self.commit((ref, items), 3)
        assert self.world.store.finish_task(ref, Outcome()) == current

    @rule(attempt=consumes(attempts), charged=st.booleans())
    def lose(self, attempt, charged):
        lost = Failure(FailureKind.LOST, "gone")
        self.world.store.requeue(attempt[0], lost, charged=charged)

    @rule(attempt=attempts)
    def fail(self, attempt):
        self.world.store.fail_task(attempt[0], Failure(FailureKind.CRASH, "died"))

    @rule()
    def take_over(self):
        self.world.store.close()
        self.world.store = open_store(self.world.url)
        self.world.store.acquire_lease("next")

    def is_pending(self, name):
        with self.world.store.read() as connection:
            found = connection.scalars(
                select(label_item.c.state)
                .join_from(label_item, label_item.metadata.tables["structure"])
                .where(label_item.metadata.tables["structure"].c.hash == name)
            )
            return list(found) == ["pending"]

    @invariant()
    def nothing_is_lost_or_doubled(self):
        if not hasattr(self, "world"):
            return
        found = self.world.store.labelled("train", "dft")
        assert {item.structure.hash: item.label.energy for item in found} == self.committed
        with self.world.store.read() as connection:
            items = connection.scalar(select(func.count()).select_from(label_item))
            open_tasks = connection.scalar(
                select(func.count())
                .select_from(label_item)
                .join(task, task.c.id == label_item.c.task_id)
                .where(
                    label_item.c.state == "pending", task.c.state.in_(["done", "failed"])
                )
            )
        assert (items, open_tasks) == (self.n_structures, 0)

    def teardown(self):
        if hasattr(self, "world"):
            self.world.store.close()


def test_any_order_of_events_loses_and_doubles_nothing(
    tmp_path, new_world, make_label, make_water
):
    class Machine(LabelMachine):
        folder = tmp_path
        make_world = staticmethod(new_world)
        label_of = staticmethod(make_label)
        water = staticmethod(make_water)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=5,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
