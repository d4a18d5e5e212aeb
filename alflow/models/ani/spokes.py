"""Vectors from atoms to their neighbours in reach, grouped by centre and element."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from alflow.models.potential import Batch, Pairs


@dataclass(frozen=True, eq=False, slots=True)
class Spokes:
    """Vectors from centres to neighbours.

    Attributes:
        centre: Index of the centre, (spokes,).
        neighbour: Index of the neighbour, (spokes,).
        group: Centre times number of elements plus element of the neighbour, (spokes,).
        vectors: From centre to neighbour [Å], (spokes, 3).
        distances: Lengths of the vectors [Å], (spokes,).
    """

    centre: Int[Tensor, " spokes"]
    neighbour: Int[Tensor, " spokes"]
    group: Int[Tensor, " spokes"]
    vectors: Float[Tensor, "spokes 3"]
    distances: Float[Tensor, " spokes"]

    @classmethod
    def within(
        cls,
        batch: Batch,
        pairs: Pairs,
        species: Int[Tensor, " atoms"],
        n_elements: int,
        cutoff_A: float,
        dtype: torch.dtype,
    ) -> "Spokes":
        """Those of the pairs that are in reach, in their order; differentiable.

        Args:
            batch: Positions and cells.
            pairs: Neighbour list that may reach further.
            species: Element of each atom, (atoms,).
            n_elements: Number of elements.
            cutoff_A: Reach [Å].
            dtype: Floating-point type to go on in; differences are taken in the batch's own.
        """
        vectors = pairs.vectors(batch).to(dtype)
        keep = torch.nonzero((vectors.detach() ** 2).sum(1) < cutoff_A**2)[:, 0]
        centre, neighbour, vectors = pairs.i[keep], pairs.j[keep], vectors[keep]
        group = centre * n_elements + species[neighbour]
        return cls(centre, neighbour, group, vectors, (vectors * vectors).sum(1).sqrt())

    def __len__(self) -> int:
        """Number of spokes."""
        return len(self.centre)

    def part(self, index: slice | Int[Tensor, " taken"]) -> "Spokes":
        """Some of the spokes."""
        return Spokes(
            self.centre[index],
            self.neighbour[index],
            self.group[index],
            self.vectors[index],
            self.distances[index],
        )

    def inner(self, cutoff_A: float, n_elements: int) -> Int[Tensor, " inner"]:
        """Which spokes are shorter than a cutoff, sorted by group."""
        index = torch.nonzero(self.distances.detach() < cutoff_A)[:, 0]
        if n_elements == 1:
            return index
        return index[torch.argsort(self.group[index], stable=True)]


def cutoff(distances: Tensor, cutoff_A: float) -> Tensor:
    """The cosine that takes contributions from 1 to 0 at the cutoff."""
    return 0.5 * torch.cos(distances * (math.pi / cutoff_A)) + 0.5


def cutoff_slope(distances: Tensor, cutoff_A: float) -> Tensor:
    """Derivative of `cutoff` in the distance [1/Å]."""
    rate = math.pi / cutoff_A
    return -0.5 * rate * torch.sin(distances * rate)
