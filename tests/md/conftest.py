"""A test potential and test structures, shared with the tests of samplers and physics."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from alflow.core.structures import Structure

_HERE = Path(__file__).parent


def _load_potentials():
    spec = importlib.util.spec_from_file_location(
        "pair_potential", _HERE / "pair_potential.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def potentials():
    """Module with `PairPotential` and its broken relatives."""
    return _load_potentials()


@pytest.fixture(scope="session")
def crystal():
    """Function: a slightly disturbed fcc crystal of n³ cubic cells."""

    def build(n=2, lattice_A=4.1, number=13, disorder_A=0.05, seed=0):
        corner = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
        shifts = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), -1).reshape(
            -1, 1, 3
        )
        positions = (corner + shifts).reshape(-1, 3) * lattice_A
        positions = positions + disorder_A * np.random.default_rng(seed).standard_normal(
            positions.shape
        )
        return Structure(
            np.full(len(positions), number, np.uint8),
            positions,
            np.eye(3) * lattice_A * n,
            np.ones(3, bool),
        )

    return build
