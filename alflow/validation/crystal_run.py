"""Perfect crystals: lattice constants, energies, E(V), elastic constants."""

import numpy as np

from alflow.core.properties import Curve, Property, SuiteResult, properties_of
from alflow.core.units import GPA_PER_EV_PER_ANGSTROM3
from alflow.models.potential import Potential
from alflow.validation.crystal import CrystalSettings
from alflow.validation.elasticity import elastic_constants
from alflow.validation.lattices import (
    Crystal,
    EnergyVolume,
    equilibrium,
    guessed_volume_A3,
    lattice_constant_A,
)
from alflow.validation.potentials import Unanswered


class CrystalSuite:
    """Finds the minimum of each phase and looks around it."""

    def __init__(self, settings: CrystalSettings) -> None:
        """Keep the settings."""
        self._settings = settings

    def run(self, potential: Potential, seed: int) -> SuiteResult:  # noqa: ARG002 - no chance in it
        """Compute the properties of all phases; one that has no minimum becomes a note."""
        settings, notes = self._settings, list[str]()
        volume_A3 = guessed_volume_A3(settings)
        curves: dict[str, EnergyVolume] = {}
        for phase in settings.phases:
            guess = Crystal(settings.element, phase, volume_A3)
            try:
                curves[phase] = equilibrium(potential, guess)
            except Unanswered as error:
                notes.append(error.message)
        found = [one for curve in curves.values() for one in self._of_phase(curve)]
        found += self._differences(curves)
        if (first := curves.get(settings.phases[0])) is not None:
            try:
                found += self._elastic(potential, first)
            except Unanswered as error:
                notes.append(error.message)
        plots = tuple(_plot(curve) for curve in curves.values())
        return SuiteResult(tuple(found), plots, tuple(notes))

    def _of_phase(self, curve: EnergyVolume) -> list[Property]:
        crystal, atom_eV = curve.crystal, self._settings.atom_energy_eV
        phase, ratio = crystal.phase, crystal.c_over_a
        lattice = [lattice_constant_A(phase, float(v), ratio) for v in curve.minimum_A3]
        # the curve is a fit; the crystal of the mean was searched for and is exact
        lattice[0] = crystal.lattice_A
        found = [properties_of(f"{phase}/lattice_constant", "Å", np.array(lattice))]
        if phase == "hcp":
            found.append(Property("hcp/c_over_a", ratio, "1"))
        if atom_eV is None:
            energy = properties_of(f"{phase}/energy_per_atom", "eV/atom", curve.minimum_eV)
        else:
            cohesive = atom_eV - curve.minimum_eV
            energy = properties_of(f"{phase}/cohesive_energy", "eV/atom", cohesive)
        modulus = curve.bulk_modulus * GPA_PER_EV_PER_ANGSTROM3
        return [*found, energy, properties_of(f"{phase}/bulk_modulus", "GPa", modulus)]

    def _differences(self, curves: dict[str, EnergyVolume]) -> list[Property]:
        first = self._settings.phases[0]
        if first not in curves:
            return []
        return [
            properties_of(
                f"{phase}-{first}/energy_difference",
                "meV/atom",
                (curve.minimum_eV - curves[first].minimum_eV) * 1000,
            )
            for phase, curve in curves.items()
            if phase != first
        ]

    def _elastic(self, potential: Potential, curve: EnergyVolume) -> list[Property]:
        crystal, largest = curve.crystal, self._settings.largest_strain
        constants = elastic_constants(potential, crystal, largest)
        return [
            properties_of(
                f"{crystal.phase}/{name}", "GPa", values * GPA_PER_EV_PER_ANGSTROM3
            )
            for name, values in constants.items()
        ]


def _plot(curve: EnergyVolume) -> Curve:
    name = f"{curve.crystal.phase}/energy_of_volume"
    by_mean = tuple(curve.energies_eV[0].tolist())
    volumes = tuple(curve.volumes_A3.tolist())
    return Curve(name, volumes, "Å³/atom", (by_mean,), "eV/atom")
