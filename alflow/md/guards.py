"""Guards: what makes a frame physically meaningless, whatever the ensemble thinks of it.

Each guard gives a mask of replicas that stays on the device; `reasons` reads them all back at once,
so that a host waits for a GPU once in a step and not at every guard.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from alflow.core.elements import COVALENT_RADII_A
from alflow.core.sampling import StopReason
from alflow.md.compiled import motion_kernels
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


Verdict = tuple[Bool[Tensor, " systems"], StopReason]
"""Which replicas a guard ends, and why."""


def reasons(verdicts: Sequence[Verdict]) -> dict[int, StopReason]:
    """Replicas that end, and why; of several reasons the last one counts.

    Args:
        verdicts: What the guards say; at least one.
    """
    found = torch.stack([mask for mask, _ in verdicts]).cpu().numpy()
    last = len(verdicts) - 1 - found[::-1].argmax(axis=0)
    return {int(k): verdicts[last[k]][1] for k in np.flatnonzero(found.any(axis=0))}


def runaways(state: State, timestep_fs: float) -> list[Verdict]:
    """Replicas whose positions must not be looked at any further: any of these verdicts.

    There may be none if there are no such replicas. Called when the atoms have moved and before
    anything is computed from where they are.
    """
    fast = motion_kernels(state.positions.device)
    if fast is not None and fast.is_sound(
        state.positions.numpy(),
        state.velocities.numpy(),
        timestep_fs * timestep_fs,
        LARGEST_MOVE_A**2,
    ):
        return []
    way_squared = squared(state.velocities) * (timestep_fs * timestep_fs)
    is_slow = way_squared <= LARGEST_MOVE_A**2
    is_there = _are_finite(state.positions)
    if _may_ask(state.positions.device) and bool((is_slow & is_there).all()):
        return []
    is_finite = is_there & _are_finite(state.velocities)
    return [
        (_has_one(state, ~is_slow), StopReason.TOO_HOT),
        (_has_one(state, ~is_finite), StopReason.NOT_FINITE),
    ]


def not_finite(state: State, evaluation: Evaluation) -> Bool[Tensor, " systems"]:
    """Replicas of which an energy of a member or a force is not a finite number."""
    has_sane_energy = evaluation.energies.isfinite().all(dim=0)
    fast = motion_kernels(state.positions.device)
    if fast is None:
        return ~has_sane_energy | _has_one(state, ~_are_finite(state.forces))
    has_sane_forces = fast.are_finite(
        state.forces.numpy(), state.system_idx.numpy(), state.n_systems
    )
    return ~(has_sane_energy & torch.from_numpy(has_sane_forces))


def too_hot(
    state: State,
    target_K: Float[Tensor, " systems"],
    limits: Limits,
    *,
    is_momentum_free: bool,
) -> Bool[Tensor, " systems"]:
    """Replicas whose kinetic temperature is beyond its limit.

    Args:
        state: Replicas.
        target_K: Target temperatures [K], (systems,).
        limits: The limit.
        is_momentum_free: As for `State.kinetic_temperature`.
    """
    limit_K = target_K * limits.temperature_factor + limits.temperature_margin_K
    return state.kinetic_temperature(is_momentum_free=is_momentum_free) > limit_K


def exploded(
    state: State,
    energy_eV: Float[Tensor, " systems"],
    start_energy_eV: Float[Tensor, " systems"],
    limits: Limits,
) -> Bool[Tensor, " systems"]:
    """Replicas whose energy is further from that of their start than its limit.

    An energy that is not a number is for `not_finite` to find.
    """
    change = (energy_eV - start_energy_eV).abs()
    return change > limits.energy_eV_per_atom * state.n_atoms


def collapsed(state: State, limits: Limits) -> Bool[Tensor, " systems"]:
    """Replicas, periodic in all directions, whose cell has too little room for their atoms."""
    radii = _radii(state.positions.device)[state.numbers]
    of_atoms = state.total(radii * radii * radii) * (4 / 3 * math.pi)
    a, b, c = state.cells.unbind(1)
    volume = (torch.linalg.cross(a, b) * c).sum(-1).abs()
    is_small: Tensor = volume < limits.volume_factor * of_atoms
    return is_small & state.pbc.all(-1)


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


def _may_ask(device: torch.device) -> bool:
    """Whether the value of a tensor costs nothing, because nobody has to wait for it."""
    return device.type == "cpu"


def _are_finite(vectors: Float[Tensor, "atoms 3"]) -> Bool[Tensor, " atoms"]:
    """Which rows are finite; `all` over so short an axis takes ten times as long."""
    x, y, z = vectors.isfinite().unbind(-1)
    return x & y & z


def _has_one(state: State, atoms: Bool[Tensor, " atoms"]) -> Bool[Tensor, " systems"]:
    """Replicas with at least one of these atoms."""
    counts = torch.zeros_like(state.scale, dtype=torch.int32)
    return counts.index_add_(0, state.system_idx, atoms.to(torch.int32)) > 0


@functools.cache
def _radii(device: torch.device) -> Float[Tensor, " elements"]:
    """Covalent radii [Å], sent to a device once."""
    return torch.tensor(COVALENT_RADII_A, device=device)
