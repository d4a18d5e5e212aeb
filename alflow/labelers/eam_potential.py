"""A tabulated embedded-atom potential as an ensemble of one, for dynamics and for ASE."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from alflow.core.elements import SYMBOLS
from alflow.labelers.embedded_atom import EmbeddedAtom
from alflow.models.potential import Batch, Evaluation, Forces, Pairs


class EamPotential:
    """Implements `Potential` with one member, one system after the other.

    Attributes:
        n_members: Always one.
        cutoff_A: Distance from which on atoms do not see each other [Å].
        elements: Atomic numbers it knows, ascending.
        dtype: Always float64.
        device: Always the CPU.
    """

    n_members = 1

    def __init__(self, tables: EmbeddedAtom) -> None:
        """Keep the tables."""
        self._tables = tables
        self.cutoff_A = tables.cutoff_A
        self.dtype = torch.float64
        self.device = torch.device("cpu")
        numbers = [SYMBOLS.index(symbol) for symbol in tables.symbols]
        self.elements = tuple(sorted(numbers))
        self._kind = np.zeros(len(SYMBOLS), np.int64)
        self._kind[numbers] = np.arange(len(numbers))

    def evaluate(
        self, batch: Batch, pairs: Pairs, *, forces: Forces = "mean"
    ) -> Evaluation:
        """Energies of all systems, and forces unless they are "none"."""
        kinds = self._kind[batch.numbers.numpy()]
        i, j, vectors = pairs.i.numpy(), pairs.j.numpy(), pairs.vectors(batch).numpy()
        ends = np.cumsum(batch.atoms_per_system.numpy())
        starts = np.concatenate([[0], ends[:-1]])
        energies, found = np.zeros((1, batch.n_systems)), np.zeros((batch.n_atoms, 3))
        edges = np.searchsorted(i, [*starts, batch.n_atoms])
        for system, (first, last) in enumerate(zip(starts, ends, strict=True)):
            mine = slice(edges[system], edges[system + 1])
            result = self._tables.evaluate(
                kinds[first:last], i[mine] - first, j[mine] - first, vectors[mine]
            )
            energies[0, system] = result.energy
            found[first:last] = result.forces
        answer = torch.from_numpy(found)
        if forces == "none":
            return Evaluation(torch.from_numpy(energies))
        members = answer[None] if forces == "members" else None
        return Evaluation(torch.from_numpy(energies), answer, members)

    def fingerprint(self, batch: Batch, pairs: Pairs) -> Float[Tensor, "systems features"]:
        """Mean number of neighbours of an atom: enough for what is no model."""
        near = pairs.vectors(batch).norm(dim=1) < self.cutoff_A
        counts = torch.zeros(batch.n_systems, dtype=torch.float64)
        owners = batch.system_idx[pairs.i[near]]
        counts.index_add_(0, owners, torch.ones_like(owners, dtype=torch.float64))
        return (counts / batch.atoms_per_system)[:, None]
