"""What a program is told about a structure, and what it answers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from alflow.core.elements import SYMBOLS
from alflow.core.labels import Failure, FailureKind, Label
from alflow.core.structures import Structure

ANSWER = "label.json"
LARGEST_ANSWER_BYTES = 2**26
_KEYS = frozenset({"energy", "forces", "stress", "extras", "failure"})


class MalformedAnswer(Exception):
    """An answer that is no label: not JSON, an unknown key, a wrong shape."""


def structure_json(structure: Structure) -> str:
    """A structure as JSON: symbols, numbers, positions [Å], cell [Å], pbc, charge, multiplicity."""
    content = {
        "symbols": [SYMBOLS[number] for number in structure.numbers],
        "numbers": structure.numbers.tolist(),
        "positions": structure.positions.tolist(),
        "cell": None if structure.cell is None else structure.cell.tolist(),
        "pbc": structure.pbc.tolist(),
        "charge": structure.charge,
        "multiplicity": structure.multiplicity,
    }
    return json.dumps(content) + "\n"


def structure_extxyz(structure: Structure) -> str:
    """A structure as extended XYZ [Å], charge and multiplicity in its second line."""
    words = []
    if structure.cell is not None:
        words.append(f'Lattice="{" ".join(map(repr, structure.cell.ravel().tolist()))}"')
    words.append("Properties=species:S:1:pos:R:3")
    words.append(
        f'pbc="{" ".join("T" if periodic else "F" for periodic in structure.pbc)}"'
    )
    words.append(f"charge={structure.charge} multiplicity={structure.multiplicity}")
    atoms = zip(structure.numbers, structure.positions.tolist(), strict=True)
    rows = [f"{SYMBOLS[number]} {x!r} {y!r} {z!r}" for number, (x, y, z) in atoms]
    return "\n".join([str(structure.n_atoms), " ".join(words), *rows]) + "\n"


WRITERS: dict[str, tuple[str, Callable[[Structure], str]]] = {
    "json": ("structure.json", structure_json),
    "extxyz": ("structure.extxyz", structure_extxyz),
}
"""By format: name of the file, and what is written to it."""


def read_answer(path: Path, n_atoms: int) -> Label | Failure:
    """The label or failure in a file, whose numbers may be anything, infinite ones included.

    Raises:
        MalformedAnswer: If there is none.
    """
    if path.is_symlink() or not path.is_file():
        raise MalformedAnswer(f"it wrote no {path.name}")
    if path.stat().st_size > LARGEST_ANSWER_BYTES:
        raise MalformedAnswer(f"{path.name} exceeds {LARGEST_ANSWER_BYTES >> 20} MiB")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise MalformedAnswer(f"{path.name} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise MalformedAnswer(f"{path.name} is not a mapping")
    if strange := sorted(content.keys() - _KEYS):
        text = f"{path.name} has the key {strange[0]!r}; known: {', '.join(sorted(_KEYS))}"
        raise MalformedAnswer(text)
    if content.get("failure") is not None:
        return _failure(content["failure"])
    return _label(content, n_atoms)


def _failure(content: Any) -> Failure:
    kinds = [str(kind) for kind in FailureKind]
    is_whole = isinstance(content, dict) and isinstance(content.get("message"), str)
    if not is_whole or content.get("kind") not in kinds:
        raise MalformedAnswer(
            f"'failure' needs a message and a kind of: {', '.join(kinds)}"
        )
    return Failure(FailureKind(content["kind"]), content["message"])


def _label(content: dict[str, Any], n_atoms: int) -> Label:
    extras = content.get("extras")
    if not isinstance(extras, dict | None):
        raise MalformedAnswer("'extras' is not a mapping")
    try:
        json.dumps(extras, allow_nan=False)
    except ValueError as error:
        raise MalformedAnswer("'extras' holds a number that is not finite") from error
    energy = _numbers(content, "energy", ())
    if energy is None:
        raise MalformedAnswer("there is no energy")
    forces = _numbers(content, "forces", (n_atoms, 3))
    return Label(float(energy), forces, _numbers(content, "stress", (6,)), extras or {})


def _numbers(
    content: dict[str, Any], key: str, shape: tuple[int, ...]
) -> np.ndarray | None:
    value = content.get(key)
    if value is None:
        return None
    try:
        array = np.array(value)
    except ValueError:  # rows of different length
        array = np.array(None)
    if array.dtype.kind not in "iuf":
        raise MalformedAnswer(f"{key!r} is not made of numbers, in rows of one length")
    if array.shape != shape:
        text = f"{key!r} has the shape {list(array.shape)}, expected {list(shape)}"
        raise MalformedAnswer(text)
    return array.astype(np.float64)
