"""Guards: what makes a frame physically meaningless, whatever the ensemble thinks of it."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from alflow.core.elements import COVALENT_RADII_A
from alflow.core.sampling import StopReason
from alflow.md.state import State, squared
from alflow.models.potential import Evaluation, Pairs

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
        energy_eV_per_atom: Largest change of the mean potential energy since the start, up or
            down [eV per atom].
        volume_factor: Smallest volume of a periodic cell as a factor of that of its atoms, taken
            as balls of their covalent radii; zero switches the guard off.
    """

    distance_factor: float = 0.6
    temperature_factor: float = 5.0
    temperature_margin_K: float = 10_000.0
    energy_eV_per_atom: float = 20.0
    volume_factor: float = 1.0


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


def exploded(
    state: State,
    energy_eV: Float[Tensor, " systems"],
    start_energy_eV: Float[Tensor, " systems"],
    limits: Limits,
) -> list[int]:
    """Replicas whose energy is further from that of their start than its limit.

    An energy that is not a number is for `not_finite` to find.
    """
    change = (energy_eV - start_energy_eV).abs()
    is_far = change > limits.energy_eV_per_atom * state.n_atoms
    far: list[int] = is_far.nonzero().flatten().tolist()
    return far


def collapsed(state: State, limits: Limits) -> list[int]:
    """Replicas, periodic in all directions, whose cell has too little room for their atoms."""
    radii = torch.tensor(COVALENT_RADII_A, device=state.positions.device)[state.numbers]
    of_atoms = state.total(radii * radii * radii) * (4 / 3 * math.pi)
    a, b, c = state.cells.unbind(1)
    volume = (torch.linalg.cross(a, b) * c).sum(-1).abs()
    is_small = (volume < limits.volume_factor * of_atoms) & state.pbc.all(-1)
    small: list[int] = is_small.nonzero().flatten().tolist()
    return small


def pieces(state: State, pairs: Pairs, cutoff_A: float) -> list[int]:
    """Number of pieces of each replica that are out of reach of each other.

    Args:
        state: Replicas.
        pairs: Neighbour list that may reach beyond the cutoff.
        cutoff_A: Reach [Å].
    """
    batch = state.batch(torch.float64)
    is_near = squared(pairs.vectors(batch)) < cutoff_A * cutoff_A
    i, j = pairs.i[is_near], pairs.j[is_near]
    first = torch.arange(batch.n_atoms, device=state.positions.device)
    # each atom takes the smallest number among its neighbours until none changes
    name = first
    while True:
        smaller = name.scatter_reduce(0, i, name[j], "amin")
        smaller = smaller[smaller]
        if torch.equal(smaller, name):
            break
        name = smaller
    counts = torch.bincount(state.system_idx[name == first], minlength=state.n_systems)
    found: list[int] = counts.tolist()
    return found


def _owners(state: State, atoms: Bool[Tensor, " atoms"]) -> list[int]:
    owners: list[int] = torch.unique(state.system_idx[atoms]).tolist()
    return owners
