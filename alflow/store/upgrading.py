"""Brings an older store to the schema of this alflow: a backup first, then all or nothing."""

import logging
import os
import secrets
import sqlite3
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection

from alflow.core.errors import StoreError
from alflow.store import fingerprint, migrations
from alflow.store.database import Database, insert_new
from alflow.store.lease import check_unused
from alflow.store.schema import store_meta

_logger = logging.getLogger(__name__)


def upgrade(database: Database, revision: str) -> None:
    """Migrate a store from an older revision to the newest one.

    Raises:
        LeaseHeld: If a manager runs, which would find tables that it does not know.
        StoreError: If there is no room for a backup, or the migration fails. The store is as it
            was then.
    """
    with database.read() as connection:
        check_unused(connection, database.name)
    if database.path is None:
        backup = "no backup can be made from here: pg_dump makes one"
    else:
        backup = f"a backup is {_back_up(database.path, revision).name}"
    newest = migrations.REVISIONS[-1]
    _logger.warning(
        "%s: store schema %s is upgraded to %s; %s", database.name, revision, newest, backup
    )
    with database.migrate() as connection:
        migrations.upgrade(connection)
        fingerprint.check(connection, database.name, newest)
        check_unused(connection, database.name)
        _note(connection)


def _note(connection: Connection) -> None:
    """Write down who may read the store from now on."""
    meta = {"min_reader_version": migrations.MIN_READER, "migrated_by": version("alflow")}
    for key, value in meta.items():
        connection.execute(insert_new(connection, store_meta).values(key=key, value=value))
        connection.execute(
            store_meta.update().where(store_meta.c.key == key).values(value=value)
        )


def _back_up(path: Path, revision: str) -> Path:
    """A copy of a SQLite store beside it, whole or not at all."""
    backup = path.with_name(f"{path.name}.backup-{revision}")
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.backup")
    try:
        with closing(sqlite3.connect(_uri(path), uri=True)) as connection:
            connection.execute("VACUUM INTO ?", (str(draft),))
        # Another process may have migrated the store meanwhile: then its backup is the right one.
        if _checked_revision(draft) == revision:
            _sync(draft)
            draft.replace(backup)
            _sync(path.parent)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(
            f"{path.name} cannot be backed up before its schema is upgraded: {error}",
            consequence="Nothing in it was changed.",
            next_step="make room beside it, or open it with the alflow that wrote it",
        ) from error
    finally:
        draft.unlink(missing_ok=True)
    return backup


def _checked_revision(path: Path) -> str | None:
    with closing(sqlite3.connect(_uri(path), uri=True)) as connection:
        if connection.execute("PRAGMA quick_check").fetchall() != [("ok",)]:
            raise sqlite3.DatabaseError("the copy is damaged")
        row = connection.execute(f"SELECT version_num FROM {migrations.VERSION_TABLE}")  # noqa: S608 (a constant)
        found = row.fetchone()
    return None if found is None else str(found[0])


def _uri(path: Path) -> str:
    return f"file:{quote(str(path.absolute()))}?mode=ro"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
