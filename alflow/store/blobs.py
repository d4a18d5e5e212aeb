"""Content by its checksum: small in a row, large in a file beside the database."""

import os
import re
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from alflow.core.canonical import sha256_hex
from alflow.core.errors import StoreError
from alflow.core.failpoints import failpoint
from alflow.store.schema import blob

_CHECKSUM = re.compile("[0-9a-f]{64}")

INLINE_BYTES = 64 * 1024 * 1024
"""Larger content goes to a file; databases get slow, and stop near 1 GB a value."""


def prepare(database: Path | None, content: bytes, media_type: str) -> dict[str, Any]:
    """Column values of a blob; large content is on disk before the row that names it.

    Args:
        database: The SQLite file, or None for a server, where all content is inline.
        content: The bytes.
        media_type: What they are.
    """
    sha = sha256_hex(content)
    values = {"sha256": sha, "size": len(content), "media_type": media_type}
    if database is None or len(content) <= INLINE_BYTES:
        return {**values, "storage": "inline", "data": content, "relpath": None}
    path = _path(database, sha)
    relpath = path.relative_to(database.parent).as_posix()
    try:
        _write_durably(path, content)
    except OSError as error:
        raise StoreError(
            f"{relpath} cannot be written: {error.strerror}", code="AL103"
        ) from error
    return {**values, "storage": "file", "data": None, "relpath": relpath}


def read(connection: Connection, database: Path | None, sha: str) -> bytes:
    """Content of a blob, its checksum verified."""
    row = connection.execute(select(blob).where(blob.c.sha256 == sha)).one_or_none()
    if row is None:
        raise StoreError(f"blob {sha} is not in the store")
    return content_of(row, database)


def content_of(row: Any, database: Path | None) -> bytes:
    """Content of a row of `blob`, its checksum verified.

    Raises:
        StoreError: If it is damaged, or its file cannot be read.
    """
    content: bytes = (
        row.data if database is None or row.data is not None else _file(database, row)
    )
    if sha256_hex(content) != row.sha256:
        raise StoreError(f"blob {row.sha256} is damaged: its checksum differs")
    return content


def folder(database: Path) -> Path:
    """Where the files of a database lie; nothing else is in it."""
    return database.with_name(f"{database.name}.blobs")


def file_of(database: Path, sha: str) -> Path:
    """Where the file of a blob lies.

    The name is built from the checksum again: a database must not choose what is read.

    Raises:
        StoreError: If that is not a checksum.
    """
    if _CHECKSUM.fullmatch(sha) is None:
        raise StoreError("a blob's checksum is not one")
    return _path(database, sha)


def files(database: Path) -> list[Path]:
    """All files of blobs that lie beside a database, whether a row names them or not."""
    return sorted(
        path
        for path in folder(database).glob("[0-9a-f][0-9a-f]/*")
        if _CHECKSUM.fullmatch(path.name) and path.is_file() and not path.is_symlink()
    )


def _file(database: Path, row: Any) -> bytes:
    path = file_of(database, row.sha256)
    try:
        return path.read_bytes()
    except OSError as error:
        raise StoreError(
            f"{path} cannot be read: {error.strerror}", code="AL103"
        ) from error


def _path(database: Path, sha: str) -> Path:
    return folder(database) / sha[:2] / sha


def _write_durably(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.new")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    failpoint("file.weights.before")
    draft.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    failpoint("file.weights.after")
