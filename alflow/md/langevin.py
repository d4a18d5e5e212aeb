"""Langevin dynamics in the BAOAB splitting (Leimkuhler and Matthews 2013).

One step is: half a kick (B), half a drift (A), friction and noise (O), half a drift (A), new
forces, half a kick (B). Without friction it is velocity Verlet, that is constant energy.
"""

import math
from dataclasses import dataclass, replace
from types import ModuleType

import torch
from jaxtyping import Float
from torch import Tensor

from alflow.core.units import ACCELERATION_PER_FORCE, BOLTZMANN_EV_PER_K
from alflow.md.compiled import motion_kernels
from alflow.md.state import State
from alflow.md.velocities import thermal_speed


@dataclass(frozen=True, eq=False, slots=True)
class Bath:
    """What the surroundings do to the replicas during one step.

    Attributes:
        temperature_K: Target temperature of each replica [K], (systems,).
        noise: Standard normal numbers, (atoms, 3); None without friction.
        scale: Scale of the cells after the step, (systems,); None leaves them alone.
    """

    temperature_K: Float[Tensor, " systems"]
    noise: Float[Tensor, "atoms 3"] | None = None
    scale: Float[Tensor, " systems"] | None = None


def kick(state: State, time_fs: float) -> State:
    """Change velocities by the forces acting for a time (B)."""
    change = state.forces * (time_fs * ACCELERATION_PER_FORCE / state.masses)[:, None]
    return replace(state, velocities=state.velocities + change)


def drift(state: State, time_fs: float) -> State:
    """Move atoms with their velocities for a time (A)."""
    return replace(state, positions=state.positions + state.velocities * time_fs)


def thermostat(state: State, bath: Bath, friction_per_fs: float, time_fs: float) -> State:
    """Friction and noise for a time, the exact solution (O).

    Args:
        state: Replicas.
        bath: Target temperatures and noise.
        friction_per_fs: Friction [1/fs]; zero returns the state as it is.
        time_fs: How long [fs].
    """
    if bath.noise is None or friction_per_fs == 0:
        return state
    kept = math.exp(-friction_per_fs * time_fs)
    speed = thermal_speed(bath.temperature_K[state.system_idx], state.masses)
    width = speed * math.sqrt(-math.expm1(-2 * friction_per_fs * time_fs))
    return replace(state, velocities=state.velocities * kept + bath.noise * width[:, None])


def until_new_forces(
    state: State, bath: Bath, friction_per_fs: float, timestep_fs: float
) -> State:
    """The part of a step before forces are needed at the new positions (B, A, O, A).

    The cells are scaled at its end, when the forces are about to be renewed anyway.
    """
    fast = motion_kernels(state.positions.device)
    if fast is None:
        state = drift(kick(state, timestep_fs / 2), timestep_fs / 2)
        state = drift(
            thermostat(state, bath, friction_per_fs, timestep_fs), timestep_fs / 2
        )
    else:
        state = _until_new_forces(fast, state, bath, friction_per_fs, timestep_fs)
    return state if bath.scale is None else state.rescaled(bath.scale)


def with_new_forces(
    state: State, forces: Float[Tensor, "atoms 3"], timestep_fs: float
) -> State:
    """The rest of a step: the last half kick (B) with the new forces [eV/Å], (atoms, 3)."""
    forces = forces.to(torch.float64)
    fast = motion_kernels(state.positions.device)
    if fast is None:
        return kick(replace(state, forces=forces), timestep_fs / 2)
    velocities = fast.kick(
        state.velocities.numpy(),
        forces.numpy(),
        state.masses.numpy(),
        timestep_fs / 2,
        ACCELERATION_PER_FORCE,
    )
    return replace(state, forces=forces, velocities=torch.from_numpy(velocities))


def _until_new_forces(
    fast: ModuleType, state: State, bath: Bath, friction_per_fs: float, timestep_fs: float
) -> State:
    """B, A, O, A by compiled functions."""
    half_fs, masses = timestep_fs / 2, state.masses.numpy()
    positions, velocities = fast.kick_and_drift(
        state.positions.numpy(),
        state.velocities.numpy(),
        state.forces.numpy(),
        masses,
        half_fs,
        ACCELERATION_PER_FORCE,
    )
    if bath.noise is None or friction_per_fs == 0:
        fast.drift(positions, velocities, half_fs)
    else:
        fast.thermalise_and_drift(
            positions,
            velocities,
            masses,
            state.system_idx.numpy(),
            bath.temperature_K.numpy(),
            bath.noise.numpy(),
            math.exp(-friction_per_fs * timestep_fs),
            math.sqrt(-math.expm1(-2 * friction_per_fs * timestep_fs)),
            BOLTZMANN_EV_PER_K * ACCELERATION_PER_FORCE,
            half_fs,
        )
    return replace(
        state,
        positions=torch.from_numpy(positions),
        velocities=torch.from_numpy(velocities),
    )
