"""A tabulated embedded-atom potential as an ensemble of one: what drives dynamics drives it."""

import numpy as np
import torch
from jaxtyping import Float

from alflow.core.elements import SYMBOLS, atomic_number
from alflow.core.errors import SettingsError
from alflow.labelers.embedded_atom import EmbeddedAtom
from alflow.models.potential import Batch, Evaluation, Forces, Pairs


class EamPotential:
    """Implements `alflow.models.potential.Potential`, but for the fingerprint; double precision.

    Attributes:
        n_members: 1.
        cutoff_A: Largest distance at which atoms see each other [Å].
        elements: Atomic numbers it knows.
        dtype: Floating-point type of its arithmetic.
        device: Where it computes.
    """

    n_members = 1
    dtype = torch.float64
    device = torch.device("cpu")

    def __init__(self, tables: EmbeddedAtom) -> None:
        """Keep the functions."""
        self._tables = tables
        self.cutoff_A = tables.cutoff_A
        self.elements = tuple(atomic_number(symbol) for symbol in tables.symbols)
        self._index = np.full(len(SYMBOLS), -1)
        self._index[list(self.elements)] = np.arange(len(self.elements))

    def evaluate(
        self, batch: Batch, pairs: Pairs, *, forces: Forces = "mean"
    ) -> Evaluation:
        """Energies, and forces if asked for.

        Raises:
            SettingsError: If there is an element without tables.
        """
        kinds = self._index[batch.numbers.numpy()]
        if (kinds < 0).any():
            strange = sorted({SYMBOLS[z] for z in batch.numbers[kinds < 0].tolist()})
            raise SettingsError(f"no tables for {', '.join(strange)}")
        vectors = pairs.vectors(batch).to(torch.float64).numpy()
        found = self._tables.evaluate(kinds, pairs.i.numpy(), pairs.j.numpy(), vectors)
        energies = torch.zeros(1, batch.n_systems, dtype=torch.float64)
        energies.index_add_(
            1, batch.system_idx, torch.from_numpy(found.atomic_energies)[None]
        )
        if forces == "none":
            return Evaluation(energies)
        total = torch.from_numpy(found.forces)
        if forces == "mean":
            return Evaluation(energies, forces=total)
        return Evaluation(energies, member_forces=total[None])

    def fingerprint(
        self,
        batch: Batch,
        pairs: Pairs,  # noqa: ARG002 - as the protocol has it
    ) -> Float[torch.Tensor, "systems features"]:
        """A constant: tables have no descriptor, and what they say needs no diversity."""
        return torch.zeros(batch.n_systems, 1, dtype=self.dtype)
