"""A melt: radial distribution and diffusion from molecular dynamics."""

import numpy as np

from alflow.core.elements import MASSES_AMU, atomic_number
from alflow.core.properties import Curve, Property, SuiteResult
from alflow.core.structures import Structure
from alflow.models.potential import Potential
from alflow.validation.dynamics import Path, Stage, run
from alflow.validation.liquids import (
    cubic_box,
    diffusion_coefficient,
    radial_distribution,
)
from alflow.validation.melt import DynamicsSettings, MeltSettings

_STRONG_PER_PS = 10.0
_WEAK_PER_PS = 0.5
"""Friction while recording [1/ps]: in a liquid it slows diffusion by about one per cent."""
_LONGEST_LAG_PS = 4.0


class MeltSuite:
    """Melts a crystal, cools it down, and watches it, all temperatures and runs in one batch."""

    def __init__(self, settings: MeltSettings) -> None:
        """Keep the settings."""
        self._settings = settings

    def run(self, potential: Potential, seed: int) -> SuiteResult:
        """Structure and diffusion at each temperature."""
        settings = self._settings
        start, n_runs = melt_start(settings), settings.runs
        targets_K = tuple(t for t in settings.temperatures_K for _ in range(n_runs))
        stages = (
            *melting(settings, targets_K),
            Stage(settings.duration_ps, targets_K, _WEAK_PER_PS, settings.record_fs),
        )
        starts = [start] * len(targets_K)
        paths = run(potential, starts, stages, settings.timestep_fs, seed)
        found = SuiteResult(())
        for place, temperature_K in enumerate(settings.temperatures_K):
            mine = paths[place * n_runs : (place + 1) * n_runs]
            found = found.joined(self._at(f"melt_{temperature_K:g}K", mine))
        return found

    def _at(self, name: str, paths: list[Path]) -> SuiteResult:
        """What the runs at one temperature say."""
        settings = self._settings
        notes = tuple(
            f"{name}: a run ended after {path.survived_ps:.3g} ps: {path.stopped}"
            for path in paths
            if path.stopped is not None
        )
        whole = [path for path in paths if path.stopped is None]
        if not whole:
            return SuiteResult((), notes=notes)
        curve = _rdf(f"{name}/rdf", whole, settings)
        mean = np.mean(curve.runs, axis=0)
        peak = int(mean.argmax())
        n_steps = max(1, round(settings.record_fs / settings.timestep_fs))
        interval_ps = n_steps * settings.timestep_fs / 1000
        longest_ps = min(_LONGEST_LAG_PS, settings.duration_ps / 3)
        diffusion = [
            diffusion_coefficient(np.array(path.positions), interval_ps, longest_ps)
            for path in whole
        ]
        n_atoms = whole[0].structure.n_atoms
        potential_eV = np.mean([path.potential_eV for path in whole]) / n_atoms
        properties = (
            Property(f"{name}/rdf_peak_position", curve.x[peak], "Å"),
            Property(f"{name}/rdf_peak_height", float(mean[peak]), "1"),
            Property(f"{name}/diffusion_coefficient", float(np.mean(diffusion)), "Å²/ps"),
            Property(f"{name}/potential_energy", float(potential_eV), "eV/atom"),
        )
        return SuiteResult(properties, (curve,), notes)


def melt_start(settings: DynamicsSettings) -> Structure:
    """The crystal that is molten."""
    mass_amu = float(MASSES_AMU[atomic_number(settings.element)])
    density = settings.density_g_per_cm3
    return cubic_box(settings.element, mass_amu, density, settings.atoms)


def melting(settings: DynamicsSettings, targets_K: tuple[float, ...]) -> tuple[Stage, ...]:
    """Stages that melt replicas and bring them to their temperatures."""
    hot_K = tuple(max(settings.hot_temperature_K, target) for target in targets_K)
    return (
        Stage(settings.melting_ps, hot_K, _STRONG_PER_PS),
        Stage(settings.equilibration_ps, targets_K, _STRONG_PER_PS),
    )


def _rdf(name: str, paths: list[Path], settings: MeltSettings) -> Curve:
    cell = paths[0].structure.cell
    edge_A = float(cell[0, 0]) if cell is not None else 0.0
    n_bins = int(edge_A / 2 / settings.bin_A)
    edges_A = np.arange(n_bins + 1) * settings.bin_A
    middles = np.round((edges_A[1:] + edges_A[:-1]) / 2, 6)
    runs = tuple(
        tuple(radial_distribution(path.positions, edge_A, edges_A).tolist())
        for path in paths
    )
    return Curve(name, tuple(middles.tolist()), "Å", runs, "1", settings.compared_from_A)
