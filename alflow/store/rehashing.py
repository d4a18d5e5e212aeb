"""Computes every checksum in a store again from the content that it is about."""

import hashlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Column, Connection, Table, func, select

from alflow.core.canonical import sha256_hex
from alflow.core.errors import AlflowError
from alflow.store import blobs
from alflow.store.codec import (
    STRUCTURE_COLUMNS,
    AnyRow,
    array,
    chunks,
    label_digest,
    structure_from,
    structure_rows,
)
from alflow.store.database import Database
from alflow.store.schema import blob, campaign, ensemble, label, level_of_theory, structure

Found = Iterator[tuple[int, list[str]]]
"""How many were looked at, and the names of the bad ones among them; batch by batch."""

DETAILS = {
    "structures": "content and hash differ",
    "labels": "content and checksum differ",
    "settings": "settings and their checksum differ",
    "blobs": "content and checksum differ, or the file is missing",
}
_BATCH = 500
_READ_BYTES = 1 << 22


def _structures(database: Database, sample: int | None) -> Found:
    for rows in _batches(database, structure, structure.c.id, sample):
        yield len(rows), [f"s-{row.id}" for row in rows if not _is_structure_whole(row)]


def _labels(database: Database, sample: int | None) -> Found:
    for rows in _batches(database, label, label.c.id, sample):
        yield len(rows), [f"l-{row.id}" for row in rows if not _is_label_whole(row)]


def _settings(database: Database, _sample: int | None) -> Found:
    places = (
        ("campaign", campaign.c.name, campaign.c.config_json, campaign.c.config_sha),
        (
            "level",
            level_of_theory.c.name,
            level_of_theory.c.settings_json,
            level_of_theory.c.spec_hash,
        ),
        ("generation", ensemble.c.generation, ensemble.c.arch_json, ensemble.c.arch_sha),
    )
    for kind, name, content, checksum in places:
        with database.read() as connection:
            rows = connection.execute(select(name, content, checksum)).all()
        bad = [
            f"{kind} {called}"
            for called, words, sha in rows
            if sha256_hex(words.encode()) != sha
        ]
        yield len(rows), bad


def _blobs(database: Database, sample: int | None) -> Found:
    with database.read() as connection:
        names = _sampled(connection, blob.c.sha256, sample)
    for name in names:
        # One at a time: each may be large.
        with database.read() as connection:
            row = connection.execute(
                select(blob).where(blob.c.sha256 == name)
            ).one_or_none()
        # None: collected as garbage since the names were read.
        problem = None if row is None else _blob_problem(database.path, row)
        yield 1, [f"{name[:12]} {problem}"] if problem else []


REHASHED: dict[str, Callable[[Database, int | None], Found]] = {
    "structures": _structures,
    "labels": _labels,
    "settings": _settings,
    "blobs": _blobs,
}
"""By name of the check."""


def blob_files(
    connection: Connection, database: Path
) -> tuple[dict[Path, int], dict[Path, int]]:
    """All files beside a database, and those that no row names; with their sizes."""
    files = {path: path.stat().st_size for path in blobs.files(database)}
    # The rows after the files: a file that is written now gets its row later.
    query = select(blob.c.sha256).where(blob.c.storage == "file")
    known = set(connection.execute(query).scalars())
    return files, {path: size for path, size in files.items() if path.name not in known}


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file of any size."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(_READ_BYTES):
            digest.update(part)
    return digest.hexdigest()


def _is_structure_whole(row: AnyRow) -> bool:
    if len(row.numbers) != row.n_atoms:
        return False
    try:
        (expected,) = structure_rows([structure_from(row)])
    except (AlflowError, ValueError):
        return False
    _, *names = STRUCTURE_COLUMNS
    return expected == (bytes.fromhex(row.hash), *(getattr(row, name) for name in names))


def _is_label_whole(row: AnyRow) -> bool:
    if label_digest(row.energy, row.forces, row.stress).hex() != row.content_sha:
        return False
    try:
        forces = array(row.forces, row.n_atoms, 3)
    except ValueError:
        return False
    if forces is None or row.fmax is None:
        return (forces is None) == (row.fmax is None)
    # Another build of numpy may round the last digit of the norm otherwise.
    return math.isclose(float(np.linalg.norm(forces, axis=1).max()), row.fmax, rel_tol=1e-9)


def _blob_problem(database: Path | None, row: AnyRow) -> str | None:
    if row.storage == "inline":
        is_whole = sha256_hex(row.data) == row.sha256 and len(row.data) == row.size
        return None if is_whole else "is damaged"
    path = None if database is None else blobs.file_of(database, row.sha256)
    if path is None or not path.is_file():
        return "has no file"
    is_whole = path.stat().st_size == row.size and sha256_of_file(path) == row.sha256
    return None if is_whole else "is damaged"


def _batches(
    database: Database, table: Table, key: Column[int], sample: int | None
) -> Iterator[list[AnyRow]]:
    """All rows, or some at random; each batch in a short transaction of its own."""
    if sample is not None:
        with database.read() as connection:
            names = _sampled(connection, key, sample)
        for part in chunks(names):
            with database.read() as connection:
                yield list(connection.execute(select(table).where(key.in_(part))))
        return
    last = -(2**63)
    while True:
        with database.read() as connection:
            query = select(table).where(key > last).order_by(key).limit(_BATCH)
            rows: list[AnyRow] = list(connection.execute(query))
        if not rows:
            return
        yield rows
        last = rows[-1].id


def _sampled(connection: Connection, key: Column[Any], sample: int | None) -> list[Any]:
    query = select(key).order_by(key if sample is None else func.random()).limit(sample)
    return list(connection.execute(query).scalars())
