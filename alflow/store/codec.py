"""Structures, labels and JSON as column values, and back."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float

from alflow.core.canonical import canonical_json, sha256_hex
from alflow.core.errors import StoreError
from alflow.core.labels import Label
from alflow.core.structures import GEOMETRY_STEP_A, Structure

T = TypeVar("T")

AnyRow = Any
"""A result row, whatever its columns; SQLAlchemy 2.1 types rows column by column."""

Number = int | float
"""Said in full: the run-time checks of the tests do not take an int for a float."""

CHUNK = 500
"""Values in one IN list; SQLite allows some 32 thousand bound parameters."""


class MalformedLabel(ValueError):
    """A label that does not fit its structure, or is not a number."""


def chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """The values in pieces of at most `CHUNK`."""
    for start in range(0, len(values), CHUNK):
        yield values[start : start + CHUNK]


def json_text(value: Any) -> str:
    """Canonical JSON.

    Raises:
        StoreError: If the value is not JSON-like, or a number is not finite.
    """
    try:
        return canonical_json(value)
    except (TypeError, ValueError) as error:
        raise StoreError(f"a value cannot be stored as JSON: {error}") from error


def lossy_json_text(value: Any) -> str:
    """Canonical JSON in which numbers that are not finite are null."""
    return json_text(_without_nan(value))


def from_json_text(text: str | None) -> Any:
    """The inverse of `json_text`; None for NULL."""
    return None if text is None else json.loads(text)


def finite_or_none(value: Number | None) -> float | None:
    """The number, or None if it is not finite."""
    return None if value is None or not math.isfinite(value) else float(value)


def nan_if_none(value: float | None) -> float:
    """The number, or NaN for NULL."""
    return math.nan if value is None else value


def array_bytes(values: np.ndarray | None) -> bytes | None:
    """Little-endian float64 in C order; None for None."""
    return None if values is None else np.ascontiguousarray(values, "<f8").tobytes()


def array(content: bytes | None, *shape: int) -> Float[np.ndarray, "..."] | None:
    """The inverse of `array_bytes`; the array is the caller's own."""
    return None if content is None else np.frombuffer(content, "<f8").reshape(shape).copy()


def structure_values(structure: Structure) -> dict[str, Any]:
    """Column values of a structure, but for `id` and `created`."""
    return {
        "hash": structure.hash,
        "perm_hash": _permutation_hash(structure),
        "n_atoms": structure.n_atoms,
        "formula": structure.formula,
        "numbers": structure.numbers.tobytes(),
        "positions": array_bytes(structure.positions),
        "cell": array_bytes(structure.cell),
        "pbc": int(structure.pbc @ np.array([1, 2, 4])),
        "charge": structure.charge,
        "multiplicity": structure.multiplicity,
    }


def structure_from(row: AnyRow) -> Structure:
    """The structure of a row that has the columns of `structure_values`."""
    positions = array(row.positions, row.n_atoms, 3)
    if positions is None:
        raise StoreError(f"structure s-{row.id} has no positions")
    return Structure(
        np.frombuffer(row.numbers, np.uint8),
        positions,
        array(row.cell, 3, 3),
        np.array([bool(row.pbc & bit) for bit in (1, 2, 4)]),
        row.charge,
        row.multiplicity,
    )


def label_values(label: Label, n_atoms: int) -> dict[str, Any]:
    """Column values of a label's content.

    Raises:
        MalformedLabel: If a number is not finite, or an array has another shape.
    """
    shapes = {"forces": (n_atoms, 3), "stress": (6,)}
    for name, shape in shapes.items():
        values = getattr(label, name)
        if values is None:
            continue
        if values.shape != shape:
            raise MalformedLabel(f"{name} of shape {values.shape} instead of {shape}")
        if not np.isfinite(values).all():
            raise MalformedLabel(f"{name} that are not finite")
    if not math.isfinite(label.energy):
        raise MalformedLabel(f"an energy of {label.energy}")
    forces, stress = array_bytes(label.forces), array_bytes(label.stress)
    energy = float(label.energy)
    norms = None if label.forces is None else np.linalg.norm(label.forces, axis=1)
    return {
        "n_atoms": n_atoms,
        "energy": energy,
        "forces": forces,
        "stress": stress,
        "fmax": None if norms is None else float(norms.max()),
        "content_sha": label_sha(energy, forces, stress),
        "extras_json": lossy_json_text(dict(label.extras)),
    }


def label_from(row: AnyRow) -> Label:
    """The label of a row with its columns and `n_atoms`."""
    return Label(
        row.energy,
        array(row.forces, row.n_atoms, 3),
        array(row.stress, 6),
        from_json_text(row.extras_json) or {},
    )


def label_sha(energy: float, forces: bytes | None, stress: bytes | None) -> str:
    """SHA-256 of the numbers of a label, bit by bit."""
    parts = (np.float64(energy).astype("<f8").tobytes(), forces, stress)
    framed = b"".join(
        b"-" if part is None else len(part).to_bytes(8, "little") + part for part in parts
    )
    return sha256_hex(b"alflow-label-v1" + framed)


def _permutation_hash(structure: Structure) -> str:
    """The same for structures that differ in the order of their atoms only; not unique."""
    steps = np.rint(structure.positions / GEOMETRY_STEP_A).astype("<i8")
    order = np.lexsort((steps[:, 2], steps[:, 1], steps[:, 0], structure.numbers))
    digest = hashlib.blake2b(digest_size=16, person=b"alflow-perm-v1")
    digest.update(structure.numbers[order].tobytes())
    digest.update(steps[order].tobytes())
    return digest.hexdigest()


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return finite_or_none(value)
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value
