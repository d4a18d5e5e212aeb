"""Settings of uncertainty-driven dynamics."""

from typing import Literal

from pydantic import Field

from alflow.core.protocols import Sampler
from alflow.samplers.nemd import MdSettings


class UddSettings(MdSettings):
    """Molecular dynamics that is drawn to where the members disagree.

    The dynamics of `nemd` with a bias that is zero where all members agree and falls to minus
    `bias_height_eV` where they do not (Kulichenko et al., Nat. Comput. Sci. 3, 230 (2023)): it
    finds unknown structures at temperatures at which plain dynamics would stay where it is.
    Every step needs the forces of all members.
    """

    kind: Literal["udd"] = "udd"
    bias_height_eV: float = Field(default=0.5, gt=0)
    """Largest energy that the bias can give to a replica [eV], whatever its size; barriers much
    higher are not crossed for its sake."""
    bias_width_meV: float | None = Field(default=None, gt=0)
    """Energy spread over the square root of the number of atoms at which the bias pulls most
    [meV]; null takes the limit of the gate for this spread (at zero force)."""

    def create(self) -> Sampler:
        """The sampler."""
        from alflow.samplers.udd_run import UddSampler

        return UddSampler(self)
