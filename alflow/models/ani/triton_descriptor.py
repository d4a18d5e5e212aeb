"""The ANI descriptor on Triton kernels: sorts neighbour lists, and calls the kernels in order.

The interface is that of the torch reference, in float32. Nothing is read back from the device, so
that a host runs ahead of it; a neighbour list is sorted once, not at every evaluation. Scratch is
as long as the list: no structure overruns it. Importing this module imports Triton.
"""

import contextlib
import functools
from dataclasses import dataclass

import torch
import triton
from jaxtyping import Float, Int
from torch import Tensor

from alflow.models.ani import triton_kernels as kernels
from alflow.models.ani.constants import AniConstants
from alflow.models.ani.recent import Recent
from alflow.models.ani.terms import Basis
from alflow.models.potential import Batch, Pairs

TILE = 32
"""Neighbours or triples that a program works on at a time: one for each lane of a warp."""
LANES = (1, 4, 8)
"""How many members programs may serve."""
OPTIONS = {"TILE": TILE, "enable_fp_fusion": True}
"""Of all kernels. Multiplications and additions become one instruction: Triton will not go on doing
so unasked."""
LANE_NUMBERS = 64
"""Numbers that a lane may add up at a time, of each kind; more of them are shared out to warps."""


@dataclass(frozen=True, eq=False, slots=True)
class GroupedPairs:
    """A neighbour list sorted by centre and element.

    Attributes:
        start: First neighbour of each atom and element, and the end, (atoms elements + 1,).
        neighbour: Index of each neighbour, (pairs,).
        shift: Cell vectors to add, (pairs, 3).
        reverse: Pairs sorted by neighbour, (pairs,).
        end: First of `reverse` for each atom, and the end, (atoms + 1,).
    """

    start: Int[Tensor, " groups"]
    neighbour: Int[Tensor, " pairs"]
    shift: Float[Tensor, "pairs 3"]
    reverse: Int[Tensor, " pairs"]
    end: Int[Tensor, " ends"]

    @classmethod
    def of(
        cls, pairs: Pairs, species: Int[Tensor, " atoms"], n_elements: int
    ) -> "GroupedPairs":
        """Sort a list; equal groups keep the order of the list."""
        group, order = torch.sort(pairs.i * n_elements + species[pairs.j], stable=True)
        neighbour = pairs.j[order].contiguous()
        ends, reverse = torch.sort(neighbour, stable=True)
        atoms = torch.arange(len(species) + 1, device=species.device)
        groups = torch.arange(len(species) * n_elements + 1, device=species.device)
        return cls(
            torch.searchsorted(group, groups),
            neighbour,
            pairs.shifts[order].contiguous(),
            reverse,
            torch.searchsorted(ends, atoms),
        )


@dataclass(frozen=True, eq=False, slots=True)
class Layout:
    """Constants as the kernels take them.

    Attributes:
        constants: The same as numbers.
        n_elements: Number of elements.
        lists: Radial shifts, shells, half cosines and half sines of the sections.
        pairs: Channel of two elements; then the first and the second of each channel.
    """

    constants: AniConstants
    n_elements: int
    lists: Float[Tensor, " lists"]
    pairs: Int[Tensor, " channels"]

    @classmethod
    def of(
        cls, constants: AniConstants, n_elements: int, device: torch.device | str
    ) -> "Layout":
        """Put them on a device."""
        basis = Basis.of(constants, torch.float32, device)
        parts = (basis.radial_shifts, basis.shells, basis.half_cos, basis.half_sin)
        first, second = torch.triu_indices(n_elements, n_elements)
        channel = torch.zeros(n_elements, n_elements, dtype=torch.long)
        channel[first, second] = torch.arange(len(first))
        channel[second, first] = torch.arange(len(first))
        pairs = torch.cat([channel.flatten(), first, second])
        lists = torch.cat([part.flatten() for part in parts])
        return cls(constants, n_elements, lists, pairs.to(device, torch.int32))

    @property
    def n_features(self) -> int:
        """Length of the descriptor of one atom."""
        return self.constants.n_features(self.n_elements)

    @property
    def n_channels(self) -> int:
        """Number of pairs of elements."""
        return self.n_elements * (self.n_elements + 1) // 2

    @property
    def shape(self) -> dict[str, int]:
        """Numbers that all kernels are compiled for."""
        return {
            "N_ELEMENTS": self.n_elements,
            "N_RADIAL": len(self.constants.radial_shifts),
            "N_FEATURES": self.n_features,
        }

    @property
    def angular_shape(self) -> dict[str, int]:
        """Those that the angular ones are compiled for."""
        n_sections = len(self.constants.angular_sections)
        return {
            **self.shape,
            "N_SHELLS": len(self.constants.angular_shifts),
            "N_SECTIONS": n_sections,
            "WIDE_SECTIONS": triton.next_power_of_2(n_sections),
        }


class TritonDescriptor:
    """Descriptor and derivative of batches on a GPU, or in Triton's interpreter.

    Attributes:
        n_features: Length of the descriptor of one atom.
    """

    def __init__(
        self, constants: AniConstants, n_elements: int, device: torch.device | str
    ) -> None:
        """Prepare the constants.

        Args:
            constants: Where the functions sit.
            n_elements: Number of elements.
            device: Where batches will be.
        """
        self._layout = Layout.of(constants, n_elements, device)
        self.n_features = self._layout.n_features
        self._grouped: Recent[GroupedPairs] = Recent()

    def evaluate(
        self, batch: Batch, pairs: Pairs, species: Int[Tensor, " atoms"]
    ) -> "TritonState":
        """Descriptor of each atom with what its derivative needs; leaves no autograd graph.

        Args:
            batch: Systems.
            pairs: Neighbour list that may reach further.
            species: Element of each atom.
        """
        grouped = self._grouped.get(
            (pairs.i, pairs.j, pairs.shifts, species),
            lambda: GroupedPairs.of(pairs, species, self._layout.n_elements),
        )
        return TritonState(self._layout, batch, grouped)

    def system_energies(
        self, atomic: Float[Tensor, "members atoms"], bounds: Int[Tensor, " bounds"]
    ) -> Float[Tensor, "members systems"]:
        """Sum over the atoms of each system, in float64 and in an order of its own.

        Args:
            atomic: Energies of the atoms [eV].
            bounds: First atom of each system, and the end.
        """
        n_members, n_atoms = atomic.shape
        n_systems = len(bounds) - 1
        out = atomic.new_zeros(n_members, n_systems, dtype=torch.float64)
        if out.numel():
            with _on(atomic.device):
                kernels.energies[(n_systems, n_members)](
                    atomic.detach().contiguous(),
                    bounds,
                    n_atoms,
                    n_systems,
                    out,
                    num_warps=1,
                    **OPTIONS,
                )
        return out


class TritonState:
    """Features of a batch, and the product with their derivative in the positions."""

    def __init__(self, layout: Layout, batch: Batch, grouped: GroupedPairs) -> None:
        """Measure distances and evaluate the features."""
        self._layout = layout
        self._grouped = grouped
        self._n_atoms = batch.n_atoms
        self._n_groups = batch.n_atoms * layout.n_elements
        n_pairs = len(grouped.neighbour)
        empty = functools.partial(torch.empty, device=batch.positions.device)
        self.features: Float[Tensor, "atoms features"] = empty(
            batch.n_atoms, layout.n_features, dtype=torch.float32
        )
        """Descriptor of each atom, (atoms, features)."""
        self._spoke = empty(n_pairs, 4, dtype=torch.float32)
        self._table = empty(n_pairs, 6, dtype=torch.float32)
        self._place = empty(n_pairs, dtype=torch.int64)
        self._count = empty(self._n_groups, dtype=torch.int32)
        if batch.n_atoms:
            with _on(self.features.device):
                self._describe(batch)

    def _describe(self, batch: Batch) -> None:
        layout, grouped, c = self._layout, self._grouped, self._layout.constants
        kernels.spokes[(self._n_groups,)](
            batch.positions.detach().contiguous(),
            batch.cells.detach().contiguous(),
            batch.system_idx,
            grouped.start,
            grouped.neighbour,
            grouped.shift,
            layout.lists,
            c.radial_cutoff_A,
            c.radial_eta,
            c.angular_cutoff_A,
            self.features,
            self._spoke,
            self._table,
            self._place,
            self._count,
            WIDE_RADIAL=triton.next_power_of_2(len(c.radial_shifts)),
            num_warps=1,
            **layout.shape,
            **OPTIONS,
        )
        wide_shells = triton.next_power_of_2(len(c.angular_shifts))
        shape = layout.angular_shape
        kernels.angles[(self._n_atoms * layout.n_channels,)](
            grouped.start,
            self._count,
            self._table,
            layout.lists,
            layout.pairs,
            c.angular_eta,
            c.zeta,
            self.features,
            N_PAIRS=layout.n_channels,
            WIDE_SHELLS=wide_shells,
            num_warps=_warps(wide_shells * shape["WIDE_SECTIONS"]),
            **shape,
            **OPTIONS,
        )

    def vjp(
        self, gradient: Float[Tensor, "members atoms features"]
    ) -> Float[Tensor, "members atoms 3"]:
        """Gradient of the sum of `gradient * features` in the positions; forces are minus this.

        Args:
            gradient: Derivative of each member's energy in the features [eV],
                (members, atoms, features).
        """
        slope = gradient.detach().to(torch.float32).contiguous()
        n_members = len(slope)
        out = slope.new_empty(n_members, self._n_atoms, 3)
        if out.numel():
            with _on(slope.device):
                self._pull(slope, n_members, out)
        return out

    def _pull(self, slope: Tensor, n_members: int, out: Tensor) -> None:
        layout, grouped, c = self._layout, self._grouped, self._layout.constants
        lanes = lanes_of(n_members)
        grid = (self._n_groups, -(-n_members // lanes))
        pull = slope.new_empty(len(grouped.neighbour), 3, n_members)
        kernels.stretch[grid](
            grouped.start,
            self._spoke,
            layout.lists,
            slope,
            c.radial_cutoff_A,
            c.radial_eta,
            self._n_atoms,
            n_members,
            pull,
            MEMBERS=lanes,
            num_warps=1,
            **layout.shape,
            **OPTIONS,
        )
        shape = layout.angular_shape
        kernels.turn[grid](
            grouped.start,
            self._count,
            self._table,
            self._place,
            layout.lists,
            layout.pairs,
            slope,
            c.angular_eta,
            c.zeta,
            self._n_atoms,
            n_members,
            pull,
            MEMBERS=lanes,
            num_warps=_warps(lanes * shape["WIDE_SECTIONS"]),
            **shape,
            **OPTIONS,
        )
        kernels.gather[(self._n_atoms,)](
            grouped.start,
            grouped.end,
            grouped.reverse,
            pull,
            self._n_atoms,
            n_members,
            out,
            N_ELEMENTS=layout.n_elements,
            COLUMNS=triton.next_power_of_2(3 * n_members),
            num_warps=1,
            **OPTIONS,
        )


def lanes_of(n_members: int) -> int:
    """Members that one program serves: one of few numbers, since each is compiled for."""
    return next((lanes for lanes in LANES if lanes >= n_members), LANES[-1])


def _warps(numbers: int) -> int:
    """Warps of a program that adds up so many numbers, a power of two, for each triple."""
    return max(1, min(8, numbers // LANE_NUMBERS))


def _on(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Kernels are launched on the current device, which need not be that of the tensors."""
    if device.type != "cuda":
        return contextlib.nullcontext()
    found: contextlib.AbstractContextManager[None] = torch.cuda.device(device)
    return found
