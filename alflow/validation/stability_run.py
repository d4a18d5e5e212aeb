"""Long runs of a crystal and a melt: whether they explode, and whether they keep their energy."""

import numpy as np

from alflow.core.elements import MASSES_AMU, atomic_number
from alflow.core.properties import Property, SuiteResult
from alflow.models.potential import Potential
from alflow.validation.dynamics import Path, Stage, run
from alflow.validation.liquids import cubic_box
from alflow.validation.melt_run import melt_start, melting
from alflow.validation.stability import StabilitySettings

_FRICTION_PER_PS = 1.0
_DENSER = 1.12
"""Density of a crystal in units of that of its melt, roughly: metals melt at 6, and expand by 6 on
the way there."""


class StabilitySuite:
    """Runs both in one batch, with a thermostat first, then without."""

    def __init__(self, settings: StabilitySettings) -> None:
        """Keep the settings."""
        self._settings = settings

    def run(self, potential: Potential, seed: int) -> SuiteResult:
        """How long both survived, how close atoms came, how much energy drifts."""
        settings = self._settings
        crystal_K, melt_K = settings.crystal_temperature_K, settings.melt_temperature_K
        density = settings.crystal_density_g_per_cm3
        density = density or settings.density_g_per_cm3 * _DENSER
        mass_amu = float(MASSES_AMU[atomic_number(settings.element)])
        crystal = cubic_box(settings.element, mass_amu, density, settings.atoms)
        hot, cool = melting(settings, (crystal_K, melt_K))
        hot = Stage(hot.duration_ps, (crystal_K, hot.temperature_K[1]), hot.friction_per_ps)
        targets_K, record_fs = (crystal_K, melt_K), settings.record_fs
        lasting_ps = settings.duration_ps
        stages = (
            hot,
            cool,
            Stage(lasting_ps, targets_K, _FRICTION_PER_PS, record_fs),
            Stage(lasting_ps, targets_K, 0.0, record_fs),
        )
        starts = [crystal, melt_start(settings)]
        paths = run(potential, starts, stages, settings.timestep_fs, seed)
        names = (f"crystal_{crystal_K:g}K", f"melt_{melt_K:g}K")
        found = SuiteResult(())
        for name, path in zip(names, paths, strict=True):
            found = found.joined(self._of(name, path))
        return found

    def _of(self, name: str, path: Path) -> SuiteResult:
        settings = self._settings
        before_ps = settings.melting_ps + settings.equilibration_ps
        survived_ps = max(0.0, path.survived_ps - before_ps)
        found = [Property(f"{name}/survived", survived_ps, "ps")]
        if path.closest_A and np.isfinite(closest_A := min(path.closest_A)):
            found.append(Property(f"{name}/closest_pair", closest_A, "Å"))
        if path.stopped is not None:
            note = f"{name} ended after {survived_ps:.3g} ps: {path.stopped}"
            return SuiteResult(tuple(found), notes=(note,))
        times_ps = np.array(path.times_ps)
        is_free = times_ps > before_ps + settings.duration_ps + settings.timestep_fs / 2000
        if np.count_nonzero(is_free) > 1:
            total_eV = np.array(path.total_eV)[is_free]
            slope = float(np.polyfit(times_ps[is_free], total_eV, 1)[0])
            drift = slope * 1000 / path.structure.n_atoms
            found.append(Property(f"{name}/energy_drift", drift, "meV/atom/ps"))
        return SuiteResult(tuple(found))
