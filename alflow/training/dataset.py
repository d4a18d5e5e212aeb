"""Labelled structures as the optimiser sees them: descriptors and targets, computed once.

The ANI descriptor has nothing to train, so it and its derivative with respect to the positions
are data. Forces of all members are then one matrix product per structure.
"""

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
from alflow.models.potential import Batch

BYTES_PER_MB = 1_000_000
CHUNK_MB = 64
"""Derivatives are computed for this much of their result at a time [MB]."""
STACKED_BYTES = 200_000
"""Derivatives up to this size are stacked over structures; larger ones are used where they
lie, because copying them costs as much as multiplying them."""


@dataclass(frozen=True, eq=False, slots=True)
class Block:
    """Structures of equal size, next to each other in a minibatch.

    Attributes:
        n_structures: Number of structures.
        n_atoms: Atoms of each.
        jacobian: Derivative of the features of each with respect to its positions [1/Å],
            (structures, atoms * features, 3 * atoms); None if no forces are wanted.
    """

    n_structures: int
    n_atoms: int
    jacobian: Float[Tensor, "structures rows columns"] | None


@dataclass(frozen=True, eq=False, slots=True)
class Minibatch:
    """Some structures of a training set, sorted by size.

    Attributes:
        structure_idx: Which ones they are, (structures,).
        blocks: Runs of structures of equal size, in order.
        features: Descriptors, (atoms, features).
        species_idx: Index of the element of each atom, (atoms,).
        n_atoms: Number of atoms of each structure, (structures,).
        energies: Energies without self energies [eV], (structures,).
        forces: Forces [eV/Å], zero where there are none, (atoms, 3).
    """

    structure_idx: Int[Tensor, " structures"]
    blocks: list[Block]
    features: Float[Tensor, "atoms features"]
    species_idx: Int[Tensor, " atoms"]
    n_atoms: Float[Tensor, " structures"]
    energies: Float[Tensor, " structures"]
    forces: Float[Tensor, "atoms 3"]


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
    ) -> None:
        """Compute the descriptors.

        Args:
            data: Labelled structures.
            descriptor: What describes them.
            dtype: Floating-point type of everything kept.
            jacobian_budget_MB: Memory for derivatives of descriptors [MB].
        """
        flat = self._data = Dataset.of(data)
        self._descriptor = descriptor
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
        self.features = self._describe(jacobian_budget_MB * BYTES_PER_MB)

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
        wanted = sorted(structure_idx, key=self._sort_key)
        idx = torch.tensor(wanted, dtype=torch.long)
        sizes = self.n_atoms[idx]
        ends = torch.cumsum(sizes, 0)
        atoms = torch.arange(int(ends[-1])) + torch.repeat_interleave(
            self._starts[idx] - ends + sizes, sizes
        )
        return Minibatch(
            idx,
            self._blocks(wanted, with_forces=with_forces),
            self.features[atoms],
            self.species_idx[atoms],
            sizes.to(self._dtype),
            self._energies[idx],
            self._forces[atoms],
        )

    def _sort_key(self, structure: int) -> tuple[int, bool, int]:
        return int(self.n_atoms[structure]), bool(self.has_forces[structure]), structure

    def _blocks(self, wanted: list[int], *, with_forces: bool) -> list[Block]:
        blocks = []
        for (n_atoms, has_forces, _), group in groupby(wanted, self._block_key):
            members = list(group)
            if with_forces and has_forces:
                blocks += self._force_blocks(members, n_atoms)
            else:
                blocks.append(Block(len(members), n_atoms, None))
        return blocks

    def _block_key(self, structure: int) -> tuple[int, bool, int]:
        return (*self._sort_key(structure)[:2], 0)

    def _force_blocks(self, members: list[int], n_atoms: int) -> list[Block]:
        jacobians = self._jacobians_of(members)
        if jacobians[0].nbytes <= STACKED_BYTES:
            return [Block(len(members), n_atoms, torch.stack(jacobians))]
        return [Block(1, n_atoms, jacobian[None]) for jacobian in jacobians]

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
            for k, (rows, jacobian) in zip(
                chunk, self._features_and_jacobians(chunk), strict=True
            ):
                features.append(rows)
                if self.has_forces[k] and jacobian.nbytes <= budget:
                    self._jacobians[k] = jacobian
                    budget -= jacobian.nbytes
        return torch.cat(features)

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
        structures = [self._data.structure(k) for k in members]
        batch = Batch.from_structures(structures, dtype=torch.float64)
        pairs = neighbour_pairs(batch, self._descriptor.cutoff_A)
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
