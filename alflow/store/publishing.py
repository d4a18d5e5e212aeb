"""Publishing tasks: once per key, with a reserved label id for each requested label."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, select

from alflow.core.errors import StoreError
from alflow.core.tasks import TaskSpec, TaskState
from alflow.store.codec import chunks, json_text
from alflow.store.database import next_id
from alflow.store.rows import ItemState, NewTask
from alflow.store.schema import label_item, level_of_theory, structure, task
from alflow.store.transaction import Transaction

LABEL = "label"
"""The kind of task whose items are requested labels."""


def publish(tx: Transaction, tasks: Sequence[NewTask]) -> int:
    """Insert the tasks whose keys are new, with label items for label tasks."""
    fresh = _fresh(tx, tasks)
    first = next_id(tx.connection, task)
    for task_id, new in enumerate(fresh, first):
        lot_id = None if new.lot is None else level_id(tx.connection, new.lot)
        values = {
            "id": task_id,
            "campaign_id": tx.campaign_id,
            "iteration_id": tx.iteration_id(new.iteration),
            "kind": new.spec.kind,
            "key": new.spec.key,
            "lot_id": lot_id,
            "state": TaskState.QUEUED,
            "priority": new.priority,
            "spec_json": json_text(new.spec.to_json()),
            "attempts": 0,
            "charged": 0,
            "published": tx.now,
        }
        tx.connection.execute(task.insert(), values)
        if new.spec.kind == LABEL:
            if lot_id is None:
                raise StoreError(f"label task {new.spec.key!r} names no level of theory")
            if not _reserve(tx, task_id, new.spec, lot_id):
                # All its labels are known or on their way: there is nothing to do.
                done = {"state": TaskState.DONE, "ended": tx.now}
                tx.connection.execute(task.update().where(task.c.id == task_id), done)
    return len(fresh)


def level_id(connection: Connection, name: str) -> int:
    """The id of a level of theory.

    Raises:
        StoreError: If it is not registered.
    """
    found: int | None = connection.scalar(
        select(level_of_theory.c.id).where(level_of_theory.c.name == name)
    )
    if found is None:
        raise StoreError(f"level of theory {name!r} is not registered")
    return found


def structure_ids(connection: Connection, hashes: Sequence[str]) -> dict[str, int]:
    """Ids of those of the structures that are stored, by hash."""
    found: dict[str, int] = {}
    for part in chunks(list(hashes)):
        query = select(structure.c.hash, structure.c.id).where(structure.c.hash.in_(part))
        found.update({row.hash: row.id for row in connection.execute(query)})
    return found


def _fresh(tx: Transaction, tasks: Sequence[NewTask]) -> list[NewTask]:
    known: set[str] = set()
    for part in chunks([new.spec.key for new in tasks]):
        query = select(task.c.key).where(
            task.c.campaign_id == tx.campaign_id, task.c.key.in_(part)
        )
        known.update(tx.connection.scalars(query))
    fresh = []
    for new in tasks:
        if new.spec.key not in known:
            known.add(new.spec.key)
            fresh.append(new)
    return fresh


def _reserve(tx: Transaction, task_id: int, spec: TaskSpec, lot_id: int) -> int:
    """Reserve a label id for each structure that has none at this level yet; how many."""
    ids = structure_ids(tx.connection, spec.items)
    missing = [item for item in spec.items if item not in ids]
    if missing:
        raise StoreError(
            f"task {spec.key!r} asks for a label of {missing[0]}, not in the store"
        )
    taken: set[int] = set()
    for part in chunks(list(ids.values())):
        query = select(label_item.c.structure_id).where(
            label_item.c.lot_id == lot_id, label_item.c.structure_id.in_(part)
        )
        taken.update(tx.connection.scalars(query))
    rows: list[dict[str, Any]] = []
    first = next_id(tx.connection, label_item)
    for place, item in enumerate(spec.items):
        if ids[item] in taken:
            continue
        taken.add(ids[item])
        rows.append(
            {
                "id": first + len(rows),
                "task_id": task_id,
                "position": place,
                "structure_id": ids[item],
                "lot_id": lot_id,
                "state": ItemState.PENDING,
            }
        )
    if rows:
        tx.connection.execute(label_item.insert(), rows)
    return len(rows)
