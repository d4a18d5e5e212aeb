"""Molecules in boxes: found across the faces, put together, and which are near which."""

import numpy as np
import pytest
from ase.build import molecule

from alflow.core.structures import Structure
from alflow.samplers.bonds import Molecules, bonds, near_pairs, neighbours

WATER = molecule("H2O")


def waters(centres, cell_A=None, wrap=False):
    positions = np.concatenate([WATER.positions + centre for centre in centres])
    cell = None
    if cell_A is not None:
        cell = np.array([[cell_A, 0, 0], [0.3 * cell_A, cell_A, 0], [0, 0, cell_A]])
        if wrap:
            positions = (positions @ np.linalg.inv(cell) % 1.0) @ cell
    return Structure(
        np.tile(WATER.numbers, len(centres)).astype(np.uint8),
        positions,
        cell,
        np.full(3, cell_A is not None),
    )


def test_bonds_are_those_of_the_molecule():
    found = bonds(waters([[0, 0, 0], [3, 0, 0]]))
    pairs = set(zip(found.i.tolist(), found.j.tolist(), strict=True))
    assert {(i, j) for i, j in pairs if i < j} == {(0, 1), (0, 2), (3, 4), (3, 5)}
    assert neighbours(waters([[0, 0, 0]]), bonds(waters([[0, 0, 0]]))) == [[1, 2], [0], [0]]


@pytest.mark.parametrize("seed", range(5))
def test_wrapped_molecules_are_put_together(seed):
    stream = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[[0, 4.0]] * 3, indexing="ij"), -1).reshape(-1, 3)
    centres = grid + stream.uniform(0, 8, 3)
    box = waters(centres, 8.0, wrap=True)
    found = Molecules.of(box)
    assert found.n_molecules == 8
    assert found.of_atom.tolist() == np.repeat(np.arange(8), 3).tolist()
    assert found.endless == frozenset()
    for number in range(8):
        part = found.positions_of(number)
        inside = part[:, None] - part
        expected = WATER.positions[:, None] - WATER.positions
        assert inside == pytest.approx(expected, abs=1e-6)


def test_a_metal_is_endless_and_a_molecule_beside_it_is_not(crystal):
    assert Molecules.of(crystal(1)).endless == frozenset([0])
    # one cell of a crystal with images only: bonded to itself
    lone = Structure(
        np.array([13], np.uint8), np.zeros((1, 3)), np.eye(3) * 2.6, np.ones(3, bool)
    )
    assert Molecules.of(lone).endless == frozenset([0])
    slab = crystal(1)
    cell = np.array(slab.cell)
    cell[2, 2] = 20.0
    both = Structure(
        np.concatenate([slab.numbers, WATER.numbers]).astype(np.uint8),
        np.concatenate([slab.positions, WATER.positions + np.array([2.0, 2, 10])]),
        cell,
        np.ones(3, bool),
    )
    found = Molecules.of(both)
    assert (found.n_molecules, found.endless) == (2, frozenset([0]))


@pytest.mark.parametrize("seed", range(5))
def test_neighbours_come_nearest_first_and_from_the_nearest_image(seed):
    """Against all images of all molecules, one by one."""
    stream = np.random.default_rng(seed)
    centres = stream.uniform(0, 12, (6, 3))
    while (
        np.linalg.norm(
            centres[:, None] - centres + np.eye(6)[:, :, None] * 99, axis=-1
        ).min()
        < 3
    ):
        centres = stream.uniform(0, 12, (6, 3))
    box = waters(centres, 15.0)
    found = Molecules.of(box)
    reach = near_pairs(found.whole, 9.0)
    shifts = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), -1).reshape(-1, 3)
    for centre in range(6):
        here = found.positions_of(centre)
        best = {}
        for other in set(range(6)) - {centre}:
            for shift in shifts.tolist():
                there = found.positions_of(other, shift)
                gap = np.linalg.norm(here[:, None] - there, axis=-1).min()
                if gap < 9.0 and gap < best.get(other, (np.inf,))[0]:
                    best[other] = gap, shift
        expected = sorted((gap, other, shift) for other, (gap, shift) in best.items())
        assert found.around(centre, reach) == [(m, shift) for _, m, shift in expected]
