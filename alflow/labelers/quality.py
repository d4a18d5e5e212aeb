"""What a structure must be before it is worth a calculation, and a label after it."""

import numpy as np
from jaxtyping import Float

from alflow.core.elements import COVALENT_RADII_A, SYMBOLS
from alflow.core.labels import Failure, FailureKind, Label
from alflow.core.structures import Structure

TRANSITION_METALS = frozenset((*range(21, 31), *range(39, 49), *range(57, 81)))
"""Atomic numbers of transition metals and lanthanides, whose fields have many solutions."""
MOST_CONTAMINATION, MOST_CONTAMINATION_OF_METALS = 0.1, 1.0
"""Excess of <S²> beyond which a state is not what it was meant to be."""


def screen_molecule(structure: Structure, distance_factor: float) -> Failure | None:
    """Why a molecule should not be calculated at all, or None.

    Args:
        structure: What is to be labelled.
        distance_factor: Smallest distance of two atoms, in sums of their covalent radii.
    """
    if structure.is_periodic:
        reason = "the structure is periodic; this labeler is for molecules"
        return Failure(FailureKind.INVALID_INPUT, reason)
    return screen_electrons(structure) or _too_close(structure, distance_factor)


def judge(label: Label, structure: Structure, *, has_forces: bool | None) -> Failure | None:
    """Why a label of any labeler cannot be one of this structure, or None.

    Args:
        label: What the labeler says.
        structure: What it was asked about.
        has_forces: Whether the level has forces; None if that is not known.
    """
    if has_forces and label.forces is None:
        return Failure(
            FailureKind.SUSPICIOUS, "there are no forces, and the level has them"
        )
    arrays = {
        "energy": (np.asarray(label.energy), ()),
        "forces": (label.forces, (structure.n_atoms, 3)),
        "stress": (label.stress, (6,)),
    }
    for name, (values, shape) in arrays.items():
        if values is None:
            continue
        if values.shape != shape:
            text = f"the {name} have shape {values.shape}, not {shape}"
            return Failure(FailureKind.SUSPICIOUS, text)
        if not np.isfinite(values).all():
            return Failure(FailureKind.SUSPICIOUS, f"not finite: {name}")
    return None


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


def judge_spin(
    structure: Structure, contamination: float, limit: float | None
) -> Failure | None:
    """Why the state of an open shell is not the one that was asked for, or None.

    Singlets are left out: where spins are apart, they are mixed with the triplet by construction.

    Args:
        structure: What was calculated.
        contamination: <S²> less that of the pure state.
        limit: Largest contamination; None for what is usual.
    """
    if structure.multiplicity == 1:
        return None
    if limit is None:
        is_metal = not TRANSITION_METALS.isdisjoint(structure.numbers.tolist())
        limit = MOST_CONTAMINATION_OF_METALS if is_metal else MOST_CONTAMINATION
    if contamination <= limit:
        return None
    return Failure(
        FailureKind.SUSPICIOUS,
        f"<S²> exceeds that of multiplicity {structure.multiplicity} by {contamination:.2f} "
        f"(limit {limit:g}): states of other spin are mixed in",
        {"contamination": contamination},
    )


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


def screen_electrons(structure: Structure) -> Failure | None:
    """Why a structure cannot have the charge and multiplicity that it has, or None."""
    electrons, unpaired = structure.n_electrons, structure.multiplicity - 1
    if electrons >= 1 and 0 <= unpaired <= electrons and (electrons - unpaired) % 2 == 0:
        return None
    return Failure(
        FailureKind.INVALID_INPUT,
        f"{structure.formula} with charge {structure.charge} has {electrons} electrons, "
        f"which cannot have multiplicity {structure.multiplicity}",
    )


def screen_distances(structure: Structure, distance_factor: float) -> Failure | None:
    """Why atoms, or periodic images of them, are too close to be calculated, or None.

    Args:
        structure: What is to be labelled; periodic in all directions or in none.
        distance_factor: Smallest distance of two atoms, in sums of their covalent radii.
    """
    if structure.cell is None:
        return _too_close(structure, distance_factor)
    from vesin import NeighborList

    radii = COVALENT_RADII_A[structure.numbers]
    reach = max(2 * distance_factor * float(radii.max()), 1e-6)
    search = NeighborList(cutoff=reach, full_list=False, n_threads=1)
    first, second, distances = search.compute(
        structure.positions, structure.cell, structure.pbc, "ijd"
    )
    ratios = distances / (radii[first] + radii[second])
    if not len(ratios) or ratios.min() >= distance_factor:
        return None
    worst = int(ratios.argmin())
    i, j = int(first[worst]), int(second[worst])
    names = [f"{SYMBOLS[structure.numbers[k]]}{k}" for k in (i, j)]
    return Failure(
        FailureKind.BAD_GEOMETRY,
        f"{names[0]} and an image of {names[1]} are {distances[worst]:.3f} Å apart, "
        f"{ratios[worst]:.2f} of the sum of their covalent radii (limit {distance_factor:g})",
        {"atoms": [i, j], "distance_A": float(distances[worst])},
    )
