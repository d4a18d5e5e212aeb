"""Training on forces without second derivatives.

Smith, Lubbers, Thompson, Barros, arXiv 2006.05475 (2020). With v the derivative of the loss in
the gradient dE/dr, held constant, its derivative in the parameters W is a directional one,

    v . d(dE/dr)/dW = d(dE/dW)/dr . v = [dE/dW (r + h v) - dE/dW (r - h v)] / (2 h) + O(h²),

two more passes on energies at displaced positions. It asks nothing of the descriptor but its
value, so that any code that gives energies can be trained on forces. Each member has a direction
of its own, so that a stacked ensemble describes two geometries for each of its members: where the
descriptor is fixed and has a Jacobian-vector product, that is exact and faster.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from alflow.models.ani.network import StackedNetworks
from alflow.training.dataset import Minibatch
from alflow.training.loss import Errors, errors_of


def losses_by_differences(
    networks: StackedNetworks,
    batch: Minibatch,
    loss_of: Callable[[Errors], Float[Tensor, " members"]],
    step_A: float,
) -> Float[Tensor, " members"]:
    """Loss of each member, whose derivative in the parameters is right to second order.

    Args:
        networks: All members.
        batch: Structures, all of those with forces in `batch.loose`.
        loss_of: The loss.
        step_A: How far the atom that moves most is moved [Å].
    """
    atomic, gradient = networks.energies_and_gradient(batch.features, batch.species_idx)
    pull = batch.pull(gradient.detach()).requires_grad_()
    stress = None if batch.strained is None else batch.strained.pull(gradient)
    losses = loss_of(errors_of(atomic, pull, batch, stress))
    if batch.loose is None:
        return losses
    (whole,) = torch.autograd.grad(losses.sum(), pull, retain_graph=True)
    rows = batch.loose.rows
    direction = torch.nan_to_num(whole[:, rows])
    species = batch.species_idx[rows]
    owner = batch.loose.geometry.batch.system_idx
    n_systems = batch.loose.geometry.batch.n_systems
    longest = direction.new_zeros(len(direction), n_systems).scatter_reduce_(
        1, owner.expand(len(direction), -1), direction.norm(dim=2), "amax"
    )
    # A structure on which nothing pulls stays where it is.
    height = torch.where(longest > 0, step_A / longest.clamp(min=1e-30), 0.0)
    moved = height[:, owner, None] * direction
    inverse = torch.where(longest > 0, longest / (2 * step_A), 0.0)
    slope = torch.zeros_like(losses)
    for sign in (1, -1):
        features = batch.loose.geometry.displaced(sign * moved).to(batch.features.dtype)
        energies = networks(features, species)
        slope = slope + sign * (energies * inverse[:, owner]).sum(1)
    return losses + slope - slope.detach()
