"""A connection to the database, with transactions that begin as they should."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import (
    Connection,
    Engine,
    QueuePool,
    create_engine,
    event,
    func,
    make_url,
    select,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql.expression import Insert
from sqlalchemy.sql.schema import Table

from alflow.core.errors import PluginError, StoreError

BUSY_TIMEOUT_MS = 30_000
PAGE_SIZE = 16_384
APPLICATION_ID = 0x616C666C
"""Marks a SQLite file as ours ("alfl"); read from its header before SQLite touches the file."""

_COMMON_PRAGMAS = (
    f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}",
    "PRAGMA trusted_schema=OFF",
    "PRAGMA cell_size_check=ON",
    "PRAGMA foreign_keys=ON",
)
_WRITER_PRAGMAS = ("PRAGMA synchronous=FULL", "PRAGMA journal_size_limit=67108864")
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
        is_server = engine.dialect.name == "postgresql"
        one_moment = {"isolation_level": "REPEATABLE READ"} if is_server else {}
        self._reader = engine.execution_options(**one_moment)
        event.listen(engine, "begin", _begin)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read transaction: all queries in it see one moment.

        Raises:
            StoreError: If the database cannot be read.
        """
        with self._told(), self._reader.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A write transaction: all or nothing.

        Raises:
            StoreError: If the database is read-only, locked, full, damaged, or refuses a row.
        """
        self.check_writable()
        with self._told(), self._writer.connect() as connection, connection.begin():
            yield connection

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
    def _told(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise StoreError(
                f"{self.name}: {_cause(error)}", consequence="The transaction was undone."
            ) from error


def sqlite_database(path: Path, *, read_only: bool) -> Database:
    """An existing SQLite file as a database."""
    name, path = str(path), path.absolute()
    mode = "ro" if read_only else "rw"
    uri = f"file:{quote(str(path))}?mode={mode}"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            uri, uri=True, isolation_level=None, check_same_thread=False, timeout=30.0
        )

    engine = create_engine(
        "sqlite+pysqlite://", creator=connect, poolclass=QueuePool, hide_parameters=True
    )
    pragmas = _COMMON_PRAGMAS + (_READER_PRAGMAS if read_only else _WRITER_PRAGMAS)

    def prepare(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
        for pragma in pragmas:
            connection.execute(pragma)

    event.listen(engine, "connect", prepare)
    return Database(engine, name, path, read_only=read_only)


def server_database(url: str, *, read_only: bool) -> Database:
    """A PostgreSQL database by URL.

    Raises:
        PluginError: If its driver is not installed.
    """
    parsed = make_url(url)
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    options = {"postgresql_readonly": True} if read_only else {}
    try:
        engine = create_engine(parsed, hide_parameters=True, execution_options=options)
    except ImportError as error:
        raise PluginError(
            f"the driver of {parsed.drivername} databases is not installed",
            code="AL201",
            next_step="pip install 'psycopg[binary]'",
        ) from error
    name = parsed.set(username=None, password=None).render_as_string()
    return Database(engine, name, None, read_only=read_only)


def insert_new(connection: Connection, table: Table) -> Insert:
    """An INSERT that leaves rows alone whose key exists already."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table).on_conflict_do_nothing()
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table).on_conflict_do_nothing()


def next_id(connection: Connection, table: Table) -> int:
    """The id after the largest one. Writers exclude each other, so nobody else takes it."""
    largest: int | None = connection.scalar(select(func.max(table.c.id)))
    return (largest or 0) + 1


def _begin(connection: Connection) -> None:
    # A deferred transaction that reads first and writes later can fail at once with "database is
    # locked", whatever the busy timeout: a writer takes the lock when it begins.
    if connection.dialect.name == "sqlite":
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _cause(error: DBAPIError) -> str:
    text = str(error.orig)
    if "malformed" in text or "not a database" in text:
        return f"the file is damaged ({text})"
    if "locked" in text:
        return f"another process kept it locked for {BUSY_TIMEOUT_MS // 1000} s"
    if "unable to open" in text:
        return "it cannot be opened; SQLite needs to write to its directory even to read it"
    return text
