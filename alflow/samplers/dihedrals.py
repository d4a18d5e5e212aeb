"""Rotatable bonds of molecules: which there are, their dihedral angles, and turns about them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from alflow.core.elements import COVALENT_RADII_A
from alflow.core.structures import Structure
from alflow.samplers.bonds import BOND_FACTOR, bonds, neighbours

_VALENCES = {6: 4, 7: 3, 8: 2, 14: 4, 15: 3, 16: 2}
"""Number of neighbours with which an atom of an element has single bonds only."""

_SINGLE_BOND = 0.92
"""Shortest single bond between atoms that could have a double one, in sums of covalent radii: C=C
has 0.88, C-C of butadiene 0.96."""

_STRAIGHT = 0.98
"""Absolute cosine of an angle from which on three atoms are a line, about which nothing turns."""


@dataclass(frozen=True, slots=True)
class Dihedral:
    """A rotatable bond, and what turns about it.

    Attributes:
        atoms: Four atoms in a chain; the bond is between the second and the third.
        turning: The atoms on the smaller side of the bond, which are turned; ascending.
        sign: 1 if they are on the side of the fourth atom, -1 if on that of the first.
    """

    atoms: tuple[int, int, int, int]
    turning: tuple[int, ...]
    sign: int

    def angle_deg(self, positions: Float[np.ndarray, "atoms 3"]) -> float:
        """The dihedral angle in (-180, 180] degrees; positive if the far bond is clockwise."""
        i, j, k, m = (positions[atom] for atom in self.atoms)
        axis = (k - j) / np.linalg.norm(k - j)
        first, second = np.cross(i - j, axis), np.cross(m - k, axis)
        sine = np.cross(first, second) @ axis
        return float(np.degrees(np.arctan2(sine, first @ second)))

    def turned(
        self, positions: Float[np.ndarray, "atoms 3"], by_deg: float
    ) -> Float[np.ndarray, "atoms 3"]:
        """Positions with the dihedral angle larger by so many degrees (Rodrigues)."""
        angle = np.radians(by_deg) * self.sign
        _, j, k, _ = self.atoms
        axis = positions[k] - positions[j]
        axis = axis / np.linalg.norm(axis)
        chosen = list(self.turning)
        arms = positions[chosen] - positions[j]
        along = np.outer(arms @ axis, axis)
        turned = positions.copy()
        turned[chosen] = (
            positions[j]
            + along
            + (arms - along) * np.cos(angle)
            + np.cross(axis, arms) * np.sin(angle)
        )
        return turned


def rotatable_bonds(structure: Structure, factor: float = BOND_FACTOR) -> list[Dihedral]:
    """Single bonds between atoms other than hydrogen, not in a ring, both ends with neighbours.

    A bond is taken to be single if one of its atoms has as many neighbours as single bonds allow,
    or if it is long enough. Chains that are straight have no dihedral angle.

    Args:
        structure: Free molecules.
        factor: As for `alflow.samplers.bonds.bonds`.
    """
    of_atoms = neighbours(structure, bonds(structure, factor))
    found = []
    for j, k in _single_bonds(structure, of_atoms):
        far = _side(of_atoms, j, k)
        if j in far:
            continue  # a ring
        near = _side(of_atoms, k, j)
        ends = [
            _end(structure, of_atoms, centre, other) for centre, other in ((j, k), (k, j))
        ]
        if ends[0] is None or ends[1] is None:
            continue
        side, sign = (far - {k}, 1) if len(far) <= len(near) else (near - {j}, -1)
        found.append(Dihedral((ends[0], j, k, ends[1]), tuple(sorted(side)), sign))
    return found


def bonded(
    molecule: Structure,
    positions: Float[np.ndarray, "atoms 3"],
    factor: float = BOND_FACTOR,
) -> Bool[np.ndarray, "atoms atoms"]:
    """Which atoms of a free molecule are bonded at other positions [Å], each to itself too."""
    radii = COVALENT_RADII_A[molecule.numbers]
    vectors = positions[:, None] - positions
    distances = np.sqrt((vectors * vectors).sum(-1))
    return np.asarray(distances < factor * (radii[:, None] + radii))


def _single_bonds(
    structure: Structure, of_atoms: Sequence[Sequence[int]]
) -> Iterator[tuple[int, int]]:
    numbers = structure.numbers.astype(int)
    for j, others in enumerate(of_atoms):
        for k in others:
            if j > k or min(numbers[j], numbers[k]) == 1:
                continue
            is_full = any(
                len(of_atoms[atom]) >= _VALENCES.get(int(numbers[atom]), 1)
                for atom in (j, k)
            )
            length = np.linalg.norm(structure.positions[k] - structure.positions[j])
            shortest = _SINGLE_BOND * COVALENT_RADII_A[numbers[[j, k]]].sum()
            if is_full or length >= shortest:
                yield j, k


def _side(of_atoms: Sequence[Sequence[int]], start: int, first: int) -> set[int]:
    """Atoms that are reached from `first` without crossing its bond to `start`."""
    seen, waiting = {first}, [first]
    while waiting:
        atom = waiting.pop()
        for other in of_atoms[atom]:
            if other not in seen and {atom, other} != {start, first}:
                seen.add(other)
                waiting.append(other)
    return seen


def _end(
    structure: Structure, of_atoms: Sequence[Sequence[int]], centre: int, other: int
) -> int | None:
    """The heaviest neighbour of `centre`, not in line with the bond to `other`."""
    bond = structure.positions[other] - structure.positions[centre]
    bond = bond / np.linalg.norm(bond)
    candidates = []
    for atom in of_atoms[centre]:
        arm = structure.positions[atom] - structure.positions[centre]
        cosine = arm @ bond / np.linalg.norm(arm)
        if atom != other and abs(cosine) < _STRAIGHT:
            candidates.append((-int(structure.numbers[atom]), atom))
    return min(candidates)[1] if candidates else None
