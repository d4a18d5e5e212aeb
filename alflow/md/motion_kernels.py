"""What is done to every atom in every step, compiled by Numba.

Each function does what its caller does with torch, operation by operation in the same order, so
that both give the same bits. On a CPU a few hundred atoms a replica are so little work that torch
spends most of its time between its operations.

Arrays and units are those of `State`: positions [Å], velocities [Å/fs] and forces [eV/Å],
(atoms, 3); masses [amu] and the system of each atom, (atoms,); temperatures [K], (systems,).
"""

import inspect
import math

import numpy as np
from numba import njit
from numba.core import config

OPTIONS = {"nogil": True, "error_model": "numpy", "cache": bool(config.CACHE_DIR)}


def compiled(function):
    """Compile for any types, when first called; what only Python understands is peeled off."""
    return njit(**OPTIONS)(inspect.unwrap(function))


@compiled
def kick_and_drift(positions, velocities, forces, masses, half_fs, per_force):
    """New positions and velocities after half a kick and half a drift."""
    new_x, new_v = np.empty_like(positions), np.empty_like(velocities)
    for atom in range(len(masses)):
        change = half_fs * per_force / masses[atom]
        for axis in range(3):
            velocity = velocities[atom, axis] + forces[atom, axis] * change
            new_v[atom, axis] = velocity
            new_x[atom, axis] = positions[atom, axis] + velocity * half_fs
    return new_x, new_v


@compiled
def thermalise_and_drift(
    positions, velocities, masses, system, temperature, noise, kept, share, unit, half_fs
):
    """Friction and noise, then half a drift, in place."""
    for atom in range(len(masses)):
        width = math.sqrt(temperature[system[atom]] / masses[atom] * unit) * share
        for axis in range(3):
            velocity = velocities[atom, axis] * kept + noise[atom, axis] * width
            velocities[atom, axis] = velocity
            positions[atom, axis] = positions[atom, axis] + velocity * half_fs


@compiled
def drift(positions, velocities, half_fs):
    """Half a drift, in place."""
    for atom in range(len(positions)):
        for axis in range(3):
            positions[atom, axis] = positions[atom, axis] + velocities[atom, axis] * half_fs


@compiled
def kick(velocities, forces, masses, half_fs, per_force):
    """New velocities after half a kick."""
    found = np.empty_like(velocities)
    for atom in range(len(masses)):
        change = half_fs * per_force / masses[atom]
        for axis in range(3):
            found[atom, axis] = velocities[atom, axis] + forces[atom, axis] * change
    return found


@compiled
def is_sound(positions, velocities, time_squared, limit):
    """Whether no atom moves further than allowed and all positions are finite."""
    for atom in range(len(positions)):
        x, y, z = velocities[atom]
        if not (x * x + y * y + z * z) * time_squared <= limit:
            return False
        x, y, z = positions[atom]
        if not (math.isfinite(x) and math.isfinite(y) and math.isfinite(z)):
            return False
    return True


@compiled
def are_finite(vectors, system, n_systems):
    """Which systems have finite vectors throughout."""
    found = np.ones(n_systems, np.bool_)
    for atom in range(len(vectors)):
        x, y, z = vectors[atom]
        if not (math.isfinite(x) and math.isfinite(y) and math.isfinite(z)):
            found[system[atom]] = False
    return found


@compiled
def kinetic_energy(velocities, masses, system, n_systems, unit):
    """Kinetic energy of each system."""
    found = np.zeros(n_systems)
    for atom in range(len(masses)):
        x, y, z = velocities[atom]
        found[system[atom]] += masses[atom] * (x * x + y * y + z * z) / unit
    return found


@compiled
def has_moved_far(positions, before, system, scale, room):
    """Whether an atom left the scaled place where it was by its room or more."""
    for atom in range(len(positions)):
        own = system[atom]
        square = 0.0
        for axis in range(3):
            way = positions[atom, axis] - before[atom, axis] * scale[own]
            square += way * way
        if square >= room[own] * room[own]:
            return True
    return False


@compiled
def is_close(positions, cells, system, i, j, shifts, limits):
    """Whether a pair is closer than its limit, or at a distance that is not a number."""
    for pair in range(len(i)):
        cell = cells[system[i[pair]]]
        square = 0.0
        for axis in range(3):
            offset = (
                shifts[pair, 0] * cell[0, axis]
                + shifts[pair, 1] * cell[1, axis]
                + shifts[pair, 2] * cell[2, axis]
            )
            way = positions[j[pair], axis] - positions[i[pair], axis] + offset
            square += way * way
        if not square >= limits[pair] * limits[pair]:
            return True
    return False
