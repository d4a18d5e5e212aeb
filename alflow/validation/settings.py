"""What the settings of suites share."""

from typing import Literal

from pydantic import Field, field_validator

from alflow.core.elements import atomic_number
from alflow.registry import Settings

Phase = Literal["fcc", "hcp", "bcc", "sc", "diamond"]
"""A simple crystal of one element."""


class SuiteSettings(Settings):
    """Base of the settings of all suites; `create()` gives the suite."""

    kind: str
    """Name of the suite."""


class SolidSettings(SuiteSettings):
    """What suites about crystals of one element share.

    Lattice constants are those of the potential itself: the minimum of its energy next to a first
    guess of the volume.
    """

    element: str
    """Chemical symbol."""
    volume_A3: float | None = Field(default=None, gt=0)
    """First guess of the volume of an atom [Å³]; by default that of the element in nature, where
    its crystal is one of those known here."""

    @field_validator("element")
    @classmethod
    def _is_known(cls, symbol: str) -> str:
        atomic_number(symbol)
        return symbol


class RelaxingSettings(SolidSettings):
    """What suites share that relax atoms."""

    force_eV_per_A: float = Field(default=0.005, gt=0)
    """Relaxations end when no atom feels a stronger mean force [eV/Å]."""
