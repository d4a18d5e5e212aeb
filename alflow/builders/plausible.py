"""Whether a geometry and its electrons can be meant; sentences for those who are told."""

import numpy as np
from jaxtyping import Bool, Float, Integer

from alflow.builders.geometry import distance_table
from alflow.core.elements import COVALENT_RADII_A, SYMBOLS

CLOSEST = 0.5
"""Smallest distance of two atoms that is believed, in sums of their covalent radii."""


def contact_ratios(
    numbers: Integer[np.ndarray, " atoms"],
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"] | None,
    pbc: Bool[np.ndarray, "3"],
) -> Float[np.ndarray, "atoms atoms"]:
    """Distances of all pairs of atoms, nearest images, in sums of their covalent radii.

    Args:
        numbers: Atomic numbers, (atoms,).
        positions: Positions [Å], (atoms, 3).
        cell: Cell vectors as rows [Å], (3, 3); None without a cell.
        pbc: Which of them are periodic, (3,).
    """
    radii = COVALENT_RADII_A[numbers]
    box = None if cell is None else _separated(cell, pbc)
    return np.asarray(distance_table(positions, box) / (radii[:, None] + radii))


def overlap(
    numbers: Integer[np.ndarray, " atoms"],
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"] | None,
    pbc: Bool[np.ndarray, "3"],
    closest: float = CLOSEST,
) -> str:
    """What to say of the two atoms that are closest, images included; empty if they are not close.

    Args:
        numbers: Atomic numbers, (atoms,).
        positions: Positions [Å], (atoms, 3).
        cell: Cell vectors as rows [Å], (3, 3); None without a cell.
        pbc: Which of them are periodic, (3,).
        closest: Smallest distance that is believed, in sums of covalent radii.
    """
    if len(numbers) == 1 and not pbc.any():
        return ""
    ratios = contact_ratios(numbers, positions, cell, pbc)
    i, j = (int(k) for k in np.unravel_index(int(ratios.argmin()), ratios.shape))
    if ratios[i, j] >= closest:
        return ""
    distance_A = ratios[i, j] * (
        COVALENT_RADII_A[numbers[i]] + COVALENT_RADII_A[numbers[j]]
    )
    first, second = (f"{SYMBOLS[numbers[k]]}{k}" for k in (i, j))
    return (
        f"{first} and {second} are {distance_A:.3f} Å apart, {ratios[i, j]:.2f} of the sum of "
        f"their covalent radii (limit {closest:g})"
    )


def impossible_spin(
    numbers: Integer[np.ndarray, " atoms"], charge: int, multiplicity: int
) -> str:
    """What to say of a multiplicity that this number of electrons cannot have; empty if it can."""
    electrons = int(numbers.astype(int).sum()) - charge
    unpaired = multiplicity - 1
    if 0 <= unpaired <= electrons and (electrons - unpaired) % 2 == 0:
        return ""
    return (
        f"{electrons} electrons (charge {charge}) cannot have multiplicity {multiplicity}"
    )


def _separated(
    cell: Float[np.ndarray, "3 3"], pbc: Bool[np.ndarray, "3"]
) -> Float[np.ndarray, "3 3"] | None:
    """The cell; an axis that is not periodic gets a vector too long for its images to matter."""
    if not pbc.any():
        return None
    box = cell.copy()
    box[~pbc] = 1e4 * np.linalg.svd(cell[pbc])[2][int(pbc.sum()) :]
    return box
