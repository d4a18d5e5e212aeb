"""Structures of a minibatch whose derivatives are not in memory, and three ways to their forces.

jvp                 the compiled kernels have products with the derivative of the descriptor in
                    both directions, which is all that forces and training on them need
autograd            plain torch, twice backwards: slow, and the oracle of the other two
finite_difference   forces without a graph; how the loss depends on the parameters through them
                    comes from energies at displaced positions (`alflow.training.differences`)
"""

import functools
from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from alflow.models.ani.choice import Differentiable
from alflow.models.ani.descriptor import AniDescriptor, Described
from alflow.models.potential import Batch, Pairs

ForceGradient = Literal["jvp", "finite_difference", "autograd"]
"""How the forces depend on the parameters."""


def kernels_of(descriptor: AniDescriptor) -> Differentiable | None:
    """The kernels that training on forces can use, or None."""
    fast = descriptor.fused()
    return fast if isinstance(fast, Differentiable) else None


@runtime_checkable
class Pushes(Described, Protocol):
    """Features of a batch with their derivative, in both directions."""

    def jvp(
        self, tangents: Float[Tensor, "members atoms 3"]
    ) -> Float[Tensor, "members atoms features"]:
        """Change of the features when positions move along each tangent."""
        ...


@dataclass(frozen=True, eq=False)
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
        """Gradient of the energies in the positions; with a graph for `autograd` alone.

        Args:
            gradient: Derivative of each member's energy in the features [eV],
                (members, atoms, features).
        """
        if self.way == "autograd":
            return self._by_autograd(gradient)
        return self._state.vjp(gradient.detach()).to(gradient.dtype)

    def push(
        self, tangents: Float[Tensor, "members atoms 3"]
    ) -> Float[Tensor, "members atoms features"]:
        """How the features change along tangents of the positions.

        Args:
            tangents: Of each member, (members, atoms, 3).

        Raises:
            TypeError: If there are no kernels for it.
        """
        state = self._state
        if not isinstance(state, Pushes):
            raise TypeError("there are no kernels for these forces")
        return state.jvp(tangents).to(tangents.dtype)

    @functools.cached_property
    def _state(self) -> Described:
        return self.descriptor.evaluate(self.batch, self.pairs)

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
