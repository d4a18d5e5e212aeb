"""What a structure must be before it is worth a calculation, and a label after it."""

import numpy as np
from jaxtyping import Float

from alflow.core.elements import COVALENT_RADII_A, SYMBOLS
from alflow.core.labels import Failure, FailureKind
from alflow.core.structures import Structure

LARGEST_NUMBER = 36
"""Krypton: beyond it, basis sets expect effective core potentials."""


def screen_molecule(structure: Structure, distance_factor: float) -> Failure | None:
    """Why a molecule should not be calculated at all, or None.

    Args:
        structure: What is to be labelled.
        distance_factor: Smallest distance of two atoms, in sums of their covalent radii.
    """
    reason = _invalid(structure)
    if reason:
        return Failure(FailureKind.INVALID_INPUT, reason)
    return _too_close(structure, distance_factor)


def judge_forces(
    forces: Float[np.ndarray, "atoms 3"],
    *,
    force_cap_eV_per_A: float,
    net_force_eV_per_A: float,
) -> Failure | None:
    """Why converged forces are not to be believed, or None.

    Args:
        forces: Forces [eV/Å], (atoms, 3).
        force_cap_eV_per_A: Largest force on one atom [eV/Å].
        net_force_eV_per_A: Largest net force, times the square root of the number of atoms
            [eV/Å]; it measures the noise of grids and unconverged densities.
    """
    if not np.isfinite(forces).all():
        return Failure(FailureKind.SUSPICIOUS, "a force is not a finite number")
    largest = float(np.linalg.norm(forces, axis=1).max())
    net = float(np.linalg.norm(forces.sum(axis=0)))
    limit = net_force_eV_per_A * len(forces) ** 0.5
    numbers = {"max_force_eV_per_A": largest, "net_force_eV_per_A": net}
    if largest > force_cap_eV_per_A:
        message = (
            f"a force of {largest:.1f} eV/Å exceeds the cap of {force_cap_eV_per_A:g} eV/Å"
        )
        return Failure(FailureKind.SUSPICIOUS, message, numbers)
    if net > limit:
        message = (
            f"the net force of {net:.2e} eV/Å exceeds {limit:.2e} eV/Å: numerical noise"
        )
        return Failure(FailureKind.SUSPICIOUS, message, numbers)
    return None


def _invalid(structure: Structure) -> str:
    if structure.is_periodic:
        return "the structure is periodic; this labeler is for molecules"
    heaviest = int(structure.numbers.max())
    if heaviest > LARGEST_NUMBER:
        return (
            f"{SYMBOLS[heaviest]} needs an effective core potential, which is not supported"
        )
    electrons, unpaired = structure.n_electrons, structure.multiplicity - 1
    if electrons < 1 or not 0 <= unpaired <= electrons or (electrons - unpaired) % 2:
        return (
            f"{structure.formula} with charge {structure.charge} has {electrons} electrons, "
            f"which cannot have multiplicity {structure.multiplicity}"
        )
    return ""


def _too_close(structure: Structure, distance_factor: float) -> Failure | None:
    positions = structure.positions
    radii = COVALENT_RADII_A[structure.numbers]
    first, second = np.triu_indices(structure.n_atoms, 1)
    if not len(first):
        return None
    distances = np.linalg.norm(positions[first] - positions[second], axis=1)
    ratios = distances / (radii[first] + radii[second])
    worst = int(ratios.argmin())
    if ratios[worst] >= distance_factor:
        return None
    i, j = int(first[worst]), int(second[worst])
    names = [f"{SYMBOLS[structure.numbers[k]]}{k}" for k in (i, j)]
    return Failure(
        FailureKind.BAD_GEOMETRY,
        f"{names[0]} and {names[1]} are {distances[worst]:.3f} Å apart, "
        f"{ratios[worst]:.2f} of the sum of their covalent radii (limit {distance_factor:g})",
        {"atoms": [i, j], "distance_A": float(distances[worst])},
    )
