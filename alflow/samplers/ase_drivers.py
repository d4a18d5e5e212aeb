"""Drivers for the sampler `ase`. A driver yields frames; the sampler says when it is enough."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from alflow.core.elements import COVALENT_RADII_A
from alflow.core.units import BOLTZMANN_EV_PER_K

if TYPE_CHECKING:
    from ase import Atoms

_CLOSEST = 0.75
"""Displaced atoms closer than this factor of the sum of their covalent radii are drawn again."""

_TRIES = 50


def basin_hopping(  # noqa: PLR0913 - they are the options, all by name
    atoms: "Atoms",
    rng: np.random.Generator,
    *,
    hops: int = 20,
    step_A: float = 0.4,
    temperature_K: float = 3000.0,
    fmax: float = 0.05,
    relax_steps: int = 200,
    look_every: int = 10,
) -> Iterator["Atoms"]:
    """Minima, and the ways down to them (Wales and Doye, J. Phys. Chem. A 101, 5111 (1997)).

    The atoms are relaxed, displaced at random, relaxed again, and the new minimum is kept by
    Metropolis' rule. Cells stay as they are.

    Args:
        atoms: Where to start, with a calculator.
        rng: Random numbers.
        hops: Number of displacements.
        step_A: Largest displacement of a coordinate [Å].
        temperature_K: Temperature of Metropolis' rule [K].
        fmax: A relaxation ends when no atom feels a stronger force [eV/Å]...
        relax_steps: ...or after this number of steps.
        look_every: Steps of a relaxation between two frames; the last one is a frame, too.

    Yields:
        Frames of the relaxations.
    """
    yield from _relaxation(atoms, fmax, relax_steps, look_every)
    positions, energy = atoms.get_positions(), atoms.get_potential_energy()
    for _ in range(hops):
        if not _displace(atoms, positions, rng, step_A):
            continue
        yield from _relaxation(atoms, fmax, relax_steps, look_every)
        change = atoms.get_potential_energy() - energy
        kT = max(BOLTZMANN_EV_PER_K * temperature_K, 1e-12)
        if change <= 0 or rng.random() < np.exp(-change / kT):
            positions, energy = atoms.get_positions(), energy + change


def _relaxation(
    atoms: "Atoms", fmax: float, most_steps: int, look_every: int
) -> Iterator["Atoms"]:
    from ase.optimize import FIRE

    optimizer = FIRE(atoms, logfile=None)  # type: ignore[arg-type, unused-ignore]
    for step in range(1, most_steps + 1):
        optimizer.step()
        strongest = float(np.sqrt((atoms.get_forces() ** 2).sum(axis=1)).max())
        # a force that is not a number ends it, and the frame is for the guards to judge
        if not strongest > fmax:
            break
        if step % look_every == 0:
            yield atoms
    yield atoms


def _displace(
    atoms: "Atoms", positions: np.ndarray, rng: np.random.Generator, step_A: float
) -> bool:
    """Displace all atoms at random; whether a draw was found in which none are too close."""
    radii = COVALENT_RADII_A[atoms.numbers]
    limits = _CLOSEST * (radii[:, None] + radii)
    for _ in range(_TRIES):
        atoms.positions = positions + rng.uniform(-step_A, step_A, positions.shape)
        distances = atoms.get_all_distances(mic=bool(atoms.pbc.any()))
        np.fill_diagonal(distances, np.inf)
        if bool((distances >= limits).all()):
            return True
    return False
