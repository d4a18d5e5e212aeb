"""The repulsion of `repulsion.ZblRepulsion`, compiled by Numba: one pass over the pairs.

Nearly all pairs of a neighbour list are out of its reach, and cost no more than a distance.
"""

import inspect
import math

import numpy as np
from numba import njit
from numba.core import config

from alflow.core.units import COULOMB_EV_A
from alflow.models.repulsion import (
    DECAYS,
    REACHES,
    SCREENING_A,
    SCREENING_POWER,
    SHARES,
)

OPTIONS = {"nogil": True, "error_model": "numpy", "cache": bool(config.CACHE_DIR)}


def compiled(function):
    """Compile for any types, when first called; what only Python understands is peeled off."""
    return njit(**OPTIONS)(inspect.unwrap(function))


@compiled
def repelled(positions, numbers, system, cells, i, j, shifts, radii, index, coefficients):
    """Energies [eV] and virials [eV] of the systems, and forces on the atoms [eV/Å], float64.

    Args:
        positions: Positions [Å], (atoms, 3).
        numbers: Atomic numbers, (atoms,).
        system: System of each atom, (atoms,).
        cells: Cell vectors as rows [Å], (systems, 3, 3).
        i: Centre of every ordered pair, (pairs,).
        j: Its neighbour, (pairs,).
        shifts: Cell vectors to add to the neighbour, (pairs, 3).
        radii: Covalent radius of each element [Å], by atomic number.
        index: Row of `coefficients` of each pair of elements, by atomic numbers; row 0 is zero.
        coefficients: Of the fitted terms [eV], (rows, terms).
    """
    n_systems = len(cells)
    energies = np.zeros(n_systems)
    virial = np.zeros((n_systems, 3, 3))
    forces = np.zeros((len(positions), 3))
    d = np.empty(3)
    for pair in range(len(i)):
        a, b = i[pair], j[pair]
        own = system[a]
        cutoff = radii[numbers[a]] + radii[numbers[b]]
        row = index[numbers[a], numbers[b]]
        reach = cutoff * REACHES[-1] if row else cutoff
        square = 0.0
        for axis in range(3):
            d[axis] = float(positions[b, axis]) - float(positions[a, axis])
            for k in range(3):
                d[axis] += float(shifts[pair, k]) * float(cells[own, k, axis])
            square += d[axis] * d[axis]
        if not square < reach * reach:
            continue
        r = math.sqrt(square)
        energy, change = 0.0, 0.0
        if r < cutoff:
            z_a, z_b = float(numbers[a]), float(numbers[b])
            length = SCREENING_A / (z_a**SCREENING_POWER + z_b**SCREENING_POWER)
            screening, slope = 0.0, 0.0
            for k in range(4):
                part = SHARES[k] * math.exp(-DECAYS[k] * r / length)
                screening += part
                slope -= DECAYS[k] / length * part
            x = r / cutoff
            x5 = x**5
            # the envelope with its power of 6
            envelope = 1.0 + x5 * x * (-28.0 + 48.0 * x - 21.0 * x * x)
            fall = -168.0 * x5 * (1.0 - x) ** 2 / cutoff
            strength = COULOMB_EV_A * z_a * z_b / r
            energy = strength * screening * envelope
            change = strength * (
                slope * envelope + screening * fall - screening * envelope / r
            )
        if row:
            for k in range(len(REACHES)):
                end = REACHES[k] * cutoff
                if r < end:
                    left = 1.0 - r / end
                    energy += coefficients[row, k] * left**4
                    change -= 4.0 * coefficients[row, k] * left**3 / end
        energies[own] += 0.5 * energy
        for axis in range(3):
            pull = change / r * d[axis]
            forces[a, axis] += pull
            for k in range(3):
                virial[own, k, axis] += 0.5 * d[k] * pull
    return energies, forces, virial
