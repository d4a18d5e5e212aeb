"""Packing of spheres into a periodic box: insertion, then pushes until none overlap."""

import numpy as np
from jaxtyping import Float

from alflow.builders.geometry import separations
from alflow.core.elements import COVALENT_RADII_A
from alflow.core.structures import snap

DENSEST = 0.56
"""Largest fraction of volume that is attempted; random packings of spheres jam at 0.64."""

_TRIES_PER_ATOM = 16
_PUSHES = 600
_TINY_A = 1e-6
_MARGIN = 1.005
"""Atoms are pushed a little further apart than asked for: pushes get there only in the limit."""


def filled_fraction(
    contacts: Float[np.ndarray, "atoms atoms"], cell: Float[np.ndarray, "3 3"]
) -> float:
    """Fraction of the volume inside of spheres whose diameters are the contact distances."""
    spheres = np.pi / 6 * (np.diag(contacts) ** 3).sum()
    return float(spheres / abs(np.linalg.det(cell)))


def contact_table(
    numbers: np.ndarray, *, factor: float | None, distance_A: float | None
) -> Float[np.ndarray, "atoms atoms"]:
    """Smallest distance for each pair [Å]: one for all, or a factor of the covalent radii."""
    if distance_A is not None:
        return np.full((len(numbers), len(numbers)), float(distance_A))
    radii = COVALENT_RADII_A[numbers]
    return np.asarray((radii[:, None] + radii) * float(factor or 0))


def pack(
    contacts: Float[np.ndarray, "atoms atoms"],
    cell: Float[np.ndarray, "3 3"],
    rng: np.random.Generator,
) -> Float[np.ndarray, "atoms 3"] | None:
    """Positions [Å] at which no pair is closer than its contact distance, or None.

    Args:
        contacts: Smallest distance of each pair [Å], (atoms, atoms).
        cell: Cell vectors as rows [Å], (3, 3).
        rng: Stream to draw from.
    """
    positions = _inserted(contacts, cell, rng)
    for _ in range(_PUSHES):
        vectors = separations(positions, cell)
        distances = np.sqrt((vectors**2).sum(-1))
        if (distances >= contacts).all():
            fractions = positions @ np.linalg.inv(cell)
            return snap((fractions - np.floor(fractions)) @ cell)
        overlap = np.clip(contacts * _MARGIN - distances, 0, None)
        shares = overlap / np.maximum(distances, _TINY_A) / 2
        pushes = np.where(overlap[..., None] > 0, vectors, 0) * shares[..., None]
        positions = positions - pushes.sum(axis=(0, 2))
    return None


def _inserted(
    contacts: Float[np.ndarray, "atoms atoms"],
    cell: Float[np.ndarray, "3 3"],
    rng: np.random.Generator,
) -> Float[np.ndarray, "atoms 3"]:
    """Each atom at the roomiest of a few random places."""
    places = rng.uniform(size=(len(contacts), _TRIES_PER_ATOM, 3))
    chosen = places[:1, 0]
    for atom in range(1, len(contacts)):
        difference = places[atom][:, None] - chosen[None]
        difference -= np.rint(difference)
        room = np.linalg.norm(difference @ cell, axis=-1) / contacts[atom, :atom]
        chosen = np.concatenate([chosen, places[atom][room.min(axis=1).argmax()][None]])
    return np.asarray(chosen @ cell)
