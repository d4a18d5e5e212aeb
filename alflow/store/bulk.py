"""Many rows at once, on the driver's own cursor: the general way costs more than the rows.

SQLAlchemy still writes the statements, once for each shape; values go to the driver as they are.
"""

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Column, Connection, Dialect, Select, bindparam
from sqlalchemy.sql.schema import Table

from alflow.core.errors import StoreError
from alflow.store.codec import chunks
from alflow.store.database import insert_new

ROWS_AT_A_TIME = 4096
"""Rows fetched together."""


def insert(
    connection: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    *,
    skip_known: bool = False,
) -> None:
    """Insert rows that all have the same columns; a default of the table is left to SQL.

    Args:
        connection: Connection with an open transaction.
        table: Where to.
        rows: Column values, two or more; none is a digest.
        skip_known: Leave rows alone whose key exists already.
    """
    if not rows:
        return
    names = tuple(rows[0])
    values = [*map(itemgetter(*names), rows)]
    insert_values(connection, table, names, values, skip_known=skip_known)


def insert_values(
    connection: Connection,
    table: Table,
    names: tuple[str, ...],
    rows: Sequence[tuple[Any, ...]],
    *,
    skip_known: bool = False,
) -> None:
    """Insert rows of plain values, as the driver takes them; a digest is bytes.

    Args:
        connection: Connection with an open transaction.
        table: Where to.
        names: Columns.
        rows: Their values, in the same order.
        skip_known: Leave rows alone whose key exists already.
    """
    if not rows:
        return
    text, order = _compiled(table, names, connection.dialect, skip_known=skip_known)
    if order is None:
        connection.exec_driver_sql(text, [dict(zip(names, r, strict=True)) for r in rows])
        return
    if order != names:
        rows = [*map(itemgetter(*(names.index(name) for name in order)), rows)]
    connection.exec_driver_sql(text, list(rows))


@contextmanager
def collector_paused() -> Iterator[None]:
    """Let Python look for reference cycles later: among rows there are none.

    It would walk over everything that is alive again and again while rows are made.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@dataclass(frozen=True, slots=True)
class Prepared:
    """A query as the driver takes it.

    Attributes:
        text: Its text.
        values: Values of its parameters by name.
        order: Names of the parameters, if they go by place.
    """

    text: str
    values: Mapping[str, Any]
    order: tuple[str, ...] | None


def prepared(dialect: Dialect, query: Select[Any]) -> Prepared:
    """A query, written out once to be run many times."""
    compiled = query.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    order: list[str] | None = getattr(compiled, "positiontup", None)
    return Prepared(str(compiled), compiled.params, None if order is None else tuple(order))


def columns(
    connection: Connection,
    query: Prepared,
    values: Mapping[str, Any] | None = None,
    *,
    is_small: bool = False,
) -> Iterator[list[tuple[Any, ...]]]:
    """The rows of a query, a few thousand at a time, as tuples of each of its columns.

    Args:
        connection: Connection with an open transaction.
        query: The query.
        values: Values of parameters, instead of those that it was prepared with.
        is_small: Whether all rows may be held in memory twice.

    Yields:
        Values as the driver gives them: a digest is bytes.
    """
    named = {**query.values, **(values or {})}
    given = named if query.order is None else [named[name] for name in query.order]
    how: dict[str, Any] = {}
    if connection.dialect.name == "postgresql":
        # Its driver sends arrays as hexadecimal text, and all rows at once, unless told.
        how = {"binary": True} | ({} if is_small else {"name": "alflow_columns"})
    with _told(connection), closing(connection.connection.cursor(**how)) as cursor:
        cursor.execute(query.text, given)
        while rows := cursor.fetchmany(ROWS_AT_A_TIME):
            yield list(zip(*rows, strict=True))


def matching(
    connection: Connection, query: Select[Any], key: Column[Any], values: Sequence[Any]
) -> Iterator[list[tuple[Any, ...]]]:
    """The rows of a query whose `key` is one of the values, as `columns` gives them.

    Args:
        connection: Connection with an open transaction.
        query: The query, always the same object: it is written out once for each number of values.
        key: The column to look at.
        values: Values as the driver takes them; of a digest its bytes.
    """
    for part in chunks(values):
        wanted = _prepared_matching(connection.dialect, query, key, len(part))
        named = {f"key_{k}": value for k, value in enumerate(part)}
        yield from columns(connection, wanted, named, is_small=True)


@lru_cache(maxsize=256)
def _prepared_matching(
    dialect: Dialect, query: Select[Any], key: Column[Any], n: int
) -> Prepared:
    keys = [bindparam(f"key_{k}", type_=key.type) for k in range(n)]
    return prepared(dialect, query.where(key.in_(keys)))


@contextmanager
def _told(connection: Connection) -> Iterator[None]:
    """The driver's own errors as errors of the store."""
    try:
        yield
    except connection.dialect.loaded_dbapi.Error as error:
        raise StoreError(f"the database cannot be read: {error}") from error


@lru_cache(maxsize=64)
def _compiled(
    table: Table, names: tuple[str, ...], dialect: Dialect, *, skip_known: bool
) -> tuple[str, tuple[str, ...] | None]:
    """Text of an INSERT, and the order of its values if they go by place."""
    statement = insert_new(dialect, table) if skip_known else table.insert()
    compiled = statement.compile(dialect=dialect, column_keys=list(names))
    return str(compiled), None if compiled.positiontup is None else tuple(
        compiled.positiontup
    )
