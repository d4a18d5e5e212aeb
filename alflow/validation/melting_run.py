"""The melting point by coexistence of crystal and melt at constant energy."""

import numpy as np
from ase import Atoms
from jaxtyping import Float

from alflow.core.elements import MASSES_AMU, atomic_number
from alflow.core.properties import Property, SuiteResult
from alflow.core.seeds import child_seed, generator
from alflow.core.structures import Structure
from alflow.core.units import (
    AMU_PER_ANGSTROM3_PER_G_PER_CM3,
    BOLTZMANN_EV_PER_K,
    GPA_PER_EV_PER_ANGSTROM3,
)
from alflow.md.ase_calculator import EnsembleCalculator
from alflow.models.potential import Potential
from alflow.validation.dynamics import Path, Stage, run
from alflow.validation.lattices import Crystal
from alflow.validation.melting import MeltingSettings

_FRICTION_PER_PS = 5.0
_HOTTER = 2.5
"""Temperature at which one half is molten, in units of the guess."""
_GAP_A = 0.5
"""Room between the halves before they are brought together by a run with a thermostat [Å]."""
_SEAM_A = 4.0
"""Atoms this close to a seam may be close to those of the other half [Å]."""
_TRIES = 300
_RECORD_FS = 200.0
_FRAMES_OF_PRESSURE = 20
_ORDERED = 0.35
"""A slice is crystal where waves of its lattice planes add up to more than this share."""
_BOTH = (0.15, 0.85)
"""Share of crystal within which both phases are there."""


class MeltingSuite:
    """Makes the halves, joins them, and waits."""

    def __init__(self, settings: MeltingSettings) -> None:
        """Keep the settings."""
        self._settings = settings

    def run(self, potential: Potential, seed: int) -> SuiteResult:
        """One point of the melting line, or a note on why there is none."""
        settings, name = self._settings, "melting"
        crystal = _crystal(settings)
        halves = self._halves(potential, crystal, child_seed(seed, "halves"))
        guess_K = (settings.temperature_K,)
        stages = (
            Stage(settings.preparation_ps, guess_K, _FRICTION_PER_PS),
            Stage(settings.equilibration_ps, guess_K, 0.0),
            Stage(settings.duration_ps, guess_K, 0.0, _RECORD_FS),
        )
        start = joined(*halves, generator(seed, "seam"), crystal.lattice_A)
        timestep_fs = settings.timestep_fs
        (path,) = run(potential, [start], stages, timestep_fs, child_seed(seed, "both"))
        if path.stopped is not None or not path.times_ps:
            note = f"{name}: the run ended after {path.survived_ps:.3g} ps: {path.stopped}"
            return SuiteResult((), notes=(note,))
        share = crystalline_share(path.positions[-1], start, crystal.lattice_A)
        if not _BOTH[0] < share < _BOTH[1]:
            gone = "crystal" if share <= _BOTH[0] else "melt"
            note = (
                f"{name}: the {gone} is gone; {settings.temperature_K:g} K is too far off"
            )
            return SuiteResult((), notes=(note,))
        found = (
            Property(f"{name}/temperature", _temperature_K(path), "K"),
            Property(f"{name}/pressure", _pressure_GPa(potential, path), "GPa"),
            Property(f"{name}/crystalline_share", share, "1"),
        )
        return SuiteResult(found)

    def _halves(
        self, potential: Potential, crystal: Crystal, seed: int
    ) -> tuple[Structure, Structure]:
        """A hot crystal, and a melt with as many atoms and the same cross-section."""
        settings, guess_K = self._settings, self._settings.temperature_K
        repeats = (settings.width, settings.width, settings.length)
        cold = crystal.conventional().repeat(repeats)
        dilute = cold.copy()
        ratio = settings.crystal_density_g_per_cm3 / settings.melt_density_g_per_cm3
        dilute.set_cell(cold.cell[:] * np.array([[1], [1], [ratio]]), scale_atoms=True)
        starts = [_structure(one) for one in (cold, dilute)]
        stages = (
            Stage(settings.preparation_ps, (guess_K, _HOTTER * guess_K), _FRICTION_PER_PS),
            Stage(
                settings.preparation_ps, (guess_K, guess_K), _FRICTION_PER_PS, _RECORD_FS
            ),
        )
        paths = run(potential, starts, stages, settings.timestep_fs, seed)
        solid, liquid = (
            _moved(path.structure, path.positions[-1] if path.positions else None)
            for path in paths
        )
        return solid, liquid


def joined(
    solid: Structure, liquid: Structure, rng: np.random.Generator, lattice_A: float
) -> Structure:
    """Both on top of each other, the melt moved so that atoms at the seams are far apart.

    Args:
        solid: The crystal, its planes normal to the third direction.
        liquid: The melt, of the same cross-section.
        rng: Draws places of the melt, of which the best is taken.
        lattice_A: Lattice constant of the crystal [Å]: it is cut half-way between two planes.
    """
    below = _wrapped(solid, np.array([0.0, 0.0, lattice_A / 4]))
    height, other = float(below.cell[2, 2]), np.diag(np.asarray(liquid.cell))
    cell = np.array(below.cell[:])
    cell[2, 2] = height + other[2] + 2 * _GAP_A
    above, widest = None, -1.0
    for _ in range(_TRIES):
        one = _wrapped(liquid, rng.random(3) * other).positions
        one = one + np.array([0.0, 0.0, height + _GAP_A])
        apart = _seam_A(below.positions, one, cell)
        if above is None or apart > widest:
            above, widest = one, apart
    positions = np.concatenate([below.positions, above])
    numbers = np.concatenate([solid.numbers, liquid.numbers]).astype(np.uint8)
    return Structure(numbers, positions, cell, np.ones(3, bool))


def _seam_A(below: np.ndarray, above: np.ndarray, cell: np.ndarray) -> float:
    """Shortest distance of an atom of one half and one of the other near the seams [Å]."""
    edges, shortest = np.diag(cell), np.inf
    seams = (float(below[:, 2].max()), float(above[:, 2].max()))
    for seam in seams:
        near = []
        for part in (below, above):
            height = part[:, 2] - seam
            height = np.abs(height - edges[2] * np.rint(height / edges[2]))
            near.append(part[height < _SEAM_A])
        apart = near[0][:, None] - near[1][None]
        apart -= edges * np.rint(apart / edges)
        if apart.size:
            shortest = min(shortest, float(np.sqrt((apart**2).sum(-1)).min()))
    return shortest


def crystalline_share(
    positions: Float[np.ndarray, "atoms 3"], like: Structure, lattice_A: float
) -> float:
    """Share of slices along the third direction that are crystal, by (200) and (020) waves."""
    height = float(like.cell[2, 2]) if like.cell is not None else 0.0
    n_slices = max(4, int(height / lattice_A))
    place = (positions[:, 2] / height * n_slices).astype(int) % n_slices
    order = np.zeros(n_slices)
    for axis in (0, 1):
        wave = np.exp(4j * np.pi * positions[:, axis] / lattice_A)
        for part in range(n_slices):
            mine = wave[place == part]
            order[part] += abs(mine.mean()) / 2 if len(mine) else 0.0
    return float((order > _ORDERED).mean())


def _crystal(settings: MeltingSettings) -> Crystal:
    mass_amu = float(MASSES_AMU[atomic_number(settings.element)])
    density = settings.crystal_density_g_per_cm3 * AMU_PER_ANGSTROM3_PER_G_PER_CM3
    return Crystal(settings.element, "fcc", mass_amu / density)


def _structure(atoms: Atoms) -> Structure:
    return Structure(
        atoms.numbers.astype(np.uint8),
        np.asarray(atoms.positions),
        np.asarray(atoms.cell[:]),
        np.ones(3, bool),
    )


def _moved(structure: Structure, positions: np.ndarray | None) -> Structure:
    if positions is None:
        return structure
    return Structure(structure.numbers, positions, structure.cell, structure.pbc)


def _wrapped(structure: Structure, shift: np.ndarray | float = 0.0) -> Atoms:
    positions = structure.positions + shift
    atoms = Atoms(structure.numbers, positions, cell=structure.cell, pbc=structure.pbc)
    atoms.wrap()
    return atoms


def _temperature_K(path: Path) -> float:
    kinetic_eV = np.mean(np.array(path.total_eV) - np.array(path.potential_eV))
    freedom = 3 * path.structure.n_atoms - 3
    return float(2 * kinetic_eV / (freedom * BOLTZMANN_EV_PER_K))


def _pressure_GPa(potential: Potential, path: Path) -> float:
    """Mean over some frames of minus the trace of the stress, and that of an ideal gas."""
    every = max(1, len(path.positions) // _FRAMES_OF_PRESSURE)
    calculator, virial = EnsembleCalculator(potential, forces="mean"), []
    for positions in path.positions[::every]:
        atoms = _wrapped(_moved(path.structure, positions))
        atoms.calc = calculator
        virial.append(-atoms.get_stress()[:3].mean())
    volume = path.structure.volume_A3 or 1.0
    density = (path.structure.n_atoms - 1) / volume
    ideal = density * BOLTZMANN_EV_PER_K * _temperature_K(path)
    return float((np.mean(virial) + ideal) * GPA_PER_EV_PER_ANGSTROM3)
