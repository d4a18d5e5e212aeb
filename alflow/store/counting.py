"""Numbers of tasks and of requested labels, kept up with every change.

A campaign of a million structures is asked twice a second how far it is: nobody may count then.
Every transaction that changes a state changes the count, and `drift` compares with what is there.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy.sql.expression import Insert
from sqlalchemy.sql.schema import Table

from alflow.core.tasks import TaskState
from alflow.store.rows import ItemState
from alflow.store.schema import (
    campaign_structure,
    label_count,
    label_item,
    task,
    task_count,
)
from alflow.store.transaction import Transaction

IMPORTED = 0
"""Stands for the iteration of labels that no iteration asked for."""

Key = tuple[Any, ...]


def add_tasks(tx: Transaction, changes: Mapping[tuple[int, str, TaskState], int]) -> None:
    """Change the number of tasks by (id of the iteration, kind, state)."""
    _add(tx, task_count, changes)


def move_task(tx: Transaction, task_id: int, before: TaskState, after: TaskState) -> None:
    """A task went from one state to another."""
    row = tx.connection.execute(
        select(task.c.iteration_id, task.c.kind).where(task.c.id == task_id)
    ).one()
    place = (row.iteration_id, row.kind)
    add_tasks(tx, {(*place, before): -1, (*place, after): 1})


def add_labels(
    tx: Transaction, changes: Mapping[tuple[int, int, str, ItemState], int]
) -> None:
    """Change the number of label items by (id of the iteration, of the level, split, state)."""
    _add(tx, label_count, changes)


def move_labels(
    tx: Transaction, place: tuple[int, int], ended: Mapping[tuple[str, ItemState], int]
) -> None:
    """Items that were pending have ended.

    Args:
        tx: The transaction.
        place: Id of the iteration and of the level.
        ended: Number of items by split and new state.
    """
    changes: Counter[tuple[int, int, str, ItemState]] = Counter()
    for (split, state), n in ended.items():
        changes[(*place, split, state)] += n
        changes[(*place, split, ItemState.PENDING)] -= n
    add_labels(tx, changes)


def drift(connection: Connection) -> dict[str, dict[Key, int]]:
    """By how much the counts are wrong, by table and key; empty if all is well."""
    iteration_id = func.coalesce(task.c.iteration_id, IMPORTED)
    columns = (
        iteration_id,
        label_item.c.lot_id,
        campaign_structure.c.split,
        label_item.c.state,
    )
    items = label_item.join(
        campaign_structure, campaign_structure.c.structure_id == label_item.c.structure_id
    ).outerjoin(task, task.c.id == label_item.c.task_id)
    of_tasks = (task.c.iteration_id, task.c.kind, task.c.state)
    counted = {
        "label_count": select(*columns, func.count()).select_from(items).group_by(*columns),
        "task_count": select(*of_tasks, func.count()).group_by(*of_tasks),
    }
    found = {}
    for table in (label_count, task_count):
        wrong = Counter(
            {tuple(row[:-1]): row[-1] for row in connection.execute(select(table))}
        )
        wrong.subtract(
            {tuple(row[:-1]): row[-1] for row in connection.execute(counted[table.name])}
        )
        found[table.name] = {key: n for key, n in wrong.items() if n}
    return {name: wrong for name, wrong in found.items() if wrong}


def _add(tx: Transaction, table: Table, changes: Mapping[Any, int]) -> None:
    names = [column.name for column in table.primary_key]
    rows = [
        {**dict(zip(names, key, strict=True)), "n": n} for key, n in changes.items() if n
    ]
    if not rows:
        return
    tx.connection.execute(_upsert(tx.connection, table, names), rows)


def _upsert(connection: Connection, table: Table, names: Sequence[str]) -> Insert:
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        server = postgresql.insert(table)
        more = {"n": table.c.n + server.excluded.n}
        return server.on_conflict_do_update(index_elements=names, set_=more)
    from sqlalchemy.dialects import sqlite

    file = sqlite.insert(table)
    more = {"n": table.c.n + file.excluded.n}
    return file.on_conflict_do_update(index_elements=names, set_=more)
