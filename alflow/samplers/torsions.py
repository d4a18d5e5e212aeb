"""Settings of scans of rotatable bonds."""

from typing import Literal

from pydantic import Field, model_validator

from alflow.core.protocols import Sampler
from alflow.samplers.settings import BondFactor, SamplerSettings


class TorsionsSettings(SamplerSettings):
    """Turns about the rotatable bonds of free molecules: on a grid, and all at once at random.

    Rotatable are single bonds between atoms other than hydrogen, not in a ring, both ends with
    another neighbour. Bonds are found by covalent radii. A turn changes no bond length and no
    angle; one that brings atoms so close that they would be bonded is a clash and dropped. Every
    frame that the gate flags comes back, and one drawn at random.
    """

    kind: Literal["torsions"] = "torsions"
    grid: int = Field(default=12, ge=1)
    """Number of angles of each bond, evenly over the circle, the one of the start being the first;
    1 makes no scan."""
    scanned_bonds: int = Field(default=3, ge=0)
    """Largest number of bonds of a start that are scanned, one after the other; of more, some are
    drawn at random."""
    random_frames: int = Field(default=8, ge=0)
    """Number of frames of each start in which all rotatable bonds are at random angles."""
    relax: bool = True
    """Relax each start first, with the mean of the ensemble; a relaxation, here and below, that
    breaks or makes bonds or lets atoms overlap is not believed, and what it began with is taken."""
    relax_frames: bool = False
    """Relax each frame, the four atoms of each turned dihedral held where they are."""
    relax_force_eV_per_A: float = Field(default=0.05, gt=0)
    """A relaxation ends when no atom feels a stronger mean force [eV/Å]."""
    relax_steps: int = Field(default=200, ge=1)
    """Largest number of steps of a relaxation of a start."""
    relax_frame_steps: int = Field(default=30, ge=1)
    """Largest number of steps of a relaxation of a frame."""
    bond_factor: BondFactor = 1.3
    """Atoms are bonded if they are closer than this factor of the sum of their covalent radii."""

    @model_validator(mode="after")
    def _turns_something(self) -> "TorsionsSettings":
        is_scanned = self.grid > 1 and self.scanned_bonds > 0
        if not is_scanned and not self.random_frames:
            why = "grid is 1" if self.grid == 1 else "scanned_bonds is 0"
            raise ValueError(f"random_frames: 0, and {why}: no frames but the starts")
        return self

    def create(self) -> Sampler:
        """The sampler."""
        from alflow.samplers.torsions_run import TorsionsSampler

        return TorsionsSampler(self)
