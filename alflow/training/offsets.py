"""The constant of each member's energies, put where the labels have it when training has ended."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from alflow.models.ani.network import StackedNetworks
from alflow.training.dataset import TrainingSet
from alflow.training.loss import errors_of

TOGETHER = 64
"""Structures that are evaluated together."""
RIDGE = 1e-2
"""Share of the mean square of all columns that holds back what compositions hardly tell apart."""


@torch.no_grad()
def settle_energies(
    networks: StackedNetworks,
    data: TrainingSet,
    may_train: Bool[Tensor, "members structures"],
    weights: Float[Tensor, " structures"],
    robust_eV_per_atom: float | None = None,
) -> Float[np.ndarray, "members elements"]:
    """Add to the output of each network what makes its energies right on average, in place.

    Steps of finite size leave each member a constant of its own, a few meV per atom in some
    generations and nearly nothing in others. It is no disagreement about structures, yet makes up
    much of the energy spread, which then says less about errors, and says it differently in each
    generation. The last layer is linear, so that the least-squares constant of each element is
    known in closed form.

    Args:
        networks: Networks of all members.
        data: Labels, less self energies.
        may_train: What each member may learn from.
        weights: Weight of each structure.
        robust_eV_per_atom: Errors beyond this count linearly; None takes all as they are.

    Returns:
        What was added [eV].
    """
    errors = _errors(networks, data).to(torch.float64).numpy()
    shares = data.compositions / data.compositions.sum(axis=1, keepdims=True)
    added = np.zeros((len(errors), shares.shape[1]))
    for member, error in enumerate(errors):
        counts = weights.to(torch.float64).numpy() * may_train[member].numpy()
        if robust_eV_per_atom is not None:
            size = np.maximum(np.abs(error), robust_eV_per_atom)
            counts = counts * robust_eV_per_atom / size
        normal = shares.T @ (counts[:, None] * shares)
        ridge = RIDGE * np.trace(normal) / len(normal)
        if not ridge > 0 or not np.isfinite(error).all():
            continue
        right = -shares.T @ (counts * error)
        added[member] = np.linalg.solve(normal + ridge * np.eye(len(normal)), right)
    for element in range(networks.n_elements):
        bias = networks.biases[(element + 1) * networks.n_layers - 1]
        bias += torch.from_numpy(added[:, element]).to(bias.dtype)[:, None]
    return added


def _errors(
    networks: StackedNetworks, data: TrainingSet
) -> Float[Tensor, "members structures"]:
    """Errors of the energies [eV/atom], in the order of the structures."""
    found = data.features.new_zeros(networks.n_members, len(data))
    for start in range(0, len(data), TOGETHER):
        wanted = list(range(start, min(start + TOGETHER, len(data))))
        batch = data.minibatch(wanted, with_forces=False)
        atomic = networks(batch.features, batch.species_idx)
        found[:, batch.structure_idx] = errors_of(atomic, None, batch).energy
    return found
