"""The compiled descriptor as operators of torch that differentiate into one another.

    features(positions) -> A             its derivative is `pull`
    pull(positions, G)  -> J^T G         linear in G; its derivative in G is `push`
    push(positions, V)  -> J V           linear in V; its derivative in V is `pull`

That is enough for forces, and for training on forces. What it is not enough for are derivatives of
a derivative in the positions (Hessians): those raise, and `AniDescriptor.features` has them.
Sampling needs no graph and does without all this.
"""

import dataclasses
import itertools
import weakref
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from alflow.models.ani.fused import FusedDescriptor, FusedState
from alflow.models.potential import Batch, Pairs

_numbers = itertools.count()
_atoms: "weakref.WeakValueDictionary[int, DifferentiableAtoms]" = (
    weakref.WeakValueDictionary()
)


class DifferentiableAtoms:
    """A batch whose positions may vary, known to the operators by a number.

    Attributes:
        number: What the operators are told.
        n_features: Length of the descriptor of one atom.
    """

    def __init__(
        self,
        descriptor: FusedDescriptor,
        batch: Batch,
        pairs: Pairs,
        species: Int[Tensor, " atoms"],
    ) -> None:
        """Remember all but the positions.

        Args:
            descriptor: On compiled kernels.
            batch: Systems; their positions are given anew to every operator.
            pairs: Neighbour list that reaches far enough for all of them.
            species: Element of each atom.
        """
        self._descriptor = descriptor
        self._batch = batch
        self._pairs = pairs
        self._species = species
        self.n_features = descriptor.n_features
        self.number = next(_numbers)
        _atoms[self.number] = self

    def state(self, positions: Tensor) -> FusedState:
        """The kernels at some positions."""
        batch = dataclasses.replace(self._batch, positions=positions)
        return self._descriptor.evaluate(batch, self._pairs, self._species)

    def features(self, positions: Float[Tensor, "atoms 3"]) -> Tensor:
        """Descriptor of each atom, (atoms, features); differentiable in the positions, once."""
        found: Tensor = features(positions, self.number)
        return found

    def pull(
        self, positions: Float[Tensor, "atoms 3"], gradient: Float[Tensor, "m atoms f"]
    ) -> Tensor:
        """`FusedState.vjp`, differentiable in the gradient."""
        found: Tensor = pull(positions, gradient, self.number)
        return found

    def push(
        self, positions: Float[Tensor, "atoms 3"], tangents: Float[Tensor, "m atoms 3"]
    ) -> Tensor:
        """`FusedState.jvp`, differentiable in the tangents."""
        found: Tensor = push(positions, tangents, self.number)
        return found


@torch.library.custom_op("alflow::ani_features", mutates_args=())
def features(positions: torch.Tensor, number: int) -> torch.Tensor:
    """Descriptor of each atom."""
    return _atoms[number].state(positions).features.clone()


@torch.library.custom_op("alflow::ani_pull", mutates_args=())
def pull(positions: torch.Tensor, gradient: torch.Tensor, number: int) -> torch.Tensor:
    """Gradient in the positions of the sum of gradient times features, for each member."""
    return _atoms[number].state(positions).vjp(gradient)


@torch.library.custom_op("alflow::ani_push", mutates_args=())
def push(positions: torch.Tensor, tangents: torch.Tensor, number: int) -> torch.Tensor:
    """Change of the features along each tangent of the positions."""
    return _atoms[number].state(positions).jvp(tangents)


@features.register_fake
def _(positions: torch.Tensor, number: int) -> torch.Tensor:
    shape = (positions.shape[0], _atoms[number].n_features)
    return positions.new_empty(shape, dtype=torch.float32)


@pull.register_fake
def _(positions: torch.Tensor, gradient: torch.Tensor, number: int) -> torch.Tensor:
    del number
    shape = (gradient.shape[0], positions.shape[0], 3)
    return positions.new_empty(shape, dtype=torch.float32)


@push.register_fake
def _(positions: torch.Tensor, tangents: torch.Tensor, number: int) -> torch.Tensor:
    shape = (tangents.shape[0], positions.shape[0], _atoms[number].n_features)
    return positions.new_empty(shape, dtype=torch.float32)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    """Keep the positions and the atoms, as long as the graph lives."""
    del output
    positions, *others, number = inputs
    ctx.save_for_backward(positions)
    ctx.number, ctx.atoms = number, _atoms[number]
    ctx.kinds = [other.dtype for other in others]


def _refuse_hessian(ctx: Any) -> None:
    if ctx.needs_input_grad[0]:
        raise NotImplementedError(
            "the compiled ANI kernels have no second derivatives in the positions: take "
            "AniDescriptor.features, which is plain torch, or detach the positions"
        )


def _features_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
    (positions,) = ctx.saved_tensors
    return pull(positions, gradient[None], ctx.number)[0].to(positions.dtype), None


def _pull_backward(ctx: Any, tangents: Tensor) -> tuple[None, Tensor, None]:
    _refuse_hessian(ctx)
    (positions,) = ctx.saved_tensors
    return None, push(positions, tangents, ctx.number).to(ctx.kinds[0]), None


def _push_backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None]:
    _refuse_hessian(ctx)
    (positions,) = ctx.saved_tensors
    return None, pull(positions, gradient, ctx.number).to(ctx.kinds[0]), None


features.register_autograd(_features_backward, setup_context=_remember)
pull.register_autograd(_pull_backward, setup_context=_remember)
push.register_autograd(_push_backward, setup_context=_remember)
