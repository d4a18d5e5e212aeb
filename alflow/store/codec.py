"""Structures, labels and JSON as column values, and back."""

import hashlib
import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float

from alflow.core.canonical import canonical_json
from alflow.core.errors import StoreError
from alflow.core.labels import Label
from alflow.core.structures import Structure, formulas_of, hashes_of

T = TypeVar("T")

AnyRow = Any
"""A result row, whatever its columns; SQLAlchemy 2.1 types rows column by column."""

Number = int | float
"""Said in full: the run-time checks of the tests do not take an int for a float."""

CHUNK = 500
"""Values in one IN list; SQLite allows some 32 thousand bound parameters."""


_FLOAT64 = np.dtype("<f8")
_DOUBLE, _SIZE = struct.Struct("<d"), struct.Struct("<q")
_DIGEST_HEAD = b"alflow-label-v1" + _SIZE.pack(_DOUBLE.size)


class MalformedLabel(ValueError):
    """A label that does not fit its structure, or is not a number."""


def chunks(values: Sequence[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    """The values in pieces of at most this size."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


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


def hashes_bytes(hashes: Sequence[str]) -> bytes | None:
    """Hashes of structures, 32 bytes each, one after another; None for none."""
    return bytes.fromhex("".join(hashes)) or None


def hashes_from(content: bytes | None) -> tuple[str, ...]:
    """The inverse of `hashes_bytes`."""
    text = (content or b"").hex()
    return tuple(text[k : k + 64] for k in range(0, len(text), 64))


def array_bytes(values: np.ndarray | None) -> bytearray | None:
    """Little-endian float64 in C order; None for None.

    Not bytes: the driver of SQLite takes them after a search for an adapter, which costs more
    than to write them; it has none of that for bytearrays.
    """
    if values is None:
        return None
    return bytearray(np.ascontiguousarray(values, _FLOAT64).data)


def _all_bytes(arrays: Sequence[np.ndarray | None]) -> list[bytearray | None]:
    """`array_bytes` of many arrays, made together: quicker than one by one."""
    given = [one for one in arrays if one is not None]
    if not given:
        return [None] * len(arrays)
    content = bytearray(np.concatenate(given, axis=None).astype(_FLOAT64, copy=False).data)
    found: list[bytearray | None] = []
    at = 0
    for one in arrays:
        end = at if one is None else at + _DOUBLE.size * one.size
        found.append(None if one is None else content[at:end])
        at = end
    return found


def array(content: bytes | None, *shape: int) -> Float[np.ndarray, "..."] | None:
    """The inverse of `array_bytes`; the array is the caller's own."""
    return None if content is None else np.frombuffer(content, "<f8").reshape(shape).copy()


STRUCTURE_COLUMNS = (
    "hash",
    "n_atoms",
    "formula",
    "numbers",
    "positions",
    "cell",
    "pbc",
    "charge",
    "multiplicity",
)
"""Columns of a structure, but for `id` and `created`."""


def structure_rows(structures: Sequence[Structure]) -> list[tuple[Any, ...]]:
    """Values of `STRUCTURE_COLUMNS` as the driver takes them."""
    columns = zip(
        structures,
        hashes_of(structures),
        formulas_of(structures),
        _all_bytes([one.positions for one in structures]),
        _all_bytes([one.cell for one in structures]),
        strict=True,
    )
    rows = []
    for one, name, formula, positions, cell in columns:
        a, b, c = one.pbc.tolist()
        rows.append(
            (
                bytearray.fromhex(name),
                len(one.numbers),
                formula,
                bytearray(one.numbers.data),
                positions,
                cell,
                a + 2 * b + 4 * c,
                one.charge,
                one.multiplicity,
            )
        )
    return rows


def structure_from(row: AnyRow) -> Structure:
    """The structure of a row that has the columns of `structure_rows`."""
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


LABEL_COLUMNS = (
    "n_atoms",
    "energy",
    "forces",
    "stress",
    "fmax",
    "content_sha",
    "extras_json",
)
"""Columns of a label's content."""


def label_rows(
    results: Sequence[tuple[Label, int]],
) -> list[tuple[Any, ...] | MalformedLabel]:
    """Values of `LABEL_COLUMNS` as the driver takes them, or what is wrong with a label.

    Args:
        results: Labels, with the number of atoms of their structures.
    """
    return [row for part in chunks(results) for row in _label_rows(part)]


class _Content(NamedTuple):
    """Arrays of a label, if they have the right shape, with their largest squared norms."""

    forces: bytearray | None
    forces_square: float
    stress: bytearray | None
    stress_square: float


def _label_rows(
    results: Sequence[tuple[Label, int]],
) -> Iterator[tuple[Any, ...] | MalformedLabel]:
    forces = [_fitting(one.forces, (n_atoms, 3)) for one, n_atoms in results]
    stresses = [_fitting(one.stress, (6,)) for one, _ in results]
    contents = zip(
        _all_bytes(forces),
        _largest_squares(forces, 3),
        _all_bytes(stresses),
        _largest_squares(stresses, 6),
        strict=True,
    )
    for (one, n_atoms), content in zip(results, contents, strict=True):
        try:
            yield _label_row(one, n_atoms, _Content(*content))
        except MalformedLabel as error:
            yield error


def _label_row(label: Label, n_atoms: int, content: _Content) -> tuple[Any, ...]:
    # A square that is not finite: not a number, a wrong shape, or only a large one.
    fmax = None
    if label.forces is not None:
        if math.isfinite(content.forces_square):
            fmax = math.sqrt(content.forces_square)
        else:
            _check_finite("forces", label.forces, (n_atoms, 3))
            fmax = float(np.hypot.reduce(label.forces, axis=1).max())
    if label.stress is not None and not math.isfinite(content.stress_square):
        _check_finite("stress", label.stress, (6,))
    if not math.isfinite(label.energy):
        raise MalformedLabel(f"an energy of {label.energy}")
    # SQLite does not keep the sign of zero, which the checksum would see.
    energy = float(label.energy) + 0.0
    return (
        n_atoms,
        energy,
        content.forces,
        content.stress,
        fmax,
        label_digest(energy, content.forces, content.stress),
        lossy_json_text(dict(label.extras)) if label.extras else None,
    )


def _fitting(values: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray | None:
    return values if values is not None and values.shape == shape else None


def _largest_squares(arrays: Sequence[np.ndarray | None], width: int) -> list[float]:
    """The largest squared norm of a row of each array; not finite if a number in it is not."""
    sizes = [0 if one is None else one.size // width for one in arrays]
    found = [math.nan] * len(arrays)
    given = [k for k, size in enumerate(sizes) if size]
    if given:
        every = np.concatenate([arrays[k] for k in given], axis=None).reshape(-1, width)
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.einsum("ij,ij->i", every, every)
        starts = np.cumsum([0, *(sizes[k] for k in given[:-1])])
        largest = np.maximum.reduceat(squares, starts).tolist()
        for k, square in zip(given, largest, strict=True):
            found[k] = square
    return found


def _check_finite(name: str, values: np.ndarray, shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        raise MalformedLabel(f"{name} of shape {values.shape} instead of {shape}")
    if not all(map(math.isfinite, values.ravel().tolist())):
        raise MalformedLabel(f"{name} that are not finite")


def label_from(row: AnyRow) -> Label:
    """The label of a row with its columns and `n_atoms`."""
    return Label(
        row.energy,
        array(row.forces, row.n_atoms, 3),
        array(row.stress, 6),
        from_json_text(row.extras_json) or {},
    )


def label_digest(
    energy: float, forces: bytes | bytearray | None, stress: bytes | bytearray | None
) -> bytearray:
    """SHA-256 of the numbers of a label, bit by bit."""
    parts: list[bytes | bytearray] = [_DIGEST_HEAD, _DOUBLE.pack(energy)]
    for part in (forces, stress):
        parts += (b"-",) if part is None else (_SIZE.pack(len(part)), part)
    return bytearray(hashlib.sha256(b"".join(parts)).digest())


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return finite_or_none(value)
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value
