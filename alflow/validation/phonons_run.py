"""Lattice vibrations: forces of displaced supercells by all members, the rest by phonopy."""

from typing import Any

import numpy as np
from ase import Atoms
from jaxtyping import Float

from alflow.core.errors import PluginError
from alflow.core.properties import Curve, SuiteResult, properties_of
from alflow.core.units import PLANCK_MEV_PER_THZ
from alflow.models.potential import Potential
from alflow.validation.lattices import Crystal, equilibrium, guessed_volume_A3
from alflow.validation.phonons import PhononsSettings
from alflow.validation.potentials import forces

try:
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms
except ImportError as error:
    raise PluginError(
        "phonopy is not installed here",
        code="AL201",
        next_step='pip install "alflow[validation]"',
    ) from error

_POINTS: dict[str, dict[str, tuple[float, float, float]]] = {
    "fcc": {"X": (0.5, 0.5, 0.0), "L": (0.5, 0.5, 0.5)},
    "diamond": {"X": (0.5, 0.5, 0.0), "L": (0.5, 0.5, 0.5)},
    "bcc": {"H": (0.5, -0.5, 0.5), "N": (0.0, 0.0, 0.5)},
    "sc": {"X": (0.0, 0.5, 0.0), "R": (0.5, 0.5, 0.5)},
    "hcp": {"A": (0.0, 0.0, 0.5), "M": (0.5, 0.0, 0.0)},
}
"""Special points in units of the reciprocal vectors of the primitive cell as ASE makes it."""
_EQUAL_THZ = 0.01
"""Frequencies of the mean closer than this are those of degenerate modes."""
_BINS = 60


class PhononsSuite:
    """Displaces an atom in a supercell of the crystal of least energy."""

    def __init__(self, settings: PhononsSettings) -> None:
        """Keep the settings."""
        self._settings = settings

    def run(self, potential: Potential, seed: int) -> SuiteResult:  # noqa: ARG002 - no chance in it
        """Frequencies by the mean and by each member, and the density of states by the mean.

        Raises:
            Unanswered: If the crystal has no minimum, or the potential no forces of its members.
        """
        settings = self._settings
        guess = Crystal(settings.element, settings.phase, guessed_volume_A3(settings))
        crystal = equilibrium(potential, guess).crystal
        columns = self._columns(potential, crystal)
        name, found = f"phonons_{settings.phase}", []
        for point, place in _POINTS[settings.phase].items():
            at_point = np.array([_frequencies(one, place) for one in columns])
            found += [
                properties_of(f"{name}/{point}_{k}", "THz", values)
                for k, values in enumerate(_distinct(at_point), 1)
            ]
        zones = [self._zone(one) for one in columns]
        real = [np.clip(zone, 0, None) for zone in zones]
        n_modes = 3  # of an atom
        # half a quantum of each mode; those that are soft have none
        energy = [PLANCK_MEV_PER_THZ / 2 * n_modes * one.mean() for one in real]
        found += [
            properties_of(f"{name}/highest", "THz", np.array([z.max() for z in zones])),
            properties_of(f"{name}/lowest", "THz", np.array([z.min() for z in zones])),
            properties_of(f"{name}/zero_point_energy", "meV/atom", np.array(energy)),
        ]
        return SuiteResult(tuple(found), (_density(f"{name}/density_of_states", zones[0]),))

    def _columns(self, potential: Potential, crystal: Crystal) -> list[Any]:
        """A phonopy object with force constants for the mean and for each member."""
        settings = self._settings
        unit = crystal.primitive()
        repeats = _repeats(unit, settings.sites)
        first = _phonopy(unit, repeats)
        first.generate_displacements(distance=settings.displacement_A)
        dataset = first.dataset
        cells = [_atoms(cell) for cell in first.supercells_with_displacements]
        perfect, *moved = np.split(
            forces(potential, [_atoms(first.supercell), *cells]), len(cells) + 1, axis=1
        )
        answer = []
        for column in range(len(perfect)):
            one = _phonopy(unit, repeats)
            one.dataset = dataset
            # what single precision leaves on atoms at rest is no force constant
            one.forces = [(cell - perfect)[column] for cell in moved]
            one.produce_force_constants()
            one.symmetrize_force_constants()
            answer.append(one)
        return answer

    def _zone(self, phonons: Any) -> Float[np.ndarray, " modes"]:
        mesh = self._settings.mesh
        phonons.run_mesh([mesh] * 3, is_mesh_symmetry=False)
        found: np.ndarray = np.ravel(phonons.mesh.frequencies)
        return found


def _repeats(unit: Atoms, sites: int) -> tuple[int, int, int]:
    """Numbers of cells along each vector: as far in all directions as they allow."""
    # planes, not vectors: those of a primitive fcc cell are not at right angles
    heights = 1 / np.linalg.norm(np.linalg.inv(np.asarray(unit.cell[:])), axis=0)
    edge = float(heights.max())
    while True:
        repeats = np.maximum(1, np.ceil(edge / heights - 1e-6).astype(int))
        if len(unit) * int(np.prod(repeats)) >= sites:
            a, b, c = (int(n) for n in repeats)
            return a, b, c
        edge *= 1.02


def _phonopy(unit: Atoms, repeats: tuple[int, int, int]) -> Any:
    cell = PhonopyAtoms(
        symbols=unit.get_chemical_symbols(),
        cell=np.asarray(unit.cell[:]),
        positions=unit.positions,
    )
    return Phonopy(cell, np.diag(repeats), primitive_matrix=np.eye(3))


def _atoms(cell: Any) -> Atoms:
    return Atoms(cell.symbols, positions=cell.positions, cell=cell.cell, pbc=True)


def _frequencies(
    phonons: Any, place: tuple[float, float, float]
) -> Float[np.ndarray, " modes"]:
    phonons.run_qpoints([place])
    return np.sort(np.asarray(phonons.qpoints.frequencies)[0])


def _distinct(
    frequencies: Float[np.ndarray, "columns modes"],
) -> list[Float[np.ndarray, " columns"]]:
    """Columns of modes that are not degenerate by the mean, those of degenerate ones averaged."""
    groups: list[list[int]] = []
    for mode, value in enumerate(frequencies[0]):
        if groups and value - frequencies[0][groups[-1][-1]] < _EQUAL_THZ:
            groups[-1].append(mode)
        else:
            groups.append([mode])
    return [frequencies[:, group].mean(axis=1) for group in groups]


def _density(name: str, modes: Float[np.ndarray, " modes"]) -> Curve:
    """Histogram of the modes in the zone, of area three for each atom."""
    counts, edges = np.histogram(modes, _BINS)
    width = edges[1] - edges[0]
    heights = 3 * counts / (len(modes) * width) if width > 0 else counts.astype(float)
    middles = tuple(((edges[1:] + edges[:-1]) / 2).tolist())
    return Curve(name, middles, "THz", (tuple(heights.tolist()),), "1/THz")
