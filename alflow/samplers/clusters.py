"""Settings of clusters that are cut from molecular dynamics."""

from typing import Literal

from pydantic import Field, model_validator

from alflow.core.protocols import Sampler
from alflow.samplers.nemd import MdSettings
from alflow.samplers.settings import BondFactor


class ClustersSettings(MdSettings):
    """Molecules and their neighbours, cut from molecular dynamics of many of them.

    The dynamics are those of `nemd`, of boxes or drops of molecules. Every `check_every` steps
    some molecules are cut out, each with its nearest neighbours, and judged as free clusters, as
    the dimers of ANI-1x (Smith et al., J. Chem. Phys. 148, 241733 (2018)): small enough for a
    label, and arranged as in the bulk. The box itself is never labelled.
    """

    kind: Literal["clusters"] = "clusters"
    check_every: int = Field(default=50, ge=1)
    """Number of steps between two cuts."""
    cuts: int = Field(default=4, ge=1)
    """Number of clusters that are cut at a time, each about a molecule drawn at random."""
    neighbours: tuple[int, int] = (1, 1)
    """Smallest and largest number of neighbours that are cut out with a molecule, the nearest ones
    within the reach of the ensemble; [1, 1] gives dimers."""
    largest_atoms: int = Field(default=40, ge=1)
    """Largest number of atoms of a cluster; neighbours that do not fit are left out."""
    frames: int = Field(default=8, ge=1)
    """A replica ends at the check at which it has brought as many flagged clusters, or more."""
    stop_factor: float = Field(default=3.0, ge=1)
    """A replica also ends when the spread of the whole box exceeds this factor of a limit: what
    moves it is not to be trusted any more."""
    bond_factor: BondFactor = 1.3
    """Atoms are of one molecule if they are closer than this factor of the sum of their covalent
    radii."""

    @model_validator(mode="after")
    def _check_neighbours(self) -> "ClustersSettings":
        low, high = self.neighbours
        if not 0 <= low <= high:
            raise ValueError(f"neighbours: [{low}, {high}] is not a range from 0 upwards")
        return self

    def create(self) -> Sampler:
        """The sampler."""
        from alflow.samplers.clusters_run import ClustersSampler

        return ClustersSampler(self)
