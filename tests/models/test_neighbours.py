"""Neighbour lists against every pair and image written out."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alflow.core.structures import Structure
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch


@pytest.fixture(params=["compiled", "library"], scope="module", autouse=True)
def backend(request):
    """Every test runs on our own search and on the library that stands in for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALFLOW_KERNELS", "torch" if request.param == "library" else "")
        yield request.param


def brute_force(structure, cutoff_A):
    cell = np.zeros((3, 3)) if structure.cell is None else structure.cell
    shifts = np.array(
        list(itertools.product(*[range(-9, 10) if p else [0] for p in structure.pbc]))
    )
    vectors = structure.positions[None] - structure.positions[:, None]
    lengths = np.linalg.norm(vectors[:, :, None] + shifts @ cell, axis=3)
    lengths[np.ix_(*[range(structure.n_atoms)] * 2, (shifts == 0).all(1))] += np.where(
        np.eye(structure.n_atoms, dtype=bool), np.inf, 0.0
    )[..., None]
    i, j, k = np.nonzero(lengths < cutoff_A)
    return list(zip(i.tolist(), j.tolist(), map(tuple, shifts[k].tolist()), strict=True))


def as_list(pairs):
    shifts = map(tuple, pairs.shifts.int().tolist())
    return list(zip(pairs.i.tolist(), pairs.j.tolist(), shifts, strict=True))


@given(
    seed=st.integers(0, 2**32),
    pbc=st.tuples(*[st.booleans()] * 3),
    n_atoms=st.integers(1, 6),
    has_flat_cell=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_finds_every_pair_in_order(seed, pbc, n_atoms, has_flat_cell):
    rng = np.random.default_rng(seed)
    length = rng.uniform(2.0, 6.0)
    cell = (np.eye(3) + rng.uniform(-0.3, 0.3, (3, 3))) * length
    if has_flat_cell:
        cell[~np.array(pbc)] = 0.0
    positions = rng.uniform(-1.5, 1.5, (n_atoms, 3)) * length
    numbers = np.full(n_atoms, 13, np.uint8)
    structure = Structure(numbers, positions, cell if any(pbc) else None, np.array(pbc))
    cutoff = rng.uniform(1.0, 5.0)
    pairs = neighbour_pairs(Batch.from_structures([structure]), cutoff)
    assert as_list(pairs) == brute_force(structure, cutoff)


def test_a_batch_is_its_systems_one_after_the_other(mixed_structures):
    found = as_list(neighbour_pairs(Batch.from_structures(mixed_structures), 5.0))
    expected, offset = [], 0
    for structure in mixed_structures:
        alone = as_list(neighbour_pairs(Batch.from_structures([structure]), 5.0))
        expected += [(i + offset, j + offset, shift) for i, j, shift in alone]
        offset += structure.n_atoms
    assert found == expected


def test_vectors_are_within_the_cutoff(mixed_structures):
    batch = Batch.from_structures(mixed_structures)
    pairs = neighbour_pairs(batch, 4.0)
    lengths = pairs.vectors(batch).norm(dim=1)
    assert lengths.max() < 4.0
    assert (torch.diff(pairs.i) >= 0).all()


def test_a_system_that_is_not_finite_has_no_pairs_and_spoils_no_other(mixed_structures):
    batch = Batch.from_structures(mixed_structures)
    positions = batch.positions.clone()
    positions[2, 1] = torch.nan
    broken = dataclasses.replace(batch, positions=positions)
    pairs = neighbour_pairs(broken, 5.0)
    intact = neighbour_pairs(batch, 5.0)
    others = intact.i >= mixed_structures[0].n_atoms
    assert torch.equal(pairs.i, intact.i[others])
    assert torch.equal(pairs.j, intact.j[others])
    assert broken.is_finite.tolist() == [False] + [True] * (len(mixed_structures) - 1)
    cells = batch.cells.clone()
    cells[3, 0, 0] = torch.inf
    assert not dataclasses.replace(batch, cells=cells).is_finite[3]


def test_an_isolated_atom_has_no_pairs():
    batch = Batch.from_structures([Structure(np.array([1], np.uint8), np.zeros((1, 3)))])
    assert len(neighbour_pairs(batch, 5.0).i) == 0


@given(
    seed=st.integers(0, 2**32),
    pbc=st.tuples(*[st.booleans()] * 3),
    n_atoms=st.integers(20, 80),
    stretch=st.sampled_from([1.0, 3.0, 10.0]),
    turns=st.sampled_from([0, 1, 3]),
)
@settings(max_examples=40, deadline=None)
def test_bins_miss_nothing(seed, pbc, n_atoms, stretch, turns):
    """Many atoms, in boxes that are cubes or long or slanted, and far outside of them."""
    rng = np.random.default_rng(seed)
    cell = np.diag(rng.uniform(4.0, 9.0, 3)) + np.triu(rng.uniform(-4, 4, (3, 3)), 1)
    cell[rng.integers(3)] *= stretch
    cell = cell @ np.linalg.qr(rng.standard_normal((3, 3)))[0]
    inside = rng.uniform(-0.1, 1.1, (n_atoms, 3))
    away = rng.integers(-turns, turns + 1, (n_atoms, 3)) * np.array(pbc)
    structure = Structure(
        np.full(n_atoms, 13, np.uint8),
        (inside + away) @ cell,
        cell if any(pbc) else None,
        np.array(pbc),
    )
    batch = Batch.from_structures([structure])
    cutoff = rng.uniform(2.0, 7.0)
    found = []
    for switch in ("", "torch"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ALFLOW_KERNELS", switch)
            found.append(as_list(neighbour_pairs(batch, cutoff)))
    assert found[0] == found[1]


def test_a_flat_cell_is_refused(backend):
    cell = torch.tensor([[4.0, 0, 0], [0, 4.0, 0], [4.0, 4.0, 1e-9]], dtype=torch.float64)
    batch = Batch(
        torch.zeros(1, 3, dtype=torch.float64),
        torch.tensor([13]),
        torch.tensor([0]),
        cell[None],
        torch.ones(1, 3, dtype=torch.bool),
    )
    if backend == "library":
        pytest.skip("vesin has its own rules")
    with pytest.raises(ValueError, match=r"system 0: its periodic cell is flat"):
        neighbour_pairs(batch, 5.0)
