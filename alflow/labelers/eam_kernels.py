"""Energies and forces of tabulated embedded-atom potentials, compiled by Numba: for dynamics.

The functions are those of `alflow.labelers.embedded_atom`, summed over all systems of a batch at
once. Tables are piecewise cubic: coefficients (tables times intervals, 4), the highest power first.
"""

import math

import numpy as np

from alflow.md.motion_kernels import compiled


@compiled
def piece(coefficients, table, intervals, spacing, place):
    """Value and slope of one table at a place; constant behind the last point."""
    steps = place / spacing
    interval = min(max(int(steps), 0), intervals - 1)
    t = min(steps - interval, 1.0)
    row = table * intervals + interval
    a, b = coefficients[row, 0], coefficients[row, 1]
    c, d = coefficients[row, 2], coefficients[row, 3]
    return ((a * t + b) * t + c) * t + d, ((3 * a * t + 2 * b) * t + c) / spacing


@compiled
def energies_and_forces(
    positions,
    cells,
    system_idx,
    kinds,
    i,
    j,
    shifts,
    embedding,
    density,
    pair,
    n_kinds,
    n_densities,
    drho,
    n_distances,
    dr_A,
    cutoff_A,
):
    """Energy of each system [eV], and forces [eV/Å], (atoms, 3).

    Arrays are those of a batch and its pairs; `kinds` are the places of the elements of atoms in
    the tables.
    """
    n_pairs, n_atoms = len(i), len(kinds)
    vectors = np.empty((n_pairs, 3))
    distances = np.empty(n_pairs)
    near = np.empty(n_pairs, np.int64)
    densities = np.zeros(n_atoms)
    energies = np.zeros(len(cells))
    n_near = 0
    for p in range(n_pairs):
        a, b = i[p], j[p]
        s = system_idx[a]
        square = 0.0
        for x in range(3):
            way = positions[b, x] - positions[a, x]
            for k in range(3):
                way += shifts[p, k] * cells[s, k, x]
            vectors[n_near, x] = way
            square += way * way
        if square < cutoff_A * cutoff_A:
            near[n_near] = p
            distances[n_near] = math.sqrt(square)
            table = kinds[b] * n_kinds + kinds[a]
            value, _ = piece(density, table, n_distances, dr_A, distances[n_near])
            densities[a] += value
            n_near += 1
    slopes = np.empty(n_atoms)
    last = drho * n_densities
    for a in range(n_atoms):
        excess = max(densities[a] - last, 0.0)
        value, slope = piece(embedding, kinds[a], n_densities, drho, densities[a] - excess)
        energies[system_idx[a]] += value + slope * excess
        slopes[a] = slope
    forces = np.zeros((n_atoms, 3))
    for q in range(n_near):
        a, b, r = i[near[q]], j[near[q]], distances[q]
        to_a, to_b = kinds[b] * n_kinds + kinds[a], kinds[a] * n_kinds + kinds[b]
        _, at_a = piece(density, to_a, n_distances, dr_A, r)
        at_b = at_a
        if n_kinds > 1:
            _, at_b = piece(density, to_b, n_distances, dr_A, r)
        product, product_slope = piece(pair, to_a, n_distances, dr_A, r)
        phi = product / r
        energies[system_idx[a]] += phi / 2
        pull = slopes[a] * at_a + slopes[b] * at_b + (product_slope - phi) / r
        for x in range(3):
            forces[a, x] += pull / r * vectors[q, x]
    return energies, forces
