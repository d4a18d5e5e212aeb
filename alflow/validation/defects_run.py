"""Suites of defects: energies of cells with a defect beside the perfect crystal."""

import numpy as np
from ase import Atoms
from jaxtyping import Float

from alflow.core.properties import SuiteResult, properties_of
from alflow.core.units import JOULE_PER_M2_PER_EV_PER_ANGSTROM2
from alflow.models.potential import Potential
from alflow.validation.defects import area_A2, slab, with_fault, with_vacancy
from alflow.validation.lattices import Crystal, equilibrium, guessed_volume_A3
from alflow.validation.potentials import Unanswered, energies, relaxed
from alflow.validation.settings import Phase, SolidSettings
from alflow.validation.stacking_fault import StackingFaultSettings
from alflow.validation.surface import SurfaceSettings
from alflow.validation.vacancy import VacancySettings

_OPENINGS_A = np.linspace(-0.1, 0.2, 7)
"""Distances by which the planes at a fault are moved apart, among which the best is found [Å]."""


class VacancySuite:
    """Takes one atom out of a crystal."""

    def __init__(self, settings: VacancySettings) -> None:
        """Keep the settings."""
        self._settings = settings

    def run(self, potential: Potential, seed: int) -> SuiteResult:  # noqa: ARG002 - no chance in it
        """Formation energy of a relaxed vacancy.

        Raises:
            Unanswered: If the crystal has no minimum, or the vacancy does not relax.
        """
        settings = self._settings
        crystal = _ground(potential, settings, settings.phase)
        start = with_vacancy(crystal, settings.sites)
        end = relaxed(potential, start, settings.force_eV_per_A)
        before, after = _excess(potential, crystal, [start, end]).T
        return SuiteResult(
            (
                properties_of("vacancy/formation_energy", "eV", after),
                properties_of("vacancy/relaxation_energy", "eV", before - after),
            )
        )


class SurfaceSuite:
    """Cuts slabs and relaxes them."""

    def __init__(self, settings: SurfaceSettings) -> None:
        """Keep the settings."""
        self._settings = settings

    def run(self, potential: Potential, seed: int) -> SuiteResult:  # noqa: ARG002 - no chance in it
        """Energies of all facets; one that does not relax becomes a note.

        Raises:
            Unanswered: If the crystal has no minimum.
        """
        settings, notes = self._settings, list[str]()
        crystal, found = _ground(potential, settings, settings.phase), []
        vacuum_A = max(settings.vacuum_A, potential.cutoff_A)
        for facet in settings.facets:
            start = slab(crystal, facet, settings.thickness_A, vacuum_A)
            try:
                end = relaxed(potential, start, settings.force_eV_per_A)
            except Unanswered as error:
                notes.append(f"surface {facet}: {error.message}")
                continue
            excess = _excess(potential, crystal, [end])[:, 0]
            energy = excess / (2 * area_A2(end)) * JOULE_PER_M2_PER_EV_PER_ANGSTROM2
            found.append(properties_of(f"surface_{facet}/energy", "J/m²", energy))
        return SuiteResult(tuple(found), notes=tuple(notes))


class StackingFaultSuite:
    """Stacks close-packed planes with one missing."""

    def __init__(self, settings: StackingFaultSettings) -> None:
        """Keep the settings."""
        self._settings = settings

    def run(self, potential: Potential, seed: int) -> SuiteResult:  # noqa: ARG002 - no chance in it
        """Energy of the intrinsic fault, relaxed normal to it.

        Raises:
            Unanswered: If the crystal has no minimum, or the fault does not relax.
        """
        settings = self._settings
        crystal = _ground(potential, settings, "fcc")
        opened = [
            self._relaxed(potential, crystal, opening) for opening in _OPENINGS_A.tolist()
        ]
        by_mean = energies(potential, opened)[0]
        parabola = np.polynomial.polynomial.polyfit(_OPENINGS_A, by_mean, 3)
        fine = np.linspace(_OPENINGS_A[0], _OPENINGS_A[-1], 601)
        best = fine[np.polynomial.polynomial.polyval(fine, parabola).argmin()]
        end = self._relaxed(potential, crystal, float(best))
        excess = _excess(potential, crystal, [end])[:, 0]
        energy = excess / area_A2(end) * JOULE_PER_M2_PER_EV_PER_ANGSTROM2 * 1000
        return SuiteResult((properties_of("stacking_fault/energy", "mJ/m²", energy),))

    def _relaxed(self, potential: Potential, crystal: Crystal, opening_A: float) -> Atoms:
        fault = with_fault(crystal, self._settings.layers, opening_A)
        return relaxed(potential, fault, self._settings.force_eV_per_A)


def _ground(potential: Potential, settings: SolidSettings, phase: Phase) -> Crystal:
    guess = Crystal(settings.element, phase, guessed_volume_A3(settings))
    return equilibrium(potential, guess).crystal


def _excess(
    potential: Potential, crystal: Crystal, cells: list[Atoms]
) -> Float[np.ndarray, "columns cells"]:
    """Energies above those of as many atoms in the perfect crystal [eV]."""
    sizes = np.array([len(cell) for cell in cells])
    perfect = crystal.energy_per_atom(potential)
    excess: np.ndarray = energies(potential, cells) - perfect[:, None] * sizes
    return excess
