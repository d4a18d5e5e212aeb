"""Moves a whole campaign to another database, of the same kind or of the other one.

Rows keep their ids. All are written in one transaction of the target, then read back: a checksum
over every value of every table must be the same on both sides, or nothing is kept.
"""

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, Table, func, select

from alflow.core.errors import SchemaMismatch, StoreError
from alflow.store import blobs, migrations
from alflow.store.codec import AnyRow, chunks
from alflow.store.digest import content_digest
from alflow.store.lease import clock, is_alive
from alflow.store.opening import file_of, open_store, stored_revision
from alflow.store.schema import blob, campaign, manager_lease, metadata, store_meta
from alflow.store.store import Store

_BATCH = 500


@dataclass(frozen=True, slots=True)
class Copied:
    """What was copied.

    Attributes:
        source: How messages call the source.
        target: How messages call the target.
        campaign: Name of the campaign; empty if there was none.
        rows: Number of rows by table.
        digest: Checksum of what the campaign has found out, the same in both.
        is_running: Whether a manager seems to run the source: the copy is of one moment.
    """

    source: str
    target: str
    campaign: str
    rows: dict[str, int]
    digest: str
    is_running: bool


@dataclass(frozen=True, slots=True)
class _Place:
    connection: Connection
    path: Path | None


def copy_store(source_url: str | Path, target_url: str | Path) -> Copied:
    """Copy a store to a database that is new or empty.

    Args:
        source_url: The store; it is only read.
        target_url: Where to; a SQLite file must not exist, or hold an empty store.

    Raises:
        SchemaMismatch: If the source is older than this alflow, or newer.
        StoreError: If the target is not empty, cannot hold the content, or differs in the end.
    """
    _check_revision(source_url)
    path = file_of(target_url)
    is_new = path is not None and not path.exists()
    with open_store(source_url, read_only=True) as source:
        try:
            with open_store(target_url, create=True) as target:
                return _copy_all(source, target)
        except BaseException:
            # A server's empty tables stay; a file that was made for the copy goes.
            if path is not None and is_new:
                _forget(path)
            raise


def _copy_all(source: Store, target: Store) -> Copied:
    with source.read() as connection, target.database.write() as to:
        _check_empty(to, target.name)
        return _copy(source, target, connection, to)


def _forget(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    shutil.rmtree(blobs.folder(path), ignore_errors=True)


def _check_revision(url: str | Path) -> None:
    revision, newest = stored_revision(url), migrations.REVISIONS[-1]
    if revision != newest:
        raise SchemaMismatch(
            f"the source has store schema {revision}, and a copy can only be made of {newest}",
            consequence="Nothing was copied.",
            next_step="alflow db upgrade SOURCE, or a newer alflow",
        )


def _check_empty(connection: Connection, name: str) -> None:
    for table in metadata.sorted_tables:
        if (
            table is store_meta
            or connection.execute(select(table).limit(1)).first() is None
        ):
            continue
        found = connection.scalar(select(campaign.c.name).limit(1))
        raise StoreError(
            f"{name} is not empty"
            + (f": it holds campaign {found!r}" if found else f": {table.name} has rows"),
            code="AL323",
            consequence="Nothing was copied.",
            next_step="name a new file, or an empty database on the server",
        )


def _copy(source: Store, target: Store, connection: Connection, to: Connection) -> Copied:
    here = _Place(connection, source.database.path)
    there = _Place(to, target.database.path)
    to.execute(store_meta.delete())
    rows: dict[str, int] = {}
    for table in metadata.sorted_tables:
        rows[table.name], sent = _copy_table(table, here, there)
        if _digest(_rows(table, there)) != sent:
            raise _differs(target.name, f"table {table.name}")
    _set_sequences(to)
    digest = content_digest(connection)
    if content_digest(to) != digest:
        raise _differs(target.name, "the content digest")
    lease = connection.execute(select(manager_lease)).first()
    is_running = lease is not None and is_alive(lease, clock(connection))
    name = connection.scalar(select(campaign.c.name).limit(1)) or ""
    return Copied(source.name, target.name, name, rows, digest, is_running)


def _differs(name: str, what: str) -> StoreError:
    return StoreError(
        f"{what} of {name} differs from that of the source",
        code="AL323",
        consequence="The copy was undone.",
        next_step="alflow db check SOURCE tells whether the source is whole",
    )


def _copy_table(table: Table, here: _Place, there: _Place) -> tuple[int, bytes]:
    """Copy the rows in an order in which what they refer to comes first."""
    n_rows = 0
    for batch in _ordered(table, here.connection):
        rows = [_moved(table, row, here.path, there.path) for row in batch]
        there.connection.execute(table.insert(), rows)
        n_rows += len(rows)
    return n_rows, _digest(_rows(table, here))


def _moved(
    table: Table, row: AnyRow, here: Path | None, there: Path | None
) -> dict[str, Any]:
    values = dict(row._mapping)  # noqa: SLF001 (that is the name of SQLAlchemy's public view)
    if table is manager_lease:
        # Nobody holds the copy.
        values["expires"] = 0.0
    if table is blob:
        content = blobs.content_of(row, here)
        values = blobs.prepare(there, content, row.media_type)
    return values


def _ordered(table: Table, connection: Connection) -> Iterator[Sequence[AnyRow]]:
    """All rows in batches; rows that others of the same table refer to come before those."""
    own = [key.parent for key in table.foreign_keys if key.column.table is table]
    size = 1 if table is blob else _BATCH
    if not own:
        ordered = select(table).order_by(*table.primary_key.columns)
        yield from _streamed(connection, ordered, size)
        return
    ((key,), (column,)) = list(table.primary_key.columns), own
    yield from _streamed(
        connection, select(table).where(column.is_(None)).order_by(key), size
    )
    for names in _layers(connection, key, column):
        for part in chunks(names):
            yield connection.execute(select(table).where(key.in_(part)).order_by(key)).all()


def _streamed(connection: Connection, query: Any, size: int) -> Iterator[Sequence[AnyRow]]:
    options = {"yield_per": size}
    yield from connection.execute(query, execution_options=options).partitions()


def _layers(
    connection: Connection, key: Column[Any], column: Column[Any]
) -> Iterator[list[Any]]:
    """Keys of the rows that refer to others, in layers that refer to earlier ones only."""
    query = select(key, column).where(column.is_not(None))
    waiting: dict[Any, Any] = {row[0]: row[1] for row in connection.execute(query)}
    while waiting:
        ready = sorted(name for name, needs in waiting.items() if needs not in waiting)
        if not ready:
            raise StoreError(
                f"rows of {key.table.name} refer to each other in a circle, "
                f"for example {min(waiting)}",
                code="AL323",
                consequence="The copy was undone.",
            )
        yield ready
        for name in ready:
            del waiting[name]


def _rows(table: Table, place: _Place) -> Iterator[Sequence[Any]]:
    """The values that must be the same in both, row by row."""
    columns = [column for column in table.columns if column is not manager_lease.c.expires]
    if table is blob:
        # Where content lies may differ; that it is whole is seen when it is read.
        columns = [blob.c.sha256, blob.c.size, blob.c.media_type]
    query = select(*columns).order_by(*table.primary_key.columns)
    for rows in _streamed(place.connection, query, _BATCH):
        yield from rows


def _digest(rows: Iterator[Sequence[Any]]) -> bytes:
    digest = hashlib.sha256()
    for row in rows:
        for value in row:
            content = value if isinstance(value, bytes) else repr(_plain(value)).encode()
            digest.update(f"{type(value).__name__} {len(content)} ".encode())
            digest.update(content)
    return digest.digest()


def _plain(value: Any) -> Any:
    # SQLite does not keep the sign of zero.
    return value + 0.0 if isinstance(value, float) else value


def _set_sequences(connection: Connection) -> None:
    """Let the server go on counting where the rows end."""
    if connection.dialect.name != "postgresql":
        return
    for table in metadata.sorted_tables:
        for column in table.primary_key.columns:
            sequence = connection.scalar(
                select(func.pg_get_serial_sequence(table.name, column.name))
            )
            largest = connection.scalar(select(func.max(column))) if sequence else None
            if largest is not None:
                connection.execute(select(func.setval(sequence, largest)))
