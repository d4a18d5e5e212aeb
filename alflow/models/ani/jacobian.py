"""Dense derivative of the descriptor in the positions, by closed form."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from alflow.models.ani.spokes import Spokes
from alflow.models.ani.terms import AngularSpokes, Basis, TripleTerms
from alflow.models.ani.triples import OrderedTriples
from alflow.models.potential import Batch

CHUNK_ROWS = 1024


class _Blocks:
    """For each (centre, neighbour) of a structure, the derivative of the centre's features.

    A structure of n atoms has n * n blocks, (features, 3) each; blocks of all structures of a
    batch lie one after the other.
    """

    def __init__(self, batch: Batch) -> None:
        sizes = batch.atoms_per_system
        first_atom = torch.cumsum(sizes, 0) - sizes
        first_block = torch.cumsum(sizes * sizes, 0) - sizes * sizes
        self.sizes = sizes.tolist()
        self.n_blocks = int((sizes * sizes).sum())
        self._local = torch.arange(batch.n_atoms, device=sizes.device)
        self._local = self._local - first_atom[batch.system_idx]
        self._row = first_block[batch.system_idx] + self._local * sizes[batch.system_idx]

    def of(self, centre: Tensor, neighbour: Tensor) -> Int[Tensor, " blocks"]:
        """Number of the block of each centre and neighbour."""
        return self._row[centre] + self._local[neighbour]

    def dense(self, values: Float[Tensor, "blocks features 3"]) -> list[Tensor]:
        """One matrix (n features, 3 n) for each structure."""
        parts = torch.split(values, [n * n for n in self.sizes])
        return [
            part.view(n, n, -1, 3).transpose(1, 2).reshape(-1, 3 * n)
            for part, n in zip(parts, self.sizes, strict=True)
        ]


def dense_jacobians(
    basis: Basis,
    spokes: Spokes,
    near: AngularSpokes,
    batch: Batch,
    n_elements: int,
    width: int,
) -> list[Float[Tensor, "rows columns"]]:
    """Derivative of all features in all positions, one matrix a structure.

    Args:
        basis: The symmetry functions.
        spokes: All spokes in reach.
        near: Those within the angular cutoff.
        batch: Which atom belongs to which structure.
        n_elements: Number of elements.
        width: Slots in a row of triples.

    Returns:
        Matrices (n features, 3 n) [1/Å].
    """
    blocks = _Blocks(batch)
    moved = blocks.of(spokes.centre, spokes.neighbour)
    own = blocks.of(spokes.centre, spokes.centre)
    radial = _radial(basis, spokes, moved, own, blocks.n_blocks * n_elements, n_elements)
    angular = _angular(basis, near, batch.n_atoms, n_elements, width)
    joined = angular.new_zeros(blocks.n_blocks, *angular.shape[1:])
    joined.index_add_(0, moved[near.index], angular)
    joined.index_add_(0, own[near.index], angular, alpha=-1)
    values = [part.view(blocks.n_blocks, -1, 3) for part in (radial, joined)]
    return blocks.dense(torch.cat(values, dim=1))


def strain_jacobians(
    basis: Basis,
    spokes: Spokes,
    near: AngularSpokes,
    batch: Batch,
    n_elements: int,
    width: int,
) -> list[Float[Tensor, "rows 6"]]:
    """Derivative of all features in a homogeneous strain, one matrix a structure.

    A strain moves the end of a spoke in proportion to the spoke itself, whatever images of the
    cell lie between its ends.

    Args:
        basis: The symmetry functions.
        spokes: All spokes in reach.
        near: Those within the angular cutoff.
        batch: Which atom belongs to which structure.
        n_elements: Number of elements.
        width: Slots in a row of triples.

    Returns:
        Matrices (n features, 6), in the order of Voigt; a shear is half in either place.
    """
    n_atoms = batch.n_atoms
    units = spokes.vectors / spokes.distances[:, None]
    slopes = basis.radial_slope(spokes)[:, :, None] * units[:, None]
    moved = torch.bmm(slopes, _strained(spokes.vectors))
    radial = moved.new_zeros(n_atoms * n_elements, *moved.shape[1:])
    radial.index_add_(0, spokes.group, moved)
    turned = _angular(basis, near, n_atoms, n_elements, width)
    turned = torch.bmm(
        turned.view(len(near.index), -1, 3), _strained(spokes.vectors[near.index])
    )
    angular = turned.new_zeros(n_atoms, *turned.shape[1:])
    angular.index_add_(0, spokes.centre[near.index], turned)
    whole = torch.cat([radial.view(n_atoms, -1, 6), angular], dim=1)
    parts = torch.split(whole, batch.atoms_per_system.tolist())
    return [part.reshape(-1, 6) for part in parts]


def _strained(vectors: Float[Tensor, "spokes 3"]) -> Float[Tensor, "spokes 3 6"]:
    """How the ends of spokes move with each component of a strain."""
    found = vectors.new_zeros(len(vectors), 3, 6)
    for place in range(3):
        found[:, place, place] = vectors[:, place]
    for place, (a, b) in enumerate(((1, 2), (0, 2), (0, 1)), start=3):
        found[:, a, place] = 0.5 * vectors[:, b]
        found[:, b, place] = 0.5 * vectors[:, a]
    return found


def _radial(
    basis: Basis, spokes: Spokes, moved: Tensor, own: Tensor, n_rows: int, n_elements: int
) -> Tensor:
    element = spokes.group % n_elements
    units = spokes.vectors / spokes.distances[:, None]
    values = (basis.radial_slope(spokes)[:, :, None] * units[:, None]).flatten(1)
    rows = values.new_zeros(n_rows, values.shape[1])
    rows.index_add_(0, moved * n_elements + element, values)
    rows.index_add_(0, own * n_elements + element, values, alpha=-1)
    return rows


def _angular(
    basis: Basis, near: AngularSpokes, n_atoms: int, n_elements: int, width: int
) -> Tensor:
    """Derivative in each inner spoke's vector, (inner, element pairs * shells * sections * 3)."""
    triples = OrderedTriples(near.counts(n_atoms, n_elements), near.group, width)
    channel = _pair_channels(n_elements, near.group.device)
    n_channels = n_elements * (n_elements + 1) // 2
    n_functions = len(basis.shells) * len(basis.half_cos) * 3
    total = near.table.new_zeros(len(near.index) * n_channels, n_functions)
    for start in range(0, len(triples), CHUNK_ROWS):
        slots = triples.slots(slice(start, start + CHUNK_ROWS))
        spoke, other = slots.group // n_elements, slots.group % n_elements
        row = spoke * n_channels + channel[near.group[spoke] % n_elements, other]
        values = _row_jacobian(
            TripleTerms.of(basis, near, slots), near, spoke, basis.constants.angular_eta
        )
        total.index_add_(0, row, values)
    return total.view(len(near.index), n_channels * n_functions)


def _row_jacobian(
    terms: TripleTerms, near: AngularSpokes, spoke: Tensor, eta: float
) -> Tensor:
    """Derivative in the vector of the spoke that a row belongs to, summed over its slots."""
    n_rows, n_shells, width = terms.shell.shape
    # Half, because the mean distance moves half as far as either neighbour; -2 eta: a Gaussian.
    stretch = terms.shell_moment * (-eta * terms.weight)[:, None]
    stretch.addcmul_(terms.shell, terms.weight_slope_p[:, None])
    along = torch.bmm(stretch, terms.section.transpose(1, 2))
    across = (terms.shell * terms.weight[:, None])[:, None] * terms.units_q.transpose(0, 1)[
        :, :, None
    ]
    turn = torch.bmm(
        across.reshape(n_rows, 3 * n_shells, width), terms.section_slope.transpose(1, 2)
    ).view(n_rows, 3, -1)
    units = near.units[:, spoke].T[:, :, None]
    # Only what is perpendicular to a spoke turns it.
    turn -= (turn * units).sum(1, keepdim=True) * units
    turn /= near.distances[spoke, None, None]
    turn.addcmul_(along.view(n_rows, 1, -1), units)
    return turn.transpose(1, 2).reshape(n_rows, -1)


def _pair_channels(
    n_elements: int, device: torch.device
) -> Int[Tensor, "elements elements"]:
    """Number of the angular channel of each two elements."""
    first, second = torch.triu_indices(n_elements, n_elements, device=device)
    channel = torch.zeros(n_elements, n_elements, dtype=torch.long, device=device)
    channel[first, second] = torch.arange(len(first), device=device)
    channel[second, first] = channel[first, second]
    return channel
