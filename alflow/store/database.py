"""A connection to the database, with transactions that begin as they should."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import (
    Connection,
    Dialect,
    Engine,
    QueuePool,
    create_engine,
    event,
    func,
    select,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql.expression import Insert
from sqlalchemy.sql.schema import Table

from alflow.core.errors import StoreError
from alflow.core.urls import without_secrets
from alflow.store.server import ARRAYS, explained, server_engine, server_url
from alflow.store.statement import Statement

__all__ = [
    "APPLICATION_ID",
    "ARRAYS",
    "PAGE_SIZE",
    "Database",
    "file_error",
    "insert_new",
    "next_id",
    "server_database",
    "sqlite_database",
]

BUSY_TIMEOUT_MS = 30_000
"""Longest wait for another process that writes to the file."""

PAGE_SIZE = 32_768
CACHE_KIB = 65_536
"""Pages kept in memory [KiB]. With SQLite's 2 MiB a large insert writes index pages many times."""
APPLICATION_ID = 0x616C666C
"""Marks a SQLite file as ours ("alfl"); read from its header before SQLite touches the file."""

_COMMON_PRAGMAS = (
    "PRAGMA trusted_schema=OFF",
    "PRAGMA cell_size_check=ON",
    "PRAGMA foreign_keys=ON",
    f"PRAGMA cache_size=-{CACHE_KIB}",
)
_WRITER_PRAGMAS = ("PRAGMA synchronous=FULL", "PRAGMA journal_size_limit=67108864")
_ALONE_PRAGMAS = ("PRAGMA locking_mode=EXCLUSIVE", "PRAGMA journal_mode=DELETE")
"""Before the file is looked at for the first time: then SQLite never asks for shared memory."""
_READER_PRAGMAS = ("PRAGMA query_only=ON",)
_WRITES = "alflow_writes"


class Database:
    """An engine and where it leads.

    Attributes:
        name: How messages call the database: as the user named it, without secrets.
        path: The SQLite file, or None for a server.
        read_only: Whether writes are refused.
        engine: SQLAlchemy's engine.
    """

    def __init__(
        self, engine: Engine, name: str, path: Path | None, *, read_only: bool
    ) -> None:
        """Wrap an engine made by `sqlite_database` or `server_database`."""
        self.name = name
        self.path = path
        self.read_only = read_only
        self.engine = engine
        self._writer = engine.execution_options(**{_WRITES: True})
        # A SQLite transaction sees one moment anyway.
        one_moment = {"isolation_level": "REPEATABLE READ"} if path is None else {}
        self._reader = engine.execution_options(**one_moment)
        event.listen(engine, "begin", _begin)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read transaction: all queries in it see one moment.

        Raises:
            StoreError: If the database cannot be read.
        """
        with self.told(), self._reader.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A write transaction: all or nothing.

        Raises:
            StoreError: If the database is read-only, locked, full, damaged, or refuses a row.
        """
        self.check_writable()
        with self.told(), self._writer.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def migrate(self) -> Iterator[Connection]:
        """A write transaction that may replace tables to which others refer.

        Raises:
            StoreError: As `write`, or if a reference would lead nowhere in the end.
        """
        self.check_writable()
        with self.told(), self._writer.connect() as connection:
            if self.path is not None:
                # SQLite deletes the rows of a table that is dropped, and what refers to them.
                # It takes the order between transactions only, hence not through SQLAlchemy.
                connection.connection.cursor().execute("PRAGMA foreign_keys=OFF")
            try:
                with connection.begin():
                    yield connection
                    if self.path is not None:
                        self._check_references(connection)
            finally:
                connection.invalidate()

    def spare(self) -> Connection:
        """A connection of the caller's own, outside of transactions and of the pool.

        Raises:
            StoreError: If the database cannot be reached.
        """
        with self.told():
            connection = self.engine.connect()
            connection.execution_options(isolation_level="AUTOCOMMIT").detach()
            return connection

    def check_writable(self) -> None:
        """Refuse what would end in a write.

        Raises:
            StoreError: If the database was opened for reading only.
        """
        if self.read_only:
            raise StoreError(f"{self.name} was opened for reading only")

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def told(self) -> Iterator[None]:
        """Turn errors of the driver into ones for people."""
        try:
            yield
        except DBAPIError as error:
            if self.path is None:
                raise explained(self.name, error) from error
            raise file_error(self.name, error.orig) from error

    def _check_references(self, connection: Connection) -> None:
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
        if broken is not None:
            raise StoreError(
                f"{self.name}: a row of {broken[0]} refers to one that is gone"
            )


def sqlite_database(
    path: Path, *, read_only: bool, name: str | None = None, is_alone: bool = False
) -> Database:
    """An existing SQLite file as a database.

    Args:
        path: The file.
        read_only: Whether writes are refused.
        name: How messages call it, if not by its path.
        is_alone: Whether to lock the file against all others from the first look at it, and to
            do without WAL, for file systems that cannot do better. There is one connection
            then, which threads use in turn.
    """
    shown, path = name or str(path), path.absolute()
    mode = "ro" if read_only else "rw"
    uri = f"file:{quote(str(path))}?mode={mode}"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            uri,
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=BUSY_TIMEOUT_MS / 1000,
        )

    one = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 3600.0} if is_alone else {}
    engine = create_engine(
        "sqlite+pysqlite://",
        creator=connect,
        poolclass=QueuePool,
        hide_parameters=True,
        **one,
    )
    pragmas = _COMMON_PRAGMAS + (_READER_PRAGMAS if read_only else _WRITER_PRAGMAS)
    if is_alone:
        pragmas = _ALONE_PRAGMAS + pragmas

    def prepare(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
        for pragma in pragmas:
            connection.execute(pragma)

    event.listen(engine, "connect", prepare)
    return Database(engine, shown, path, read_only=read_only)


def server_database(url: str, *, read_only: bool) -> Database:
    """A PostgreSQL database by URL.

    Raises:
        StoreError: If the URL cannot be understood.
        PluginError: If its driver is not installed.
    """
    engine = server_engine(server_url(url), read_only=read_only)
    return Database(engine, without_secrets(url), None, read_only=read_only)


def insert_new(place: Connection | Dialect, table: Table) -> Insert:
    """An INSERT that leaves rows alone whose key exists already."""
    dialect = place if isinstance(place, Dialect) else place.dialect
    if dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table).on_conflict_do_nothing()
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table).on_conflict_do_nothing()


def next_id(connection: Connection, table: Table) -> int:
    """The id after the largest one. Writers exclude each other, so nobody else takes it."""
    largest: int | None = _largest_id(table).value(connection)
    return (largest or 0) + 1


@cache
def _largest_id(table: Table) -> Statement:
    return Statement(select(func.max(table.c.id)))


def file_error(name: str, error: BaseException | None) -> StoreError:
    """What an error of SQLite means to a user."""
    code = str(getattr(error, "sqlite_errorname", ""))
    for start, what, next_step in _CAUSES:
        if code.startswith(start):
            cause = what.format(text=error, seconds=BUSY_TIMEOUT_MS / 1000)
            return StoreError(f"{name}: {cause}", consequence=_UNDONE, next_step=next_step)
    return StoreError(f"{name}: {error}", consequence=_UNDONE)


_UNDONE = "The transaction was undone."
_CAUSES = (
    (
        "SQLITE_CORRUPT",
        "the file is damaged ({text})",
        "take the last backup; alflow db check says what is wrong",
    ),
    ("SQLITE_NOTADB", "the file is damaged ({text})", "take the last backup"),
    ("SQLITE_BUSY", "another process kept it locked for {seconds:g} s", "try again later"),
    ("SQLITE_FULL", "the disk is full", "make room on it and go on: nothing is lost"),
    (
        "SQLITE_READONLY",
        "the file or its directory is not writable ({text})",
        "check the permissions of both",
    ),
    (
        "SQLITE_CANTOPEN",
        "it cannot be opened; SQLite needs to write to its directory even to read it",
        "check the permissions, or read a copy made by a backup",
    ),
    (
        "SQLITE_IOERR",
        "the disk does not read or write it ({text})",
        "check that the disk is there and not full",
    ),
)
"""Start of the name of an error, what it means, what to do. The first match counts."""


def _begin(connection: Connection) -> None:
    # A deferred transaction that reads first and writes later can fail at once with "database is
    # locked", whatever the busy timeout: a writer takes the lock when it begins.
    if connection.dialect.name == "sqlite":
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
