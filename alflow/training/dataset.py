"""Labelled structures as the optimiser sees them: descriptors and targets, computed once.

The ANI descriptor has nothing to train, so it and its derivative with respect to the positions
are data. Forces of all members are then one matrix product per structure.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from alflow.core.datasets import Dataset, LabelledStructure
from alflow.models.ani.descriptor import AniDescriptor
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch, Pairs
from alflow.training.geometry import ForceGradient, Geometry, kernels_of
from alflow.training.strain import Strained, Strains

BYTES_PER_MB = 1_000_000
CHUNK_MB = 64
"""Derivatives are computed for this much of their result at a time [MB]."""
REACH_A = 0.2
"""How much further neighbours are listed where atoms may be displaced [Å]."""
STACKED_BYTES = 200_000
"""Derivatives up to this size are stacked over structures; larger ones are used where they
lie, because copying them costs as much as multiplying them."""


@dataclass(frozen=True, eq=False, slots=True)
class Block:
    """Structures of equal size, next to each other in a minibatch.

    Attributes:
        n_structures: Number of structures.
        n_atoms: Atoms of each.
        has_forces: Whether their forces are wanted.
        jacobian: Derivative of the features of each with respect to its positions [1/Å],
            (structures, atoms * features, 3 * atoms); None if no forces are wanted, or they
            are left to `Minibatch.loose`.
    """

    n_structures: int
    n_atoms: int
    has_forces: bool
    jacobian: Float[Tensor, "structures rows columns"] | None


@dataclass(frozen=True, eq=False, slots=True)
class Loose:
    """Atoms of a minibatch whose derivatives are not in memory.

    Attributes:
        rows: Which of its atoms they are, ascending, (loose,).
        geometry: Where they are, and how their forces are had.
    """

    rows: Int[Tensor, " loose"]
    geometry: Geometry


@dataclass(frozen=True, eq=False, slots=True)
class Minibatch:
    """Some structures of a training set, sorted by size.

    Attributes:
        structure_idx: Which ones they are, (structures,).
        blocks: Runs of structures of equal size, in order.
        loose: Atoms of the blocks with forces, but without derivatives; None for none.
        features: Descriptors, (atoms, features).
        species_idx: Index of the element of each atom, (atoms,).
        n_atoms: Number of atoms of each structure, (structures,).
        energies: Energies without self energies [eV], (structures,).
        forces: Forces [eV/Å], zero where there are none, (atoms, 3).
        strained: Structures whose stress is wanted; None for none.
    """

    structure_idx: Int[Tensor, " structures"]
    blocks: list[Block]
    loose: Loose | None
    features: Float[Tensor, "atoms features"]
    species_idx: Int[Tensor, " atoms"]
    n_atoms: Float[Tensor, " structures"]
    energies: Float[Tensor, " structures"]
    forces: Float[Tensor, "atoms 3"]
    strained: Strained | None = None

    @property
    def has_forces(self) -> bool:
        """Whether forces are wanted of any structure."""
        return any(block.has_forces for block in self.blocks)

    def pull(
        self, gradient: Float[Tensor, "members atoms features"]
    ) -> Float[Tensor, "members atoms 3"]:
        """Gradient of the energies in the positions, zero where no forces are wanted.

        Args:
            gradient: Derivative of each member's energy in the features [eV],
                (members, atoms, features).
        """
        if self.loose is not None and len(self.loose.rows) == gradient.shape[1]:
            return self.loose.geometry.pull(gradient)
        parts = []
        sizes = [block.n_structures * block.n_atoms for block in self.blocks]
        for block, slopes in zip(
            self.blocks, torch.split(gradient, sizes, dim=1), strict=True
        ):
            if block.jacobian is None:
                parts.append(slopes.new_zeros(*slopes.shape[:2], 3))
                continue
            # (structures, members, rows) x (structures, rows, 3n)
            rows = slopes.reshape(len(slopes), block.n_structures, -1).transpose(0, 1)
            pulled = torch.bmm(rows, block.jacobian).transpose(0, 1)
            parts.append(pulled.reshape(*slopes.shape[:2], 3))
        whole = torch.cat(parts, dim=1)
        if self.loose is None:
            return whole
        own = self.loose.geometry.pull(gradient[:, self.loose.rows])
        return whole.index_copy(1, self.loose.rows, own)

    def push(
        self, tangents: Float[Tensor, "members atoms 3"]
    ) -> Float[Tensor, "members atoms features"]:
        """The transpose of `pull`: how features change along tangents of the positions.

        Args:
            tangents: Of each member, (members, atoms, 3).
        """
        if self.loose is not None and len(self.loose.rows) == tangents.shape[1]:
            return self.loose.geometry.push(tangents)
        n_features = self.features.shape[1]
        parts = []
        sizes = [block.n_structures * block.n_atoms for block in self.blocks]
        for block, slopes in zip(
            self.blocks, torch.split(tangents, sizes, dim=1), strict=True
        ):
            if block.jacobian is None:
                parts.append(slopes.new_zeros(*slopes.shape[:2], n_features))
                continue
            # (structures, members, 3n) x (structures, 3n, rows)
            rows = slopes.reshape(len(slopes), block.n_structures, -1).transpose(0, 1)
            pushed = torch.bmm(rows, block.jacobian.transpose(1, 2)).transpose(0, 1)
            parts.append(pushed.reshape(*slopes.shape[:2], n_features))
        whole = torch.cat(parts, dim=1)
        if self.loose is None:
            return whole
        own = self.loose.geometry.push(tangents[:, self.loose.rows])
        return whole.index_copy(1, self.loose.rows, own)


class TrainingSet:
    """Descriptors, their derivatives as far as memory allows, and targets.

    Attributes:
        features: Descriptors of all atoms, (atoms, features).
        species_idx: Index of the element of each atom, (atoms,).
        n_atoms: Number of atoms of each structure, (structures,).
        compositions: Number of atoms of each element, (structures, elements).
        has_forces: Whether the label has forces, (structures,).
        mean_square_force: Mean square of the force components [eV²/Å²], (structures,).
    """

    def __init__(
        self,
        data: Sequence[LabelledStructure],
        descriptor: AniDescriptor,
        dtype: torch.dtype,
        jacobian_budget_MB: float,
        force_gradient: ForceGradient = "jvp",
        *,
        with_stress: bool = False,
    ) -> None:
        """Compute the descriptors.

        Args:
            data: Labelled structures.
            descriptor: What describes them.
            dtype: Floating-point type of everything kept.
            jacobian_budget_MB: Memory for derivatives of descriptors [MB].
            force_gradient: How forces depend on the parameters; only `jvp` uses the memory.
            with_stress: Whether stresses are wanted, whose derivatives come first in the memory.
        """
        flat = self._data = Dataset.of(data)
        self._descriptor = descriptor
        self._way = force_gradient
        self._kernels = kernels_of(descriptor) if dtype == torch.float32 else None
        self._dtype = dtype
        self.n_atoms = torch.tensor(flat.n_atoms)
        self._starts = torch.cumsum(self.n_atoms, 0) - self.n_atoms
        numbers = torch.from_numpy(flat.numbers.astype(np.int64))
        self.species_idx = descriptor.species(numbers)
        self.compositions = _compositions(
            self.species_idx, self.n_atoms, len(descriptor.elements)
        )
        self.has_forces = torch.tensor(flat.has_forces)
        has_forces = np.repeat(flat.has_forces, flat.n_atoms)[:, None]
        forces = np.where(has_forces, flat.forces, 0.0)
        parts = np.split(forces, flat.starts[1:])
        self.mean_square_force = torch.tensor([np.mean(f**2) for f in parts], dtype=dtype)
        self._forces = torch.from_numpy(forces).to(dtype)
        self._total = flat.energy
        self._energies = torch.zeros(len(flat), dtype=dtype)
        self._jacobians: dict[int, Float[Tensor, "rows columns"]] = {}
        budget = jacobian_budget_MB * BYTES_PER_MB
        self._strains: Strains | None = None
        if with_stress:
            self._strains = Strains(flat, descriptor, self._geometry, dtype, budget)
            budget = self._strains.bytes_left
        budget = budget if force_gradient == "jvp" else 0.0
        self.features = self._describe(budget)
        self._keys = [
            (n_atoms, has_forces, self._is_loose(k), k)
            for k, (n_atoms, has_forces) in enumerate(
                zip(self.n_atoms.tolist(), self.has_forces.tolist(), strict=True)
            )
        ]

    def __len__(self) -> int:
        """Number of structures."""
        return len(self._data)

    @property
    def total_energies(self) -> Float[np.ndarray, " structures"]:
        """Energies of the labels [eV], (structures,)."""
        return self._total

    @property
    def n_cached(self) -> int:
        """Number of structures whose derivatives are kept."""
        return len(self._jacobians)

    def subtract(self, self_energies: Sequence[float]) -> None:
        """Set the targets: energies of the labels less these, in double precision.

        Args:
            self_energies: Self energy [eV] by element, (elements,).
        """
        baseline = self.compositions @ np.array(self_energies, np.float64)
        self._energies = torch.from_numpy(self._total - baseline).to(self._dtype)

    def minibatch(self, structure_idx: Sequence[int], *, with_forces: bool) -> Minibatch:
        """Gather structures.

        Args:
            structure_idx: Which ones.
            with_forces: Whether derivatives are needed; they are skipped for structures
                without force labels.
        """
        wanted = sorted(structure_idx, key=self._keys.__getitem__)
        idx = torch.tensor(wanted, dtype=torch.long)
        sizes = self.n_atoms[idx]
        ends = torch.cumsum(sizes, 0)
        atoms = torch.arange(int(ends[-1])) + torch.repeat_interleave(
            self._starts[idx] - ends + sizes, sizes
        )
        is_loose = [with_forces and self._keys[k][2] for k in wanted]
        return Minibatch(
            idx,
            self._blocks(wanted, with_forces=with_forces),
            self._loose(wanted, torch.tensor(is_loose), sizes) if any(is_loose) else None,
            self.features[atoms],
            self.species_idx[atoms],
            sizes.to(self._dtype),
            self._energies[idx],
            self._forces[atoms],
            None if self._strains is None else self._strains.of(wanted),
        )

    def _is_loose(self, structure: int) -> bool:
        """Whether the derivatives of a structure are not in memory, and need not be."""
        return (
            bool(self.has_forces[structure])
            and structure not in self._jacobians
            and (self._way != "jvp" or self._kernels is not None)
        )

    def _blocks(self, wanted: list[int], *, with_forces: bool) -> list[Block]:
        blocks = []
        for (n_atoms, has_forces, is_loose), group in groupby(
            wanted, lambda k: self._keys[k][:3]
        ):
            members = list(group)
            if with_forces and has_forces and not is_loose:
                blocks += self._force_blocks(members, n_atoms)
            else:
                blocks.append(
                    Block(len(members), n_atoms, with_forces and has_forces, None)
                )
        return blocks

    def _loose(
        self, wanted: list[int], is_loose: Tensor, sizes: Int[Tensor, " structures"]
    ) -> Loose:
        rows = torch.nonzero(torch.repeat_interleave(is_loose, sizes))[:, 0]
        members = [k for k, loose in zip(wanted, is_loose.tolist(), strict=True) if loose]
        batch, pairs = self._geometry(members)
        return Loose(rows, Geometry(self._descriptor, batch, pairs, self._way))

    def _geometry(self, members: list[int]) -> tuple[Batch, Pairs]:
        structures = [self._data.structure(k) for k in members]
        batch = Batch.from_structures(structures, dtype=torch.float64)
        reach_A = self._descriptor.cutoff_A + (REACH_A if self._way != "jvp" else 0.0)
        return batch, neighbour_pairs(batch, reach_A)

    def _force_blocks(self, members: list[int], n_atoms: int) -> list[Block]:
        jacobians = self._jacobians_of(members)
        if jacobians[0].nbytes <= STACKED_BYTES:
            return [Block(len(members), n_atoms, True, torch.stack(jacobians))]  # noqa: FBT003
        return [Block(1, n_atoms, True, jacobian[None]) for jacobian in jacobians]  # noqa: FBT003

    def _jacobians_of(self, members: list[int]) -> list[Float[Tensor, "rows columns"]]:
        found = {k: self._jacobians[k] for k in members if k in self._jacobians}
        missing = [k for k in members if k not in found]
        for chunk in self._chunks(missing):
            described = self._features_and_jacobians(chunk)
            found.update({k: j for k, (_, j) in zip(chunk, described, strict=True)})
        return [found[k] for k in members]

    def _describe(self, budget: float) -> Float[Tensor, "atoms features"]:
        features = []
        for chunk in self._chunks(list(range(len(self)))):
            batch, pairs = self._geometry(chunk)
            features.append(self._descriptor.evaluate(batch, pairs).features)
            kept = []
            for k in chunk:
                size = self._jacobian_bytes(k)
                if size <= budget:
                    kept.append(k)
                    budget -= size
            if kept:
                described = self._features_and_jacobians(kept)
                self._jacobians.update(
                    {k: jacobian for k, (_, jacobian) in zip(kept, described, strict=True)}
                )
        return torch.cat(features).to(self._dtype)

    def _jacobian_bytes(self, structure: int) -> float:
        """Size of the derivatives of a structure; infinite if nobody wants them."""
        if not self.has_forces[structure]:
            return math.inf
        n_atoms = int(self.n_atoms[structure])
        return 3.0 * n_atoms**2 * self._descriptor.n_features * self._dtype.itemsize

    def _chunks(self, members: list[int]) -> list[list[int]]:
        """Split so that the derivatives of a chunk stay within `CHUNK_MB`."""
        chunks: list[list[int]] = []
        room = 0.0
        for k in members:
            size = 3.0 * float(self.n_atoms[k]) ** 2 * self._descriptor.n_features * 8
            if not chunks or size > room:
                chunks.append([])
                room = CHUNK_MB * BYTES_PER_MB
            chunks[-1].append(k)
            room -= size
        return chunks

    def _features_and_jacobians(
        self, members: list[int]
    ) -> list[tuple[Float[Tensor, "atoms features"], Float[Tensor, "rows columns"]]]:
        batch, pairs = self._geometry(members)
        described = self._descriptor.features_and_jacobian(batch, pairs)
        return [(rows.to(self._dtype), j.to(self._dtype)) for rows, j in described]


def _compositions(
    species_idx: Int[Tensor, " atoms"], n_atoms: Int[Tensor, " structures"], n_elements: int
) -> Float[np.ndarray, "structures elements"]:
    owner = torch.repeat_interleave(torch.arange(len(n_atoms)), n_atoms)
    counts = torch.bincount(
        owner * n_elements + species_idx, minlength=len(n_atoms) * n_elements
    )
    return counts.reshape(len(n_atoms), n_elements).to(torch.float64).numpy()
