"""Loss of all members on a minibatch, and its derivative in their parameters."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from alflow.training.dataset import Minibatch
from alflow.training.differences import losses_by_differences
from alflow.training.geometry import ForceGradient
from alflow.training.loss import Errors, errors_of, member_errors
from alflow.training.optimiser import FlatNetworks
from alflow.training.passes import Passes

LossOf = Callable[[Errors], Float[Tensor, " members"]]
"""Loss of each member for what it gets wrong."""


def losses_and_gradient(
    flat: FlatNetworks,
    batch: Minibatch,
    loss_of: LossOf,
    way: ForceGradient = "jvp",
    step_A: float = 1e-3,
) -> tuple[Float[Tensor, " members"], Float[Tensor, "members parameters"]]:
    """Loss of each member, and the derivative of their sum in all parameters, zero for frozen ones.

    Args:
        flat: All members.
        batch: Structures.
        loss_of: The loss.
        way: How forces depend on the parameters.
        step_A: With `finite_difference`: how far the atom that moves most is moved [Å].
    """
    if way == "jvp":
        losses, gradient = _by_hand(flat, batch, loss_of)
    elif way == "finite_difference":
        losses = losses_by_differences(flat.networks, batch, loss_of, step_A)
        gradient = flat.gradient(losses.sum())
    else:
        losses = loss_of(member_errors(flat.networks, batch))
        gradient = flat.gradient(losses.sum())
    return losses.detach(), gradient.masked_fill_(flat.is_frozen, 0.0)


@torch.no_grad()
def _by_hand(
    flat: FlatNetworks, batch: Minibatch, loss_of: LossOf
) -> tuple[Float[Tensor, " members"], Float[Tensor, "members parameters"]]:
    passes = Passes(flat.networks, batch.features, batch.species_idx)
    energies, pull, stress = passes.energies(), None, None
    slopes = passes.gradient() if batch.has_forces or batch.strained is not None else None
    if slopes is not None and batch.has_forces:
        pull = batch.pull(slopes)
    if slopes is not None and batch.strained is not None:
        stress = batch.strained.pull(slopes)
    leaves = [leaf for leaf in (energies, pull, stress) if leaf is not None]
    with torch.enable_grad():
        for leaf in leaves:
            leaf.requires_grad_()
        losses = loss_of(errors_of(energies, pull, batch, stress))
        # Without a weight, nothing depends on a stress.
        of_energies, *others = torch.autograd.grad(
            losses.sum(), leaves, materialize_grads=stress is not None
        )
    of_gradient = batch.push(others.pop(0)) if pull is not None else None
    if slopes is not None and batch.strained is not None:
        of_strain = batch.strained.push(others.pop(0), slopes)
        of_gradient = of_strain if of_gradient is None else of_gradient + of_strain
    gradient = torch.empty_like(flat.values)
    passes.add_up(of_energies, of_gradient, *flat.views(gradient))
    return losses, gradient
