"""Packing of spheres and molecules into periodic boxes: insertion, then pushes."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from alflow.builders.geometry import separations
from alflow.core.elements import COVALENT_RADII_A, MASSES_AMU
from alflow.core.structures import snap
from alflow.core.units import AMU_PER_ANGSTROM3_PER_G_PER_CM3

DENSEST = 0.56
"""Largest fraction of volume that is attempted; random packings of spheres jam at 0.64."""

_TRIES_PER_ATOM = 16
_PUSHES = 600
_TINY_A = 1e-6
_WEIGHT_AT_REST = 0.1
"""How much an atom that touches nothing holds its molecule back."""
_MARGIN = 1.005
"""Atoms are pushed a little further apart than asked for: pushes get there only in the limit."""


def random_cell(
    numbers: np.ndarray,
    density_g_per_cm3: float,
    aspect_ratio: float,
    rng: np.random.Generator,
) -> Float[np.ndarray, "3 3"]:
    """A rectangular cell that gives these atoms a density, its edges in random order.

    Args:
        numbers: Atomic numbers, (atoms,).
        density_g_per_cm3: The density.
        aspect_ratio: Longest edge divided by the shortest.
        rng: Stream to draw from.
    """
    mass = MASSES_AMU[numbers].sum()
    volume = mass / (density_g_per_cm3 * AMU_PER_ANGSTROM3_PER_G_PER_CM3)
    edges = np.array([1.0, aspect_ratio ** rng.uniform(), aspect_ratio])
    edges *= (volume / edges.prod()) ** (1 / 3)
    return np.diag(rng.permutation(edges))


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


def with_pairs(
    contacts: Float[np.ndarray, "atoms atoms"],
    numbers: np.ndarray,
    distances_A: Mapping[tuple[int, int], float],
) -> Float[np.ndarray, "atoms atoms"]:
    """Contact distances with those of some pairs of elements replaced.

    Args:
        contacts: Smallest distance of each pair of atoms [Å], (atoms, atoms).
        numbers: Atomic numbers, (atoms,).
        distances_A: Smallest distance by atomic numbers, the smaller first [Å].
    """
    changed = contacts.copy()
    low, high = np.minimum.outer(numbers, numbers), np.maximum.outer(numbers, numbers)
    for (first, second), distance in distances_A.items():
        changed[(low == first) & (high == second)] = distance
    return changed


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
    return spread_out(contacts, _inserted(contacts, cell, rng), cell)


def spread_out(
    contacts: Float[np.ndarray, "atoms atoms"],
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"],
    most_pushes: int = _PUSHES,
) -> Float[np.ndarray, "atoms 3"] | None:
    """Positions [Å] after atoms have been pushed apart until no pair is too close, or None.

    Args:
        contacts: Smallest distance of each pair [Å], (atoms, atoms).
        positions: Where the atoms are [Å], (atoms, 3).
        cell: Cell vectors as rows [Å], (3, 3).
        most_pushes: How often to try.
    """
    for _ in range(most_pushes):
        vectors = separations(positions, cell)
        distances = np.sqrt((vectors**2).sum(-1))
        if (distances >= contacts).all():
            fractions = positions @ np.linalg.inv(cell)
            return snap((fractions - np.floor(fractions)) @ cell)
        positions = positions - _pushes(contacts, vectors, distances)
    return None


def pack_rigid(
    shapes: Sequence[Float[np.ndarray, "_ 3"]],
    contacts: Float[np.ndarray, "atoms atoms"],
    cell: Float[np.ndarray, "3 3"],
    rng: np.random.Generator,
) -> Float[np.ndarray, "atoms 3"] | None:
    """Positions [Å] of molecules, each atom at its contact distance from those of others, or None.

    Atoms are pushed apart as if they were free; then each molecule is laid, in its own shape,
    over where its atoms went. It stays in one piece, across the faces of the cell.

    Args:
        shapes: Positions of the atoms of each molecule about its centre [Å].
        contacts: Smallest distance of each pair [Å], (atoms, atoms); those within a molecule
            count for its images only.
        cell: Cell vectors as rows [Å], (3, 3).
        rng: Stream to draw from.
    """
    owner = np.repeat(np.arange(len(shapes)), [len(shape) for shape in shapes])
    bonds = np.nonzero(owner[:, None] == owner)
    centres = _inserted(np.ones((len(shapes), len(shapes))), cell, rng)
    positions = np.concatenate(shapes) + centres[owner]
    for _ in range(_PUSHES):
        vectors = separations(positions, cell, contacts.max())
        distances = np.sqrt((vectors**2).sum(-1))
        distances[:, *bonds] = _of_images(vectors, distances, positions, bonds)
        if (distances >= contacts).all():
            return np.asarray(positions)
        moved = positions - _pushes(contacts, vectors, distances)
        weights = np.where((moved != positions).any(-1), 1.0, _WEIGHT_AT_REST)
        parts = (
            _laid_over(shape, moved[owner == k], weights[owner == k])
            for k, shape in enumerate(shapes)
        )
        positions = np.concatenate(list(parts))
    return None


def _of_images(
    vectors: Float[np.ndarray, "images atoms atoms 3"],
    distances: Float[np.ndarray, "images atoms atoms"],
    positions: Float[np.ndarray, "atoms 3"],
    bonds: tuple[np.ndarray, ...],
) -> Float[np.ndarray, "images bonds"]:
    """Distances [Å] of pairs of a molecule, infinite where they are those within it."""
    first, second = bonds
    off = vectors[:, first, second] - (positions[second] - positions[first])
    is_within = np.abs(off).max(-1) < _TINY_A
    return np.where(is_within, np.inf, distances[:, first, second])


def _pushes(
    contacts: Float[np.ndarray, "atoms atoms"],
    vectors: Float[np.ndarray, "images atoms atoms 3"],
    distances: Float[np.ndarray, "images atoms atoms"],
) -> Float[np.ndarray, "atoms 3"]:
    """What takes atoms that are too close to each other [Å], against their way apart."""
    overlap = np.clip(contacts * _MARGIN - distances, 0, None)
    shares = overlap / np.maximum(distances, _TINY_A) / 2
    pushes = np.where(overlap[..., None] > 0, vectors, 0) * shares[..., None]
    return np.asarray(pushes.sum(axis=(0, 2)))


def _laid_over(
    shape: Float[np.ndarray, "atoms 3"],
    places: Float[np.ndarray, "atoms 3"],
    weights: Float[np.ndarray, " atoms"],
) -> Float[np.ndarray, "atoms 3"]:
    """A shape, turned and moved to where its atoms are nearest to their places (Kabsch 1976)."""
    shares = (weights / weights.sum())[:, None]
    own, centre = (shares * shape).sum(0), (shares * places).sum(0)
    left, _, right = np.linalg.svd(((shape - own) * shares).T @ (places - centre))
    left[:, -1] *= np.sign(np.linalg.det(left @ right))
    return np.asarray((shape - own) @ left @ right + centre)


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
