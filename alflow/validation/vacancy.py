"""Settings of the suite of a vacancy."""

from typing import Literal

from pydantic import Field

from alflow.core.protocols import ValidationSuite
from alflow.validation.settings import Phase, RelaxingSettings


class VacancySettings(RelaxingSettings):
    """One atom taken out of a crystal, the others relaxed at constant volume.

    `vacancy/formation_energy` [eV], and the part of it that relaxation gains,
    `vacancy/relaxation_energy`.
    """

    kind: Literal["vacancy"] = "vacancy"
    phase: Phase = "fcc"
    """The crystal."""
    sites: int = Field(default=108, ge=8)
    """Smallest number of sites of the supercell; the most compact one of its size is taken."""

    def create(self) -> ValidationSuite:
        """The suite."""
        from alflow.validation.defects_run import VacancySuite

        return VacancySuite(self)
