"""Settings of the suite of surfaces."""

from typing import Literal

from pydantic import Field

from alflow.core.protocols import ValidationSuite
from alflow.validation.settings import Phase, RelaxingSettings

Facet = Literal["100", "110", "111", "001"]
"""Miller indices of a surface; of hcp 001 is the basal plane."""


class SurfaceSettings(RelaxingSettings):
    """Surface energies of relaxed slabs: `surface_100/energy` [J/m²] and so on."""

    kind: Literal["surface"] = "surface"
    phase: Phase = "fcc"
    """The crystal."""
    facets: tuple[Facet, ...] = Field(default=("100", "111"), min_length=1)
    """Surfaces by their Miller indices in the conventional cell."""
    thickness_A: float = Field(default=20.0, gt=0)
    """Smallest thickness of the slab [Å]."""
    vacuum_A: float = Field(default=15.0, gt=0)
    """Room between a slab and its image [Å]; more than the reach of the potential."""

    def create(self) -> ValidationSuite:
        """The suite."""
        from alflow.validation.defects_run import SurfaceSuite

        return SurfaceSuite(self)
