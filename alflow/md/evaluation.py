"""Evaluation of replicas, in parts where a batch does not fit into memory."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch

from alflow.md.neighbours import VerletList
from alflow.md.state import State
from alflow.models.potential import Evaluation, Forces, Potential

OUT_OF_MEMORY = (MemoryError, torch.cuda.OutOfMemoryError)
"""What says that a batch is too large."""


@dataclass(slots=True)
class Room:
    """How much fits into memory, as far as it is known.

    Attributes:
        most_atoms: Largest number of atoms to evaluate together, though never less than one
            replica; None while all have fitted.
    """

    most_atoms: int | None = None


_ROOM: ContextVar[Room | None] = ContextVar("room", default=None)


@contextmanager
def remembered(most_atoms: int | None) -> Iterator[Room]:
    """Let all evaluators that are made inside begin with what is known, and share what they find.

    The task that runs a sampler knows what earlier tasks found out; the sampler between the two is
    a plug-in, which need not know that memory is limited.

    Args:
        most_atoms: What an earlier task on such a device found to fit; None if all did.
    """
    room = Room(most_atoms)
    token = _ROOM.set(room)
    try:
        yield room
    finally:
        _ROOM.reset(token)


def device_name(device: torch.device) -> str:
    """What devices of a kind, with as much memory, are called."""
    if device.type != "cuda":
        return device.type
    found = torch.cuda.get_device_properties(device)
    return f"{found.name}, {found.total_memory >> 20} MiB"


class Evaluator:
    """Asks a potential about replicas, as many at once as fit.

    A batch that does not fit is halved, and halved again, until it does; nothing is lost, and
    later batches are not tried larger than what fitted.

    Attributes:
        room: How much fits.
    """

    def __init__(self, potential: Potential) -> None:
        """Keep the potential; begin with the room that `remembered` tells, if it does."""
        self._potential = potential
        self.room = _ROOM.get() or Room()

    def evaluate(self, state: State, pairs: VerletList, forces: Forces) -> Evaluation:
        """Energies of all members and the forces asked for.

        Raises:
            MemoryError: If not even one replica fits; `torch.cuda.OutOfMemoryError` on a GPU.
        """
        while True:
            ranges = _ranges(state.sizes, self.room.most_atoms)
            parts: list[Evaluation] = []
            try:
                for systems in ranges:
                    parts.append(self._part(state, pairs, systems, forces))  # noqa: PERF401
            except OUT_OF_MEMORY:
                failed = ranges[len(parts)]
                if len(failed) <= 1:
                    raise
            else:
                return parts[0] if len(parts) == 1 else joined(parts)
            # here, and not above, where the exception would still hold on to what was computed
            parts.clear()
            self.room.most_atoms = sum(state.sizes[k] for k in failed) // 2
            if self._potential.device.type == "cuda":
                torch.cuda.empty_cache()

    def _part(
        self, state: State, pairs: VerletList, systems: range, forces: Forces
    ) -> Evaluation:
        dtype = self._potential.dtype
        if len(systems) == state.n_systems:
            return self._potential.evaluate(state.batch(dtype), pairs.pairs, forces=forces)
        batch = state.keep(systems).batch(dtype)
        return self._potential.evaluate(
            batch, pairs.pairs_of(systems, state), forces=forces
        )


def _ranges(sizes: Sequence[int], most_atoms: int | None) -> list[range]:
    """Replicas that follow one another, together no more atoms than given unless it is one."""
    if most_atoms is None or sum(sizes) <= most_atoms:
        return [range(len(sizes))]
    ranges, first, n_atoms = [], 0, 0
    for system, size in enumerate(sizes):
        if system > first and n_atoms + size > most_atoms:
            ranges.append(range(first, system))
            first, n_atoms = system, 0
        n_atoms += size
    return [*ranges, range(first, len(sizes))]


def joined(parts: Sequence[Evaluation]) -> Evaluation:
    """Evaluations of some replicas and of others as one; forces only if all parts have them."""

    def together(name: str, axis: int) -> torch.Tensor | None:
        found = [getattr(part, name) for part in parts]
        has_all = all(one is not None for one in found)
        return torch.cat(found, dim=axis) if has_all else None

    energies = torch.cat([part.energies for part in parts], dim=1)
    return Evaluation(energies, together("forces", 0), together("member_forces", 1))
