"""Rotations about bonds, and vibrations of molecules."""

import numpy as np
from ase import Atoms
from ase.neighborlist import build_neighbor_list, natural_cutoffs
from jaxtyping import Float

from alflow.core.errors import SettingsError
from alflow.core.units import (
    ACCELERATION_PER_FORCE,
    SPEED_OF_LIGHT_CM_PER_FS,
)
from alflow.models.potential import Potential
from alflow.validation.potentials import forces

_PARALLEL = 1e-6


def turned(atoms: Atoms, torsion: tuple[int, int, int, int], steps: int) -> list[Atoms]:
    """A full turn of the part behind a bond, the rest as it is.

    Args:
        atoms: The molecule.
        torsion: Four atoms; the bond is between the second and the third.
        steps: Number of geometries, the first is the molecule as it is.

    Raises:
        SettingsError: If the bond is part of a ring, or there is none.
    """
    moving = _behind(atoms, torsion[1], torsion[2])
    turns = []
    for step in range(steps):
        copy = atoms.copy()
        copy.rotate_dihedral(*torsion, angle=360.0 * step / steps, indices=moving)
        turns.append(copy)
    return turns


def wavenumbers(
    potential: Potential, atoms: Atoms, step_A: float
) -> Float[np.ndarray, "columns modes"]:
    """Wavenumbers of all vibrations [1/cm], ascending, imaginary ones as negative numbers.

    Translations and rotations are taken out of the Hessian, so that they do not mix with vibrations
    of members for which the geometry is not at rest.
    """
    n_coordinates = 3 * len(atoms)
    cells = []
    for sign in (1, -1):
        for coordinate in range(n_coordinates):
            copy = atoms.copy()
            copy.positions.flat[coordinate] += sign * step_A
            cells.append(copy)
    found = forces(potential, cells).reshape(-1, 2, n_coordinates, n_coordinates)
    hessians = (found[:, 1] - found[:, 0]) / (2 * step_A)
    roots = np.repeat(np.sqrt(atoms.get_masses()), 3)
    weighted = hessians / roots[:, None] / roots
    weighted = (weighted + weighted.transpose(0, 2, 1)) / 2
    basis = _vibrating(atoms, roots)
    values = np.linalg.eigvalsh(basis.T @ weighted @ basis)
    omega = np.sqrt(np.abs(values) * ACCELERATION_PER_FORCE) * np.sign(values)
    result: np.ndarray = omega / (2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS)
    return result


def _behind(atoms: Atoms, first: int, second: int) -> list[int]:
    """Atoms that hang on the second one, seen from the first."""
    cutoffs = [1.15 * radius for radius in natural_cutoffs(atoms)]
    listed = build_neighbor_list(atoms, cutoffs, self_interaction=False, bothways=True)
    bonded = [set(map(int, listed.get_neighbors(k)[0])) for k in range(len(atoms))]
    if second not in bonded[first]:
        raise SettingsError(f"atoms {first} and {second} are not bonded")
    reached, left = {second}, [second]
    while left:
        atom = left.pop()
        new = bonded[atom] - reached - ({first} if atom == second else set())
        reached |= new
        left += new
    if first in reached:
        raise SettingsError(f"the bond of atoms {first} and {second} is part of a ring")
    return sorted(reached)


def _vibrating(
    atoms: Atoms, roots: Float[np.ndarray, " coordinates"]
) -> Float[np.ndarray, "coordinates modes"]:
    """Orthonormal vectors of all mass-weighted motions that are no translation or rotation."""
    centred = atoms.positions - atoms.get_center_of_mass()
    rigid = [np.tile(axis, len(atoms)) * roots for axis in np.eye(3)]
    rigid += [np.cross(axis, centred).ravel() * roots for axis in np.eye(3)]
    left, sizes, _ = np.linalg.svd(np.array(rigid).T, full_matrices=True)
    n_rigid = int((sizes > _PARALLEL * sizes[0]).sum())
    result: np.ndarray = left[:, n_rigid:]
    return result
