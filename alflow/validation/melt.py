"""Settings of the suite of a melt."""

from typing import Literal

from pydantic import Field

from alflow.core.protocols import ValidationSuite
from alflow.validation.settings import SuiteSettings


class DynamicsSettings(SuiteSettings):
    """What suites by molecular dynamics share."""

    element: str
    """Chemical symbol."""
    atoms: int = Field(default=108, ge=32)
    """Smallest number of atoms; the next full cube of fcc cells is taken: 32, 108, 256, 500."""
    density_g_per_cm3: float = Field(gt=0)
    """Density of the melt [g/cm³]."""
    hot_temperature_K: float = Field(default=3000.0, gt=0)
    """Temperature at which a crystal of this density is molten first [K]."""
    melting_ps: float = Field(default=3.0, gt=0)
    """How long it is [ps]."""
    equilibration_ps: float = Field(default=3.0, gt=0)
    """Time at the temperature wanted before anything is recorded [ps]."""
    timestep_fs: float = Field(default=2.0, gt=0)
    """Integration step [fs]."""


class MeltSettings(DynamicsSettings):
    """A melt at constant volume and temperature: its structure, and how fast atoms diffuse.

    `melt_1000K/rdf`, a curve, and from it the place and height of the first peak;
    `melt_1000K/diffusion_coefficient` [Å²/ps], `melt_1000K/potential_energy` [eV/atom]. Compared
    with a reference: `melt_1000K/rdf_mean_abs_difference`, and that in units of the difference of
    two runs of the reference, `melt_1000K/rdf_difference_per_noise`.
    """

    kind: Literal["melt"] = "melt"
    temperatures_K: tuple[float, ...] = Field(default=(1000.0,), min_length=1)
    """Temperatures [K]."""
    runs: int = Field(default=2, ge=1, le=32)
    """Number of independent runs at each temperature: their differences are the noise."""
    duration_ps: float = Field(default=20.0, gt=0)
    """Time recorded of each run [ps]."""
    record_fs: float = Field(default=50.0, gt=0)
    """Time between two recorded frames [fs]."""
    bin_A: float = Field(default=0.05, gt=0)
    """Width of a bin of g(r) [Å]."""
    compared_from_A: float = Field(default=1.5, ge=0)
    """Where the comparison of g(r) starts [Å]; it ends at half the edge of the cube."""

    def create(self) -> ValidationSuite:
        """The suite."""
        from alflow.validation.melt_run import MeltSuite

        return MeltSuite(self)
