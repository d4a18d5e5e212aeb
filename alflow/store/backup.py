"""A copy of a SQLite store that is whole, taken while a manager goes on writing.

The rows are those of one moment: the copy is made inside one read transaction, which in WAL mode
hinders no writer. Large content that lies in files beside the database is copied, too, each file
checked against its name on the way. To restore a backup is to use it: `alflow resume BACKUP`.
"""

import contextlib
import hashlib
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, select

from alflow.core.errors import StoreError
from alflow.store import blobs, rehashing
from alflow.store.schema import blob, store_meta
from alflow.store.session import Session

FOLDER = "backups"
"""Where backups go by default, beside the database. Not into its own folder: commands take the
one `*.db` that they find there."""

PARTIAL = ".partial"
"""End of the name of a copy that is being made."""

_PAGES_PER_STEP = 1024
_PRIVATE = 0o600
_READ_BYTES = 1 << 22


@dataclass(frozen=True, slots=True)
class Backup:
    """A finished backup.

    Attributes:
        path: The new database.
        size: Its size [bytes].
        n_files: Files with large content beside it.
        file_bytes: Their size [bytes].
        wall_s: How long it took [s].
    """

    path: Path
    size: int
    n_files: int
    file_bytes: int
    wall_s: float


def default_target(database: Path) -> Path:
    """Where the backup of a database goes if nobody says where."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return database.parent / FOLDER / f"{database.stem}-{stamp}{database.suffix or '.db'}"


def back_up(store: Session, target: Path | None = None) -> Backup:
    """Copy a SQLite store to a new file, which only its owner can read.

    The file gets its name when it is complete, checked and on disk.

    Args:
        store: The store, which may be in use.
        target: The new file; None for a name with the time in the folder `backups`.

    Raises:
        StoreError: If the store is on a server, the target exists, the disk is full, or the
            database is damaged.
    """
    started = time.monotonic()
    database = _file_of(store)
    if target is None:
        target = default_target(database)
        _make_folder(target.parent)
    target = target.absolute()
    _check_target(target)
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}{PARTIAL}")
    try:
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _PRIVATE))
        with store.read() as connection:
            _copy_pages(connection, draft)
            large = _large_content(connection)
        _check(draft, store.name)
        n_bytes = sum(_copy_blob(database, target, sha) for sha in large)
        _sync(draft)
        _give_name(draft, target)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(
            f"{target} cannot be written: {error}",
            code="AL324",
            consequence="There is no backup.",
        ) from error
    finally:
        draft.unlink(missing_ok=True)
    size = target.stat().st_size
    return Backup(target, size, len(large), n_bytes, time.monotonic() - started)


def _file_of(store: Session) -> Path:
    path = store.database.path
    if path is None:
        raise StoreError(
            f"{store.name} is on a server, which has its own tool for backups",
            code="AL324",
            next_step="pg_dump --format=custom --file=campaign.dump DATABASE, or a copy that "
            "alflow can open:  alflow db copy URL campaign.db",
        )
    return path


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be made: {error.strerror}", code="AL324"
        ) from error


def _check_target(target: Path) -> None:
    if target.exists() or target.is_symlink():
        raise StoreError(
            f"{target} exists already", code="AL324", consequence="It was left as it is."
        )
    if not target.parent.is_dir():
        raise StoreError(f"there is no directory {target.parent}", code="AL324")


def _copy_pages(connection: Connection, draft: Path) -> None:
    # The first query fixes the moment: SQLite begins reading no earlier.
    connection.execute(select(store_meta)).all()
    source = connection.connection.driver_connection
    if not isinstance(source, sqlite3.Connection):
        raise StoreError("the database is not read through sqlite3")
    # Nobody else knows the draft, so it needs no locks, which network file systems do not have.
    with closing(sqlite3.connect(_uri(draft, "vfs=unix-none"), uri=True)) as copy:
        copy.execute("PRAGMA journal_mode=OFF")
        copy.execute("PRAGMA synchronous=OFF")
        source.backup(copy, pages=_PAGES_PER_STEP)


def _large_content(connection: Connection) -> list[str]:
    query = select(blob.c.sha256).where(blob.c.storage == "file").order_by(blob.c.sha256)
    return list(connection.execute(query).scalars())


def _check(draft: Path, name: str) -> None:
    try:
        with closing(sqlite3.connect(_uri(draft, "immutable=1"), uri=True)) as copy:
            found = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        found = str(error)
    if found != "ok":
        raise StoreError(
            f"{name} is damaged: {found}",
            code="AL324",
            consequence="There is no backup: it would be damaged, too.",
            next_step=f"alflow db check {name}",
        )


def _copy_blob(database: Path, target: Path, sha: str) -> int:
    """Copy large content under the same name beside another database; its size."""
    source, copy = blobs.file_of(database, sha), blobs.file_of(target, sha)
    if copy.is_file() and rehashing.sha256_of_file(copy) == sha:
        return copy.stat().st_size
    for folder in (copy.parent.parent, copy.parent):
        _make_folder(folder)
    draft = copy.with_name(f"{sha}.{secrets.token_hex(4)}{PARTIAL}")
    digest = hashlib.sha256()
    try:
        with source.open("rb") as given, _private_file(draft) as taken:
            while part := given.read(_READ_BYTES):
                digest.update(part)
                os.write(taken, part)
            os.fsync(taken)
        if digest.hexdigest() != sha:
            raise StoreError(
                f"{source} is damaged: its checksum differs",
                code="AL324",
                consequence="There is no backup: it would be damaged, too.",
            )
        draft.replace(copy)
    finally:
        draft.unlink(missing_ok=True)
    _sync(copy.parent)
    return copy.stat().st_size


@contextmanager
def _private_file(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _PRIVATE)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _give_name(draft: Path, target: Path) -> None:
    try:
        os.link(draft, target)
    except FileExistsError:
        raise
    except OSError:
        # Some network file systems have no hard links; there the last one to come wins.
        draft.replace(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        # Not every file system can do this for a directory.
        with contextlib.nullcontext() if path.is_file() else contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _uri(path: Path, options: str) -> str:
    return f"file:{quote(str(path))}?{options}"
