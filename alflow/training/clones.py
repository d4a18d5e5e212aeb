"""Members that are copies of each other: they make a spread smaller that should say something."""

import itertools
from collections.abc import Collection

import torch
from jaxtyping import Float
from torch import Tensor

from alflow.models.ani.network import StackedNetworks
from alflow.training.dataset import TrainingSet

MOST_ATOMS = 1024
"""Atoms on which members are compared."""


def disagreement(
    networks: StackedNetworks, data: TrainingSet
) -> Float[Tensor, "members members"]:
    """How different members are: 0 for the same function, about 1 for strangers.

    Compared are the slopes of the atomic energies in the standardised features, on atoms spread
    evenly over the training set: the root mean square of their difference over that of the
    larger one. Slopes are what forces are made of, and all directions count, those that the data
    do not vary too: members that fit a small training set perfectly agree in their energies
    there, and are none the less different.

    Args:
        networks: The members.
        data: The training set.
    """
    n_atoms = len(data.features)
    rows = torch.linspace(0, n_atoms - 1, min(n_atoms, MOST_ATOMS)).round().long()
    species = data.species_idx[rows]
    with torch.no_grad():
        _, slopes = networks.energies_and_gradient(data.features[rows], species)
    slopes = (slopes * networks.feature_scale[species]).to(torch.float64).flatten(1)
    sizes = slopes.norm(dim=1)
    found = torch.zeros(len(slopes), len(slopes), dtype=torch.float64)
    for a, b in itertools.combinations(range(len(slopes)), 2):
        larger = torch.maximum(sizes[a], sizes[b]).clamp(
            min=torch.finfo(torch.float64).tiny
        )
        found[a, b] = found[b, a] = (slopes[a] - slopes[b]).norm() / larger
    return found


def clones(
    distances: Float[Tensor, "members members"], members: Collection[int], floor: float
) -> dict[int, int]:
    """Which members are copies: the later one of two, and which one it is a copy of.

    Args:
        distances: Their disagreement, in order.
        members: What the members are called, ascending.
        floor: Disagreement below which two are the same.
    """
    names = list(members)
    found: dict[int, int] = {}
    for a, b in itertools.combinations(range(len(names)), 2):
        is_new = names[a] not in found and names[b] not in found
        if is_new and float(distances[a, b]) < floor:
            found[names[b]] = names[a]
    return found
