"""Errors of all members on a minibatch, and the loss made of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from alflow.models.ani.network import StackedNetworks
from alflow.training.dataset import Minibatch

ENERGY_UNIT_EV_PER_ATOM = 0.1
"""Energy errors per atom of this size weigh as much as force errors of 1 eV/Å."""
STRESS_UNIT_EV_PER_A3 = 0.1
"""Stress errors of this size (16 GPa) weigh as much as force errors of 1 eV/Å."""


@dataclass(frozen=True, eq=False, slots=True)
class Errors:
    """What each member gets wrong, by structure.

    Attributes:
        energy: Error of the energy per atom [eV], (members, structures).
        force_square: Mean square error of the force components [eV²/Å²], zero where nothing
            is compared, (members, structures).
        n_force: Number of force components compared, (structures,).
        stress_square: Mean square error of the stress components [eV²/Å⁶], zero where nothing is
            compared, (members, structures); None if nothing is compared anywhere.
        n_stress: Number of stress components compared, (structures,); None likewise.
    """

    energy: Float[Tensor, "members structures"]
    force_square: Float[Tensor, "members structures"]
    n_force: Float[Tensor, " structures"]
    stress_square: Float[Tensor, "members structures"] | None = None
    n_stress: Float[Tensor, " structures"] | None = None

    @classmethod
    def joined(cls, parts: "Sequence[Errors]") -> "Errors":
        """Errors on several minibatches as one."""
        stresses = [
            (torch.zeros_like(one.energy), torch.zeros_like(one.n_force))
            if one.stress_square is None or one.n_stress is None
            else (one.stress_square, one.n_stress)
            for one in parts
        ]
        return cls(
            torch.cat([one.energy for one in parts], dim=1),
            torch.cat([one.force_square for one in parts], dim=1),
            torch.cat([one.n_force for one in parts]),
            torch.cat([square for square, _ in stresses], dim=1),
            torch.cat([number for _, number in stresses]),
        )

    def of_member(self, member: int) -> "Errors":
        """Those of one member alone."""
        stress = None if self.stress_square is None else self.stress_square[[member]]
        return Errors(
            self.energy[[member]],
            self.force_square[[member]],
            self.n_force,
            stress,
            self.n_stress,
        )


def member_errors(networks: StackedNetworks, batch: Minibatch) -> Errors:
    """Evaluate all members on a minibatch; differentiable in the parameters."""
    if not batch.has_forces and batch.strained is None:
        return errors_of(networks(batch.features, batch.species_idx), None, batch)
    atomic, gradient = networks.energies_and_gradient(batch.features, batch.species_idx)
    pull = batch.pull(gradient) if batch.has_forces else None
    stress = None if batch.strained is None else batch.strained.pull(gradient)
    return errors_of(atomic, pull, batch, stress)


def errors_of(
    atomic: Float[Tensor, "members atoms"],
    pull: Float[Tensor, "members atoms 3"] | None,
    batch: Minibatch,
    stress: Float[Tensor, "members structures 6"] | None = None,
) -> Errors:
    """Errors of energies, forces and stresses.

    Args:
        atomic: Atomic energies by each member [eV].
        pull: Gradient of the energies in the positions [eV/Å], zero where no forces are wanted;
            None if they are wanted nowhere.
        batch: What is right.
        stress: Stresses by each member [eV/Å³]; None if they are wanted nowhere.
    """
    energy = (sum_atoms(atomic, batch) - batch.energies) / batch.n_atoms
    strains: tuple[Tensor | None, Tensor | None] = None, None
    if batch.strained is not None and stress is not None:
        strains = batch.strained.mean_square(stress), batch.strained.n_compared()
    if pull is None:
        nothing = torch.zeros_like(energy), torch.zeros_like(batch.n_atoms)
        return Errors(energy, *nothing, *strains)
    # Forces are minus the gradient.
    squares = (pull + batch.forces).square().mean(2)
    wanted = [
        batch.n_atoms.new_full(
            (block.n_structures,), 3.0 * block.has_forces * block.n_atoms
        )
        for block in batch.blocks
    ]
    force_square = sum_atoms(squares, batch) / batch.n_atoms
    return Errors(energy, force_square, torch.cat(wanted), *strains)


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
        stress_weight: Weight of mean squared stress errors, in units of 0.1 eV/Å³.
        energy_width: Energy errors per atom beyond this [eV] count linearly; None for none.
        force_width: Structures whose root mean square force error is beyond this [eV/Å] count
            linearly in it; None for none.
    """

    energy_weight: float
    force_weight: float
    stress_weight: float = 0.0
    energy_width: float | None = None
    force_width: float | None = None

    def of_structures(self, errors: Errors) -> Float[Tensor, "members structures"]:
        """Loss of each structure by each member, (members, structures)."""
        energy = (errors.energy / ENERGY_UNIT_EV_PER_ATOM).square()
        force = errors.force_square
        if self.energy_width is not None:
            energy = bent(energy, self.energy_width / ENERGY_UNIT_EV_PER_ATOM)
        if self.force_width is not None:
            force = bent(force, self.force_width)
        loss = self.energy_weight * energy + self.force_weight * force
        if errors.stress_square is None or not self.stress_weight:
            return loss
        stress = errors.stress_square / STRESS_UNIT_EV_PER_A3**2
        return loss + self.stress_weight * stress

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


def bent(square: Tensor, width: float) -> Tensor:
    """Huber's loss: a square, but beyond a width the tangent, which grows linearly.

    Args:
        square: Square of an error.
        width: Size of the error from which on it grows linearly.
    """
    straight = 2 * width * square.clamp(min=width**2).sqrt() - width**2
    return torch.where(square <= width**2, square, straight)
