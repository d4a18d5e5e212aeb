"""Neighbour list with a skin, kept and renewed for each replica on its own."""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from alflow.core.elements import COVALENT_RADII_A
from alflow.md.compiled import motion_kernels
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

    def joined(self, other: "_Table", shift: int) -> "_Table":
        """These rows and those of another table, whose atoms are counted `shift` higher."""
        columns = []
        for position, pair in enumerate(zip(self.columns, other.columns, strict=True)):
            own, new = pair
            columns.append(torch.cat([own, new + shift if position < 2 else new]))  # noqa: PLR2004
        return _Table(tuple(columns), self.sizes + other.sizes)


@dataclass(frozen=True, eq=False, slots=True)
class Found:
    """What searches found, and where the atoms were.

    Attributes:
        pairs: Columns i, j, shifts: all pairs within cutoff plus skin.
        close: Columns i, j, shifts, limit [Å]: pairs that could come too close.
        positions: Positions when a replica was searched [Å], (atoms, 3).
        scale: Scale of its cell then, (systems,).
    """

    pairs: _Table
    close: _Table
    positions: Float[Tensor, "atoms 3"]
    scale: Float[Tensor, " systems"]

    def keep(self, state: State, systems: Sequence[int]) -> "Found":
        """What was found for these replicas of `state`, given by ascending positions."""
        moved = _moves(state, systems)
        chosen = torch.zeros(
            state.n_systems, dtype=torch.bool, device=state.positions.device
        )
        chosen[list(systems)] = True
        return Found(
            self.pairs.keep(systems, moved),
            self.close.keep(systems, moved),
            self.positions[chosen[state.system_idx]],
            self.scale[chosen],
        )

    def joined(self, other: "Found") -> "Found":
        """This and what was found for replicas behind these."""
        n_atoms = len(self.positions)
        return Found(
            self.pairs.joined(other.pairs, n_atoms),
            self.close.joined(other.close, n_atoms),
            torch.cat([self.positions, other.positions]),
            torch.cat([self.scale, other.scale]),
        )


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
        skin_A: float = 1.0,
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
        # of all elements, not of those at hand: what is listed must not depend on the company
        farthest_A = 2 * distance_factor * float(radii.max())
        self._cutoff_A = max(cutoff_A, farthest_A)
        self._close_A = farthest_A + skin_A
        self._skin_A = skin_A
        self._dtype = dtype
        self._find_pairs = find_pairs
        self.found = Found(*self._find(state), state.positions, state.scale)
        """What is listed."""
        self.n_renewals = state.n_systems
        """How many times a replica was searched."""

    @property
    def pairs(self) -> Pairs:
        """All pairs within the cutoff, and more."""
        return Pairs(*self.found.pairs.columns)

    def pairs_of(self, systems: Sequence[int], state: State) -> Pairs:
        """The pairs of some replicas, atoms counted as if there were no others."""
        return Pairs(*self.found.pairs.keep(systems, _moves(state, systems)).columns)

    def update(self, state: State) -> None:
        """Renew the pairs of the replicas that moved too far since they were searched.

        Positions must be finite.
        """
        scale = state.scale / self.found.scale
        room = scale * (self._cutoff_A + self._skin_A) - self._cutoff_A
        room = torch.where(room > 0, room * 0.5, 0.0)
        fast = motion_kernels(state.positions.device)
        if fast is not None and not fast.has_moved_far(
            state.positions.numpy(),
            self.found.positions.numpy(),
            state.system_idx.numpy(),
            scale.numpy(),
            room.numpy(),
        ):
            return
        way = state.positions - self.found.positions * scale[state.system_idx, None]
        is_far = squared(way) >= (room * room)[state.system_idx]
        if bool(is_far.any()):
            self._renew(state, torch.unique(state.system_idx[is_far]).tolist())

    def contacts(self, state: State) -> list[int]:
        """Replicas in which two atoms, or an atom and an image, are closer than their limit.

        The limit is the distance factor times the sum of the covalent radii. A distance that is
        not a number counts as too close.
        """
        i, j, shifts, limits = self.found.close.columns
        fast = motion_kernels(state.positions.device)
        if fast is not None and not fast.is_close(
            state.positions.numpy(),
            state.cells.numpy(),
            state.system_idx.numpy(),
            *(column.numpy() for column in self.found.close.columns),
        ):
            return []
        offsets = _offsets(shifts, state.cells, state.system_idx[i])
        distances_squared = squared(state.positions[j] - state.positions[i] + offsets)
        is_close = ~(distances_squared >= limits * limits)
        if not bool(is_close.any()):
            return []
        close: list[int] = torch.unique(state.system_idx[i[is_close]]).tolist()
        return close

    def keep(self, state: State, systems: Sequence[int]) -> "VerletList":
        """The list of these replicas of `state`, given by ascending positions."""
        kept = copy(self)
        kept.found = self.found.keep(state, systems)
        return kept

    def joined(self, other: "VerletList") -> "VerletList":
        """This list with the replicas of another one behind its own.

        Nothing is searched: the rows of either stay as they are. Both must have been made with the
        same settings.
        """
        both = copy(self)
        both.found = self.found.joined(other.found)
        both.n_renewals = self.n_renewals + other.n_renewals
        return both

    def _renew(self, state: State, systems: list[int]) -> None:
        part = state.keep(systems)
        pairs, close = self._find(part)
        shift = torch.tensor([state.offsets[system] for system in systems])
        first = torch.tensor(part.offsets[:-1])
        shift = (shift - first).to(state.positions.device)
        chosen = torch.zeros(state.n_systems, dtype=torch.bool, device=shift.device)
        chosen[systems] = True
        atoms = chosen[state.system_idx, None]
        old = self.found
        self.found = Found(
            old.pairs.replace(systems, _renumbered(pairs, part, shift)),
            old.close.replace(systems, _renumbered(close, part, shift)),
            torch.where(atoms, state.positions, old.positions),
            torch.where(chosen, state.scale, old.scale),
        )
        self.n_renewals += len(systems)

    def _find(self, state: State) -> tuple[_Table, _Table]:
        batch = state.batch(torch.float64)
        pairs = self._find_pairs(batch, self._cutoff_A + self._skin_A)
        owner = state.system_idx[pairs.i]
        shifts = pairs.shifts.to(self._dtype)
        return (
            _Table((pairs.i, pairs.j, shifts), _counts(owner, state.n_systems)),
            self._close_ones(state, self._find_pairs(batch, self._close_A)),
        )

    def _close_ones(self, state: State, pairs: Pairs) -> _Table:
        # each pair is listed from both ends; an atom and its own image stay listed twice
        is_once = pairs.i <= pairs.j
        i, j, shifts = pairs.i[is_once], pairs.j[is_once], pairs.shifts[is_once]
        shifts = shifts.to(torch.float64)
        owner = state.system_idx[i]
        limits = self._factor * (
            self._radii[state.numbers[i]] + self._radii[state.numbers[j]]
        )
        vectors = state.positions[j] - state.positions[i]
        vectors = vectors + _offsets(shifts, state.cells, owner)
        reach = limits + self._skin_A
        is_close = (squared(vectors) < reach * reach) & (limits > 0)
        columns = (i[is_close], j[is_close], shifts[is_close], limits[is_close])
        return _Table(columns, _counts(owner[is_close], state.n_systems))


def _moves(state: State, systems: Sequence[int]) -> list[int]:
    """By how much the first atom of each of these replicas moves if the others are left out."""
    offsets = state.offsets
    moved, first = [], 0
    for system in systems:
        moved.append(first - offsets[system])
        first += state.sizes[system]
    return moved


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
