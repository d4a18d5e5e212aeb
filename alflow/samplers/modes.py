"""Hessian and normal modes of one structure, and random displacements along them."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from alflow.core.elements import MASSES_AMU
from alflow.core.structures import Structure
from alflow.core.units import (
    ACCELERATION_PER_FORCE,
    BOLTZMANN_EV_PER_K,
    SPEED_OF_LIGHT_CM_PER_FS,
)
from alflow.md.neighbours import FindPairs
from alflow.md.spread import mean_forces
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch, Pairs, Potential
from alflow.samplers.judging import MOST_ATOMS_TOGETHER, batch_and_pairs

_LEAST_MOTION = 1e-6
"""Rotations whose smallest singular value is below this share of the largest are none: those of a
linear molecule about its axis."""


def hessian(
    structure: Structure,
    potential: Potential,
    *,
    step_A: float = 0.01,
    find_pairs: FindPairs = neighbour_pairs,
) -> Float[np.ndarray, "coordinates coordinates"]:
    """Second derivatives of the mean energy [eV/Å²], by central differences of mean forces.

    All displaced copies share one neighbour list and are evaluated together, in as many parts as
    their atoms ask for.

    Args:
        structure: Where.
        potential: The ensemble.
        step_A: Displacement of each coordinate, up and down [Å].
        find_pairs: Finds pairs from scratch.
    """
    n_coordinates = 3 * structure.n_atoms
    one, pairs = batch_and_pairs([structure], potential, find_pairs, skin_A=2 * step_A)
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64, device=potential.device)
    rows = []
    together = max(1, MOST_ATOMS_TOGETHER // (2 * structure.n_atoms))
    for first in range(0, n_coordinates, together):
        chosen = torch.arange(first, min(first + together, n_coordinates))
        moves = torch.zeros(len(chosen), 2, n_coordinates, dtype=torch.float64)
        moves = moves.to(potential.device)
        moves[torch.arange(len(chosen)), :, chosen] = step_A * signs
        positions = torch.tensor(structure.positions, device=potential.device)
        copies = positions + moves.view(-1, structure.n_atoms, 3)
        batch, listed = _copied(one, pairs, copies.to(potential.dtype))
        forces = mean_forces(potential.evaluate(batch, listed)).to(torch.float64)
        up, down = forces.view(len(chosen), 2, n_coordinates).unbind(1)
        rows.append((down - up) / (2 * step_A))
    found = torch.cat(rows).cpu().numpy()
    symmetric: np.ndarray = (found + found.T) / 2
    return symmetric


@dataclass(frozen=True, eq=False, slots=True)
class Modes:
    """Vibrations about a structure.

    Attributes:
        stiffness: Eigenvalues of the mass-weighted Hessian [eV/(Å² amu)], ascending, (modes,);
            negative where the structure is at the top of a barrier.
        shapes: Cartesian displacement per unit of each mass-weighted mode coordinate
            [1/sqrt(amu)], (modes, atoms, 3).
    """

    stiffness: Float[np.ndarray, " modes"]
    shapes: Float[np.ndarray, "modes atoms 3"]

    @property
    def wavenumbers_per_cm(self) -> Float[np.ndarray, " modes"]:
        """Wavenumbers [1/cm], ascending, (modes,); negative for imaginary ones."""
        rates = np.sqrt(np.abs(self.stiffness) * ACCELERATION_PER_FORCE)
        return np.asarray(np.sign(self.stiffness) * rates / _RATE_PER_WAVENUMBER)

    def draw(
        self, stream: np.random.Generator, temperature_K: float, softest_per_cm: float
    ) -> Float[np.ndarray, "atoms 3"]:
        """Displacements from the classical Boltzmann distribution of the harmonic potential [Å].

        Each mode coordinate is normal with the variance kT / stiffness, so that each mode has the
        energy kT/2 in the mean. (For ANI-1 shares of the whole thermal energy were drawn
        uniformly; the mean is of the same size, the tails are not those of an ensemble.)

        Args:
            stream: Random numbers.
            temperature_K: Temperature [K].
            softest_per_cm: Softer modes, imaginary ones included, are taken to have this
                wavenumber [1/cm].
        """
        softest = (softest_per_cm * _RATE_PER_WAVENUMBER) ** 2 / ACCELERATION_PER_FORCE
        stiffness = np.maximum(self.stiffness, softest)
        width = np.sqrt(BOLTZMANN_EV_PER_K * temperature_K / stiffness)
        coordinates = width * stream.standard_normal(len(width))
        return np.asarray(np.einsum("m,max->ax", coordinates, self.shapes))


_RATE_PER_WAVENUMBER = 2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS
"""Angular frequency [1/fs] of a wavenumber of 1/cm."""


def normal_modes(
    structure: Structure, second: Float[np.ndarray, "coordinates coordinates"]
) -> Modes:
    """Normal modes with translations and, if nothing is periodic, rotations projected out.

    Args:
        structure: Where the Hessian is from.
        second: The Hessian [eV/Å²]; all numbers must be finite.
    """
    roots = np.repeat(np.sqrt(MASSES_AMU[structure.numbers]), 3)
    inner = _vibrations(structure, roots)
    weighted = second / np.outer(roots, roots)
    stiffness, vectors = np.linalg.eigh(inner.T @ weighted @ inner)
    shapes = (inner @ vectors).T / roots
    return Modes(stiffness, shapes.reshape(len(stiffness), structure.n_atoms, 3))


def _vibrations(
    structure: Structure, roots: Float[np.ndarray, " coordinates"]
) -> Float[np.ndarray, "coordinates modes"]:
    """Orthonormal basis of what is neither translation nor rotation, mass-weighted."""
    masses = MASSES_AMU[structure.numbers]
    axes = np.eye(3)
    rigid = [np.tile(axis, structure.n_atoms) * roots for axis in axes]
    if not structure.is_periodic:
        centre = masses @ structure.positions / masses.sum()
        around = structure.positions - centre
        rigid += [np.cross(axis, around).reshape(-1) * roots for axis in axes]
    left, sizes, _ = np.linalg.svd(np.array(rigid).T)
    n_rigid = int((sizes > _LEAST_MOTION * sizes[0]).sum())
    return np.asarray(left[:, n_rigid:])


def _copied(
    one: Batch, pairs: Pairs, positions: Float[torch.Tensor, "copies atoms 3"]
) -> tuple[Batch, Pairs]:
    """Copies of a system with other positions, and the pairs of each."""
    n_copies, n_atoms, _ = positions.shape
    copies = torch.arange(n_copies, device=positions.device)
    first = (copies * n_atoms)[:, None]
    batch = Batch(
        positions.reshape(-1, 3),
        one.numbers.repeat(n_copies),
        copies.repeat_interleave(n_atoms),
        one.cells.repeat(n_copies, 1, 1),
        one.pbc.repeat(n_copies, 1),
    )
    listed = Pairs(
        (pairs.i + first).reshape(-1),
        (pairs.j + first).reshape(-1),
        pairs.shifts.repeat(n_copies, 1),
    )
    return batch, listed
