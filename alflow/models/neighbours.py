"""Neighbour lists of batches: periodic or not, cells smaller than the cutoff included."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from vesin import NeighborList

from alflow.models.potential import Batch, Pairs

Found = tuple[
    Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"], Int[np.ndarray, "pairs 3"]
]


def neighbour_pairs(batch: Batch, cutoff_A: float) -> Pairs:
    """Every ordered pair of atoms within a cutoff, periodic images included.

    The pairs are sorted by centre, neighbour and shift, so that equal geometry gives equal
    lists. A system with a coordinate that is not finite gets no pairs: what it is worth is for
    the potential to say.

    Args:
        batch: Systems, each with a cell of its own or none.
        cutoff_A: Largest distance [Å].
    """
    positions = batch.positions.detach().cpu().numpy().astype(np.float64)
    cells = batch.cells.detach().cpu().numpy().astype(np.float64)
    pbc = batch.pbc.cpu().numpy()
    ends = np.cumsum(batch.atoms_per_system.cpu().numpy())
    search = NeighborList(cutoff=cutoff_A, full_list=True, n_threads=1)
    parts = []
    for cell, periodic, start, end in zip(cells, pbc, [0, *ends[:-1]], ends, strict=True):
        i, j, shifts = _pairs_of_system(search, positions[start:end], cell, periodic)
        parts.append((i + start, j + start, shifts))
    i, j, shifts = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = _order(i, j, shifts)
    device = batch.positions.device
    return Pairs(
        torch.from_numpy(i[order]).to(device),
        torch.from_numpy(j[order]).to(device),
        torch.from_numpy(shifts[order]).to(device, batch.positions.dtype),
    )


def finite_systems(batch: Batch) -> Bool[Tensor, " systems"]:
    """Which systems have finite coordinates throughout, (systems,)."""
    finite = batch.cells.isfinite().flatten(1).all(1)
    broken = batch.system_idx[~batch.positions.isfinite().all(1)]
    return finite.index_fill(0, broken, value=False)


def _pairs_of_system(
    search: NeighborList,
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"],
    periodic: Bool[np.ndarray, "3"],
) -> Found:
    if not (np.isfinite(positions).all() and np.isfinite(cell).all()):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 3), np.int64)
    box = _completed(cell, periodic)
    i, j, shifts = search.compute(positions, box, periodic, "ijS")
    return i.astype(np.int64), j.astype(np.int64), shifts.astype(np.int64)


def _completed(
    cell: Float[np.ndarray, "3 3"], periodic: Bool[np.ndarray, "3"]
) -> Float[np.ndarray, "3 3"]:
    """The cell with unit vectors, normal to the periodic ones, where it does not repeat."""
    box = np.where(periodic[:, None], cell, 0.0)
    if not periodic.all():
        # The last right singular vectors span what is orthogonal to the rows that are set.
        normals = np.linalg.svd(box)[2][int(periodic.sum()) :]
        box[~periodic] = normals
    return box


def _order(
    i: Int[np.ndarray, " pairs"],
    j: Int[np.ndarray, " pairs"],
    shifts: Int[np.ndarray, "pairs 3"],
) -> Int[np.ndarray, " pairs"]:
    """Sorting permutation by (i, j, shift), through one integer key because it is fast."""
    reach = int(np.abs(shifts).max(initial=0))
    key = i * (int(j.max(initial=0)) + 1) + j
    for axis in range(3):
        key = key * (2 * reach + 1) + shifts[:, axis] + reach
    return np.argsort(key)
