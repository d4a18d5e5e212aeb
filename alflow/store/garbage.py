"""Finds and deletes what nothing refers to any more, and what can be made again at any time.

Content that a row or a file name refers to is never touched. The rest must have been there for
a grace time, and while it is deleted the lease of the campaign is held: nobody else writes.
"""

import re
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sqlalchemy import Column, ColumnElement, Connection, and_, exists, func, select

from alflow.core.errors import StoreError
from alflow.core.tasks import TaskState
from alflow.store import blobs
from alflow.store.backup import FOLDER, PARTIAL
from alflow.store.schema import attempt, blob, campaign, event, metadata, source_file, task
from alflow.store.session import Session

GRACE_S = 24 * 3600.0
"""What is younger than this [s] is kept: it may be the beginning of something."""

CACHE, INPUTS = "cache", "blobs"
"""Folders of a campaign directory with files that are made from the store."""

_CHECKSUM = re.compile(r"\b[0-9a-f]{64}\b")
_DRAFT = re.compile(rf"\..+\.[0-9a-f]{{8}}(\.new|\.backup|\{PARTIAL})(-wal|-shm|-journal)?")
_DRAFT_OF_BLOB = re.compile(rf"[0-9a-f]{{64}}(\.new|\.[0-9a-f]{{8}}\{PARTIAL})")


class GarbageKind(StrEnum):
    """What something is that can go."""

    BLOB = "blob"
    """Content in a row that nothing refers to; its space in the file is used again."""
    BLOB_FILE = "blob file"
    """A file of large content that no row names."""
    DRAFT = "draft"
    """A file that was being written when its writer died."""
    CACHE = "cache"
    """Made from the store, and made again when it is missing."""
    INPUT = "input"
    """What tasks read that are done; made from the store."""


@dataclass(frozen=True, slots=True)
class Garbage:
    """Something that can go.

    Attributes:
        kind: What it is.
        name: Path of a file, or checksum of a row.
        size: Its size [bytes].
    """

    kind: GarbageKind
    name: str
    size: int


def find_garbage(
    store: Session, *, grace_s: float = GRACE_S, directory: Path | None = None
) -> list[Garbage]:
    """What `collect_garbage` would delete now.

    Args:
        store: The store.
        grace_s: Age at which files may go [s].
        directory: The campaign directory, if there is one.
    """
    newest = time.time() - grace_s
    with store.read() as connection:
        rows = _rows(connection, store.database.path, newest)
    return [*rows, *_files(store, newest, directory, {row.name for row in rows})]


def collect_garbage(
    store: Session, *, grace_s: float = GRACE_S, directory: Path | None = None
) -> list[Garbage]:
    """Delete garbage; what has been deleted.

    Args:
        store: The store, open for writing.
        grace_s: Age at which files may go [s].
        directory: The campaign directory, if there is one.

    Raises:
        LeaseHeld: If a manager runs the campaign.
        StoreError: If something cannot be deleted.
    """
    has_campaign = store.campaign_or_none() is not None
    newest = time.time() - grace_s
    with store.acquire_lease("alflow db gc") if has_campaign else nullcontext():
        with store.database.write() as connection:
            rows = _rows(connection, store.database.path, newest)
            for row in rows:
                # The condition again, as part of the statement.
                statement = blob.delete().where(blob.c.sha256 == row.name, _is_unused())
                connection.execute(statement)
        # The rows first: a file without a row is harmless, a row without a file is not.
        files = _files(store, newest, directory, {row.name for row in rows})
        database = store.database.path
        if database is not None:
            for row in rows:
                _unlink(blobs.file_of(database, row.name))
        for file in files:
            _unlink(Path(file.name))
    if directory is not None:
        for name in (CACHE, INPUTS):
            _remove_empty(directory / name)
    return [*rows, *files]


def _rows(connection: Connection, database: Path | None, newest: float) -> list[Garbage]:
    """Blobs that nothing refers to.

    One inside a row has no age, but is written in one transaction with what refers to it: if
    that is not there, it will not come.
    """
    query = select(blob.c.sha256, blob.c.storage, blob.c.size).where(_is_unused())
    found = []
    for row in connection.execute(query.order_by(blob.c.sha256)).all():
        if row.storage == "file" and database is not None:
            path = blobs.file_of(database, row.sha256)
            if path.is_file() and path.stat().st_mtime > newest:
                continue
        if not _is_mentioned(connection, row.sha256):
            found.append(Garbage(GarbageKind.BLOB, row.sha256, row.size))
    return found


def _is_unused() -> ColumnElement[bool]:
    return and_(*(~exists().where(column == blob.c.sha256) for column in _references()))


def _references() -> Iterator[Column[str]]:
    """Every column that may name a blob."""
    yield from (attempt.c.log_sha, source_file.c.sha256)
    for table in metadata.sorted_tables:
        for column in table.columns:
            if any(key.column is blob.c.sha256 for key in column.foreign_keys):
                yield column


def _is_mentioned(connection: Connection, sha: str) -> bool:
    """Whether settings, a task or an event speak of a checksum; reads all, so it comes last."""
    texts = (
        campaign.c.config_json,
        task.c.spec_json,
        task.c.outcome_json,
        event.c.data_json,
    )
    return any(
        connection.scalar(select(func.count()).where(column.contains(sha)))
        for column in texts
    )


def _files(
    store: Session, newest: float, directory: Path | None, counted: set[str]
) -> list[Garbage]:
    found: list[Garbage] = []
    database = store.database.path
    if database is not None:
        with store.read() as connection:
            query = select(blob.c.sha256).where(blob.c.storage == "file")
            known = counted | set(connection.execute(query).scalars())
        orphans = [path for path in blobs.files(database) if path.name not in known]
        found += _old(GarbageKind.BLOB_FILE, orphans, newest)
        found += _old(GarbageKind.DRAFT, _drafts(database), newest)
    if directory is not None:
        found += _old(GarbageKind.CACHE, _below(directory / CACHE), newest)
        with store.read() as connection:
            needed = _needed(connection)
        inputs = [path for path in _below(directory / INPUTS) if path.name not in needed]
        found += _old(GarbageKind.INPUT, inputs, newest)
    return found


def _needed(connection: Connection) -> set[str]:
    """Checksums of which tasks speak that may run again."""
    over = (TaskState.DONE, TaskState.CANCELLED)
    specs = connection.execute(select(task.c.spec_json).where(task.c.state.not_in(over)))
    return {sha for spec in specs.scalars() for sha in _CHECKSUM.findall(spec)}


def _drafts(database: Path) -> Iterator[Path]:
    folders = (database.parent, database.parent / FOLDER)
    files = blobs.folder(database)
    for folder in (*folders, *files.glob("[0-9a-f][0-9a-f]")):
        pattern = _DRAFT if folder in folders else _DRAFT_OF_BLOB
        if folder.is_dir():
            yield from (path for path in folder.iterdir() if pattern.fullmatch(path.name))


def _below(folder: Path) -> Iterator[Path]:
    if not folder.is_symlink():
        yield from (path for path in folder.rglob("*") if not path.is_dir())


def _old(kind: GarbageKind, paths: Iterable[Path], newest: float) -> Iterator[Garbage]:
    for path in sorted(paths):
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue
        if status.st_mtime <= newest:
            yield Garbage(kind, str(path), status.st_size)


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be deleted: {error.strerror}", code="AL103"
        ) from error


def _remove_empty(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
            path.rmdir()
