"""Numbers of tasks and of requested labels, kept up with every change.

A campaign of a million structures is asked twice a second how far it is: nobody may count then.
Every transaction that changes a state changes the count, and `drift` compares with what is there.
"""

from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import Connection, bindparam, func, select
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
from alflow.store.statement import Statement
from alflow.store.transaction import Transaction

IMPORTED = 0
"""Stands for the iteration of labels that no iteration asked for."""

Key = tuple[Any, ...]

_PLACE = Statement(
    select(task.c.iteration_id, task.c.kind).where(task.c.id == bindparam("task"))
)
_OPEN = Statement(
    select(task_count.c.kind, task_count.c.state, task_count.c.n).where(
        task_count.c.state.in_([TaskState.QUEUED, TaskState.LEASED]), task_count.c.n > 0
    )
)


def add_tasks(tx: Transaction, changes: Mapping[tuple[int, str, TaskState], int]) -> None:
    """Change the number of tasks by (id of the iteration, kind, state)."""
    _add(tx, task_count, changes)


def move_task(tx: Transaction, task_id: int, before: TaskState, after: TaskState) -> None:
    """A task went from one state to another."""
    place = tuple(_PLACE.rows(tx.connection, task=task_id)[0])
    add_tasks(tx, {(*place, before): -1, (*place, after): 1})


def open_tasks(connection: Connection) -> tuple[dict[str, int], dict[str, int]]:
    """Number of tasks that are queued, and that are leased, by kind; none is left out."""
    queued: dict[str, int] = {}
    leased: dict[str, int] = {}
    for kind, state, n in _OPEN.rows(connection):
        counts = queued if state == TaskState.QUEUED else leased
        counts[kind] = counts.get(kind, 0) + n
    return queued, leased


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
    _upsert(tx.connection.dialect.name, table).run(tx.connection, rows)


@cache
def _upsert(dialect: str, table: Table) -> Statement:
    names = [column.name for column in table.primary_key]
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql

        server = postgresql.insert(table)
        more = {"n": table.c.n + server.excluded.n}
        return Statement(
            server.on_conflict_do_update(index_elements=names, set_=more), (*names, "n")
        )
    from sqlalchemy.dialects import sqlite

    file = sqlite.insert(table)
    more = {"n": table.c.n + file.excluded.n}
    return Statement(
        file.on_conflict_do_update(index_elements=names, set_=more), (*names, "n")
    )
