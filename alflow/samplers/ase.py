"""Settings of samplers that drive ASE."""

import inspect
from typing import Literal

from pydantic import Field, model_validator

from alflow import registry
from alflow.core.errors import PluginError
from alflow.core.protocols import Sampler
from alflow.samplers.settings import SamplerSettings

Plain = bool | int | float | str | None


class AseSettings(SamplerSettings):
    """Whatever drives ASE's atoms, with the ensemble as their calculator.

    A driver is a generator function, found by its name among the entry points in the group
    `alflow.ase_samplers`; `basin_hopping` comes with alflow. It gets the atoms of a start, a random
    generator and the options, and yields `ase.Atoms`. Each frame is judged as it comes: the replica
    ends at the first one that the gate flags or that makes no physical sense. One frame drawn at
    random comes back, too.
    """

    kind: Literal["ase"] = "ase"
    driver: str
    """Name of the driver."""
    options: dict[str, Plain | list[Plain]] = Field(default_factory=dict)
    """Options of the driver, by name."""
    frames: int = Field(default=100, ge=1)
    """Largest number of frames taken from the driver for one start."""
    grace_frames: int = Field(default=1, ge=0)
    """Number of frames, the start being the first, that are not flagged, so that a strained start
    can be left before it counts; those that make no sense end the replica all the same."""

    @model_validator(mode="after")
    def _check_driver(self) -> "AseSettings":
        try:
            driver = registry.find("ase_samplers", self.driver)
        except PluginError as error:
            raise ValueError(f"driver: {error.message}; {error.next_step}") from error
        try:
            inspect.signature(driver).bind(None, None, **self.options)
        except TypeError as error:
            raise ValueError(f"options of {self.driver!r}: {error}") from error
        return self

    def create(self) -> Sampler:
        """The sampler."""
        from alflow.samplers.ase_run import AseSampler

        return AseSampler(self)
