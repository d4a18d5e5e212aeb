"""Publishing tasks: once per key, with a reserved label id for each requested label."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, select

from alflow.core.errors import StoreError
from alflow.core.failpoints import failpoint
from alflow.core.tasks import TaskSpec, TaskState
from alflow.store import bulk, counting
from alflow.store.codec import chunks, hashes_bytes, json_text
from alflow.store.database import next_id
from alflow.store.rows import ItemState, NewTask
from alflow.store.schema import (
    campaign_structure,
    label_item,
    level_of_theory,
    structure,
    task,
)
from alflow.store.statement import Statement
from alflow.store.transaction import Transaction

LABEL = "label"
"""The kind of task whose items are requested labels."""


_NEW_TASK = Statement(
    task.insert(),
    (
        *(
            "id",
            "campaign_id",
            "iteration_id",
            "kind",
            "key",
            "lot_id",
            "state",
            "priority",
        ),
        *("spec_json", "item_hashes", "attempts", "charged", "published"),
    ),
)
_IDS = select(structure.c.hash, structure.c.id)
_SPLITS = select(campaign_structure.c.structure_id, campaign_structure.c.split)
_ASKED = select(label_item.c.structure_id, label_item.c.lot_id)


def publish(tx: Transaction, tasks: Sequence[NewTask]) -> int:
    """Insert the tasks whose keys are new, with label items for label tasks."""
    fresh = _fresh(tx, tasks)
    first = next_id(tx.connection, task)
    counts: Counter[tuple[int, str, TaskState]] = Counter()
    iterations = {n: tx.iteration_id(n) for n in {new.iteration for new in fresh}}
    levels = {
        name: level_id(tx.connection, name)
        for name in {new.lot for new in fresh if new.lot is not None}
    }
    items = _new_items(tx, fresh, levels)
    for task_id, new in enumerate(fresh, first):
        lot_id = None if new.lot is None else levels[new.lot]
        state, iteration_id = TaskState.QUEUED, iterations[new.iteration]
        values = {
            "id": task_id,
            "campaign_id": tx.campaign_id,
            "iteration_id": iteration_id,
            "kind": new.spec.kind,
            "key": new.spec.key,
            "lot_id": lot_id,
            "state": state,
            "priority": new.priority,
            "spec_json": json_text(replace(new.spec, items=()).to_json()),
            "item_hashes": hashes_bytes(new.spec.items),
            "attempts": 0,
            "charged": 0,
            "published": tx.now,
        }
        _NEW_TASK.run(tx.connection, [values])
        failpoint("store.publish.inside")
        if (
            lot_id is not None
            and new.spec.kind == LABEL
            and not _reserve(tx, task_id, new.spec, (iteration_id, lot_id), items)
        ):
            # All its labels are known or on their way: there is nothing to do.
            state = TaskState.DONE
            done = {"state": state, "ended": tx.now}
            tx.connection.execute(task.update().where(task.c.id == task_id), done)
        counts[iteration_id, new.spec.kind, state] += 1
    counting.add_tasks(tx, counts)
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
    wanted = [bytearray.fromhex(one) for one in hashes]
    found: dict[str, int] = {}
    for digests, ids in bulk.matching(connection, _IDS, structure.c.hash, wanted):
        found.update(zip([digest.hex() for digest in digests], ids, strict=True))
    return found


def splits_of(connection: Connection, ids: Sequence[int]) -> dict[int, str]:
    """What structures of the campaign are used for, by id."""
    found: dict[int, str] = {}
    key = campaign_structure.c.structure_id
    for known, splits in bulk.matching(connection, _SPLITS, key, ids):
        found.update(zip(known, splits, strict=True))
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


_NewItems = dict[tuple[int, str], tuple[int, int]]
"""Id of the label and of the structure, by id of the level and hash of the structure."""


def _new_items(
    tx: Transaction, tasks: Sequence[NewTask], levels: Mapping[str, int]
) -> _NewItems:
    """A label id for each structure of the tasks that has none at their level yet.

    Ids follow those of the structures: what the tasks are made of, and in which order they are
    to be done, depends on how long others took, and must not be seen in what comes of them.
    """
    asked: dict[int, set[str]] = defaultdict(set)
    for new in tasks:
        if new.spec.kind == LABEL:
            if new.lot is None:
                raise StoreError(f"label task {new.spec.key!r} names no level of theory")
            asked[levels[new.lot]].update(new.spec.items)
    ids = structure_ids(
        tx.connection, [*{one for hashes in asked.values() for one in hashes}]
    )
    for new in tasks:
        missing = [
            one for one in new.spec.items if new.spec.kind == LABEL and one not in ids
        ]
        if missing:
            raise StoreError(
                f"task {new.spec.key!r} asks for a label of {missing[0]}, not in the store"
            )
    taken: set[tuple[int, int]] = set()
    for part in bulk.matching(
        tx.connection, _ASKED, label_item.c.structure_id, [*ids.values()]
    ):
        taken.update(zip(*part, strict=True))
    wanted = sorted(
        (ids[one], lot_id, one)
        for lot_id, hashes in asked.items()
        for one in hashes
        if (ids[one], lot_id) not in taken
    )
    first = next_id(tx.connection, label_item) if wanted else 0
    return {
        (lot_id, one): (label_id, structure_id)
        for label_id, (structure_id, lot_id, one) in enumerate(wanted, first)
    }


def _reserve(
    tx: Transaction,
    task_id: int,
    spec: TaskSpec,
    place: tuple[int, int],
    items: _NewItems,
) -> int:
    """Give a task those of its items that no task before it has; how many.

    `place` is the ids of the iteration and of the level. What is given is no longer in `items`.
    """
    _, lot_id = place
    pending = str(ItemState.PENDING)
    rows: list[tuple[Any, ...]] = []
    for position, item in enumerate(spec.items):
        found = items.pop((lot_id, item), None)
        if found is not None:
            label_id, structure_id = found
            rows.append((label_id, task_id, position, structure_id, lot_id, pending))
    names = ("id", "task_id", "position", "structure_id", "lot_id", "state")
    bulk.insert_values(tx.connection, label_item, names, rows)
    splits = splits_of(tx.connection, [row[3] for row in rows])
    asked_for = Counter((*place, split, ItemState.PENDING) for split in splits.values())
    counting.add_labels(tx, asked_for)
    return len(rows)
