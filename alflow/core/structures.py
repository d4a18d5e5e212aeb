"""A structure: atoms without results, frozen, known by the hash of its content."""

import hashlib
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Generic, TypeVar, overload

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt8

from alflow.core.elements import MASSES_AMU, SYMBOLS
from alflow.core.errors import SettingsError
from alflow.core.units import AMU_PER_ANGSTROM3_PER_G_PER_CM3

GEOMETRY_STEP_A = 1e-8
"""Positions and cells are snapped to multiples of this [Å] before they are hashed, labelled or
stored, so that a structure survives a round trip through text files with its hash unchanged."""

HASH_SCHEME = "alflow-structure-v1"

_HASH_SALT = HASH_SCHEME.encode()
_HASH_HEAD = struct.Struct("<6q")
_NO_CELL = np.zeros((3, 3))
_CELL_BYTES, _ATOM_BYTES = 72, 24
_DERIVED_TOGETHER = 256
_INT64 = np.dtype("<i8")

T = TypeVar("T")


def quantised(lengths: Float[np.ndarray, "..."]) -> Int64[np.ndarray, "..."]:
    """Lengths [Å] as multiples of `GEOMETRY_STEP_A`."""
    return np.rint(lengths / GEOMETRY_STEP_A).astype(_INT64)


def snap(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Round lengths [Å] to the grid of `GEOMETRY_STEP_A`; -0.0 becomes 0.0."""
    return np.rint(np.asarray(values, np.float64) / GEOMETRY_STEP_A) * GEOMETRY_STEP_A + 0.0


class _Derived(Generic[T]):
    """What follows from a structure, computed when it is first asked for.

    `functools.cached_property` does the same behind a lock, which costs as much as a formula.
    """

    def __init__(self, compute: Callable[["Structure"], T]) -> None:
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, structure: None, owner: type["Structure"]) -> "_Derived[T]": ...
    @overload
    def __get__(self, structure: "Structure", owner: type["Structure"]) -> T: ...
    def __get__(
        self, structure: "Structure | None", owner: type["Structure"]
    ) -> "_Derived[T] | T":
        if structure is None:
            return self
        # An entry of the instance goes before this descriptor: it is asked once.
        value = vars(structure)[self._name] = self._compute(structure)
        return value


@dataclass(frozen=True, eq=False)
class Structure:
    """Atoms, their cell, total charge and spin; no energies, no velocities.

    Geometry is snapped on construction and the arrays are read-only. Two structures are equal
    if their hashes are; the order of the atoms counts, because forces follow it.

    Attributes:
        numbers: Atomic numbers, (atoms,).
        positions: Cartesian positions [Å], (atoms, 3).
        cell: Cell vectors as rows [Å], (3, 3), or None if nothing is periodic.
        pbc: Which cell vectors are periodic, (3,).
        charge: Total charge [e].
        multiplicity: Spin multiplicity 2S+1.
    """

    numbers: UInt8[np.ndarray, " atoms"]
    positions: Float[np.ndarray, "atoms 3"]
    cell: Float[np.ndarray, "3 3"] | None = None
    pbc: Bool[np.ndarray, "3"] = field(default_factory=lambda: np.zeros(3, bool))
    charge: int = 0
    multiplicity: int = 1

    def __post_init__(self) -> None:
        """Snap, check and freeze the arrays."""
        numbers = np.array(self.numbers, np.uint8)
        positions = snap(np.array(self.positions, np.float64))
        pbc = np.array(self.pbc, bool)
        cell = None if self.cell is None else snap(np.array(self.cell, np.float64))
        _check_shapes(numbers, positions, cell, pbc)
        if cell is not None and not pbc.any():
            cell = None
        for array in (numbers, positions, cell, pbc):
            if array is not None:
                array.setflags(write=False)
        for name, value in (
            ("numbers", numbers),
            ("positions", positions),
            ("cell", cell),
            ("pbc", pbc),
        ):
            object.__setattr__(self, name, value)

    @classmethod
    def from_snapped(
        cls,
        numbers: UInt8[np.ndarray, " atoms"],
        positions: Float[np.ndarray, "atoms 3"],
        cell: Float[np.ndarray, "3 3"] | None,
        pbc: Bool[np.ndarray, "3"],
        charge: int,
        multiplicity: int,
    ) -> "Structure":
        """A structure of arrays that another one held: not checked, not copied, not snapped."""
        new = object.__new__(cls)
        values = (numbers, positions, cell, pbc, charge, multiplicity)
        for name, value in zip(_FIELDS, values, strict=True):
            object.__setattr__(new, name, value)
        return new

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.numbers)

    @property
    def is_periodic(self) -> bool:
        """Whether any direction is periodic."""
        return bool(self.pbc.any())

    @_Derived
    def hash(self) -> str:
        """BLAKE2b-256 of the quantised content, 64 hexadecimal digits."""
        cell = _NO_CELL if self.cell is None else self.cell
        return _digest(
            self,
            quantised(cell * self.pbc[:, None]).tobytes(),
            quantised(self.positions).tobytes(),
        )

    @_Derived
    def formula(self) -> str:
        """Hill formula: C and H first, then by symbol."""
        return _formulas([self])[0]

    @property
    def n_electrons(self) -> int:
        """Number of electrons, the core included."""
        return int(self.numbers.astype(int).sum()) - self.charge

    @property
    def volume_A3(self) -> float | None:
        """Volume of the cell [Å³]; None unless all three directions are periodic."""
        if self.cell is None or not self.pbc.all():
            return None
        return float(abs(np.linalg.det(self.cell)))

    @property
    def density_g_per_cm3(self) -> float | None:
        """Mass density [g/cm³]; None unless all three directions are periodic."""
        volume = self.volume_A3
        if volume is None:
            return None
        return float(
            MASSES_AMU[self.numbers].sum() / volume / AMU_PER_ANGSTROM3_PER_G_PER_CM3
        )

    def __eq__(self, other: object) -> bool:
        """Equal content, atom by atom."""
        return isinstance(other, Structure) and self.hash == other.hash

    def __hash__(self) -> int:
        """Hash of the content."""
        return hash(self.hash)


def lowest_multiplicity(numbers: UInt8[np.ndarray, " atoms"], charge: int = 0) -> int:
    """One for an even number of electrons, two for an odd one."""
    return 1 + (int(numbers.astype(int).sum()) - charge) % 2


def hashes_of(structures: Sequence[Structure]) -> list[str]:
    """Hashes of structures, computed together: quicker than one by one."""
    return _filled("hash", _digests, structures)


def formulas_of(structures: Sequence[Structure]) -> list[str]:
    """Formulas of structures, computed together: quicker than one by one."""
    return _filled("formula", _formulas, structures)


def _filled(
    name: str,
    compute: Callable[[Sequence[Structure]], list[str]],
    structures: Sequence[Structure],
) -> list[str]:
    new = [one for one in structures if name not in vars(one)]
    for start in range(0, len(new), _DERIVED_TOGETHER):
        part = new[start : start + _DERIVED_TOGETHER]
        for one, value in zip(part, compute(part), strict=True):
            vars(one)[name] = value
    return [vars(one)[name] for one in structures]


def _digests(structures: Sequence[Structure]) -> list[str]:
    pbc = np.concatenate([one.pbc for one in structures])
    cells = np.concatenate(
        [_NO_CELL if one.cell is None else one.cell for one in structures]
    )
    positions = np.concatenate([one.positions for one in structures])
    all_cells = quantised(cells * pbc[:, None]).tobytes()
    all_positions = quantised(positions).tobytes()
    found, cell_at, at = [], 0, 0
    for one in structures:
        cell_end, end = cell_at + _CELL_BYTES, at + _ATOM_BYTES * len(one.numbers)
        found.append(_digest(one, all_cells[cell_at:cell_end], all_positions[at:end]))
        cell_at, at = cell_end, end
    return found


def _digest(structure: Structure, cell: bytes, positions: bytes) -> str:
    """Hash of a structure, of its quantised cell without the vectors that are not periodic."""
    n_atoms, pbc = len(structure.numbers), structure.pbc.tolist()
    parts = (
        _HASH_SALT,
        _HASH_HEAD.pack(n_atoms, *pbc, structure.charge, structure.multiplicity),
        structure.numbers.tobytes(),
        cell,
        positions,
    )
    return hashlib.blake2b(b"".join(parts), digest_size=32).hexdigest()


_FIELDS = ("numbers", "positions", "cell", "pbc", "charge", "multiplicity")


def _formulas(structures: Sequence[Structure]) -> list[str]:
    numbers = np.concatenate([one.numbers for one in structures])
    starts = np.cumsum([0, *(len(one.numbers) for one in structures[:-1])])
    elements = frozenset(np.flatnonzero(np.bincount(numbers)).tolist())
    words = {}
    for symbol, z in _hill_order(elements):
        counts = np.add.reduceat(numbers == z, starts, dtype=np.int64).tolist()
        words[symbol] = [f"{symbol}{n}" if n > 1 else symbol if n else "" for n in counts]
    hill = map("".join, zip(*words.values(), strict=True))
    if "C" not in words:
        return list(hill)
    # Where there is no carbon, hydrogen is an element like any other.
    by_symbol = map("".join, zip(*(words[s] for s in sorted(words)), strict=True))
    pairs = zip(words["C"], hill, by_symbol, strict=True)
    return [one if carbon else other for carbon, one, other in pairs]


@lru_cache(maxsize=1024)
def _hill_order(elements: frozenset[int]) -> tuple[tuple[str, int], ...]:
    """Symbols and atomic numbers: carbon, hydrogen beside carbon, the others by symbol."""
    number_of = {SYMBOLS[z]: z for z in elements}
    first = [s for s in ("C", "H") if "C" in number_of and s in number_of]
    order = first + sorted(s for s in number_of if s not in first)
    return tuple((s, number_of[s]) for s in order)


def _check_shapes(
    numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray | None, pbc: np.ndarray
) -> None:
    n_atoms = len(numbers)
    problem = ""
    if n_atoms == 0:
        problem = "has no atoms"
    elif positions.shape != (n_atoms, 3):
        problem = f"has {n_atoms} atomic numbers but positions of shape {positions.shape}"
    elif numbers.min() < 1 or numbers.max() >= len(SYMBOLS):
        problem = f"has an atomic number outside 1..{len(SYMBOLS) - 1}"
    elif not np.isfinite(positions).all():
        problem = "has a position that is not finite"
    elif pbc.any() and cell is None:
        problem = "is periodic but has no cell"
    elif cell is not None and (cell.shape != (3, 3) or not np.isfinite(cell).all()):
        problem = "has a cell that is not 3x3 finite numbers"
    elif pbc.all() and cell is not None and abs(np.linalg.det(cell)) < 1e-3:  # noqa: PLR2004
        problem = "is periodic in a cell of no volume"
    if problem:
        raise SettingsError(f"a structure {problem}", code="AL110")
