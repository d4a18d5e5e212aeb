"""Bonds and molecules of a structure, found by covalent radii."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from alflow.core.elements import COVALENT_RADII_A
from alflow.core.structures import Structure
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch

BOND_FACTOR = 1.3
"""Longest bond in sums of covalent radii: 1.39 Å for C-H, 1.98 Å for C-C; H-H has 1.19."""


@dataclass(frozen=True, eq=False, slots=True)
class Near:
    """Ordered pairs of atoms, each from both ends, periodic images included.

    Attributes:
        i: Centre, ascending, (pairs,).
        j: Neighbour, (pairs,).
        shifts: Cell vectors to add to the neighbour, (pairs, 3).
        distances: How far apart they are [Å], (pairs,).
    """

    i: Int[np.ndarray, " pairs"]
    j: Int[np.ndarray, " pairs"]
    shifts: Int[np.ndarray, "pairs 3"]
    distances: Float[np.ndarray, " pairs"]


def near_pairs(structure: Structure, reach_A: float) -> Near:
    """All pairs of atoms that are closer than `reach_A` [Å]."""
    batch = Batch.from_structures([structure])
    pairs = neighbour_pairs(batch, reach_A)
    distances = pairs.vectors(batch).norm(dim=-1).numpy()
    shifts = np.rint(pairs.shifts.numpy()).astype(np.int64)
    return Near(pairs.i.numpy(), pairs.j.numpy(), shifts, distances)


def bonds(structure: Structure, factor: float = BOND_FACTOR) -> Near:
    """Pairs of atoms that are closer than a factor of the sum of their covalent radii."""
    radii = COVALENT_RADII_A[structure.numbers]
    near = near_pairs(structure, float(2 * factor * radii.max()))
    is_bond = near.distances < factor * (radii[near.i] + radii[near.j])
    return Near(
        near.i[is_bond], near.j[is_bond], near.shifts[is_bond], near.distances[is_bond]
    )


def neighbours(structure: Structure, near: Near) -> list[list[int]]:
    """The atoms that each atom is bonded to, ascending; an image is the atom itself."""
    of_atoms: list[list[int]] = [[] for _ in range(structure.n_atoms)]
    for i, j in zip(near.i.tolist(), near.j.tolist(), strict=True):
        of_atoms[i].append(j)
    return of_atoms


@dataclass(frozen=True, eq=False, slots=True)
class Molecules:
    """Atoms that hang together by bonds, each molecule in one piece.

    Attributes:
        whole: The structure with every molecule unwrapped.
        of_atom: Number of the molecule of each atom, (atoms,).
        endless: Molecules that are bonded to images of themselves: networks.
    """

    whole: Structure
    of_atom: Int[np.ndarray, " atoms"]
    endless: frozenset[int]

    @property
    def n_molecules(self) -> int:
        """Number of molecules."""
        return int(self.of_atom.max()) + 1

    @classmethod
    def of(cls, structure: Structure, factor: float = BOND_FACTOR) -> "Molecules":
        """Find the molecules; `factor` is that of `bonds`."""
        near = bonds(structure, factor)
        ends = np.searchsorted(near.i, np.arange(structure.n_atoms + 1))
        of_atom = np.full(structure.n_atoms, -1)
        offsets = np.zeros((structure.n_atoms, 3), np.int64)
        endless = set()
        n_molecules = 0
        for first in range(structure.n_atoms):
            if of_atom[first] >= 0:
                continue
            of_atom[first] = n_molecules
            waiting = deque([first])
            while waiting:
                i = waiting.popleft()
                for row in range(ends[i], ends[i + 1]):
                    j, offset = near.j[row], offsets[i] + near.shifts[row]
                    if of_atom[j] < 0:
                        of_atom[j], offsets[j] = n_molecules, offset
                        waiting.append(int(j))
                    elif (offsets[j] != offset).any():
                        endless.add(n_molecules)
            n_molecules += 1
        cell = np.zeros((3, 3)) if structure.cell is None else structure.cell
        whole = Structure(
            structure.numbers,
            structure.positions + offsets @ cell,
            structure.cell,
            structure.pbc,
        )
        return cls(whole, of_atom, frozenset(endless))

    def around(self, centre: int, reach: Near) -> list[tuple[int, list[int]]]:
        """Molecules near one of them, nearest first, each with the image that is nearest.

        The distance of two molecules is that of their closest atoms.

        Args:
            centre: Number of a molecule.
            reach: Pairs of atoms of `whole` that count as near.

        Returns:
            Number of each molecule and the cell vectors to add to it.
        """
        is_between = (self.of_atom[reach.i] == centre) & (self.of_atom[reach.j] != centre)
        rows = np.flatnonzero(is_between)
        rows = rows[np.argsort(reach.distances[rows], kind="stable")]
        found: dict[int, list[int]] = {}
        for row in rows:
            found.setdefault(int(self.of_atom[reach.j[row]]), reach.shifts[row].tolist())
        return list(found.items())

    def positions_of(
        self, molecule: int, shift: Sequence[int] = (0, 0, 0)
    ) -> Float[np.ndarray, "atoms 3"]:
        """Positions of a molecule, moved by some cell vectors [Å]."""
        inside = self.whole.positions[self.of_atom == molecule]
        if self.whole.cell is None:
            return np.asarray(inside)
        return np.asarray(inside + np.array(shift) @ self.whole.cell)
