"""State of many replicas as flat arrays, and the few things that follow from it alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from alflow.core.elements import MASSES_AMU
from alflow.core.structures import Structure
from alflow.core.units import ACCELERATION_PER_FORCE, BOLTZMANN_EV_PER_K
from alflow.md.compiled import motion_kernels
from alflow.md.transfer import sent
from alflow.models.potential import Batch


@dataclass(frozen=True, eq=False, slots=True)
class State:
    """Positions and velocities of all atoms of all replicas, float64; never changed in place.

    Everything that is computed from it is a sum in the order of the atoms or an element-wise
    sum, product or square root, so that on a CPU the bits of a replica do not depend on which
    other replicas share the arrays.

    Attributes:
        replicas: Number of each replica, stable while others leave.
        sizes: Number of atoms of each replica.
        positions: Cartesian positions, not wrapped into the cell [Å], (atoms, 3).
        velocities: Velocities [Å/fs], (atoms, 3).
        forces: Mean forces at the positions [eV/Å], (atoms, 3).
        numbers: Atomic numbers, (atoms,).
        masses: Masses [amu], (atoms,).
        system_idx: Position of each atom's replica in `replicas`, (atoms,).
        start_cells: Cell vectors at scale one as rows [Å], (systems, 3, 3).
        scale: Length of the cell vectors relative to `start_cells`, (systems,).
        pbc: Periodic directions, (systems, 3).
    """

    replicas: tuple[int, ...]
    sizes: tuple[int, ...]
    positions: Float[Tensor, "atoms 3"]
    velocities: Float[Tensor, "atoms 3"]
    forces: Float[Tensor, "atoms 3"]
    numbers: Int[Tensor, " atoms"]
    masses: Float[Tensor, " atoms"]
    system_idx: Int[Tensor, " atoms"]
    start_cells: Float[Tensor, "systems 3 3"]
    scale: Float[Tensor, " systems"]
    pbc: Bool[Tensor, "systems 3"]

    @classmethod
    def from_structures(
        cls,
        structures: Sequence[Structure],
        device: torch.device | str = "cpu",
        *,
        replicas: Sequence[int] | None = None,
    ) -> "State":
        """Atoms at rest; the replicas are numbered from 0 on unless told otherwise."""
        batch = Batch.from_structures(list(structures), device=device)
        masses = torch.tensor(MASSES_AMU, device=device)[batch.numbers]
        return cls(
            replicas=tuple(range(len(structures)) if replicas is None else replicas),
            sizes=tuple(structure.n_atoms for structure in structures),
            positions=batch.positions,
            velocities=torch.zeros_like(batch.positions),
            forces=torch.zeros_like(batch.positions),
            numbers=batch.numbers,
            masses=masses,
            system_idx=batch.system_idx,
            start_cells=batch.cells,
            scale=torch.ones_like(batch.cells[:, 0, 0]),
            pbc=batch.pbc,
        )

    @property
    def n_systems(self) -> int:
        """Number of replicas."""
        return len(self.sizes)

    @property
    def n_atoms(self) -> Float[Tensor, " systems"]:
        """Number of atoms of each replica, (systems,)."""
        return sent(np.array(self.sizes, np.float64), self.positions.device)

    @property
    def offsets(self) -> list[int]:
        """Index of the first atom of each replica, and the number of atoms as the last entry."""
        return [0, *np.cumsum(self.sizes).tolist()]

    @property
    def cells(self) -> Float[Tensor, "systems 3 3"]:
        """Cell vectors as rows [Å], (systems, 3, 3)."""
        return self.start_cells * self.scale[:, None, None]

    def batch(self, dtype: torch.dtype) -> Batch:
        """The geometry as a potential wants it."""
        return Batch(
            self.positions.to(dtype),
            self.numbers,
            self.system_idx,
            self.cells.to(dtype),
            self.pbc,
        )

    def structure(self, system: int, like: Structure) -> Structure:
        """Geometry of one replica, with charge and multiplicity of `like`."""
        first, last = self.offsets[system : system + 2]
        return Structure(
            like.numbers,
            self.positions[first:last].cpu().numpy(),
            None if like.cell is None else self.cells[system].cpu().numpy(),
            like.pbc,
            like.charge,
            like.multiplicity,
        )

    def keep(self, systems: Sequence[int]) -> "State":
        """The state with these replicas only, given by ascending positions."""
        chosen = torch.zeros(self.n_systems, dtype=torch.bool, device=self.positions.device)
        chosen[list(systems)] = True
        atoms = chosen[self.system_idx]
        new_idx = torch.cumsum(chosen, 0) - 1
        return State(
            replicas=tuple(self.replicas[system] for system in systems),
            sizes=tuple(self.sizes[system] for system in systems),
            positions=self.positions[atoms],
            velocities=self.velocities[atoms],
            forces=self.forces[atoms],
            numbers=self.numbers[atoms],
            masses=self.masses[atoms],
            system_idx=new_idx[self.system_idx[atoms]],
            start_cells=self.start_cells[chosen],
            scale=self.scale[chosen],
            pbc=self.pbc[chosen],
        )

    def joined(self, other: "State") -> "State":
        """This state with the replicas of another one behind its own."""
        names = ("positions", "velocities", "forces", "numbers", "masses")
        of_systems = ("start_cells", "scale", "pbc")
        columns = {
            name: torch.cat([getattr(self, name), getattr(other, name)])
            for name in (*names, *of_systems)
        }
        return State(
            replicas=self.replicas + other.replicas,
            sizes=self.sizes + other.sizes,
            system_idx=torch.cat([self.system_idx, other.system_idx + self.n_systems]),
            **columns,
        )

    def rescaled(self, scale: Float[Tensor, " systems"]) -> "State":
        """The state with its cells at a new scale; positions follow, velocities do not."""
        ratio = (scale / self.scale)[self.system_idx]
        return replace(self, positions=self.positions * ratio[:, None], scale=scale)

    def total(self, per_atom: Float[Tensor, " atoms"]) -> Float[Tensor, " systems"]:
        """Sum over the atoms of each replica, in the order of the atoms."""
        return torch.zeros_like(self.scale).index_add_(0, self.system_idx, per_atom)

    def kinetic_energy(self) -> Float[Tensor, " systems"]:
        """Kinetic energy of each replica [eV], (systems,)."""
        fast = motion_kernels(self.positions.device)
        if fast is not None:
            found = fast.kinetic_energy(
                self.velocities.numpy(),
                self.masses.numpy(),
                self.system_idx.numpy(),
                self.n_systems,
                2 * ACCELERATION_PER_FORCE,
            )
            return torch.from_numpy(found)
        return self.total(
            self.masses * squared(self.velocities) / (2 * ACCELERATION_PER_FORCE)
        )

    def kinetic_temperature(self, *, is_momentum_free: bool) -> Float[Tensor, " systems"]:
        """Temperature by equipartition [K], (systems,).

        Args:
            is_momentum_free: Whether the motion of the centre of mass carries no kinetic energy
                (a start, constant energy); a Langevin thermostat warms it up.
        """
        freedom = degrees_of_freedom(self.n_atoms, is_momentum_free=is_momentum_free)
        return self.kinetic_energy() * 2 / (freedom * BOLTZMANN_EV_PER_K)


def degrees_of_freedom(
    n_atoms: Float[Tensor, " systems"], *, is_momentum_free: bool
) -> Float[Tensor, " systems"]:
    """Number of velocity components that carry kinetic energy; a lone atom keeps its three."""
    return n_atoms * 3 - torch.where(n_atoms > 1, 3.0, 0.0) * is_momentum_free


def squared(vectors: Float[Tensor, "rows 3"]) -> Float[Tensor, " rows"]:
    """Squared length of each row, the terms always added in the same order."""
    x, y, z = vectors.unbind(-1)
    return x * x + y * y + z * z
