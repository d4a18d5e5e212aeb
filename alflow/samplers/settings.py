"""What the settings of all samplers share."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from alflow.registry import Settings


def _as_pair(value: object) -> object:
    """A single number is a range of no width."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return (value, value) if is_number else value


Bounds = Annotated[tuple[float, float], BeforeValidator(_as_pair)]
"""A range `[low, high]` for uniform draws; one number stands for a range of no width."""

BondFactor = Annotated[float, Field(gt=1, le=2)]
"""Longest bond, in sums of covalent radii."""


class SamplerSettings(Settings):
    """What the loop asks of every sampler, and the guard that all of them have."""

    kind: str
    """Name of the sampler."""
    replicas: int = Field(default=32, ge=1)
    """Number of replicas of one sample task, each from a starting structure of its own."""
    tasks: int = Field(default=2, ge=1)
    """Number of sample tasks of a round."""
    rounds: int = Field(default=2, ge=1)
    """Largest number of rounds of sample tasks in one iteration."""
    minimum_distance_factor: float = Field(default=0.6, ge=0, le=0.9)
    """Frames in which two atoms, periodic images included, are closer than this factor of the sum
    of their covalent radii make no sense. At 0.6: 0.37 Å for H-H, 0.58 Å for O-H, 1.45 Å for
    Al-Al."""
