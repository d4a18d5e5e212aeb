"""Settings of nonequilibrium molecular dynamics with randomised temperature and density."""

from collections.abc import Iterable
from typing import Literal

from pydantic import Field, model_validator

from alflow.core.elements import SYMBOLS
from alflow.core.errors import SettingsError
from alflow.core.protocols import Sampler
from alflow.md.schedule import ProgramRanges
from alflow.md.timestep import largest_timestep_fs
from alflow.registry import Settings
from alflow.samplers.settings import Bounds, SamplerSettings


class _ProgramSettings(Settings):
    """Ranges for `start + (end - start) t / duration + amplitude sin²(pi t / period)`."""

    amplitude: Bounds = (0.0, 0.0)
    """Range of the height of the modulation, in the unit of the quantity."""
    period_ps: Bounds = (1.0, 1.0)
    """Range of the time between two maxima of the modulation [ps]."""

    @model_validator(mode="after")
    def _check_ranges(self) -> "_ProgramSettings":
        for name in type(self).model_fields:
            bounds = getattr(self, name)
            if bounds is not None and bounds[0] > bounds[1]:
                raise ValueError(
                    f"{name}: the range [{bounds[0]}, {bounds[1]}] is upside down"
                )
        if self.period_ps[0] <= 0:
            raise ValueError(f"period_ps: {self.period_ps[0]} ps is not above 0")
        return self

    def period_fs(self) -> tuple[float, float]:
        """Range of the period [fs]."""
        return self.period_ps[0] * 1000, self.period_ps[1] * 1000


class TemperatureSettings(_ProgramSettings):
    """Ranges from which each replica draws its temperature program."""

    start: Bounds
    """Range of the temperature at the start [K]."""
    end: Bounds
    """Range of the temperature at the end of the ramp [K]."""

    @model_validator(mode="after")
    def _check_sign(self) -> "TemperatureSettings":
        for name in ("start", "end", "amplitude"):
            low = getattr(self, name)[0]
            if low < 0:
                raise ValueError(f"{name}: {low} K is below 0")
        return self

    def ranges(self) -> ProgramRanges:
        """The ranges, times in fs."""
        return ProgramRanges(self.start, self.end, self.amplitude, self.period_fs())


class DensitySettings(_ProgramSettings):
    """Ranges from which each fully periodic replica draws its density program."""

    start: Bounds | None = None
    """Range of the density at the start [g/cm³]; left out: that of the structure."""
    end: Bounds
    """Range of the density at the end of the ramp [g/cm³]."""

    @model_validator(mode="after")
    def _check_sign(self) -> "DensitySettings":
        lowest = min(self.end[0], self.end[0] if self.start is None else self.start[0])
        dip = min(self.amplitude[0], 0.0)
        if lowest <= 0 or lowest + dip <= 0:
            raise ValueError(
                f"the density can fall to {lowest + dip} g/cm³, which is not above 0"
            )
        return self

    def ranges(self) -> ProgramRanges:
        """The ranges, times in fs."""
        return ProgramRanges(self.start, self.end, self.amplitude, self.period_fs())


class MdSettings(SamplerSettings):
    """What all samplers by molecular dynamics share: replicas, schedules, thermostat, guards.

    A replica ends at the first frame that the gate flags, at the end of its time, or when it
    makes no physical sense any more: not a number, atoms too close, too hot, energy exploded,
    cell collapsed, a piece escaped. What makes no sense is never flagged. A frame whose spread is
    far beyond the limit is still flagged here; acquisition turns it down
    (`acquire.rejected_factor`), so that it is counted and can be seen.
    """

    slots: int = Field(default=16, ge=1)
    """Number of replicas that run at the same time; one that ends is replaced at once by the next.
    Changes the speed and the memory needed only: where they do not fit into memory, they are
    computed in parts. Several replicas for each slot keep the slots busy."""
    timestep_fs: float = Field(default=0.5, gt=0)
    """Integration step [fs]."""
    duration_ps: float = Field(gt=0)
    """Longest time of a replica [ps]."""
    temperature_K: TemperatureSettings
    """Temperature of the thermostat over time [K]."""
    density_g_per_cm3: DensitySettings | None = None
    """Density over time [g/cm³], by scaling cell and positions of fully periodic replicas; others
    ignore it. Null keeps the cells as they are."""
    friction_per_ps: float = Field(default=2.0, ge=0)
    """Friction of the Langevin thermostat [1/ps]; 0 switches it off (constant energy)."""
    check_every: int = Field(default=10, ge=1)
    """Number of steps between two looks at the spread."""
    temperature_limit_factor: float = Field(default=5.0, ge=1)
    """A replica ends when its kinetic temperature exceeds this factor of the target..."""
    temperature_margin_K: float = Field(default=10_000.0, ge=0)
    """...plus this [K], which leaves room for the heat that a strained start sets free."""
    energy_limit_eV_per_atom: float = Field(default=20.0, gt=0)
    """A replica ends when its potential energy has changed by more than this since the start, up
    or down [eV per atom]: more than any bond holds."""
    minimum_volume_factor: float = Field(default=1.0, ge=0)
    """A replica ends when its periodic cell is smaller than this factor of the volume of its
    atoms, taken as balls of their covalent radii: 7.4 Å³ for Al, which has 16.6 Å³."""
    stop_escaped: bool = True
    """A replica that is not periodic in all directions ends when it falls into more pieces, out of
    reach of each other, than it was at the start: what the pieces do alone is known."""
    skin_A: float = Field(default=1.0, gt=0)
    """Skin of the neighbour list [Å]; changes the speed only."""
    allow_large_timestep: bool = False
    """Use a timestep beyond what the lightest element stands (1 fs for H, 5.2 fs for Al)."""

    def check_elements(self, numbers: Iterable[int]) -> None:
        """Refuse a timestep that is too long for these atomic numbers.

        Raises:
            SettingsError: If it is, unless `allow_large_timestep` is set.
        """
        lightest = min(numbers)
        longest_fs = largest_timestep_fs(lightest)
        if self.timestep_fs > longest_fs and not self.allow_large_timestep:
            raise SettingsError(
                f"sample.timestep_fs: {self.timestep_fs:g} fs is longer than the "
                f"{longest_fs:.2g} fs that the vibrations of {SYMBOLS[lightest]} stand",
                code="AL121",
                consequence="energy would not be conserved and trajectories would explode",
                next_step=f"use {longest_fs:.2g} fs or less, or set "
                "sample.allow_large_timestep: true",
            )


class NemdSettings(MdSettings):
    """Nonequilibrium molecular dynamics of many replicas, each with its own random schedule."""

    kind: Literal["nemd"] = "nemd"

    def create(self) -> Sampler:
        """The sampler."""
        from alflow.samplers.nemd_run import NemdSampler

        return NemdSampler(self)
