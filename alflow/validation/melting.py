"""Settings of the suite of the melting point."""

from typing import Literal

from pydantic import Field

from alflow.core.protocols import ValidationSuite
from alflow.validation.settings import SuiteSettings


class MeltingSettings(SuiteSettings):
    """The melting point of fcc by coexistence, at constant energy and volume (long).

    Half a box is crystal, half is melt, along the third direction. At constant energy some of one
    freezes or melts until the temperature is that at which both live, at the pressure that the box
    has then: `melting/temperature` [K] and `melting/pressure` [GPa], one point of the melting line
    (Morris and others, Phys. Rev. B 49, 3109 (1994)). Give the densities at zero pressure for the
    usual melting point. Where one of the two is gone in the end, the guess was too far off; a note
    says which.
    """

    kind: Literal["melting"] = "melting"
    element: str
    """Chemical symbol."""
    temperature_K: float = Field(gt=0)
    """Guess of the melting point [K], within some ten per cent."""
    crystal_density_g_per_cm3: float = Field(gt=0)
    """Density of the crystal there [g/cm³]."""
    melt_density_g_per_cm3: float = Field(gt=0)
    """Density of the melt there [g/cm³]."""
    width: int = Field(default=5, ge=3)
    """Number of cubes of the crystal along the first and the second direction."""
    length: int = Field(default=10, ge=4)
    """Number of cubes of the crystal along the third; the melt has as many atoms."""
    preparation_ps: float = Field(default=3.0, gt=0)
    """Time for melting one half, and again for bringing both to the guessed temperature [ps]."""
    equilibration_ps: float = Field(default=20.0, gt=0)
    """Time at constant energy before anything is measured [ps]."""
    duration_ps: float = Field(default=20.0, gt=0)
    """Time measured [ps]."""
    timestep_fs: float = Field(default=2.0, gt=0)
    """Integration step [fs]."""

    def create(self) -> ValidationSuite:
        """The suite."""
        from alflow.validation.melting_run import MeltingSuite

        return MeltingSuite(self)
