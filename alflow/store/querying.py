"""One SQL query of the user's own, which can read and do nothing else."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from alflow.core.errors import SettingsError, StoreError
from alflow.store.session import Session

TIMEOUT_S = 60.0
"""A query that takes longer is given up [s]."""

_HARMLESS = frozenset(
    {
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_RECURSIVE,
    }
)
_PRAGMAS = frozenset(
    {
        *("table_list", "table_info", "table_xinfo", "index_list", "index_info"),
        *("index_xinfo", "foreign_key_list", "function_list", "compile_options"),
    }
)
"""They tell about the schema, and take names only."""
_FORBIDDEN_FUNCTIONS = frozenset({"load_extension", "fts3_tokenizer", "writefile", "edit"})
_STEPS = 20_000
"""Steps of SQLite's machine between two looks at the clock."""


@dataclass(frozen=True, slots=True)
class QueryResult:
    """What a query gave.

    Attributes:
        columns: Names of the columns.
        rows: Values; bytes are replaced by their number, as in `<72 bytes>`.
    """

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def query(store: Session, sql: str, timeout_s: float = TIMEOUT_S) -> QueryResult:
    """Run one statement that reads.

    Args:
        store: The store, opened for reading only.
        sql: The statement.
        timeout_s: Time after which it is given up [s].

    Raises:
        SettingsError: If it is not one statement, is wrong, would write, or takes too long.
        StoreError: If the store was opened for writing, or cannot be read.
    """
    if not store.database.read_only:
        raise StoreError("queries of users need a store that was opened for reading only")
    with store.read() as connection:
        raw = connection.connection.driver_connection
        if isinstance(raw, sqlite3.Connection):
            return _of_file(raw, sql, timeout_s)
        return _of_server(connection, raw, sql, timeout_s)


def _of_file(raw: sqlite3.Connection, sql: str, timeout_s: float) -> QueryResult:
    with _guarded(raw, timeout_s):
        try:
            cursor = raw.execute(sql)
            return _result(cursor.description, cursor)
        except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
            raise _refused(str(error), timeout_s) from error


@contextmanager
def _guarded(raw: sqlite3.Connection, timeout_s: float) -> Iterator[None]:
    deadline = time.monotonic() + timeout_s
    raw.set_authorizer(_authorize)
    raw.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
    try:
        yield
    finally:
        raw.set_progress_handler(None, 0)
        raw.set_authorizer(None)


def _authorize(
    action: int,
    first: str | None,
    second: str | None,
    _database: str | None,
    _by: str | None,
) -> int:
    is_allowed = action in _HARMLESS
    if action == sqlite3.SQLITE_FUNCTION:
        is_allowed = (second or "").lower() not in _FORBIDDEN_FUNCTIONS
    elif action == sqlite3.SQLITE_PRAGMA:
        is_allowed = (first or "").lower() in _PRAGMAS
    elif action == sqlite3.SQLITE_UPDATE:
        # Asked for when a function that gives a table is declared; a statement that tries to
        # is refused by SQLite, which may not change that table, nor any in this connection.
        is_allowed = first == "sqlite_master"
    return sqlite3.SQLITE_OK if is_allowed else sqlite3.SQLITE_DENY


def _of_server(connection: Connection, raw: Any, sql: str, timeout_s: float) -> QueryResult:
    import psycopg

    connection.exec_driver_sql("SET TRANSACTION READ ONLY")
    connection.exec_driver_sql(f"SET LOCAL statement_timeout = {int(timeout_s * 1000)}")
    try:
        # A cursor can be declared for one query only, and for none that writes.
        with raw.cursor(name="alflow_sql") as cursor:
            cursor.execute(sql)
            return _result(cursor.description, cursor)
    except psycopg.Error as error:
        raise _refused(str(error).partition("\n")[0], timeout_s) from error


def _result(description: Any, rows: Any) -> QueryResult:
    if description is None:
        raise SettingsError("the SQL gives no rows", code="AL104")
    columns = tuple(str(column[0]) for column in description)
    return QueryResult(columns, [tuple(map(_readable, row)) for row in rows])


def _readable(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    return value


def _refused(message: str, timeout_s: float) -> SettingsError:
    hint = ""
    lower = message.lower()
    if "interrupted" in lower or "statement timeout" in lower:
        message = f"it takes longer than {timeout_s:g} s"
        hint = "--timeout SECONDS allows it more"
    elif "not authorized" in lower or "prohibited" in lower or "read-only" in lower:
        message = f"{message}: only one query that reads is allowed"
        hint = "what changes a campaign has commands of its own: alflow quarantine, retry, import"
    elif "no such column" in lower or "no such table" in lower or "does not exist" in lower:
        hint = 'names of tables: alflow sql "SELECT name FROM pragma_table_list"'
    return SettingsError(
        f"the SQL cannot be run: {message}",
        code="AL104",
        consequence="Nothing was changed.",
        next_step=hint,
    )
