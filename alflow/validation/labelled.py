"""A labeler as a potential of one member: suites ask a reference what they ask a model."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from alflow.core.errors import AlflowError
from alflow.core.labels import Failure
from alflow.core.protocols import Labeler
from alflow.core.structures import Structure, lowest_multiplicity
from alflow.models.potential import Batch, Evaluation, Forces, Pairs, Potential

_REACH_A = 3.0
"""How far a neighbour list looks [Å]: the labeler needs none, but guards look at close pairs."""


class LabelFailed(AlflowError):
    """The labeler has no label for a structure that a suite needs.

    Attributes:
        failure: What the labeler said.
    """

    def __init__(self, failure: Failure) -> None:
        """Keep the failure."""
        super().__init__(failure.message)
        self.failure = failure


@runtime_checkable
class HasPotential(Protocol):
    """A labeler whose labels come from a potential, which is faster asked directly."""

    def as_potential(self) -> Potential:
        """The potential."""
        ...


class LabelledPotential:
    """Asks a labeler about one system after the other.

    Attributes:
        n_members: Always one.
        cutoff_A: Reach of neighbour lists [Å]; the labeler sees all atoms.
        elements: Atomic numbers it is asked about.
        dtype: Always float64.
        device: Always the CPU.
    """

    n_members = 1

    def __init__(self, labeler: Labeler, elements: Sequence[int]) -> None:
        """Keep the labeler."""
        self._labeler = labeler
        self.elements = tuple(sorted(elements))
        self.cutoff_A = _REACH_A
        self.dtype = torch.float64
        self.device = torch.device("cpu")

    def evaluate(
        self,
        batch: Batch,
        pairs: Pairs,  # noqa: ARG002 - the labeler finds its own
        *,
        forces: Forces = "mean",
    ) -> Evaluation:
        """Labels of all systems.

        Raises:
            LabelFailed: If there is no label of a system, or one without forces where they are
                needed.
        """
        energies, found = [], []
        for structure in structures_of(batch):
            label = self._labeler.label(structure)
            if isinstance(label, Failure):
                raise LabelFailed(label)
            energies.append(label.energy)
            if forces != "none":
                if label.forces is None:
                    raise AlflowError("this level has no forces, which the suite needs")
                found.append(label.forces)
        by_one = torch.tensor([energies], dtype=torch.float64)
        if forces == "none":
            return Evaluation(by_one)
        answer = torch.from_numpy(np.concatenate(found))
        return Evaluation(by_one, answer, answer[None] if forces == "members" else None)

    def fingerprint(
        self,
        batch: Batch,
        pairs: Pairs,  # noqa: ARG002 - as above
    ) -> Float[Tensor, "systems features"]:
        """Number of atoms of each system: a labeler has no descriptor."""
        return batch.atoms_per_system.to(torch.float64)[:, None]


def reference_potential(labeler: Labeler, elements: Sequence[int]) -> Potential:
    """What a labeler says, as a potential of one member."""
    if isinstance(labeler, HasPotential):
        return labeler.as_potential()
    return LabelledPotential(labeler, elements)


def structures_of(batch: Batch) -> list[Structure]:
    """The systems of a batch, neutral and of the lowest multiplicity."""
    positions, numbers = batch.positions.numpy(), batch.numbers.numpy().astype(np.uint8)
    ends = np.cumsum(batch.atoms_per_system.numpy())
    found = []
    for system, (first, last) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        pbc, mine = batch.pbc[system].numpy(), numbers[first:last]
        cell = batch.cells[system].numpy() if pbc.any() else None
        multiplicity = lowest_multiplicity(mine)
        found.append(Structure(mine, positions[first:last], cell, pbc, 0, multiplicity))
    return found
