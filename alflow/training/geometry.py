"""Structures of a minibatch whose derivatives are not in memory, and three ways to their forces.

jvp                 the compiled kernels, whose products with the derivative of the descriptor
                    differentiate into one another
autograd            plain torch, twice backwards: slow, and the oracle of the other two
finite_difference   forces without a graph; how the loss depends on the parameters through them
                    comes from energies at displaced positions (`alflow.training.differences`)
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from alflow.models.ani.choice import Differentiable
from alflow.models.ani.descriptor import AniDescriptor
from alflow.models.potential import Batch, Pairs

ForceGradient = Literal["jvp", "finite_difference", "autograd"]
"""How the forces depend on the parameters."""


def kernels_of(descriptor: AniDescriptor) -> Differentiable | None:
    """The kernels that training on forces can use, or None."""
    fast = descriptor.fused()
    return fast if isinstance(fast, Differentiable) else None


@dataclass(frozen=True, eq=False, slots=True)
class Geometry:
    """Where atoms are, with what describes them.

    Attributes:
        descriptor: What describes them.
        batch: The structures, in float64.
        pairs: Neighbour list that reaches a little further than the descriptor.
        way: How forces are had.
    """

    descriptor: AniDescriptor
    batch: Batch
    pairs: Pairs
    way: ForceGradient

    def pull(
        self, gradient: Float[Tensor, "members atoms features"]
    ) -> Float[Tensor, "members atoms 3"]:
        """Gradient of the energies in the positions; with a graph, but for finite differences.

        Args:
            gradient: Derivative of each member's energy in the features [eV],
                (members, atoms, features).
        """
        if self.way == "finite_difference":
            state = self.descriptor.evaluate(self.batch, self.pairs)
            return state.vjp(gradient.detach()).to(gradient.dtype)
        if self.way == "autograd":
            return self._by_autograd(gradient)
        kernels = kernels_of(self.descriptor)
        if kernels is None:
            raise TypeError("there are no kernels for these forces")
        species = self.descriptor.species(self.batch.numbers)
        atoms = kernels.differentiable(self.batch, self.pairs, species)
        return atoms.pull(self.batch.positions, gradient)

    def displaced(
        self, displacements: Float[Tensor, "members atoms 3"]
    ) -> Float[Tensor, "members atoms features"]:
        """Descriptors with the atoms moved, by a field of its own for each member.

        Args:
            displacements: How far atoms are moved [Å]; so little that the neighbour list does.
        """
        found = []
        for one in displacements.detach().to(torch.float64):
            moved = replace(self.batch, positions=self.batch.positions + one)
            found.append(self.descriptor.evaluate(moved, self.pairs).features)
        return torch.stack(found)

    def _by_autograd(self, gradient: Tensor) -> Tensor:
        positions = self.batch.positions.detach().requires_grad_()
        batch = replace(self.batch, positions=positions)
        features = self.descriptor.features(batch, self.pairs)
        pulls = [
            torch.autograd.grad(
                features, positions, member.to(features.dtype), create_graph=True
            )[0]
            for member in gradient
        ]
        return torch.stack(pulls).to(gradient.dtype)
