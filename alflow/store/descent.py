"""What came of a thing: how many of what, the first few, and the command that lists all."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, select

from alflow.core.naming import ObjectName
from alflow.store.listings import LISTINGS
from alflow.store.narrowing import Filters, narrow
from alflow.store.schema import (
    candidate,
    ensemble,
    label,
    label_item,
    structure,
    task,
    trajectory,
)

Found = dict[str, Any]
"""JSON-like, no arrays."""

N_FIRST = 5
"""Names that stand for all."""

_IDS: Mapping[str, tuple[str, ColumnElement[int]]] = {
    "structures": ("s", structure.c.id),
    "labels": ("l", label.c.id),
    "failures": ("l", label_item.c.id),
    "candidates": ("c", candidate.c.id),
    "trajectories": ("p", trajectory.c.id),
    "tasks": ("t", task.c.id),
    "generations": ("g", ensemble.c.generation),
}
"""Letter and number of the rows of a listing."""

_DESCENDANTS: Mapping[str, tuple[str, ...]] = {
    "s": ("labels", "failures", "trajectories"),
    "l": ("generations",),
    "c": (),
    "p": ("candidates", "structures"),
    "t": ("trajectories", "candidates", "structures", "labels", "failures"),
    "g": ("trajectories", "candidates", "structures", "generations"),
    "i": ("tasks", "trajectories", "candidates", "labels", "failures", "generations"),
    "d": ("generations",),
}
"""Listings of what comes of a thing, by its letter."""


def led_to(connection: Connection, name: ObjectName) -> Found:
    """What came of a thing, by kind; kinds of which there is nothing are left out."""
    found = {what: linked(connection, what, name) for what in _DESCENDANTS[name.letter]}
    return {what: one for what, one in found.items() if one["n"]}


def linked(connection: Connection, what: str, of: ObjectName) -> Found:
    """How many rows of a listing belong to a thing, the first of them, and how to list all."""
    letter, number = _IDS[what]
    rows = narrow(LISTINGS[what](), what, Filters(of=of)).order_by(None)
    ids = rows.with_only_columns(number, maintain_column_froms=True).distinct().subquery()
    (column,) = ids.c
    first = connection.scalars(select(column).order_by(column).limit(N_FIRST))
    return {
        "n": connection.scalar(select(func.count()).select_from(ids)) or 0,
        "first": [str(ObjectName(letter, one)) for one in first],
        "all": f"alflow ls {what} --of {of}",
    }


def one(connection: Connection, query: Select[Any]) -> Found | None:
    """The only row of a query."""
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else dict(row)


def many(connection: Connection, query: Select[Any]) -> list[Found]:
    """All rows of a query."""
    return [dict(row) for row in connection.execute(query).mappings()]
