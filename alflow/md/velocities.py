"""Random numbers of replicas: one stream each, so that no path depends on the company."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from alflow.core.units import ACCELERATION_PER_FORCE, BOLTZMANN_EV_PER_K
from alflow.md.state import State


def draw_noise(
    streams: Sequence[np.random.Generator], sizes: Sequence[int]
) -> Float[np.ndarray, "atoms 3"]:
    """Standard normal numbers, (atoms, 3); those of each replica from its own stream."""
    noise = np.empty((sum(sizes), 3))
    first = 0
    for stream, size in zip(streams, sizes, strict=True):
        stream.standard_normal(out=noise[first : first + size])
        first += size
    return noise


def with_thermal_velocities(
    state: State,
    temperature_K: Float[Tensor, " systems"],
    streams: Sequence[np.random.Generator],
) -> State:
    """Draw velocities from the Maxwell-Boltzmann distribution of momentum zero.

    The momentum is taken out by giving all atoms of a replica the opposite velocity of their
    centre of mass, which is exact: what is left is canonical with three degrees of freedom less.
    A lone atom keeps its momentum.

    Args:
        state: Replicas whose velocities are replaced.
        temperature_K: Temperature of each replica [K], (systems,).
        streams: Random stream of each replica.
    """
    noise = torch.from_numpy(draw_noise(streams, state.sizes)).to(state.positions.device)
    width = thermal_speed(temperature_K[state.system_idx], state.masses)
    velocities = noise * width[:, None]
    is_alone = (state.n_atoms == 1)[state.system_idx, None]
    drift = centre_of_mass_velocity(replace(state, velocities=velocities))
    return replace(
        state,
        velocities=torch.where(is_alone, velocities, velocities - drift[state.system_idx]),
    )


def thermal_speed(
    temperature_K: Float[Tensor, " atoms"], masses: Float[Tensor, " atoms"]
) -> Float[Tensor, " atoms"]:
    """Standard deviation of each velocity component at thermal equilibrium [Å/fs], (atoms,)."""
    return torch.sqrt(
        temperature_K / masses * (BOLTZMANN_EV_PER_K * ACCELERATION_PER_FORCE)
    )


def centre_of_mass_velocity(state: State) -> Float[Tensor, "systems 3"]:
    """Velocity of the centre of mass of each replica [Å/fs], (systems, 3)."""
    momentum = torch.zeros_like(state.start_cells[:, 0]).index_add_(
        0, state.system_idx, state.velocities * state.masses[:, None]
    )
    return momentum / state.total(state.masses)[:, None]
