"""Geometry that builders share: distances under periodic images, rotations, spin parity."""

import itertools
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float, UInt8
from pydantic import AfterValidator

from alflow.core.elements import COVALENT_RADII_A

Bounds = tuple[Any, Any]
"""Two numbers, both whole or not."""

_IMAGES = np.array(list(itertools.product((-1, 0, 1), repeat=3)), float)


def _ascending(bounds: Bounds) -> Bounds:
    if bounds[0] > bounds[1]:
        raise ValueError(
            f"a range must ascend, not run from {bounds[0]:g} to {bounds[1]:g}"
        )
    return bounds


def _positive(bounds: Bounds) -> Bounds:
    if bounds[0] <= 0:
        raise ValueError(f"a range must start above zero, not at {bounds[0]:g}")
    return bounds


def _not_negative(bounds: Bounds) -> Bounds:
    if bounds[0] < 0:
        raise ValueError(f"a range must not start below zero, at {bounds[0]:g}")
    return bounds


Range = Annotated[tuple[float, float], AfterValidator(_ascending)]
"""Lower and upper bound of a uniform draw."""

PositiveRange = Annotated[Range, AfterValidator(_positive)]
"""A range above zero."""

Amplitude = Annotated[Range, AfterValidator(_not_negative)]
"""A range that may start at zero."""

CountRange = Annotated[
    tuple[int, int], AfterValidator(_ascending), AfterValidator(_positive)
]
"""Smallest and largest number of something, at least one."""


def separations(
    positions: Float[np.ndarray, "atoms 3"], cell: Float[np.ndarray, "3 3"] | None
) -> Float[np.ndarray, "images atoms atoms 3"]:
    """Vectors from each atom (first index) to each image of each atom [Å].

    All neighbouring cells are looked at, so that the shortest is right in any cell that is not
    extremely skewed. The home image comes in the middle; an atom's vector to itself is infinite.
    """
    direct = positions[None, :, :] - positions[:, None, :]
    direct[np.diag_indices(len(positions))] = np.inf
    if cell is None:
        return np.asarray(direct[None])
    direct[np.diag_indices(len(positions))] = 0.0
    direct -= np.rint(direct @ np.linalg.inv(cell)) @ cell
    vectors = direct[None] + (_IMAGES @ cell)[:, None, None, :]
    vectors[len(_IMAGES) // 2][np.diag_indices(len(positions))] = np.inf
    return np.asarray(vectors)


def distance_table(
    positions: Float[np.ndarray, "atoms 3"], cell: Float[np.ndarray, "3 3"] | None
) -> Float[np.ndarray, "atoms atoms"]:
    """Shortest distance of every pair of atoms [Å]; on the diagonal, to an own image."""
    vectors = separations(positions, cell)
    return np.asarray(np.sqrt((vectors**2).sum(-1)).min(axis=0))


def closest_ratio(
    numbers: UInt8[np.ndarray, " atoms"],
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"] | None = None,
) -> float:
    """Shortest distance of two atoms, in sums of their covalent radii; infinite for one atom."""
    radii = COVALENT_RADII_A[numbers]
    return float((distance_table(positions, cell) / (radii[:, None] + radii)).min())


def random_rotation(rng: np.random.Generator) -> Float[np.ndarray, "3 3"]:
    """A rotation drawn uniformly (Shoemake 1992)."""
    q = rng.normal(size=4)
    w, x, y, z = q / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
