"""What optimises the stacked parameters of all members, and Adam."""

import math
from collections.abc import Collection, Mapping
from typing import Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from alflow.models.ani.network import StackedNetworks

BETAS = (0.9, 0.999)
"""How much of the running means of gradient and square is kept at each step."""
EPSILON = 1e-8
"""Added to the root of the square."""


class FlatNetworks:
    """Networks whose parameters are views of one matrix with a row for each member.

    So that clipping, an optimiser step, a snapshot or a rollback of single members is one
    operation on rows, whatever the number of elements and layers.

    Attributes:
        values: All parameters, (members, parameters).
        networks: The networks on top of `values`.
        is_frozen: Which parameters of a member never change, (parameters,).
    """

    def __init__(
        self, networks: StackedNetworks, frozen_layers: Collection[int] = ()
    ) -> None:
        """Copy the parameters of networks.

        Args:
            networks: Where to start.
            frozen_layers: Layers, 0 first, whose gradient is zero, weights and biases.
        """
        tensors = [parameter.detach() for parameter in networks.parameters()]
        self._shapes = [tensor.shape[1:] for tensor in tensors]
        self._template = networks
        self.values = torch.cat([tensor.flatten(1) for tensor in tensors], dim=1)
        self.networks = self.over(self.values)
        # Weights of all layers of the first element, of the second, ..., then biases likewise.
        frozen = [
            place % networks.n_layers in frozen_layers for place in range(len(tensors))
        ]
        widths = [tensor[0].numel() for tensor in tensors]
        self.is_frozen = torch.tensor(frozen).repeat_interleave(torch.tensor(widths))

    @property
    def n_trainable(self) -> int:
        """Number of parameters of a member that training changes."""
        return int((~self.is_frozen).sum())

    def gradient(self, loss: Float[Tensor, ""]) -> Float[Tensor, "members parameters"]:
        """Derivative of a loss in all parameters."""
        parts = torch.autograd.grad(loss, list(self.networks.parameters()))
        return torch.cat([part.flatten(1) for part in parts], dim=1)

    def views(
        self, matrix: Float[Tensor, "members parameters"]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Weights and biases in a matrix like `values`, in the order of `StackedNetworks`."""
        tensors = self._views(matrix)
        half = len(tensors) // 2
        return tensors[:half], tensors[half:]

    def member(self, member: int) -> StackedNetworks:
        """One member alone, on the same memory."""
        return self.over(self.values[member : member + 1])

    def write_to(self, networks: StackedNetworks) -> None:
        """Copy the parameters into networks of the same shapes."""
        with torch.no_grad():
            for target, view in zip(
                networks.parameters(), self._views(self.values), strict=True
            ):
                target.copy_(view)

    def _views(self, matrix: Float[Tensor, "members parameters"]) -> list[Tensor]:
        widths = [math.prod(shape) for shape in self._shapes]
        return [
            part.view(len(matrix), *shape)
            for part, shape in zip(
                torch.split(matrix, widths, dim=1), self._shapes, strict=True
            )
        ]

    def over(self, matrix: Float[Tensor, "members parameters"]) -> StackedNetworks:
        """Networks of the same shape on top of other parameters, of any number of members."""
        # parameters() walks the weights of all elements and layers first, then the biases.
        networks = StackedNetworks(
            *self.views(matrix), self._template.n_elements, self._template.activation
        )
        networks.standardise(self._template.feature_mean, self._template.feature_scale)
        return networks


class Optimiser(Protocol):
    """Moves the parameters of all members against a gradient."""

    def step(
        self,
        gradient: Float[Tensor, "members parameters"],
        learning_rates: Float[Tensor, " members"],
    ) -> None:
        """Take one step; members of learning rate 0 stay as they are.

        Args:
            gradient: Derivative of the loss; may be changed in place, (members, parameters).
            learning_rates: Learning rate of each member, (members,).
        """
        ...

    def forget(self, members: Bool[Tensor, " members"]) -> None:
        """Clear what is remembered of some members, after their parameters were rolled back."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """What is remembered, by name, for a checkpoint."""
        ...

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `tensors`."""
        ...


class StackedAdam:
    """Adam (Kingma and Ba 2015) with a learning rate for each member.

    `torch.optim` imports a compiler before its first step, which takes longer than many trainings;
    its kernel is called without it.

    Attributes:
        mean: Running mean of the gradient, (members, parameters).
        square: Running mean of its square, (members, parameters).
        steps: Steps since the start or since a member was forgotten, (members,).
    """

    def __init__(self, flat: FlatNetworks, clip: float | None) -> None:
        """Start without a memory.

        Args:
            flat: What to optimise.
            clip: Largest norm of the gradient of one member; None does not clip.
        """
        self._clip = clip
        self._values = flat.values
        self.mean = torch.zeros_like(flat.values)
        self.square = torch.zeros_like(flat.values)
        self.steps = torch.zeros(len(flat.values), dtype=torch.float32)

    @torch.no_grad()
    def step(
        self,
        gradient: Float[Tensor, "members parameters"],
        learning_rates: Float[Tensor, " members"],
    ) -> None:
        """Take one step; members of learning rate 0 stay as they are.

        Args:
            gradient: Derivative of the loss; clipped in place, (members, parameters).
            learning_rates: Learning rate of each member, (members,).
        """
        clip_rows(gradient, self._clip)
        self.steps += learning_rates > 0
        for member, rate in enumerate(learning_rates.tolist()):
            if rate > 0:
                self._step(member, gradient[member], rate)

    def _step(self, member: int, slope: Float[Tensor, " parameters"], rate: float) -> None:
        torch._fused_adam_(
            [self._values[member]],
            [slope],
            [self.mean[member]],
            [self.square[member]],
            [],
            [self.steps[member]],
            lr=rate,
            beta1=BETAS[0],
            beta2=BETAS[1],
            weight_decay=0.0,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
        )

    def forget(self, members: Bool[Tensor, " members"]) -> None:
        """Clear what is remembered of some members, after their parameters were rolled back."""
        self.mean[members] = 0.0
        self.square[members] = 0.0
        self.steps[members] = 0.0

    def tensors(self) -> dict[str, Tensor]:
        """What is remembered, by name, for a checkpoint."""
        return {
            "adam_mean": self.mean,
            "adam_square": self.square,
            "adam_steps": self.steps,
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `tensors`."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])


def clip_rows(gradient: Float[Tensor, "members parameters"], clip: float | None) -> None:
    """Shorten gradients of members that are longer than `clip`, in place; None shortens none."""
    if clip is not None:
        norms = gradient.norm(dim=1, keepdim=True)
        gradient.mul_(clip / norms.clamp(min=clip))


def cosine(start: float, stop: float, epoch: int, epochs: int) -> float:
    """Learning rate of an epoch on a half cosine from `start` to `stop`."""
    progress = epoch / max(epochs - 1, 1)
    return stop + (start - stop) * 0.5 * (1 + math.cos(math.pi * progress))
