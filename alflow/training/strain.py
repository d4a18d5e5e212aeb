"""Stresses: how features change when a cell is strained, and what the labels say about it.

The stress of a member is the derivative of its energy in a homogeneous strain of cell and
positions, divided by the volume. Like forces it is linear in the slopes of the atomic energies:
one product with a matrix of six columns, which depends on the structure alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from alflow.core.datasets import Dataset
from alflow.models.ani.descriptor import AniDescriptor
from alflow.models.potential import Batch, Pairs

N_VOIGT = 6
"""Components xx, yy, zz, yz, xz, xy."""
MULTIPLICITY = (1.0, 1.0, 1.0, 2.0, 2.0, 2.0)
"""How often each of them is among the nine components of the tensor."""

GeometryOf = Callable[[list[int]], tuple[Batch, Pairs]]
"""Some structures of the training set, with their neighbour list."""


@dataclass(frozen=True, eq=False, slots=True)
class Strained:
    """Structures of a minibatch whose stress is wanted.

    Attributes:
        places: Which of its structures they are, ascending, (strained,).
        atoms: The atoms of each.
        jacobians: Derivative of the features of each in the strain, divided by the volume
            [1/Å³], (atoms * features, 6).
        stress: What is right [eV/Å³], zero where none is wanted, (structures, 6).
    """

    places: Int[Tensor, " strained"]
    atoms: list[slice]
    jacobians: list[Float[Tensor, "_ 6"]]
    stress: Float[Tensor, "structures 6"]

    def pull(
        self, gradient: Float[Tensor, "members atoms features"]
    ) -> Float[Tensor, "members structures 6"]:
        """Stresses by each member [eV/Å³], zero where none is wanted.

        Args:
            gradient: Derivative of each member's energy in the features [eV],
                (members, atoms, features).
        """
        found: list[Tensor] = [
            gradient[:, atoms].flatten(1) @ jacobian
            for atoms, jacobian in zip(self.atoms, self.jacobians, strict=True)
        ]
        whole = gradient.new_zeros(len(gradient), *self.stress.shape)
        return whole.index_copy(1, self.places, torch.stack(found, dim=1))

    def push(
        self,
        tangents: Float[Tensor, "members structures 6"],
        like: Float[Tensor, "members atoms features"],
    ) -> Float[Tensor, "members atoms features"]:
        """The transpose of `pull`.

        Args:
            tangents: Of each member, (members, structures, 6).
            like: Something of the shape of the result.
        """
        pushed = torch.zeros_like(like)
        for place, atoms, jacobian in zip(
            self.places.tolist(), self.atoms, self.jacobians, strict=True
        ):
            part = tangents[:, place] @ jacobian.T
            pushed[:, atoms] = part.view(len(part), -1, like.shape[2])
        return pushed

    def mean_square(
        self, stress: Float[Tensor, "members structures 6"]
    ) -> Float[Tensor, "members structures"]:
        """Mean square error over the nine components [eV²/Å⁶], zero where none is wanted."""
        weights = stress.new_tensor(MULTIPLICITY) / 9.0
        squares: Tensor = (stress - self.stress).square() * weights
        return squares.sum(2)

    def n_compared(self) -> Float[Tensor, " structures"]:
        """Number of components compared, nine or none, (structures,)."""
        return self.stress.new_zeros(len(self.stress)).index_fill_(0, self.places, 9.0)


class Strains:
    """Stress labels of a training set, with derivatives kept as far as memory allows."""

    def __init__(
        self,
        data: Dataset,
        descriptor: AniDescriptor,
        geometry_of: GeometryOf,
        dtype: torch.dtype,
        budget: float,
    ) -> None:
        """Compute derivatives.

        Args:
            data: Labelled structures; those that are not periodic in all directions have no stress.
            descriptor: What describes them.
            geometry_of: Where they are.
            dtype: Floating-point type of everything kept.
            budget: Memory for derivatives [bytes].
        """
        self._descriptor = descriptor
        self._geometry_of = geometry_of
        self._dtype = dtype
        self._n_atoms = data.n_atoms.tolist()
        volume = np.abs(np.linalg.det(data.cells))
        is_wanted = data.has_stress & data.pbc.all(1) & (volume > 0)
        self._volume = dict(enumerate(volume.tolist()))
        self._stress = torch.from_numpy(np.where(is_wanted[:, None], data.stress, 0.0)).to(
            dtype
        )
        self._wanted = frozenset(np.flatnonzero(is_wanted).tolist())
        self._kept: dict[int, Float[Tensor, "rows 6"]] = {}
        self.bytes_left = budget
        for k in sorted(self._wanted):
            size = N_VOIGT * self._n_atoms[k] * descriptor.n_features * dtype.itemsize
            if size <= self.bytes_left:
                self._kept[k] = self._jacobian(k)
                self.bytes_left -= size

    def of(self, structures: Sequence[int]) -> Strained | None:
        """Those of some structures whose stress is known; None if there are none.

        Args:
            structures: Which ones, in the order of their atoms.
        """
        places = [place for place, k in enumerate(structures) if k in self._wanted]
        if not places:
            return None
        ends = np.cumsum([self._n_atoms[k] for k in structures]).tolist()
        return Strained(
            torch.tensor(places),
            [slice(ends[p] - self._n_atoms[structures[p]], ends[p]) for p in places],
            [self._found(structures[p]) for p in places],
            self._stress[list(structures)],
        )

    def _found(self, structure: int) -> Float[Tensor, "rows 6"]:
        kept = self._kept.get(structure)
        return self._jacobian(structure) if kept is None else kept

    def _jacobian(self, structure: int) -> Float[Tensor, "rows 6"]:
        (found,) = self._descriptor.strain_jacobians(*self._geometry_of([structure]))
        per_volume: Tensor = found.to(self._dtype) / self._volume[structure]
        return per_volume
