"""Statements that every task costs several times: written out once, run on the driver's own cursor.

SQLAlchemy needs ten times as long to see that it knows a statement as SQLite to carry it out.
"""

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sqlalchemy import Connection, Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.expression import Insert, Select, Update

from alflow.store.codec import AnyRow


@dataclass(frozen=True, slots=True)
class _Written:
    text: str
    values: Mapping[str, Any]
    order: tuple[str, ...] | None

    def given(self, values: Mapping[str, Any]) -> Any:
        named = {**self.values, **values} if self.values else values
        return named if self.order is None else [named[name] for name in self.order]


@dataclass(slots=True)
class Statement:
    """A statement with named parameters; values pass as the driver takes and gives them.

    Attributes:
        query: The statement. Its parameters have names of their own (`bindparam`).
        columns: Columns that an INSERT or UPDATE sets; parameters of the same names.
    """

    query: Select[Any] | Insert | Update
    columns: tuple[str, ...] = ()
    _written: dict[str, _Written] = field(default_factory=dict)
    _row: Any = None

    def rows(self, connection: Connection, **values: Any) -> list[AnyRow]:
        """All rows of a query."""
        written = self._for(connection.dialect)
        with closing(connection.connection.cursor()) as cursor:
            try:
                cursor.execute(written.text, written.given(values))
                found = cursor.fetchall()
            except connection.dialect.loaded_dbapi.Error as error:
                raise _known(connection.dialect, error) from error
            if self._row is None:
                self._row = _row_of(tuple(one[0] for one in cursor.description or ()))
        return [*map(self._row, found)]

    def value(self, connection: Connection, **values: Any) -> Any:
        """The first column of the first row; None if there is none."""
        found = self.rows(connection, **values)
        return found[0][0] if found else None

    def run(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Carry out an INSERT or UPDATE, once for each of the rows."""
        written = self._for(connection.dialect)
        given = [written.given(values) for values in rows]
        with closing(connection.connection.cursor()) as cursor:
            try:
                cursor.executemany(written.text, given)
            except connection.dialect.loaded_dbapi.Error as error:
                raise _known(connection.dialect, error) from error

    def _for(self, dialect: Dialect) -> _Written:
        if dialect.name not in self._written:
            compiled = self.query.compile(
                dialect=dialect,
                column_keys=[*self.columns] or None,
                compile_kwargs={"render_postcompile": True},
            )
            order = getattr(compiled, "positiontup", None)
            self._written[dialect.name] = _Written(
                str(compiled),
                {name: one for name, one in compiled.params.items() if one is not None},
                None if order is None else tuple(order),
            )
        return self._written[dialect.name]


@cache
def _row_of(names: tuple[str, ...]) -> Callable[[tuple[Any, ...]], AnyRow]:
    factory: Any = namedtuple  # noqa: PYI024 - the fields are those of a query
    kind: Any = factory("Row", names)
    make: Callable[[tuple[Any, ...]], AnyRow] = kind._make
    return make


def _known(dialect: Dialect, error: Any) -> BaseException:
    """An error of the driver as one that `Database` tells people about."""
    base = dialect.loaded_dbapi.Error
    known: BaseException = DBAPIError.instance(
        None, None, error, base, hide_parameters=True, dialect=dialect
    )
    return known
