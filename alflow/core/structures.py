"""A structure: atoms without results, frozen, known by the hash of its content."""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, UInt8

from alflow.core.elements import MASSES_AMU, SYMBOLS
from alflow.core.errors import SettingsError
from alflow.core.units import AMU_PER_ANGSTROM3_PER_G_PER_CM3

GEOMETRY_STEP_A = 1e-8
"""Positions and cells are snapped to multiples of this [Å] before they are hashed, labelled or
stored, so that a structure survives a round trip through text files with its hash unchanged."""

HASH_SCHEME = "alflow-structure-v1"


def snap(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Round lengths [Å] to the grid of `GEOMETRY_STEP_A`; -0.0 becomes 0.0."""
    return np.rint(np.asarray(values, np.float64) / GEOMETRY_STEP_A) * GEOMETRY_STEP_A + 0.0


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

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.numbers)

    @property
    def is_periodic(self) -> bool:
        """Whether any direction is periodic."""
        return bool(self.pbc.any())

    @cached_property
    def hash(self) -> str:
        """BLAKE2b-256 of the quantised content, 64 hexadecimal digits."""
        digest = hashlib.blake2b(HASH_SCHEME.encode(), digest_size=32)
        cell = (
            np.zeros((3, 3))
            if self.cell is None
            else np.where(self.pbc[:, None], self.cell, 0)
        )
        head = np.array([self.n_atoms, *self.pbc, self.charge, self.multiplicity], "<i8")
        digest.update(head.tobytes())
        digest.update(self.numbers.tobytes())
        for lengths in (cell, self.positions):
            digest.update(np.rint(lengths / GEOMETRY_STEP_A).astype("<i8").tobytes())
        return digest.hexdigest()

    @cached_property
    def formula(self) -> str:
        """Hill formula: C and H first, then by symbol."""
        values, counts = np.unique(self.numbers, return_counts=True)
        count = {SYMBOLS[z]: int(n) for z, n in zip(values, counts, strict=True)}
        hill = ["C", "H"] if "C" in count else []
        order = [s for s in hill if s in count] + sorted(s for s in count if s not in hill)
        return "".join(s + (str(count[s]) if count[s] > 1 else "") for s in order)

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
