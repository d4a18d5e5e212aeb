"""A molecule: conformers, rotations about bonds, vibrations, a run at constant energy."""

import ase.io
import numpy as np
from ase import Atoms

from alflow.core.canonical import path_sha256
from alflow.core.elements import SYMBOLS
from alflow.core.errors import SettingsError
from alflow.core.properties import Curve, Property, SuiteResult, properties_of
from alflow.core.structures import Structure, lowest_multiplicity
from alflow.core.units import PLANCK_MEV_PER_THZ, SPEED_OF_LIGHT_CM_PER_FS
from alflow.models.potential import Potential
from alflow.validation.dynamics import Stage, run
from alflow.validation.molecule import MoleculeSettings
from alflow.validation.molecules import turned, wavenumbers
from alflow.validation.potentials import Unanswered, energies, relaxed

_RECORD_FS = 10.0
_MEV_PER_WAVENUMBER = PLANCK_MEV_PER_THZ * SPEED_OF_LIGHT_CM_PER_FS * 1e3


class MoleculeSuite:
    """Relaxes conformers, then looks at the first one."""

    def __init__(self, settings: MoleculeSettings) -> None:
        """Read the geometries.

        Raises:
            SettingsError: If the file cannot be read, or is not what it was.
        """
        self._settings = settings
        self._conformers = _read(settings)

    def run(self, potential: Potential, seed: int) -> SuiteResult:
        """All properties; conformers that do not relax become notes.

        Raises:
            SettingsError: If the potential does not know an element.
            Unanswered: If the first conformer does not relax.
        """
        strange = set(self._conformers[0].numbers.tolist()) - set(potential.elements)
        if strange:
            names = ", ".join(SYMBOLS[number] for number in sorted(strange))
            raise SettingsError(f"the potential does not know {names}")
        settings, notes, others = self._settings, list[str](), list[tuple[int, Atoms]]()
        first = relaxed(potential, self._conformers[0], settings.force_eV_per_A)
        for number, start in enumerate(self._conformers[1:], 2):
            try:
                end = relaxed(potential, start, settings.force_eV_per_A)
                others.append((number, end))
            except Unanswered as error:
                notes.append(f"conformer {number}: {error.message}")
        by_all = energies(potential, [first, *(end for _, end in others)]) * 1000
        found = [
            properties_of(
                f"{settings.name}/conformer_{number}/energy",
                "meV",
                by_all[:, k] - by_all[:, 0],
            )
            for k, (number, _) in enumerate(others, 1)
        ]
        answer = SuiteResult(tuple(found), notes=tuple(notes))
        answer = answer.joined(self._torsions(potential, first))
        answer = answer.joined(self._vibrations(potential, first))
        return answer.joined(self._dynamics(potential, first, seed))

    def _torsions(self, potential: Potential, atoms: Atoms) -> SuiteResult:
        settings, found, curves = self._settings, list[Property](), list[Curve]()
        steps = settings.torsion_steps
        for number, torsion in enumerate(settings.torsions, 1):
            name = f"{settings.name}/torsion_{number}"
            turns = turned(atoms, torsion, steps)
            by_all = energies(potential, turns) * 1000
            by_all = by_all - by_all.min(axis=1, keepdims=True)
            found.append(properties_of(f"{name}/barrier", "meV", by_all.max(axis=1)))
            degrees = tuple(360.0 * step / steps for step in range(steps))
            curve = (tuple(by_all[0].tolist()),)
            curves.append(Curve(f"{name}/energy", degrees, "°", curve, "meV", 0.0))
        return SuiteResult(tuple(found), tuple(curves))

    def _vibrations(self, potential: Potential, atoms: Atoms) -> SuiteResult:
        settings = self._settings
        waves = wavenumbers(potential, atoms, settings.hessian_step_A)
        zero_point = np.clip(waves, 0, None).sum(axis=1) / 2 * _MEV_PER_WAVENUMBER
        found = [
            properties_of(f"{settings.name}/vibration_{k}", "1/cm", values)
            for k, values in enumerate(waves.T, 1)
        ]
        found.append(properties_of(f"{settings.name}/zero_point_energy", "meV", zero_point))
        return SuiteResult(tuple(found))

    def _dynamics(self, potential: Potential, atoms: Atoms, seed: int) -> SuiteResult:
        settings = self._settings
        if not settings.duration_ps:
            return SuiteResult(())
        numbers = atoms.numbers.astype(np.uint8)
        positions = np.asarray(atoms.positions)
        multiplicity = lowest_multiplicity(numbers)
        start = Structure(numbers, positions, None, np.zeros(3, bool), 0, multiplicity)
        stage = Stage(settings.duration_ps, (settings.temperature_K,), 0.0, _RECORD_FS)
        (path,) = run(potential, [start], [stage], settings.timestep_fs, seed)
        found = [Property(f"{settings.name}/survived", path.survived_ps, "ps")]
        if path.stopped is not None:
            note = f"the run ended after {path.survived_ps:.3g} ps: {path.stopped}"
            return SuiteResult(tuple(found), notes=(note,))
        if len(path.times_ps) > 1:
            slope = float(np.polyfit(path.times_ps, path.total_eV, 1)[0])
            drift = slope * 1000 / len(atoms)
            found.append(Property(f"{settings.name}/energy_drift", drift, "meV/atom/ps"))
        return SuiteResult(tuple(found))


def _read(settings: MoleculeSettings) -> list[Atoms]:
    """The conformers, without cells."""
    path = settings.file
    try:
        if settings.sha256 and path_sha256(path) != settings.sha256:
            raise SettingsError(f"{path} is not the file that the campaign was made with")
        frames = ase.io.read(path, index=":")
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    conformers = [
        Atoms(one.numbers, positions=one.positions)
        for one in (frames if isinstance(frames, list) else [frames])
    ]
    formulas = {str(one.symbols) for one in conformers}
    if len(formulas) != 1:
        raise SettingsError(f"{path} does not hold one molecule in several conformations")
    return conformers
