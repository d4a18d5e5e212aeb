"""A small descriptor and batches for it."""

import pytest
import torch

from alflow.models.ani.constants import AniConstants, linear_shifts, sections
from alflow.models.ani.descriptor import AniDescriptor
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch


@pytest.fixture(scope="session")
def constants():
    return AniConstants(
        radial_cutoff_A=5.2,
        angular_cutoff_A=3.5,
        radial_eta=4.0,
        radial_shifts=linear_shifts(0.9, 5.2, 5),
        angular_eta=3.0,
        zeta=14.1,
        angular_shifts=linear_shifts(0.9, 3.5, 3),
        angular_sections=sections(4),
    )


@pytest.fixture(scope="session")
def descriptor(constants):
    return AniDescriptor(constants, (1, 6, 8), dtype=torch.float64)


@pytest.fixture(scope="session")
def mixed_batch(mixed_structures):
    return Batch.from_structures(mixed_structures)


@pytest.fixture(scope="session")
def mixed_pairs(mixed_batch):
    """Reaches beyond the cutoff, as a list with a skin does."""
    return neighbour_pairs(mixed_batch, 6.0)
