"""What every potential offers: energies of all members, forces, and their spread.

Many structures of different sizes are one flat batch: atoms of all systems in one row of
arrays, `system_idx` telling which system an atom belongs to. Nothing loops over structures.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from alflow.core.structures import Structure

Forces = Literal["none", "mean", "members"]
"""How much of the forces is wanted: none, their mean over members, or each member's."""


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """Structures as flat tensors.

    Attributes:
        positions: Cartesian positions [Å], (atoms, 3).
        numbers: Atomic numbers, (atoms,).
        system_idx: System of each atom, ascending, (atoms,).
        cells: Cell vectors as rows [Å], (systems, 3, 3); zero where there is none.
        pbc: Periodic directions, (systems, 3).
    """

    positions: Float[Tensor, "atoms 3"]
    numbers: Int[Tensor, " atoms"]
    system_idx: Int[Tensor, " atoms"]
    cells: Float[Tensor, "systems 3 3"]
    pbc: Bool[Tensor, "systems 3"]

    @property
    def n_atoms(self) -> int:
        """Number of atoms of all systems."""
        return len(self.numbers)

    @property
    def n_systems(self) -> int:
        """Number of systems."""
        return len(self.cells)

    @property
    def atoms_per_system(self) -> Int[Tensor, " systems"]:
        """Number of atoms of each system, (systems,)."""
        # no bincount: it waits for a GPU
        counts = torch.zeros(self.n_systems, dtype=torch.long, device=self.numbers.device)
        return counts.index_add_(0, self.system_idx, torch.ones_like(self.system_idx))

    @property
    def is_finite(self) -> Bool[Tensor, " systems"]:
        """Which systems have finite coordinates throughout, (systems,)."""
        x, y, z = self.positions.isfinite().unbind(1)
        is_broken = ~(x & y & z)
        n_broken = torch.zeros_like(self.pbc[:, 0], dtype=torch.int32)
        n_broken.index_add_(0, self.system_idx, is_broken.to(torch.int32))
        return self.cells.isfinite().flatten(1).all(1) & (n_broken == 0)

    @classmethod
    def from_structures(
        cls,
        structures: "list[Structure] | tuple[Structure, ...]",
        *,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> "Batch":
        """Flatten structures, in order."""
        sizes = torch.tensor([s.n_atoms for s in structures])
        cells = [
            torch.zeros(3, 3) if s.cell is None else torch.tensor(s.cell)
            for s in structures
        ]
        return cls(
            torch.cat([torch.tensor(s.positions) for s in structures]).to(device, dtype),
            torch.cat([torch.tensor(s.numbers) for s in structures]).to(device, torch.long),
            torch.repeat_interleave(torch.arange(len(structures)), sizes).to(device),
            torch.stack([cell.to(torch.float64) for cell in cells]).to(device, dtype),
            torch.stack([torch.tensor(s.pbc) for s in structures]).to(device),
        )


@dataclass(frozen=True, eq=False, slots=True)
class Pairs:
    """Full neighbour list: every ordered pair within a cutoff, periodic images included.

    Attributes:
        i: Index of the centre, ascending, (pairs,).
        j: Index of the neighbour, (pairs,).
        shifts: Cell vectors to add to the neighbour, whole numbers, (pairs, 3).
    """

    i: Int[Tensor, " pairs"]
    j: Int[Tensor, " pairs"]
    shifts: Float[Tensor, "pairs 3"]

    def vectors(self, batch: Batch) -> Float[Tensor, "pairs 3"]:
        """Vectors from centre to neighbour [Å], differentiable in positions and cells."""
        cells = batch.cells[batch.system_idx[self.i]]
        offsets = torch.einsum("pk,pkx->px", self.shifts.to(cells.dtype), cells)
        return batch.positions[self.j] - batch.positions[self.i] + offsets


@dataclass(frozen=True, eq=False, slots=True)
class Evaluation:
    """What the members of an ensemble say about a batch.

    Attributes:
        energies: Potential energy by each member [eV], float64, (members, systems).
        forces: Mean forces [eV/Å], (atoms, 3); None if not asked for.
        member_forces: Forces by each member [eV/Å], (members, atoms, 3); None if not asked for.
    """

    energies: Float[Tensor, "members systems"]
    forces: Float[Tensor, "atoms 3"] | None = None
    member_forces: Float[Tensor, "members atoms 3"] | None = None

    def energy_spread(self) -> Float[Tensor, " systems"]:
        """Population standard deviation of the energy over members [eV], (systems,)."""
        return self.energies.std(dim=0, correction=0)

    def force_spread(self) -> Float[Tensor, " atoms"]:
        """Norm over x, y, z of the std of the force over members [eV/Å], (atoms,)."""
        if self.member_forces is None:
            raise ValueError("the evaluation was made without forces of the members")
        spread: Tensor = self.member_forces.std(dim=0, correction=0).norm(dim=-1)
        return spread


@runtime_checkable
class Potential(Protocol):
    """An ensemble of potentials, or one potential as an ensemble of one.

    Attributes:
        n_members: Number of members.
        cutoff_A: Largest distance at which atoms see each other [Å].
        elements: Atomic numbers it knows.
        dtype: Floating-point type of its arithmetic.
        device: Where it computes.
    """

    n_members: int
    cutoff_A: float
    elements: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    def evaluate(
        self, batch: Batch, pairs: Pairs, *, forces: Forces = "mean"
    ) -> Evaluation:
        """Energies of all members and the forces asked for. `pairs` may reach beyond the cutoff."""
        ...

    def fingerprint(self, batch: Batch, pairs: Pairs) -> Float[Tensor, "systems features"]:
        """Descriptor of each whole system, for diversity; unit-free, size-consistent."""
        ...
