"""Neighbour list with a skin, kept and renewed for each replica on its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from alflow.core.elements import COVALENT_RADII_A
from alflow.md.state import State, squared
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch, Pairs

FindPairs = Callable[[Batch, float], Pairs]
"""Finds all pairs of a batch within a cutoff [Å]."""


@dataclass(frozen=True, eq=False, slots=True)
class _Table:
    """Rows about pairs, those of each replica contiguous; the first two columns count atoms."""

    columns: tuple[Tensor, ...]
    sizes: list[int]

    def replace(self, systems: Sequence[int], new: "_Table") -> "_Table":
        """Exchange the rows of these replicas."""
        sizes = list(self.sizes)
        for system, size in zip(systems, new.sizes, strict=True):
            sizes[system] = size
        columns = []
        for old_column, new_column in zip(self.columns, new.columns, strict=True):
            parts = list(torch.split_with_sizes(old_column, self.sizes))
            for system, part in zip(
                systems, torch.split_with_sizes(new_column, new.sizes), strict=True
            ):
                parts[system] = part
            columns.append(torch.cat(parts))
        return _Table(tuple(columns), sizes)

    def keep(self, systems: Sequence[int], moved: Sequence[int]) -> "_Table":
        """Keep these replicas only, `moved` being the change of each one's first atom."""
        columns = []
        for position, column in enumerate(self.columns):
            parts = torch.split_with_sizes(column, self.sizes)
            kept = [parts[system] for system in systems]
            if position < 2:  # noqa: PLR2004 - the columns i and j
                kept = [part + shift for part, shift in zip(kept, moved, strict=True)]
            columns.append(torch.cat(kept) if kept else column[:0])
        return _Table(tuple(columns), [self.sizes[system] for system in systems])


class VerletList:
    """All pairs within cutoff plus skin, renewed for a replica when its atoms moved too far.

    A list made at scale 1 stays complete at scale s (isotropic, relative to the making) as long
    as no atom moved, relative to the scaled old positions, by more than half of
    s (cutoff + skin) - cutoff. Each replica is renewed by its own motion alone, so that its pairs,
    their order, and with them the rounding of its forces, do not depend on the company.

    A second, much shorter list holds the pairs that could come too close before the renewal.
    """

    def __init__(
        self,
        state: State,
        cutoff_A: float,
        *,
        skin_A: float = 0.7,
        distance_factor: float = 0.0,
        dtype: torch.dtype = torch.float64,
        find_pairs: FindPairs = neighbour_pairs,
    ) -> None:
        """Find all pairs of a state.

        Args:
            state: Replicas.
            cutoff_A: Distance within which all pairs must be listed [Å].
            skin_A: What is listed beyond [Å].
            distance_factor: Limit of `contacts`, as a factor of the sum of covalent radii.
            dtype: Type in which `pairs` has its shifts.
            find_pairs: Finds pairs from scratch.
        """
        self._factor = distance_factor
        radii = torch.tensor(COVALENT_RADII_A, device=state.positions.device)
        self._radii = radii
        largest_limit = 2 * distance_factor * float(radii[state.numbers].max())
        self._cutoff_A = max(cutoff_A, largest_limit)
        self._skin_A = skin_A
        self._dtype = dtype
        self._find_pairs = find_pairs
        self._positions = state.positions
        self._scale = state.scale
        self._pairs, self._close = self._find(state)
        self.n_renewals = state.n_systems
        """How many times a replica was searched."""

    @property
    def pairs(self) -> Pairs:
        """All pairs within the cutoff, and more."""
        return Pairs(*self._pairs.columns)

    def pairs_of(self, system: int, state: State) -> Pairs:
        """The pairs of one replica, its first atom counted as zero."""
        return Pairs(*self._pairs.keep([system], [-state.offsets[system]]).columns)

    def update(self, state: State) -> None:
        """Renew the pairs of the replicas that moved too far since they were searched.

        Positions must be finite.
        """
        scale = state.scale / self._scale
        room = scale * (self._cutoff_A + self._skin_A) - self._cutoff_A
        room = torch.where(room > 0, room * 0.5, 0.0)[state.system_idx]
        way = state.positions - self._positions * scale[state.system_idx, None]
        is_far = squared(way) >= room * room
        if bool(is_far.any()):
            self._renew(state, torch.unique(state.system_idx[is_far]).tolist())

    def contacts(self, state: State) -> list[int]:
        """Replicas in which two atoms, or an atom and an image, are closer than their limit.

        The limit is the distance factor times the sum of the covalent radii. A distance that is
        not a number counts as too close.
        """
        i, j, shifts, limits = self._close.columns
        offsets = _offsets(shifts, state.cells, state.system_idx[i])
        distances_squared = squared(state.positions[j] - state.positions[i] + offsets)
        is_close = ~(distances_squared >= limits * limits)
        if not bool(is_close.any()):
            return []
        close: list[int] = torch.unique(state.system_idx[i[is_close]]).tolist()
        return close

    def keep(self, state: State, systems: Sequence[int]) -> None:
        """Drop all replicas of `state` but these."""
        offsets = state.offsets
        moved, first = [], 0
        for system in systems:
            moved.append(first - offsets[system])
            first += state.sizes[system]
        self._pairs = self._pairs.keep(systems, moved)
        self._close = self._close.keep(systems, moved)
        chosen = torch.zeros(
            state.n_systems, dtype=torch.bool, device=state.positions.device
        )
        chosen[list(systems)] = True
        self._positions = self._positions[chosen[state.system_idx]]
        self._scale = self._scale[chosen]

    def _renew(self, state: State, systems: list[int]) -> None:
        part = state.keep(systems)
        pairs, close = self._find(part)
        shift = torch.tensor([state.offsets[system] for system in systems])
        first = torch.tensor(part.offsets[:-1])
        shift = (shift - first).to(state.positions.device)
        self._pairs = self._pairs.replace(systems, _renumbered(pairs, part, shift))
        self._close = self._close.replace(systems, _renumbered(close, part, shift))
        chosen = torch.zeros(state.n_systems, dtype=torch.bool, device=shift.device)
        chosen[systems] = True
        atoms = chosen[state.system_idx, None]
        self._positions = torch.where(atoms, state.positions, self._positions)
        self._scale = torch.where(chosen, state.scale, self._scale)
        self.n_renewals += len(systems)

    def _find(self, state: State) -> tuple[_Table, _Table]:
        batch = state.batch(torch.float64)
        pairs = self._find_pairs(batch, self._cutoff_A + self._skin_A)
        owner = state.system_idx[pairs.i]
        limits = self._factor * (
            self._radii[state.numbers[pairs.i]] + self._radii[state.numbers[pairs.j]]
        )
        shifts = pairs.shifts.to(torch.float64)
        offsets = _offsets(shifts, batch.cells, owner)
        reach = limits + self._skin_A
        is_close = (
            squared(state.positions[pairs.j] - state.positions[pairs.i] + offsets)
            < reach * reach
        )
        # each pair is listed from both ends; an atom and its own image stay listed twice
        is_close = is_close & (pairs.i <= pairs.j) & (limits > 0)
        close = (pairs.i[is_close], pairs.j[is_close], shifts[is_close], limits[is_close])
        return (
            _Table(
                (pairs.i, pairs.j, pairs.shifts.to(self._dtype)),
                _counts(owner, state.n_systems),
            ),
            _Table(close, _counts(owner[is_close], state.n_systems)),
        )


def _counts(owner: Tensor, n_systems: int) -> list[int]:
    counts: list[int] = torch.bincount(owner, minlength=n_systems).tolist()
    return counts


def _renumbered(table: _Table, part: State, shift: Tensor) -> _Table:
    """Count atoms as in the whole state, `shift` being the change for each replica."""
    i, j, *others = table.columns
    change = shift[part.system_idx[i]]
    return _Table((i + change, j + change, *others), table.sizes)


def _offsets(
    shifts: Float[Tensor, "pairs 3"], cells: Float[Tensor, "systems 3 3"], owner: Tensor
) -> Float[Tensor, "pairs 3"]:
    """Cartesian offsets of periodic images, the terms always added in the same order."""
    a, b, c = shifts[:, :, None].unbind(1)
    of_pair = cells[owner]
    return a * of_pair[:, 0] + b * of_pair[:, 1] + c * of_pair[:, 2]
