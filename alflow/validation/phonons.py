"""Settings of the suite of lattice vibrations."""

from typing import Literal

from pydantic import Field

from alflow.core.protocols import ValidationSuite
from alflow.validation.settings import Phase, SolidSettings


class PhononsSettings(SolidSettings):
    """Vibrations of a crystal by finite displacements, with phonopy (`alflow[validation]`).

    `phonons_fcc/X_1`, `X_2`, ... [THz]: frequencies at special points, ascending, imaginary ones
    as negative numbers, equal ones once; `phonons_fcc/highest` and `phonons_fcc/lowest` of the
    whole zone [THz]; `phonons_fcc/zero_point_energy` [meV/atom]; and the density of states as a
    curve.
    """

    kind: Literal["phonons"] = "phonons"
    phase: Phase = "fcc"
    """The crystal."""
    sites: int = Field(default=100, ge=8)
    """Smallest number of sites of the supercell."""
    displacement_A: float = Field(default=0.02, gt=0, le=0.1)
    """Displacement of an atom [Å]."""
    mesh: int = Field(default=20, ge=4, le=100)
    """Number of points of the mesh in the zone along each direction."""

    def create(self) -> ValidationSuite:
        """The suite."""
        from alflow.validation.phonons_run import PhononsSuite

        return PhononsSuite(self)
