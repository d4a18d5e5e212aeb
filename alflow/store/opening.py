"""Opens a store, or says why not. A refusal creates and touches nothing."""

import os
import secrets
import shlex
import sqlite3
import uuid
from contextlib import closing, suppress
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import inspect, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from alflow.core.errors import NotAnAlflowStore, SchemaMismatch, StoreError
from alflow.core.failpoints import failpoint
from alflow.core.structures import HASH_SCHEME
from alflow.store import fingerprint, migrations, upgrading
from alflow.store.database import (
    APPLICATION_ID,
    PAGE_SIZE,
    Database,
    server_database,
    sqlite_database,
)
from alflow.store.filesystem import (
    is_allowed_on_network,
    network_filesystem,
    refusal,
)
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
    is_alone = False
    if path is None:
        database = server_database(str(url), read_only=read_only)
    else:
        _check_file(path, create=create, read_only=read_only)
        if not path.exists() or path.stat().st_size == 0:
            _create_file(path)
        is_alone = not read_only and network_filesystem(path.parent) is not None
        database = sqlite_database(path, read_only=read_only, is_alone=is_alone)
    try:
        _check_schema(database, create=create)
        if path is not None and not read_only and not is_alone:
            _use_wal(database, path)
    except BaseException:
        database.close()
        raise
    return Store(database)


def is_blank(url: str | Path) -> bool:
    """Whether there is nothing yet: no file at a path, no tables in a server's database.

    Raises:
        StoreError: If the server cannot be asked.
    """
    path = _path_of(url)
    if path is not None:
        return not path.exists()
    database = server_database(str(url), read_only=True)
    try:
        with database.read() as connection:
            return not inspect(connection).get_table_names()
    finally:
        database.close()


def file_of(url: str | Path) -> Path | None:
    """The SQLite file that a path or URL names; None for a server.

    Raises:
        StoreError: If the URL cannot be understood, or a store cannot be kept there.
    """
    return _path_of(url)


def stored_revision(url: str | Path) -> str:
    """Revision of the schema of an existing store, of whatever age; nothing is changed.

    Raises:
        NotAnAlflowStore: If it is something else.
        StoreError: If it is missing, damaged or unreadable.
    """
    path = _path_of(url)
    if path is None:
        database = server_database(str(url), read_only=True)
    else:
        _check_file(path, create=False, read_only=True)
        database = sqlite_database(path, read_only=True)
    try:
        with database.read() as connection:
            known = migrations.VERSION_TABLE in inspect(connection).get_table_names()
            found = migrations.revision(connection) if known else None
    finally:
        database.close()
    if found is None:
        raise NotAnAlflowStore(f"{database.name} is not an alflow store")
    return found


def is_store(path: Path) -> bool:
    """Whether a path leads to a SQLite file that alflow made."""
    try:
        _check_header(path)
    except StoreError:
        return False
    return True


def _path_of(url: str | Path) -> Path | None:
    if isinstance(url, Path) or "://" not in url:
        return _real(Path(url))
    if not url.startswith("sqlite"):
        return None
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StoreError("the database URL cannot be understood") from error
    if not parsed.database or parsed.database == ":memory:":
        raise StoreError("a store cannot live in memory: name a file")
    return _real(Path(parsed.database))


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
            raise StoreError(
                f"there is no directory {path.parent}",
                code="AL103",
                consequence="Nothing was created.",
                next_step=f"mkdir -p {shlex.quote(str(path.parent))}",
            )
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
        raise NotAnAlflowStore(
            f"{path} is not a database",
            consequence="Nothing in it was touched.",
            next_step="name the database of the campaign: NAME.db, where `alflow run` made it",
        )
    if header[_APPLICATION_ID_AT] != APPLICATION_ID.to_bytes(4, "big"):
        raise NotAnAlflowStore(
            f"{path} is a database of something else, not an alflow store",
            consequence="Nothing in it was touched.",
            next_step="name another file: --db FILE",
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
    if filesystem is not None and not is_allowed_on_network():
        raise refusal(path, filesystem)


def _use_wal(database: Database, path: Path) -> None:
    """Switch to WAL what was kept without: a file from a network, or made by VACUUM INTO."""
    with database.read() as connection:
        if connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal":
            return
    database.close()
    # Not possible now if another process uses it; nothing depends on it.
    with (
        suppress(sqlite3.OperationalError),
        closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as file,
    ):
        file.execute("PRAGMA journal_mode=WAL")


def _create_file(path: Path) -> None:
    """Write a complete store under another name, then give it its name in one step.

    Processes that create the same store at the same time agree on one of the files.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    try:
        with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA page_size={PAGE_SIZE}")
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        database = sqlite_database(draft, read_only=False, name=path.name)
        try:
            _create_schema(database)
        finally:
            database.close()
        if network_filesystem(path.parent) is None:
            with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
        if path.exists() and path.stat().st_size == 0:
            path.unlink()
        failpoint("file.database.before")
        os.link(draft, path)
        failpoint("file.database.after")
    except FileExistsError:
        return
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{path} cannot be created: {error}", code="AL103") from error
    finally:
        draft.unlink(missing_ok=True)


def _create_schema(database: Database) -> None:
    with database.write() as connection:
        migrations.upgrade(connection)
        if connection.scalar(select(store_meta.c.key).limit(1)) is not None:
            return  # another process was faster
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
        if revision is not None:
            fingerprint.check(connection, database.name, revision)
    if not tables and create and not database.read_only:
        _create_schema(database)
        return
    if not tables and database.path is None:
        raise NotAnAlflowStore(
            f"{database.name} is empty",
            consequence="Nothing was created.",
            next_step="alflow run CAMPAIGN.yaml --db URL starts a campaign in it",
        )
    if revision is None:
        raise NotAnAlflowStore(
            f"{database.name} is not an alflow store",
            consequence="Nothing in it was touched.",
            next_step="" if database.path else "give alflow an empty database of its own",
        )
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
            f"{meta.get('migrated_by') or meta.get('created_by', 'unknown')}; this alflow "
            f"{version('alflow')} knows up to {migrations.REVISIONS[-1]}",
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
    upgrading.upgrade(database, revision)
