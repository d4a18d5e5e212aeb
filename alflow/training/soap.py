"""SOAP over the stacked parameters of all members, each with its own learning rate."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from alflow.training.optimiser import EPSILON, FlatNetworks, clip_rows

BETAS = (0.95, 0.95)
"""How much of the running means of gradient and square is kept at each step."""
BETA = 0.95
"""How much of the running mean of the gradient's second moments is kept at each step."""
EVERY = 20
"""Steps from one turn of the axes to the next."""
RIDGE = 1e-4
"""Added to the second moments when axes are turned, in units of their mean."""
FLOOR = 1e-4
"""Added to the root of the square, in units of its mean: directions in which the gradient is
nothing but rounding errors are not worth a step."""
LARGEST_SIDE = 256
"""Sides of weights longer than this are not turned: it would take longer than it saves."""


class Axes:
    """Along one side of the weights of a layer: where the gradient's second moments are diagonal.

    Attributes:
        moments: Running mean of the second moments, (members, side, side).
        vectors: Orthonormal, in columns, those of the largest moments first,
            (members, side, side).
    """

    def __init__(self, like: Float[Tensor, "members _ _"], side: int) -> None:
        """Start from the axes of the weights themselves.

        Args:
            like: The weights of a layer.
            side: 1 for what enters the layer, 2 for what leaves it.
        """
        width = like.shape[side]
        self._enters = side == 1
        self.moments = like.new_zeros(len(like), width, width)
        self.vectors = torch.eye(width).to(like).repeat(len(like), 1, 1)

    def turn(self, matrix: Float[Tensor, "members _ _"], *, back: bool = False) -> Tensor:
        """A matrix like the weights, seen along these axes; or back from there."""
        if self._enters:
            return torch.bmm(self.vectors if back else self.vectors.mT, matrix)
        return torch.bmm(matrix, self.vectors.mT if back else self.vectors)

    def add(self, gradient: Float[Tensor, "members _ _"]) -> None:
        """Take a gradient of the weights into the second moments."""
        left, right = gradient, gradient.mT
        if not self._enters:
            left, right = right, left
        self.moments.baddbmm_(left, right, beta=BETA, alpha=1 - BETA)

    def follow(self, square: Float[Tensor, "members _ _"]) -> None:
        """Move the axes one step of orthogonal iteration towards those of the second moments.

        Args:
            square: Running mean of the square along the axes; it is sorted as they are, in place.
        """
        sizes = (self.vectors * torch.bmm(self.moments, self.vectors)).sum(1)
        order = sizes.argsort(dim=1, descending=True, stable=True)
        sorted_vectors = self.vectors.take_along_dim(order[:, None, :], dim=2)
        along = order[:, :, None] if self._enters else order[:, None, :]
        square.copy_(square.take_along_dim(along, dim=1 if self._enters else 2))
        turned = torch.bmm(self.moments, sorted_vectors)
        # Where there is no gradient, axes stay as they are instead of following rounding errors.
        size = self.moments.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
        turned.add_(sorted_vectors * (RIDGE * size))
        self.vectors = torch.linalg.qr(turned)[0]

    def forget(self, members: Bool[Tensor, " members"]) -> None:
        """Start some members anew."""
        self.moments[members] = 0.0
        self.vectors[members] = torch.eye(self.vectors.shape[1]).to(self.vectors)


class StackedSoap:
    """SOAP (Vyas et al., arXiv 2409.11321) with a learning rate for each member.

    Adam, along axes in which the gradient's second moments are diagonal, for both sides of the
    weights of each layer (those of Shampoo). Small networks need a third of the steps that Adam
    needs (`benchmarks/acac.py`), and a step takes a fifth longer (`benchmarks/training.py`).

    Attributes:
        mean: Running mean of the gradient along the axes, (members, parameters).
        square: Running mean of its square there, (members, parameters).
        steps: Steps since the start or since a member was forgotten, (members,).
        count: Steps since the start.
    """

    def __init__(self, flat: FlatNetworks, clip: float | None) -> None:
        """Start without a memory.

        Args:
            flat: What to optimise.
            clip: Largest norm of the gradient of one member; None does not clip.
        """
        self._clip = clip
        self._flat = flat
        self.mean = torch.zeros_like(flat.values)
        self.square = torch.zeros_like(flat.values)
        self.steps = torch.zeros(len(flat.values), dtype=torch.float32)
        self.count = torch.zeros((), dtype=torch.int64)
        self._axes = [
            [
                Axes(weight, side)
                for side in (1, 2)
                if 1 < weight.shape[side] <= LARGEST_SIDE
            ]
            for weight in flat.views(flat.values)[0]
        ]

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
        turned = self._turned(gradient)
        self.mean.lerp_(turned, 1 - BETAS[0])
        self.square.mul_(BETAS[1]).addcmul_(turned, turned, value=1 - BETAS[1])
        self.steps += 1
        rates = learning_rates.to(self.mean)[:, None]
        steps = self.steps.to(self.mean)[:, None]
        root = (self.square / (1 - BETAS[1] ** steps)).sqrt_()
        root.add_(FLOOR * root.square().mean(1, keepdim=True).sqrt() + EPSILON)
        change = self._turned(self.mean / root, back=True)
        change.mul_(rates / (1 - BETAS[0] ** steps))
        # What has diverged is not a number, and zero times that is not zero.
        self._flat.values.sub_(change.masked_fill_(rates == 0, 0.0))
        self._learn(gradient)

    def _turned(
        self, matrix: Float[Tensor, "members parameters"], *, back: bool = False
    ) -> Float[Tensor, "members parameters"]:
        found = matrix.clone()
        for axes, weight in zip(self._axes, self._flat.views(found)[0], strict=True):
            part = weight
            for one in axes:
                part = one.turn(part, back=back)
            weight.copy_(part)
        return found

    def _learn(self, gradient: Float[Tensor, "members parameters"]) -> None:
        """Take a gradient into the second moments; turn the axes if it is time."""
        for axes, weight in zip(self._axes, self._flat.views(gradient)[0], strict=True):
            for one in axes:
                one.add(weight)
        if self.count % EVERY == 0:
            self.mean = self._turned(self.mean, back=True)
            for axes, square in zip(
                self._axes, self._flat.views(self.square)[0], strict=True
            ):
                for one in axes:
                    one.follow(square)
            self.mean = self._turned(self.mean)
        self.count += 1

    def forget(self, members: Bool[Tensor, " members"]) -> None:
        """Clear what is remembered of some members, after their parameters were rolled back."""
        for tensor in (self.mean, self.square, self.steps):
            tensor[members] = 0.0
        for axes in self._axes:
            for one in axes:
                one.forget(members)

    def tensors(self) -> dict[str, Tensor]:
        """What is remembered, by name, for a checkpoint."""
        found = {
            "soap_mean": self.mean,
            "soap_square": self.square,
            "soap_steps": self.steps,
            "soap_count": self.count,
        }
        for layer, axes in enumerate(self._axes):
            for side, one in enumerate(axes):
                found[f"soap_moments_{layer}_{side}"] = one.moments
                found[f"soap_vectors_{layer}_{side}"] = one.vectors
        return found

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `tensors`."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])
