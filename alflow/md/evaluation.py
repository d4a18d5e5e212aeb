"""Evaluation of replicas, in parts where a batch does not fit into memory."""

from collections.abc import Sequence

import torch

from alflow.md.neighbours import VerletList
from alflow.md.state import State
from alflow.models.potential import Evaluation, Forces, Potential

OUT_OF_MEMORY = (MemoryError, torch.cuda.OutOfMemoryError)
"""What says that a batch is too large."""


class Evaluator:
    """Asks a potential about replicas, as many at once as fit.

    A batch that does not fit is halved, and halved again, until it does; nothing is lost, and
    later batches are not tried larger than what fitted.

    Attributes:
        n_together: Largest number of replicas in one evaluation; None while all have fitted.
    """

    def __init__(self, potential: Potential) -> None:
        """Keep the potential."""
        self._potential = potential
        self.n_together: int | None = None

    def evaluate(self, state: State, pairs: VerletList, forces: Forces) -> Evaluation:
        """Energies of all members and the forces asked for.

        Raises:
            MemoryError: If not even one replica fits; `torch.cuda.OutOfMemoryError` on a GPU.
        """
        while True:
            n_together = min(self.n_together or state.n_systems, state.n_systems)
            try:
                return self._in_parts(state, pairs, forces, n_together)
            except OUT_OF_MEMORY:
                if n_together <= 1:
                    raise
            # here, and not above, where the exception would still hold on to what was computed
            self.n_together = (n_together + 1) // 2
            if self._potential.device.type == "cuda":
                torch.cuda.empty_cache()

    def _in_parts(
        self, state: State, pairs: VerletList, forces: Forces, n_together: int
    ) -> Evaluation:
        dtype = self._potential.dtype
        if n_together >= state.n_systems:
            return self._potential.evaluate(state.batch(dtype), pairs.pairs, forces=forces)
        parts = []
        for first in range(0, state.n_systems, n_together):
            systems = range(first, min(first + n_together, state.n_systems))
            batch = state.keep(systems).batch(dtype)
            found = pairs.pairs_of(systems, state)
            parts.append(self._potential.evaluate(batch, found, forces=forces))
        return joined(parts)


def joined(parts: Sequence[Evaluation]) -> Evaluation:
    """Evaluations of some replicas and of others as one; forces only if all parts have them."""

    def together(name: str, axis: int) -> torch.Tensor | None:
        found = [getattr(part, name) for part in parts]
        has_all = all(one is not None for one in found)
        return torch.cat(found, dim=axis) if has_all else None

    energies = torch.cat([part.energies for part in parts], dim=1)
    return Evaluation(energies, together("forces", 0), together("member_forces", 1))
