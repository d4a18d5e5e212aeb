"""Settings of the suite of a stacking fault."""

from typing import Literal

from pydantic import Field

from alflow.core.protocols import ValidationSuite
from alflow.validation.settings import RelaxingSettings


class StackingFaultSettings(RelaxingSettings):
    """The intrinsic stacking fault of fcc, one (111) plane taken out.

    `stacking_fault/energy` [mJ/m²]. Atoms, and the distance of the planes next to the fault, are
    relaxed normal to it.
    """

    kind: Literal["stacking_fault"] = "stacking_fault"
    layers: int = Field(default=12, ge=6, multiple_of=3)
    """Number of (111) planes between one fault and its image."""

    def create(self) -> ValidationSuite:
        """The suite."""
        from alflow.validation.defects_run import StackingFaultSuite

        return StackingFaultSuite(self)
