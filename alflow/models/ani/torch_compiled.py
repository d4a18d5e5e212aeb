"""The torch reference with its functions compiled by torch: where there are no kernels for a GPU.

What is compiled is what costs most on plain torch, the exponentials and powers of pairs and
triples, each in one pass over memory instead of a dozen. Sums over neighbours stay as they are.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from alflow.models.ani import terms
from alflow.models.ani.constants import AniConstants
from alflow.models.ani.descriptor import AniDescriptor, DescriptorState
from alflow.models.ani.spokes import Spokes
from alflow.models.potential import Batch, Pairs


class CompiledBasis(terms.Basis):
    """Symmetry functions that are compiled when first called."""

    __slots__ = ()

    def radial(self, spokes: Spokes) -> Float[Tensor, "spokes radial"]:
        """Radial functions of each spoke."""
        c = self.constants
        found: Tensor = _compiled(terms.radial)(
            spokes.distances, self.radial_shifts, c.radial_eta, c.radial_cutoff_A
        )
        return found

    def radial_slope(self, spokes: Spokes) -> Float[Tensor, "spokes radial"]:
        """Derivative of the radial functions in the distance [1/Å]."""
        c = self.constants
        found: Tensor = _compiled(terms.radial_slope)(
            spokes.distances, self.radial_shifts, c.radial_eta, c.radial_cutoff_A
        )
        return found

    def shell(self, mean: Tensor) -> tuple[Tensor, Tensor]:
        """Gaussians of mean distances, and these times the offset [Å]."""
        found: tuple[Tensor, Tensor] = _compiled(terms.shells)(
            mean, self.shells, self.constants.angular_eta
        )
        return found

    def section(self, cosine: Tensor) -> tuple[Tensor, Tensor]:
        """Functions of angles, and their slopes in the cosine."""
        found: tuple[Tensor, Tensor] = _compiled(terms.sections)(
            cosine, self.half_cos, self.half_sin, self.constants.zeta
        )
        return found


class CompiledDescriptor:
    """The reference in float32 on compiled functions.

    Attributes:
        n_features: Length of the descriptor of one atom.
    """

    def __init__(
        self, constants: AniConstants, elements: tuple[int, ...], device: torch.device
    ) -> None:
        """Prepare the constants; see `AniDescriptor`."""
        self._reference = AniDescriptor(
            constants, elements, device=device, basis=CompiledBasis
        )
        self.n_features = self._reference.n_features

    def evaluate(
        self, batch: Batch, pairs: Pairs, species: Int[Tensor, " atoms"]
    ) -> DescriptorState:
        """Descriptor of each atom with what its derivative needs; leaves no autograd graph."""
        del species
        return self._reference.evaluate_with_torch(batch, pairs)


@functools.cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    # Lengths differ at every step: one compilation for all of them.
    compiled: Callable[..., Any] = torch.compile(function, dynamic=True)
    return compiled
