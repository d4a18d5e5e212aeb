"""Times of labels as the store has them, and that tasks made by them leave no trace."""

import numpy as np
from sqlalchemy import select

from alflow.core.labels import Failure, FailureKind, Label
from alflow.store import NewStructure, NewTask
from alflow.store.costs import (
    has_manager,
    label_stages,
    measured,
    measured_labels,
    pending,
)
from alflow.store.schema import attempt, label_item, structure

LEVEL = "dft"


def label_with(world, extras):
    """Label all that is queued; `extras` belong to the structures by place."""
    for task in world.store.queued({"label": 100}):
        ref = world.store.start_attempt(task.id)
        results = {
            one: Label(-1.0, np.zeros((3, 3)), None, extras.get(k, {}))
            if k in extras
            else Failure(FailureKind.NOT_CONVERGED, "no")
            for k, one in enumerate(task.spec.items)
        }
        world.store.commit_items(ref, results, "program 1")


def test_labels_tell_their_time_and_cores(world):
    world.bootstrap()
    label_with(world, {0: {"wall_s": 2.0, "cores": 4}, 1: {"wall_s": 3}, 2: {"cycles": 9}})
    with world.store.read() as connection:
        found = measured_labels(connection, LEVEL)
        assert measured(connection, "another") == []
        assert [one.measured.core_s for one in found] == [8.0, 3.0, 8.0, 3.0]
        assert len(measured(connection, LEVEL)) == 4
    assert {one.iteration for one in found} == {0}
    assert [one.measured.numbers.tolist() for one in found] == [[8, 1, 1]] * 4


def test_what_waits_is_known_by_level(world):
    world.bootstrap()
    with world.store.read() as connection:
        waiting = pending(connection)
    assert [one.tolist() for one in waiting[LEVEL]] == [[8, 1, 1]] * 8
    world.label_all()
    with world.store.read() as connection:
        assert pending(connection) == {}


def test_when_iterations_were_labelled(world):
    world.whole()
    with world.store.read() as connection:
        stages = label_stages(connection, LEVEL)
        starts = connection.scalars(select(attempt.c.started)).all()
    assert [one.iteration for one in stages] == [0, 1]
    first, second = stages
    assert first.began <= first.first <= first.last <= first.ended
    assert second.ended is None
    assert second.since == second.first
    assert second.first in starts
    world.lease.release()
    world.store.acquire_lease("another")
    with world.store.read() as connection:
        assert [one.since for one in label_stages(connection, LEVEL)] == [None, None]


def test_a_manager_runs_while_it_holds_the_lease(world):
    with world.store.read() as connection:
        assert has_manager(connection)
    world.lease.release()
    with world.store.read() as connection:
        assert not has_manager(connection)


def test_label_ids_do_not_depend_on_what_is_in_which_task(new_world):
    found = []
    for size, turned in ((4, False), (3, True), (1, False)):
        world = new_world()
        world.store.register_level(LEVEL, {"kind": "pyscf"})
        world.store.begin_iteration(0, "build", [])
        every = [*world.train, *world.test]
        new = [NewStructure(one, "group", "train", "molecules") for one in every]
        order = every[::-1] if turned else every
        world.store.add_structures(new, world.label_tasks(order, size=size), iteration=0)
        with world.store.read() as connection:
            query = select(label_item.c.id, structure.c.hash).join(
                structure, structure.c.id == label_item.c.structure_id
            )
            found.append(sorted(map(tuple, connection.execute(query))))
        assert len(world.store.tasks(0, "label")) == -(-len(every) // size)
        world.label_all()
        assert len(world.store.labelled("train", LEVEL)) == len(every)
    assert [label_id for label_id, _ in found[0]] == list(range(1, 9))
    assert found[0] == found[1] == found[2]


def test_a_structure_in_two_tasks_is_labelled_once(world, make_water):
    world.store.register_level(LEVEL, {"kind": "pyscf"})
    world.store.begin_iteration(0, "build", [])
    one = make_water(1)
    twice = [
        NewTask(task.spec, 0, lot=LEVEL)
        for name in "ab"
        for task in [world.task("label", name, items=(one.hash,))]
    ]
    new = [NewStructure(one, "group", "train", "molecules")]
    world.store.add_structures(new, twice, iteration=0)
    with world.store.read() as connection:
        assert len(connection.execute(select(label_item)).all()) == 1
    assert [task.state for task in world.store.tasks(0, "label")] == ["queued", "done"]
