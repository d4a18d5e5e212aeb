"""Errors of all members on a minibatch, and the loss made of them."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from alflow.models.ani.network import StackedNetworks
from alflow.training.dataset import Minibatch

ENERGY_UNIT_EV_PER_ATOM = 0.1
"""Energy errors per atom of this size weigh as much as force errors of 1 eV/Å."""


@dataclass(frozen=True, eq=False, slots=True)
class Errors:
    """What each member gets wrong, by structure.

    Attributes:
        energy: Error of the energy per atom [eV], (members, structures).
        force_square: Mean square error of the force components [eV²/Å²], zero where nothing
            is compared, (members, structures).
        n_force: Number of force components compared, (structures,).
    """

    energy: Float[Tensor, "members structures"]
    force_square: Float[Tensor, "members structures"]
    n_force: Float[Tensor, " structures"]


def member_errors(networks: StackedNetworks, batch: Minibatch) -> Errors:
    """Evaluate all members on a minibatch; differentiable in the parameters."""
    if not batch.has_forces:
        return errors_of(networks(batch.features, batch.species_idx), None, batch)
    atomic, gradient = networks.energies_and_gradient(batch.features, batch.species_idx)
    return errors_of(atomic, batch.pull(gradient), batch)


def errors_of(
    atomic: Float[Tensor, "members atoms"],
    pull: Float[Tensor, "members atoms 3"] | None,
    batch: Minibatch,
) -> Errors:
    """Errors of energies and of forces.

    Args:
        atomic: Atomic energies by each member [eV].
        pull: Gradient of the energies in the positions [eV/Å], zero where no forces are wanted;
            None if they are wanted nowhere.
        batch: What is right.
    """
    energy = (sum_atoms(atomic, batch) - batch.energies) / batch.n_atoms
    if pull is None:
        return Errors(energy, torch.zeros_like(energy), torch.zeros_like(batch.n_atoms))
    # Forces are minus the gradient.
    squares = (pull + batch.forces).square().mean(2)
    wanted = [
        batch.n_atoms.new_full(
            (block.n_structures,), 3.0 * block.has_forces * block.n_atoms
        )
        for block in batch.blocks
    ]
    return Errors(energy, sum_atoms(squares, batch) / batch.n_atoms, torch.cat(wanted))


def sum_atoms(
    atomic: Float[Tensor, "members atoms"], batch: Minibatch
) -> Float[Tensor, "members structures"]:
    """Sums over the atoms of each structure."""
    rows = [block.n_structures * block.n_atoms for block in batch.blocks]
    return torch.cat(
        [
            part.reshape(len(part), block.n_structures, block.n_atoms).sum(2)
            for part, block in zip(
                torch.split(atomic, rows, dim=1), batch.blocks, strict=True
            )
        ],
        dim=1,
    )


@dataclass(frozen=True, eq=False, slots=True)
class Loss:
    """Weights of the loss.

    Attributes:
        energy_weight: Weight of squared energy errors, in units of 0.1 eV per atom.
        force_weight: Weight of mean squared force errors, in units of 1 eV/Å.
    """

    energy_weight: float
    force_weight: float

    def of_structures(self, errors: Errors) -> Float[Tensor, "members structures"]:
        """Loss of each structure by each member, (members, structures)."""
        energy = (errors.energy / ENERGY_UNIT_EV_PER_ATOM).square()
        return self.energy_weight * energy + self.force_weight * errors.force_square

    def of_members(
        self,
        errors: Errors,
        may_train: Bool[Tensor, "members structures"],
        weights: Float[Tensor, " structures"],
    ) -> Float[Tensor, " members"]:
        """Mean loss of each member over the structures it may train on, (members,).

        Args:
            errors: Errors of the members.
            may_train: Which structures each member may see, (members, structures).
            weights: Weight of each structure, (structures,).
        """
        losses = self.of_structures(errors)
        # `where`, not a product: an infinite label held out must not turn into 0 * inf = NaN.
        seen = torch.where(may_train, losses * weights, torch.zeros_like(losses))
        return seen.sum(1) / may_train.sum(1).clamp(min=1)
