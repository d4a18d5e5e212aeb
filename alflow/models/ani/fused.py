"""The ANI descriptor on the kernels: prepares flat arrays for them, and shares atoms out.

The interface is that of the torch reference, in float32 on a CPU. A neighbour list is sorted
once, not at every evaluation. Importing this module imports Numba and compiles nothing yet.
"""

import dataclasses
import functools
import math
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from alflow.models.ani import kernels
from alflow.models.ani.constants import AniConstants
from alflow.models.potential import Batch, Pairs

if TYPE_CHECKING:
    from alflow.models.ani.operators import DifferentiableAtoms

FLAT_EXPONENT = 60.0
"""Factors of shells beyond exp(+-this) could overflow float32 before they cancel."""
NEGLIGIBLE = 5e-7
"""Angular functions below this share of their largest value are left out of derivatives, as are
slopes: float32 resolves no less."""
SPLIT = 32
"""A system of this many atoms a thread, or more, is shared out among the threads."""
LANES = 8
"""Members that one pass of the kernel for many serves."""

_local = threading.local()
_pool: dict[int, ThreadPoolExecutor] = {}


def _forget_pool() -> None:
    # Threads do not survive a fork: the child starts its own when it needs them.
    _pool.clear()


os.register_at_fork(after_in_child=_forget_pool)


@dataclass(frozen=True, eq=False, slots=True)
class GroupedPairs:
    """A neighbour list sorted by centre and element.

    Attributes:
        species: Element of each atom, (atoms,).
        start: First neighbour of each atom and element, and the end, (atoms elements + 1,).
        neighbour: Index of each neighbour, (pairs,).
        shift: Cell vectors to add, (3 pairs,).
        most: Largest number of neighbours of an atom.
    """

    species: Int[np.ndarray, " atoms"]
    start: Int[np.ndarray, " groups"]
    neighbour: Int[np.ndarray, " pairs"]
    shift: Float[np.ndarray, " numbers"]
    most: int

    @classmethod
    def of(
        cls, pairs: Pairs, species: Int[np.ndarray, " atoms"], n_elements: int
    ) -> "GroupedPairs":
        """Sort a list.

        Raises:
            ValueError: If it names atoms that are not there.
        """
        i, j = (np.ascontiguousarray(x.numpy(), np.int64) for x in (pairs.i, pairs.j))
        shift = np.ascontiguousarray(pairs.shifts.numpy(), np.float32).reshape(-1)
        start = np.zeros(len(species) * n_elements + 1, np.int64)
        neighbour, shifts = np.empty_like(j), np.empty_like(shift)
        if not kernels.group_pairs(
            i, j, shift, species, n_elements, start, neighbour, shifts
        ):
            raise ValueError("the neighbour list names atoms that are not in the batch")
        most = int(np.diff(start[::n_elements]).max(initial=0))
        return cls(species, start, neighbour, shifts, most)


class _Recent:
    """The last list that was sorted, found again by the identity of its tensors."""

    def __init__(self) -> None:
        self._made: tuple[list[weakref.ref[Tensor]], list[int], GroupedPairs] | None = None

    def find(self, pairs: Pairs, species: Int[np.ndarray, " atoms"]) -> GroupedPairs | None:
        """The sorted list, if these are the pairs it was made of and nobody wrote to them."""
        if self._made is None:
            return None
        references, versions, grouped = self._made
        tensors = (pairs.i, pairs.j, pairs.shifts)
        same = all(r() is t for r, t in zip(references, tensors, strict=True))
        if not same or versions != [t._version for t in tensors]:  # noqa: SLF001
            return None
        return grouped if np.array_equal(grouped.species, species) else None

    def keep(self, pairs: Pairs, grouped: GroupedPairs) -> None:
        """Remember a list."""
        tensors = (pairs.i, pairs.j, pairs.shifts)
        versions = [t._version for t in tensors]  # noqa: SLF001
        self._made = ([weakref.ref(t) for t in tensors], versions, grouped)


@dataclass(frozen=True, eq=False, slots=True)
class _Layout:
    """Constants as the kernels take them: lists padded, with where the features are in it."""

    sizes: Int[np.ndarray, " sizes"]
    table: Float[np.ndarray, " table"]
    places: Int[Tensor, " features"] | None
    length: int

    @classmethod
    def of(cls, constants: AniConstants, n_elements: int) -> "_Layout":
        """Lay the constants out; what is padded counts for nothing and is left out of `places`."""
        radial = _padded(constants.radial_shifts)
        shells = _padded(constants.angular_shifts)
        angles = _padded(constants.angular_sections)
        window, moves = _window(angles, constants.zeta)
        centre = 0.5 * (min(shells) + max(shells))
        sizes = [n_elements, len(radial), len(shells), len(angles), window, 0]
        sizes.append(int(_overflows(constants, centre)))
        numbers = (
            constants.radial_cutoff_A,
            constants.radial_eta,
            constants.angular_cutoff_A,
            constants.angular_eta,
            constants.zeta,
            centre,
        )
        half_cos = [0.5 * math.cos(angle) for angle in angles]
        half_sin = [0.5 * math.sin(angle) for angle in angles]
        table = [*numbers, *radial, *shells, *half_cos, *half_sin, *moves]
        n_pairs = n_elements * (n_elements + 1) // 2
        width = n_pairs * len(shells) * len(angles)
        length = n_elements * len(radial) + width
        wanted = constants.n_features(n_elements)
        places = None
        if wanted != length:
            used_r = np.arange(n_elements)[:, None] * len(radial)
            used_r = used_r + np.arange(len(constants.radial_shifts))
            used_a = np.zeros((n_pairs, len(shells), len(angles)), bool)
            used_a[
                :, : len(constants.angular_shifts), : len(constants.angular_sections)
            ] = True
            angular = np.flatnonzero(used_a) + n_elements * len(radial)
            places = torch.from_numpy(np.concatenate([used_r.reshape(-1), angular]))
        return cls(np.array(sizes, np.int64), np.array(table, np.float32), places, length)


def _padded(values: tuple[float, ...]) -> list[float]:
    """A multiple of four of them, the last one repeated."""
    return [*values, *[values[-1]] * (-len(values) % 4)]


def _overflows(constants: AniConstants, centre: float) -> bool:
    """Whether a shell cannot be taken apart into factors of either neighbour in float32."""
    distance = np.linspace(0, constants.angular_cutoff_A, 200) - centre
    shells = np.array(constants.angular_shifts)[:, None] - centre
    square = 0.25 * distance**2 - shells * distance + 0.5 * shells**2
    largest = max(np.abs(square).max(), 0.5 * np.abs(distance).max() ** 2)
    return bool(constants.angular_eta * largest > FLAT_EXPONENT)


def _window(angles: list[float], zeta: float) -> tuple[int, list[float]]:
    """How many sections around an angle matter, and the cosines at which to move on."""
    count = len(angles)
    if np.any(np.diff(angles) <= 0):
        return count, []
    theta = np.linspace(math.acos(kernels.COSINE), math.acos(-kernels.COSINE), 2000)
    base = 0.5 + 0.5 * np.cos(theta[:, None] - np.array(angles))
    value = base**zeta
    # In the cosine of the angle, as the kernels take it.
    slope = base ** (zeta - 1) * np.abs(np.sin(theta[:, None] - np.array(angles)))
    slope /= np.sin(theta)[:, None]
    matters = (value > NEGLIGIBLE) | (slope > NEGLIGIBLE * slope.max())
    for window in range(1, count):
        middle = [0.5 * (angles[p] + angles[p + window]) for p in range(count - window)]
        skip = (theta[:, None] > np.array(middle)).sum(1)
        places = np.arange(count)
        inside = (places >= skip[:, None]) & (places < skip[:, None] + window)
        if not (matters & ~inside).any():
            return window, [math.cos(angle) for angle in middle]
    return count, []


def _scratch(sizes: Int[np.ndarray, " sizes"], length: int) -> tuple[np.ndarray, ...]:
    """Scratch of this thread, enlarged where it is too short."""
    n_elements, n_radial, n_shells, n_sections = sizes[: kernels.S_WINDOW].tolist()
    longest = int(sizes[kernels.S_LONGEST])
    scratch = kernels.scratch_sizes(n_elements, n_radial, n_shells, n_sections, longest)
    wanted = (*scratch, LANES * length)
    kept: list[np.ndarray] = getattr(_local, "scratch", [])
    kinds = (np.float32, np.float32, np.float32, np.int64, np.float32)
    if not kept:
        kept = [np.zeros(0, kind) for kind in kinds]
    for n, (size, kind) in enumerate(zip(wanted, kinds, strict=True)):
        if len(kept[n]) < size:
            kept[n] = np.zeros(size, kind)
    _local.scratch = kept
    return (*kept[:4], kept[4][: LANES * length])


class FusedDescriptor:
    """Descriptor and derivatives of batches; may be used from several threads at once.

    Attributes:
        n_features: Length of the descriptor of one atom.
    """

    def __init__(
        self, constants: AniConstants, n_elements: int, n_threads: int = 1
    ) -> None:
        """Prepare the constants.

        Args:
            constants: Where the functions sit.
            n_elements: Number of elements.
            n_threads: Threads that share the atoms. Results are the same for the same number.
        """
        self._layout = _Layout.of(constants, n_elements)
        self.n_features = constants.n_features(n_elements)
        self._n_elements = n_elements
        self._n_threads = n_threads
        self._recent = _Recent()

    def evaluate(
        self, batch: Batch, pairs: Pairs, species: Int[Tensor, " atoms"]
    ) -> "FusedState":
        """Descriptor of each atom with what its derivatives need; leaves no autograd graph.

        Args:
            batch: Systems.
            pairs: Neighbour list that may reach further.
            species: Element of each atom.
        """
        numbers = np.ascontiguousarray(species.numpy(), np.int64)
        grouped = self._recent.find(pairs, numbers)
        if grouped is None:
            grouped = GroupedPairs.of(pairs, numbers, self._n_elements)
            self._recent.keep(pairs, grouped)
        where = (
            _flat(batch.positions),
            _flat(batch.cells),
            np.ascontiguousarray(batch.system_idx.numpy(), np.int64),
            grouped.start,
            grouped.neighbour,
            grouped.shift,
        )
        sizes = self._layout.sizes.copy()
        sizes[kernels.S_LONGEST] = kernels.row_length(self._n_elements, grouped.most)
        layout = dataclasses.replace(self._layout, sizes=sizes)
        return FusedState(layout, where, self._n_threads)

    def differentiable(
        self, batch: Batch, pairs: Pairs, species: Int[Tensor, " atoms"]
    ) -> "DifferentiableAtoms":
        """A batch whose products with the derivative differentiate into one another."""
        from alflow.models.ani.operators import DifferentiableAtoms

        return DifferentiableAtoms(self, batch, pairs, species)


def _flat(values: Tensor) -> Float[np.ndarray, " numbers"]:
    return np.ascontiguousarray(values.detach().numpy(), np.float64).reshape(-1)


class FusedState:
    """Features of a batch, and products with their derivative in the positions."""

    def __init__(
        self, layout: _Layout, where: tuple[np.ndarray, ...], n_threads: int
    ) -> None:
        """Take over what `FusedDescriptor.evaluate` prepares."""
        self._layout = layout
        self._where = where
        self._n_threads = n_threads
        self._n_atoms = len(where[2])

    @functools.cached_property
    def features(self) -> Float[Tensor, "atoms features"]:
        """Descriptor of each atom, (atoms, features), evaluated when first asked for."""
        length = self._layout.length
        out = np.empty(self._n_atoms * length, np.float32)
        self._share(lambda _, lo, hi: self._call(kernels.describe, lo, hi, (), out))
        return self._narrow(torch.from_numpy(out).view(self._n_atoms, length))

    def vjp(
        self, gradient: Float[Tensor, "members atoms features"]
    ) -> Float[Tensor, "members atoms 3"]:
        """Gradient of the sum of `gradient * features` in the positions; forces are minus this.

        Args:
            gradient: Derivative of each member's energy in the features [eV],
                (members, atoms, features).
        """
        return self._pull(gradient, virial=False)[0]

    def vjp_and_virial(
        self, gradient: Float[Tensor, "members atoms features"]
    ) -> tuple[Float[Tensor, "members atoms 3"], Float[Tensor, "members atoms 3 3"]]:
        """`vjp`, and the gradient in the strain of each atom's neighbourhood [eV].

        The sum over the atoms of a system is the derivative of its energy in the strain e that
        takes positions and cell vectors r to r + r e; over the volume it is the stress.

        Args:
            gradient: Derivative of each member's energy in the features [eV],
                (members, atoms, features).
        """
        pull, virial = self._pull(gradient, virial=True)
        return pull, virial[..., [[0, 5, 4], [5, 1, 3], [4, 3, 2]]]

    def jvp(
        self, tangents: Float[Tensor, "tangents atoms 3"]
    ) -> Float[Tensor, "tangents atoms features"]:
        """Change of the features when positions move along each tangent.

        Args:
            tangents: Displacements, (tangents, atoms, 3).
        """
        count, length = len(tangents), self._layout.length
        V = np.ascontiguousarray(tangents.detach().numpy(), np.float32).reshape(-1)
        out = np.empty(count * self._n_atoms * length, np.float32)
        self._share(lambda _, lo, hi: self._call(kernels.push, lo, hi, (V,), out))
        return self._narrow(torch.from_numpy(out).view(count, self._n_atoms, length))

    def _pull(self, gradient: Tensor, *, virial: bool) -> tuple[Tensor, Tensor]:
        members, n_atoms = len(gradient), self._n_atoms
        wide = self._widen(gradient.detach())
        pulls, virials = [], []
        for first in range(0, members, LANES):
            block = wide[first : first + LANES]
            # Few members leave most lanes empty: one after the other is then faster.
            many = len(block) > 2  # noqa: PLR2004
            for part in [block] if many else [row[None] for row in block]:
                pull, strain = self._pull_block(part, virial=virial)
                pulls.append(pull)
                virials.append(strain)
        if len(pulls) == 1:
            return pulls[0], virials[0]
        if not pulls:
            return gradient.new_zeros(0, n_atoms, 3), gradient.new_zeros(0, n_atoms, 6)
        return torch.cat(pulls), torch.cat(virials)

    def _pull_block(self, gradient: Tensor, *, virial: bool) -> tuple[Tensor, Tensor]:
        count, n_atoms = len(gradient), self._n_atoms
        lanes = 1 if count == 1 else LANES
        if count < lanes:
            filler = gradient.new_zeros(lanes - count, *gradient.shape[1:])
            gradient = torch.cat([gradient, filler])
        W = gradient.contiguous().numpy().reshape(-1)
        n_slots = len(self._shares)
        out = np.zeros((n_slots, 3 * n_atoms * lanes), np.float32)
        strain = np.zeros(6 * n_atoms * lanes if virial else 0, np.float32)
        kernel = kernels.pull_one if lanes == 1 else kernels.pull_eight
        self._share(
            lambda slot, lo, hi: self._call(kernel, lo, hi, (W,), out[slot], strain)
        )
        pull = torch.from_numpy(out[0] if n_slots == 1 else out.sum(0))
        pull = pull.view(n_atoms, 3, lanes).permute(2, 0, 1)[:count]
        virials = torch.from_numpy(strain).view(n_atoms if virial else 0, 6, lanes)
        return pull.contiguous(), virials.permute(2, 0, 1)[:count]

    def _call(
        self,
        kernel: Callable[..., None],
        lo: int,
        hi: int,
        given: tuple[np.ndarray, ...],
        *out: np.ndarray,
    ) -> None:
        *scratch, lanes = _scratch(self._layout.sizes, self._layout.length)
        if kernel is kernels.pull_eight:
            scratch.append(lanes)
        kernel(
            lo,
            hi,
            self._where,
            self._layout.sizes,
            self._layout.table,
            *scratch,
            *given,
            *out,
        )

    @functools.cached_property
    def _shares(self) -> list[list[tuple[int, int]]]:
        """Ranges of atoms for each thread.

        Large systems are always split among all threads and small ones never, so that sums do
        not depend on what else is in the batch.
        """
        if self._n_threads == 1:
            return [[(0, self._n_atoms)]]
        n = self._n_threads
        ends = np.flatnonzero(np.diff(self._where[2], append=-1)) + 1
        sizes = np.diff(ends, prepend=0)
        is_large = sizes >= SPLIT * n
        small = np.where(is_large, 0, sizes)
        slots = (np.cumsum(small) - small) * n // max(1, int(small.sum()))
        shares: list[list[tuple[int, int]]] = [[] for _ in range(n)]
        for end, size, large, slot in zip(ends, sizes, is_large, slots, strict=True):
            first = int(end - size)
            if large:
                for k in range(n):
                    chunk = (first + int(size) * k // n, first + int(size) * (k + 1) // n)
                    shares[k].append(chunk)
            elif shares[slot] and shares[slot][-1][1] == first:
                shares[slot][-1] = (shares[slot][-1][0], int(end))
            else:
                shares[slot].append((first, int(end)))
        return shares

    def _share(self, work: Callable[[int, int, int], None]) -> None:
        """Call `work(slot, lo, hi)` for the ranges of each thread."""

        def do(slot: int) -> None:
            for lo, hi in self._shares[slot]:
                work(slot, lo, hi)

        waiting = []
        if len(self._shares) > 1:
            pool = _pool.get(self._n_threads)
            if pool is None:
                pool = ThreadPoolExecutor(self._n_threads - 1)
                _pool[self._n_threads] = pool
            waiting = [pool.submit(do, slot) for slot in range(1, len(self._shares))]
        do(0)
        for done in waiting:
            done.result()

    def _narrow(self, wide: Tensor) -> Tensor:
        places = self._layout.places
        return wide if places is None else wide.index_select(-1, places)

    def _widen(self, narrow: Tensor) -> Tensor:
        narrow = narrow.to(torch.float32)
        places = self._layout.places
        if places is None:
            return narrow
        wide = narrow.new_zeros(*narrow.shape[:-1], self._layout.length)
        return wide.index_copy_(-1, places, narrow)
