"""Neighbour lists of batches: periodic or not, cells smaller than the cutoff included."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from vesin import NeighborList

from alflow.core.structures import Structure
from alflow.models.compiled import is_switched_off, usable
from alflow.models.potential import Batch, Pairs

MOST_IMAGES = 500
"""Images of a cell within the cutoff, along one vector: more are a mistake."""
MODULES, SOURCES = ("alflow.models.pair_search",), ("pair_search.py",)

Found = tuple[
    Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"], Float[np.ndarray, "pairs 3"]
]
_NONE: Found = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 3)))


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
    first = np.concatenate([[0], np.cumsum(batch.atoms_per_system.cpu().numpy())])
    is_compiled = not is_switched_off() and usable("of neighbour lists", MODULES, SOURCES)
    find = _compiled_pairs if is_compiled else _library_pairs
    # What is not finite is not searched, and spoils no other system.
    is_finite = batch.is_finite.cpu().numpy()
    cells = np.where(is_finite[:, None, None], cells, np.eye(3))
    i, j, shifts = find(positions, cells, pbc, first, is_finite, cutoff_A)
    device = batch.positions.device
    return Pairs(
        torch.from_numpy(i).to(device),
        torch.from_numpy(j).to(device),
        torch.from_numpy(shifts).to(device, batch.positions.dtype),
    )


def prepare_search() -> None:
    """Let the search be compiled, where it is not yet: the first time takes up to half a minute."""
    numbers, positions = np.ones(2, np.uint8), np.eye(3)[:2]
    cell = Structure(numbers, positions, 9.0 * np.eye(3), np.ones(3, bool))
    neighbour_pairs(Batch.from_structures([cell, Structure(numbers, positions)]), 2.0)


def _compiled_pairs(
    positions: Float[np.ndarray, "atoms 3"],
    cells: Float[np.ndarray, "systems 3 3"],
    pbc: Bool[np.ndarray, "systems 3"],
    first: Int[np.ndarray, " ends"],
    is_finite: Bool[np.ndarray, " systems"],
    cutoff_A: float,
) -> Found:
    """Pairs by our own search: ten times faster for the small systems that sampling has."""
    from alflow.models.pair_search import search

    boxes = cells.copy()
    for system in np.flatnonzero(~pbc.all(1)):
        boxes[system] = _completed(cells[system], pbc[system])
    _check_cells(boxes, pbc, cutoff_A)
    inverses = np.linalg.inv(boxes)
    found: Found = search(positions, boxes, inverses, pbc, first, is_finite, cutoff_A)
    return found


def _check_cells(
    boxes: Float[np.ndarray, "systems 3 3"],
    pbc: Bool[np.ndarray, "systems 3"],
    cutoff_A: float,
) -> None:
    """Refuse cells with too many images within reach."""
    areas = np.linalg.norm(np.cross(boxes[:, [1, 2, 0]], boxes[:, [2, 0, 1]]), axis=2)
    volumes = np.abs(np.linalg.det(boxes))
    flat = (volumes[:, None] * MOST_IMAGES < areas * cutoff_A) & pbc
    if flat.any():
        system = int(np.flatnonzero(flat.any(1))[0])
        raise ValueError(
            f"system {system}: its periodic cell is flat or empty beside a cutoff of "
            f"{cutoff_A:g} Å: {boxes[system].tolist()}"
        )


def _library_pairs(
    positions: Float[np.ndarray, "atoms 3"],
    cells: Float[np.ndarray, "systems 3 3"],
    pbc: Bool[np.ndarray, "systems 3"],
    first: Int[np.ndarray, " ends"],
    is_finite: Bool[np.ndarray, " systems"],
    cutoff_A: float,
) -> Found:
    """Pairs by vesin."""
    search = NeighborList(cutoff=cutoff_A, full_list=True, n_threads=1)
    parts: list[Found] = [_NONE]
    for system in np.flatnonzero(is_finite):
        start, end = first[system : system + 2]
        box = _completed(cells[system], pbc[system])
        i, j, shifts = search.compute(positions[start:end], box, pbc[system], "ijS")
        i, j = i.astype(np.int64) + start, j.astype(np.int64) + start
        parts.append((i, j, shifts.astype(np.float64)))
    i, j, shifts = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = _order(i, j, shifts.astype(np.int64))
    return i[order], j[order], shifts[order]


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
