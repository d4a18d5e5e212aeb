"""Structures of all sorts, and where the public reference data is."""

import os
from pathlib import Path

import numpy as np
import pytest

from alflow.core.structures import Structure


@pytest.fixture(scope="session")
def reference_data():
    """Directory of the public reference data; skips where there is none."""
    beside = Path(__file__).parents[2].parent / "shared" / "data"
    place = Path(os.environ.get("ALFLOW_TEST_DATA", beside))
    if not place.is_dir():
        pytest.skip(f"no reference data: set ALFLOW_TEST_DATA ({place} does not exist)")
    return place


@pytest.fixture(scope="session")
def random_structure():
    """Makes a structure of H, C and O with no two atoms close to each other."""

    def make(rng, n_atoms, pbc=(False, False, False), length_A=6.0):
        cell = np.eye(3) * length_A + rng.uniform(-0.1, 0.1, (3, 3)) * length_A
        pbc = np.array(pbc, bool)
        positions = np.zeros((0, 3))
        images = (
            np.array(np.meshgrid(*[[-1, 0, 1] if p else [0] for p in pbc])).reshape(3, -1).T
        )
        while len(positions) < n_atoms:
            trial = rng.uniform(0, 1, 3) @ cell
            placed = (positions[:, None] + (images @ cell)[None]).reshape(-1, 3)
            if len(placed) == 0 or np.linalg.norm(placed - trial, axis=1).min() > 0.8:
                positions = np.vstack([positions, trial])
        numbers = rng.choice([1, 6, 8], n_atoms).astype(np.uint8)
        return Structure(numbers, positions, cell if pbc.any() else None, pbc)

    return make


@pytest.fixture(scope="session")
def mixed_structures(random_structure):
    """Molecules, an atom, crystals, a cell smaller than the cutoff, a slab and a wire."""
    rng = np.random.default_rng(5)
    return [
        random_structure(rng, 7),
        random_structure(rng, 1),
        random_structure(rng, 8, (True, True, True)),
        random_structure(rng, 2, (True, True, True), length_A=2.6),
        random_structure(rng, 6, (True, True, False)),
        random_structure(rng, 4, (False, True, False), length_A=3.0),
        random_structure(rng, 9),
    ]
