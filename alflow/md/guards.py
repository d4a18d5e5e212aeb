"""Guards: what makes a frame physically meaningless, whatever the ensemble thinks of it."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from alflow.core.sampling import StopReason
from alflow.md.state import State, squared
from alflow.models.potential import Evaluation

LARGEST_MOVE_A = 1.0
"""An atom that moves further in one step [Å] has left the range of any integrator."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a frame stops to make sense.

    Attributes:
        distance_factor: Shortest distance of two atoms as a factor of the sum of their
            covalent radii; zero switches the guard off.
        temperature_factor: Largest kinetic temperature as a factor of the target, plus
        temperature_margin_K: this [K]: room for the heat that a strained start sets free.
    """

    distance_factor: float = 0.6
    temperature_factor: float = 5.0
    temperature_margin_K: float = 10_000.0


def runaways(state: State, timestep_fs: float) -> dict[int, StopReason]:
    """Replicas whose positions must not be looked at any further, with the reason.

    Called when the atoms have moved and before anything is computed from where they are.
    """
    way_squared = squared(state.velocities) * (timestep_fs * timestep_fs)
    is_sane = (way_squared <= LARGEST_MOVE_A**2) & state.positions.isfinite().all(dim=-1)
    if bool(is_sane.all()):
        return {}
    reasons = dict.fromkeys(_owners(state, ~is_sane), StopReason.TOO_HOT)
    is_finite = (state.positions.isfinite() & state.velocities.isfinite()).all(dim=-1)
    return reasons | dict.fromkeys(_owners(state, ~is_finite), StopReason.NOT_FINITE)


def not_finite(state: State, evaluation: Evaluation) -> list[int]:
    """Replicas of which an energy of a member or a force is not a finite number."""
    has_sane_energy = evaluation.energies.isfinite().all(dim=0)
    has_sane_forces = state.forces.isfinite().all(dim=-1)
    if bool(has_sane_energy.all() & has_sane_forces.all()):
        return []
    of_energy = (~has_sane_energy).nonzero().flatten().tolist()
    return sorted({*of_energy, *_owners(state, ~has_sane_forces)})


def too_hot(
    state: State,
    target_K: Float[Tensor, " systems"],
    limits: Limits,
    *,
    is_momentum_free: bool,
) -> list[int]:
    """Replicas whose kinetic temperature is beyond its limit.

    Args:
        state: Replicas.
        target_K: Target temperatures [K], (systems,).
        limits: The limit.
        is_momentum_free: As for `State.kinetic_temperature`.
    """
    limit_K = target_K * limits.temperature_factor + limits.temperature_margin_K
    is_hot = state.kinetic_temperature(is_momentum_free=is_momentum_free) > limit_K
    hot: list[int] = is_hot.nonzero().flatten().tolist()
    return hot


def _owners(state: State, atoms: Bool[Tensor, " atoms"]) -> list[int]:
    owners: list[int] = torch.unique(state.system_idx[atoms]).tolist()
    return owners
