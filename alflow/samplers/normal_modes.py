"""Settings of displacements along normal modes."""

from typing import Literal

from pydantic import Field, field_validator

from alflow.core.protocols import Sampler
from alflow.samplers.settings import Bounds, SamplerSettings


class NormalModesSettings(SamplerSettings):
    """Random displacements along the normal modes of relaxed starts.

    Each start is relaxed with the mean of the ensemble, its Hessian is made of finite differences
    of mean forces, and `frames` displaced structures are drawn from the Boltzmann distribution of
    the harmonic potential at a random temperature, as for ANI-1 (Smith, Isayev, Roitberg, Chem.
    Sci. 8, 3192 (2017)). Every one that the gate flags comes back, and one drawn at random.
    """

    kind: Literal["normal_modes"] = "normal_modes"
    frames: int = Field(default=10, ge=1, le=1000)
    """Number of displaced structures of each start."""
    temperature_K: Bounds = (100.0, 1500.0)
    """Range from which each start draws the temperature of its displacements [K]."""
    relax: bool = True
    """Relax each start first. Without it the modes are those of the start as it is, and where it is
    not at rest, some of them may be soft. A relaxation that lets atoms overlap is not believed: the
    start is taken as it is."""
    relax_force_eV_per_A: float = Field(default=0.02, gt=0)
    """The relaxation ends when no atom feels a stronger mean force [eV/Å]."""
    relax_steps: int = Field(default=300, ge=1)
    """Largest number of steps of the relaxation; the modes are taken wherever it ends."""
    hessian_step_A: float = Field(default=0.01, gt=0, le=0.1)
    """Displacement of each coordinate, up and down, for the Hessian [Å]."""
    softest_per_cm: float = Field(default=100.0, gt=0)
    """Modes with a smaller wavenumber than this [1/cm], imaginary ones included, are displaced as
    if they had this one: their harmonic potential would carry them away."""
    largest_atoms: int = Field(default=200, ge=1)
    """Largest number of atoms of a start: the Hessian takes six evaluations for each atom."""

    @field_validator("temperature_K")
    @classmethod
    def _check_temperature(cls, value: tuple[float, float]) -> tuple[float, float]:
        low, high = value
        if low > high:
            raise ValueError(f"the range [{low}, {high}] is upside down")
        if low <= 0:
            raise ValueError(f"{low} K is not above 0")
        return value

    def create(self) -> Sampler:
        """The sampler."""
        from alflow.samplers.normal_modes_run import NormalModesSampler

        return NormalModesSampler(self)
