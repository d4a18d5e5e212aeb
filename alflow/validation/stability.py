"""Settings of the suite of long runs."""

from typing import Literal

from pydantic import Field

from alflow.core.protocols import ValidationSuite
from alflow.validation.melt import DynamicsSettings


class StabilitySettings(DynamicsSettings):
    """Long runs of the crystal and the melt: they must not explode, nor gain energy.

    Each runs with a thermostat first and then as long at constant energy. Of `crystal_300K` and
    `melt_1000K`: `survived` [ps], of both parts together, `closest_pair` [Å], and `energy_drift`
    [meV/atom/ps], the slope of the total energy in the second part.
    """

    kind: Literal["stability"] = "stability"
    crystal_density_g_per_cm3: float | None = Field(default=None, gt=0)
    """Density of the crystal [g/cm³], fcc; by default that of the melt and 12 per cent more."""
    crystal_temperature_K: float = Field(default=300.0, gt=0)
    """Temperature of the crystal [K]."""
    melt_temperature_K: float = Field(default=1000.0, gt=0)
    """Temperature of the melt [K]."""
    duration_ps: float = Field(default=100.0, gt=0)
    """Time with a thermostat, and again at constant energy [ps]."""
    record_fs: float = Field(default=100.0, gt=0)
    """Time between two recorded frames [fs]."""

    def create(self) -> ValidationSuite:
        """The suite."""
        from alflow.validation.stability_run import StabilitySuite

        return StabilitySuite(self)
