"""Spread of an ensemble over the replicas of a batch, in size-consistent units.

Sums over members are written out member by member: a reduction over the first axis adds in an
order that depends on the other axes, that is on the company of a replica.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from alflow.core.sampling import Spread
from alflow.md.state import State, squared
from alflow.models.potential import Evaluation


def mean_forces(evaluation: Evaluation) -> Float[Tensor, "atoms 3"]:
    """Mean forces, whether the evaluation gives them or only those of the members.

    Raises:
        ValueError: If the evaluation was made without forces.
    """
    if evaluation.forces is not None:
        return evaluation.forces
    return member_mean(member_forces(evaluation))


def spreads(evaluation: Evaluation, state: State) -> list[Spread]:
    """The spread of each replica.

    Raises:
        ValueError: If the evaluation was made without the forces of the members.
    """
    n_atoms = state.n_atoms
    energy = torch.sqrt(_variance(evaluation.energies.to(torch.float64)) / n_atoms)
    members = member_forces(evaluation).to(torch.float64)
    variances = _variance(members)
    x, y, z = variances.unbind(-1)
    of_atom = torch.sqrt(x + y + z)
    force_max = torch.zeros_like(n_atoms).scatter_reduce_(
        0, state.system_idx, of_atom, "amax"
    )
    # of the members, because what moves the atoms may be biased
    scale = torch.sqrt(squared(member_mean(members)))
    columns = torch.stack(
        [energy, state.total(of_atom) / n_atoms, force_max, state.total(scale) / n_atoms]
    )
    return [Spread(*values) for values in columns.T.tolist()]


def member_forces(evaluation: Evaluation) -> Float[Tensor, "members atoms 3"]:
    """Forces of the members.

    Raises:
        ValueError: If the evaluation was made without them.
    """
    if evaluation.member_forces is None:
        raise ValueError("the evaluation was made without forces")
    return evaluation.member_forces


def member_mean(values: Float[Tensor, "members ..."]) -> Float[Tensor, "..."]:
    """Mean over members, added in their order."""
    total = values[0]
    for member in values[1:]:
        total = total + member
    return total / len(values)


def _variance(values: Float[Tensor, "members ..."]) -> Float[Tensor, "..."]:
    """Population variance over members; two passes, so that large energies do not cancel."""
    deviations = values - member_mean(values)
    return member_mean(deviations * deviations)
