"""Geometry that builders share: ranges, distances under periodic images, strains, rotations."""

import itertools
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float, UInt8
from pydantic import AfterValidator

from alflow.core.elements import COVALENT_RADII_A, atomic_number
from alflow.core.errors import SettingsError

Bounds = tuple[Any, Any]
"""Two numbers, both whole or not."""

_PAIR = 2
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

DefectRange = Annotated[
    tuple[int, int], AfterValidator(_ascending), AfterValidator(_not_negative)
]
"""Smallest and largest number of something that may be absent."""


def pair_numbers(pair: str) -> tuple[int, int]:
    """Atomic numbers, the smaller first, of a pair of elements spelt like `Ti-O`.

    Raises:
        SettingsError: If it is not spelt so, or a symbol is not an element.
    """
    symbols = pair.split("-")
    if len(symbols) != _PAIR:
        raise SettingsError(f"{pair!r} is not a pair of elements like Ti-O")
    low, high = sorted(atomic_number(symbol) for symbol in symbols)
    return low, high


def drawn(bounds: tuple[int, int], rng: np.random.Generator) -> int:
    """A whole number between two bounds, both included."""
    return int(rng.integers(bounds[0], bounds[1] + 1))


def random_strain(
    rng: np.random.Generator, bounds: tuple[float, float]
) -> Float[np.ndarray, "3 3"]:
    """A symmetric strain, its six components drawn independently."""
    components = rng.uniform(*bounds, size=6)
    order = np.array([[0, 3, 4], [3, 1, 5], [4, 5, 2]])
    return np.asarray(components[order])


def separations(
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"] | None,
    reach_A: float = np.inf,
) -> Float[np.ndarray, "images atoms atoms 3"]:
    """Vectors from each atom (first index) to each image of each atom [Å].

    All neighbouring cells are looked at, so that the shortest is right in any cell that is not
    extremely skewed. The home image comes in the middle; an atom's vector to itself is infinite.

    Args:
        positions: Where the atoms are [Å], (atoms, 3).
        cell: Cell vectors as rows [Å], (3, 3), or None.
        reach_A: In a rectangular cell with edges of twice that [Å], the nearest image is enough.
    """
    direct = positions[None, :, :] - positions[:, None, :]
    direct[np.diag_indices(len(positions))] = np.inf
    if cell is None:
        return np.asarray(direct[None])
    direct[np.diag_indices(len(positions))] = 0.0
    direct -= np.rint(direct @ np.linalg.inv(cell)) @ cell
    images = _IMAGES
    if (
        not np.count_nonzero(cell - np.diag(np.diag(cell)))
        and 2 * reach_A <= np.diag(cell).min()
    ):
        images = np.zeros((1, 3))
    vectors = direct[None] + (images @ cell)[:, None, None, :]
    vectors[len(images) // 2][np.diag_indices(len(positions))] = np.inf
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
