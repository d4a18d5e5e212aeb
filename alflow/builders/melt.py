"""Melts: frames of short molecular dynamics at high temperature with the Gupta potential.

Structures that no random packing gives, from a potential that is not the one being trained:
for test sets of metals.
"""

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from alflow.builders.geometry import CountRange, PositiveRange
from alflow.builders.random_box import RandomBoxSettings
from alflow.core.errors import SettingsError
from alflow.core.structures import Structure
from alflow.registry import Settings

if TYPE_CHECKING:
    from alflow.md.engine import Moment
    from alflow.md.state import State

_FRICTION_PER_FS = 0.02
_DISTANCE_FACTOR = (0.75, 1.0)


class MeltSettings(Settings):
    """The last frame of molecular dynamics that starts from a random box; fcc metals only."""

    kind: Literal["melt"] = "melt"
    count: float = Field(default=1, gt=0)
    """Weight among the builders: structures are shared out in proportion to it."""
    composition: dict[str, float] = Field(default_factory=lambda: {"Al": 1.0}, min_length=1)
    """Share of each chemical symbol; those with published Gupta parameters."""
    atoms: CountRange = (32, 48)
    """Smallest and largest number of atoms."""
    density_g_per_cm3: PositiveRange
    """Range of the mass density [g/cm³]."""
    temperature_K: PositiveRange = (800.0, 2500.0)
    """Range of the temperature [K]."""
    duration_fs: float = Field(default=600.0, gt=0)
    """Time simulated [fs]; a few hundred make a liquid of a random box."""
    timestep_fs: float = Field(default=3.0, gt=0)
    """Integration step [fs]."""

    def boxes(self) -> RandomBoxSettings:
        """Settings of the starting boxes."""
        return RandomBoxSettings(
            composition=self.composition,
            atoms=self.atoms,
            density_g_per_cm3=self.density_g_per_cm3,
            distance_factor=_DISTANCE_FACTOR,
        )

    def create(self) -> "MeltBuilder":
        """The builder with these settings.

        Raises:
            SettingsError: If an element has no published Gupta parameters.
        """
        return MeltBuilder(self)


class MeltBuilder:
    """Runs all melts of a build as one batch."""

    def __init__(self, settings: MeltSettings) -> None:
        """Make the potential.

        Raises:
            SettingsError: If an element has no published Gupta parameters.
        """
        from alflow.models.gupta import GuptaPotential

        self._settings = settings
        self._potential = GuptaPotential.published(*settings.composition)

    def build(self, rng: np.random.Generator, count: int) -> list[Structure]:
        """Build `count` melts; each has its own random stream.

        Raises:
            SettingsError: If the atoms do not fit, or the dynamics does not survive.
        """
        if count == 0:
            return []
        from alflow.md.state import State

        settings = self._settings
        starts = settings.boxes().create().build(rng, count)
        temperatures = rng.uniform(*settings.temperature_K, size=count)
        seeds = rng.integers(0, 2**63, size=count).tolist()
        streams = [np.random.Generator(np.random.PCG64(seed)) for seed in seeds]
        end = self._run(State.from_structures(starts), temperatures, streams)
        return [_wrapped(end.structure(k, start)) for k, start in enumerate(starts)]

    def _run(
        self, state: "State", temperatures: np.ndarray, streams: list[np.random.Generator]
    ) -> "State":
        import torch

        from alflow.md.engine import Engine, Motion
        from alflow.md.langevin import Bath
        from alflow.md.velocities import draw_noise, with_thermal_velocities

        settings = self._settings
        target_K = torch.from_numpy(temperatures)
        engine = Engine(self._potential, Motion(settings.timestep_fs, _FRICTION_PER_FS))
        state = with_thermal_velocities(state, target_K, streams)
        moment = _alive(engine.start(state, Bath(target_K)))
        for _ in range(max(1, round(settings.duration_fs / settings.timestep_fs))):
            noise = torch.from_numpy(draw_noise(streams, state.sizes))
            moment = _alive(engine.advance(moment, Bath(target_K, noise)))
        return moment.state


def _alive(moment: "Moment") -> "Moment":
    if moment.stopped:
        reasons = sorted({str(reason) for reason in moment.stopped.values()})
        raise SettingsError(
            f"the dynamics of a melt did not survive: {', '.join(reasons)}",
            code="AL121",
            next_step="lower timestep_fs, temperature_K or the density of the melt builder",
        )
    return moment


def _wrapped(structure: Structure) -> Structure:
    """All atoms inside of the cell."""
    cell = structure.cell
    if cell is None:
        return structure
    fractions = structure.positions @ np.linalg.inv(cell)
    return Structure(
        structure.numbers,
        (fractions - np.floor(fractions)) @ cell,
        cell,
        structure.pbc,
        structure.charge,
        structure.multiplicity,
    )
