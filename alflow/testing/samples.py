"""Structures and labels of any elements, for conformance suites: always the same ones."""

from collections.abc import Sequence

import numpy as np

from alflow.core.batches import LabelledStructure
from alflow.core.elements import COVALENT_RADII_A, atomic_number
from alflow.core.labels import Label
from alflow.core.structures import Structure

JITTER = 0.08
"""Largest displacement along an axis, as a share of the distance of sites."""
ROOMY = 1.2
"""Distance of sites, as a multiple of the largest sum of covalent radii."""
STIFFNESS_EV_PER_A2 = 1.5


def must(condition: object, sentence: str) -> None:
    """Fail a test with a sentence that says what is wrong.

    Raises:
        AssertionError: If the condition does not hold.
    """
    if not condition:
        raise AssertionError(sentence)


def numbers_of(elements: Sequence[str]) -> list[int]:
    """Atomic numbers of symbols."""
    return [atomic_number(symbol) for symbol in elements]


def spacing_A(elements: Sequence[str]) -> float:
    """Distance of the sites that atoms of these elements are put on."""
    return ROOMY * 2 * float(COVALENT_RADII_A[numbers_of(elements)].max())


def a_structure(
    elements: Sequence[str],
    n_atoms: int = 7,
    *,
    pbc: Sequence[bool] = (False, False, False),
    seed: int = 0,
) -> Structure:
    """Atoms near the sites of a cubic lattice, elements in turn; a cell if anything is periodic.

    Args:
        elements: Chemical symbols.
        n_atoms: Number of atoms, at most 27; the cell has room for 2x2x2 or 3x3x3 sites.
        pbc: Periodic directions.
        seed: Of sites, displacements and the shape of the cell.
    """
    rng = np.random.default_rng(seed)
    side, step = (2 if n_atoms <= 8 else 3), spacing_A(elements)  # noqa: PLR2004
    sites = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1).reshape(-1, 3)
    chosen = sites[rng.permutation(len(sites))[:n_atoms]]
    skew = np.eye(3) + rng.uniform(-0.04, 0.04, (3, 3))
    moved = chosen + rng.uniform(-JITTER, JITTER, (n_atoms, 3))
    kinds = numbers_of(elements)
    numbers = np.array([kinds[k % len(kinds)] for k in range(n_atoms)], np.uint8)
    cell = side * step * skew if any(pbc) else None
    return Structure(numbers, moved * step @ skew, cell, np.array(pbc, bool))


def labelled(elements: Sequence[str], count: int, seed: int = 0) -> list[LabelledStructure]:
    """Small clusters with energies and forces of springs between all atoms, and self energies."""
    rest = spacing_A(elements)
    items = []
    for k in range(count):
        structure = a_structure(elements, 2 + k % 3, seed=1000 * seed + k)
        vectors = structure.positions[:, None] - structure.positions[None]
        distances = np.linalg.norm(vectors, axis=-1) + np.eye(structure.n_atoms) * rest
        stretch = distances - rest
        # The spring gets weak with distance, so that a cutoff can be learned.
        weight = np.exp(-((distances / rest) ** 2))
        slope = STIFFNESS_EV_PER_A2 * weight * (stretch - stretch**2 * distances / rest**2)
        pull = -(slope / distances)[:, :, None] * vectors
        own = -10.0 * structure.numbers.astype(float).sum()
        energy = own + 0.25 * float((STIFFNESS_EV_PER_A2 * weight * stretch**2).sum())
        label = Label(energy, pull.sum(1))
        items.append(LabelledStructure(structure, label, k + 1, f"sample-{seed}-{k}"))
    return items
