"""Settings of the suite of perfect crystals."""

from typing import Literal

from pydantic import Field

from alflow.core.protocols import ValidationSuite
from alflow.validation.settings import Phase, SolidSettings


class CrystalSettings(SolidSettings):
    """Perfect crystals: lattice constants, energies, E(V), elastic constants.

    Of each phase: `lattice_constant` (and `c_over_a` of hcp), `energy_per_atom` or, where the
    energy of a free atom is given, `cohesive_energy`, and `bulk_modulus` from E(V). Of the first
    phase: elastic constants. Of the others: their energy above the first,
    `hcp-fcc/energy_difference`.
    """

    kind: Literal["crystal"] = "crystal"
    phases: tuple[Phase, ...] = Field(default=("fcc", "hcp", "bcc"), min_length=1)
    """Crystals, the stable one first."""
    atom_energy_eV: float | None = None
    """Energy of a free atom [eV], on the scale of the energies of the level of theory; the cohesive
    energy is counted from it."""
    largest_strain: float = Field(default=0.01, gt=0, le=0.05)
    """Strain of the outermost cells for elastic constants. Smaller than 0.005 it drowns in the
    rounding of single precision."""

    def create(self) -> ValidationSuite:
        """The suite."""
        from alflow.validation.crystal_run import CrystalSuite

        return CrystalSuite(self)
