"""Opens a store, or says why not. A refusal creates and touches nothing."""

import os
import secrets
import sqlite3
import uuid
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import inspect, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from alflow.core.errors import NotAnAlflowStore, SchemaMismatch, StoreError
from alflow.core.structures import HASH_SCHEME
from alflow.store import migrations
from alflow.store.database import (
    APPLICATION_ID,
    PAGE_SIZE,
    Database,
    server_database,
    sqlite_database,
)
from alflow.store.filesystem import network_filesystem
from alflow.store.schema import store_meta
from alflow.store.store import Store

_MAGIC = b"SQLite format 3\x00"
_HEADER_BYTES = 100
_APPLICATION_ID_AT = slice(68, 72)


def open_store(url: str | Path, *, create: bool = False, read_only: bool = False) -> Store:
    """Open the store at a path or URL.

    Args:
        url: Path of a SQLite file, `sqlite:///PATH`, or a `postgresql://` URL.
        create: Make a new store if there is none.
        read_only: Refuse writes; the database is never changed, not even migrated.

    Raises:
        NotAnAlflowStore: If it is something else.
        SchemaMismatch: If a newer alflow wrote it.
        StoreError: If it is missing, damaged, unreadable, or not writable.
    """
    path = _path_of(url)
    if path is None:
        database = server_database(str(url), read_only=read_only)
    else:
        _check_file(path, create=create, read_only=read_only)
        if not path.exists() or path.stat().st_size == 0:
            _create_file(path)
        database = sqlite_database(path, read_only=read_only)
    try:
        _check_schema(database, create=create)
    except BaseException:
        database.close()
        raise
    return Store(database)


def _path_of(url: str | Path) -> Path | None:
    if isinstance(url, Path) or "://" not in url:
        return _real(Path(url))
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        # The text may hold a password: it is not repeated.
        raise StoreError("the database URL cannot be understood") from error
    if parsed.get_backend_name() == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise StoreError("a store cannot live in memory: name a file")
        return _real(Path(parsed.database))
    if parsed.get_backend_name() != "postgresql":
        raise StoreError(
            f"alflow cannot keep a store in {parsed.get_backend_name()!r}",
            next_step="use a file name, sqlite:///PATH or postgresql://HOST/NAME",
        )
    return None


def _real(path: Path) -> Path:
    # The lock lies beside the file: two names of one file must not be two locks.
    return path.resolve() if path.is_symlink() else path


def _check_file(path: Path, *, create: bool, read_only: bool) -> None:
    creates = create and not read_only
    if path.is_dir():
        raise StoreError(f"{path} is a directory, not a database", code="AL103")
    if not path.exists():
        if not creates:
            raise StoreError(
                f"there is no database {path}",
                consequence="Nothing was created.",
                next_step="alflow run CAMPAIGN.yaml starts a campaign and its database",
            )
        if not path.parent.is_dir():
            raise StoreError(f"there is no directory {path.parent}", code="AL103")
    elif not os.access(path, os.R_OK):
        raise StoreError(f"{path} cannot be read: no permission", code="AL103")
    elif path.stat().st_size > 0 or not creates:
        _check_header(path)
    if not read_only:
        _check_writable(path)


def _check_header(path: Path) -> None:
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be read: {error.strerror}", code="AL103"
        ) from error
    if not header.startswith(_MAGIC):
        raise NotAnAlflowStore(f"{path} is not a database")
    if header[_APPLICATION_ID_AT] != APPLICATION_ID.to_bytes(4, "big"):
        raise NotAnAlflowStore(
            f"{path} is a database of something else, not an alflow store"
        )


def _check_writable(path: Path) -> None:
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise StoreError(
            f"the directory {path.parent} is not writable", code="AL103",
            consequence="A database needs it for its journal.",
        )  # fmt: skip
    if path.exists() and not os.access(path, os.W_OK):
        raise StoreError(f"{path} is not writable", code="AL103")
    filesystem = network_filesystem(path.parent)
    if filesystem is not None:
        raise StoreError(
            f"{path} is on a network file system ({filesystem}), where SQLite databases get "
            "damaged",
            consequence="Nothing was created or changed.",
            next_step="put the database on a disk of this machine, or use postgresql://HOST/NAME",
        )


def _create_file(path: Path) -> None:
    """Write a complete store under another name, then give it its name in one step.

    Processes that create the same store at the same time agree on one of the files.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    try:
        with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA page_size={PAGE_SIZE}")
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        database = sqlite_database(draft, read_only=False)
        try:
            _create_schema(database)
        finally:
            database.close()
        with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
        if path.exists() and path.stat().st_size == 0:
            path.unlink()
        os.link(draft, path)
    except FileExistsError:
        return
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{path} cannot be created: {error}", code="AL103") from error
    finally:
        draft.unlink(missing_ok=True)


def _create_schema(database: Database) -> None:
    with database.write() as connection:
        migrations.upgrade(connection)
        connection.execute(
            store_meta.insert(),
            [
                {"key": "store_uuid", "value": str(uuid.uuid4())},
                {"key": "created_by", "value": version("alflow")},
                {"key": "min_reader_version", "value": migrations.MIN_READER},
                {"key": "hash_scheme", "value": HASH_SCHEME},
            ],
        )


def _check_schema(database: Database, *, create: bool) -> None:
    with database.read() as connection:
        tables = set(inspect(connection).get_table_names())
        known = migrations.VERSION_TABLE in tables and store_meta.name in tables
        revision = migrations.revision(connection) if known else None
        rows = (
            connection.execute(select(store_meta.c.key, store_meta.c.value))
            if known
            else ()
        )
        meta = {row.key: row.value for row in rows}
    if not tables and create and not database.read_only:
        _create_schema(database)
        return
    if revision is None:
        raise NotAnAlflowStore(f"{database.name} is not an alflow store")
    if meta.get("hash_scheme") != HASH_SCHEME:
        raise SchemaMismatch(
            f"{database.name} names structures by {meta.get('hash_scheme')!r}; "
            f"this alflow knows {HASH_SCHEME!r}"
        )
    if revision in migrations.REVISIONS:
        _upgrade(database, revision)
    elif not (
        database.read_only and meta.get("min_reader_version") in migrations.REVISIONS
    ):
        raise SchemaMismatch(
            f"{database.name} has store schema {revision}, written by alflow "
            f"{meta.get('created_by', 'unknown')}; this alflow {version('alflow')} knows up to "
            f"{migrations.REVISIONS[-1]}",
            consequence="Nothing in it was touched.",
            next_step="upgrade alflow to open it",
        )


def _upgrade(database: Database, revision: str) -> None:
    if revision == migrations.REVISIONS[-1]:
        return
    if database.read_only:
        raise SchemaMismatch(
            f"{database.name} has store schema {revision}, older than this alflow",
            next_step="open it for writing once: alflow resume",
        )
    with database.write() as connection:
        migrations.upgrade(connection)
