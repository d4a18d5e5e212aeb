"""Content by its checksum: small in a row, large in a file beside the database."""

import os
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from alflow.core.canonical import sha256_hex
from alflow.core.errors import StoreError
from alflow.store.schema import blob

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
    content: bytes = (
        row.data if database is None or row.data is not None else _file(database, row)
    )
    if sha256_hex(content) != sha:
        raise StoreError(f"blob {sha} is damaged: its checksum differs")
    return content


def _file(database: Path, row: Any) -> bytes:
    # The name is built from the checksum again: a database must not choose what is read.
    sha = row.sha256
    if any(letter not in "0123456789abcdef" for letter in sha):
        raise StoreError("a blob's checksum is not one")
    path = _path(database, sha)
    try:
        return path.read_bytes()
    except OSError as error:
        raise StoreError(
            f"{path} cannot be read: {error.strerror}", code="AL103"
        ) from error


def _path(database: Path, sha: str) -> Path:
    return database.with_name(f"{database.name}.blobs") / sha[:2] / sha


def _write_durably(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.new")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
