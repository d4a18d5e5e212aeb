"""Forces are minus the derivative of the energy, and the energy knows no frame of reference."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alflow.core.structures import Structure
from alflow.models.ani.settings import AniSettings
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch

pytestmark = pytest.mark.physics

REACH_A = 5.0
CASES = {"molecule": (False,) * 3, "crystal": (True,) * 3, "slab": (True, True, False)}


@pytest.fixture(scope="module")
def ensemble():
    return AniSettings(
        members=3,
        hidden=(16, 12),
        dtype="float64",
        radial_cutoff_A=REACH_A,
        angular_cutoff_A=4.0,
    ).create((1, 8), seed=2)


def make(case, n_atoms=9, length_A=5.6, seed=1):
    rng = np.random.default_rng(seed)
    sites = np.stack(np.meshgrid(*[np.arange(3)] * 3), -1).reshape(-1, 3)
    chosen = rng.permutation(27)[:n_atoms]
    positions = (sites[chosen] + rng.uniform(-0.2, 0.2, (n_atoms, 3))) * length_A / 3
    cell = np.eye(3) * length_A + rng.uniform(-0.3, 0.3, (3, 3))
    numbers = rng.choice([1, 8], n_atoms).astype(np.uint8)
    pbc = np.array(CASES[case])
    return Structure(numbers, positions, cell if pbc.any() else None, pbc)


def energies_of(ensemble, *structures):
    batch = Batch.from_structures(structures)
    return ensemble.evaluate(batch, neighbour_pairs(batch, REACH_A), forces="none").energies


def member_forces_of(ensemble, structure):
    batch = Batch.from_structures([structure])
    pairs = neighbour_pairs(batch, REACH_A)
    return ensemble.evaluate(batch, pairs, forces="members").member_forces


@pytest.mark.parametrize("case", CASES)
def test_forces_are_the_slope_of_the_energy(ensemble, case):
    """Central differences of fourth order, every coordinate, every member and their mean."""
    structure = make(case)
    step, n = 1e-3, structure.n_atoms
    batch = Batch.from_structures([structure] * (4 * 3 * n))
    moves = torch.zeros(4, 3 * n, n, 3, dtype=torch.float64)
    for k, factor in enumerate((-2, -1, 1, 2)):
        for coordinate in range(3 * n):
            moves[k, coordinate, coordinate // 3, coordinate % 3] = factor * step
    moved = dataclasses.replace(batch, positions=batch.positions + moves.view(-1, 3))
    result = ensemble.evaluate(moved, neighbour_pairs(moved, REACH_A), forces="none")
    e = result.energies.view(3, 4, 3 * n)
    slope = (e[:, 0] - 8 * e[:, 1] + 8 * e[:, 2] - e[:, 3]) / (12 * step)
    members = member_forces_of(ensemble, structure)
    scale = members.abs().max()
    assert (members.view(3, -1) + slope).abs().max() < 1e-6 * scale
    alone = Batch.from_structures([structure])
    mean = ensemble.evaluate(alone, neighbour_pairs(alone, REACH_A)).forces
    assert (mean.flatten() + slope.mean(0)).abs().max() < 1e-6 * scale


@pytest.mark.parametrize("case", CASES)
@given(seed=st.integers(0, 2**32))
@settings(max_examples=10, deadline=None)
def test_rotation_translation_and_order_do_not_matter(ensemble, case, seed):
    structure = make(case)
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    order = rng.permutation(structure.n_atoms)
    moved = Structure(
        structure.numbers[order],
        (structure.positions @ rotation + rng.uniform(-20, 20, 3))[order],
        None if structure.cell is None else structure.cell @ rotation,
        structure.pbc,
    )
    energies = energies_of(ensemble, structure, moved)
    assert (energies[:, 0] - energies[:, 1]).abs().max() < 1e-6
    turned = member_forces_of(ensemble, structure) @ torch.from_numpy(rotation)
    assert (member_forces_of(ensemble, moved) - turned[:, order]).abs().max() < 1e-6


def repeated(structure, *times):
    shifts = np.stack(np.meshgrid(*[np.arange(n) for n in times]), -1).reshape(-1, 3)
    images = structure.positions[None] + (shifts @ structure.cell)[:, None]
    return Structure(
        np.tile(structure.numbers, len(shifts)),
        images.reshape(-1, 3),
        structure.cell * np.array(times)[:, None],
        structure.pbc,
    )


@pytest.mark.parametrize("times", [(2, 1, 1), (1, 3, 1), (2, 2, 2)])
def test_a_supercell_has_the_same_energy_per_atom(ensemble, times):
    """The cell is smaller than twice the cutoff: atoms see images of themselves."""
    cell = make("crystal")
    energies = energies_of(ensemble, cell, repeated(cell, *times))
    assert (energies[:, 0] * np.prod(times) - energies[:, 1]).abs().max() < 1e-6


def test_a_cell_smaller_than_the_cutoff(ensemble):
    one = Structure(
        np.array([8], np.uint8),
        np.zeros((1, 3)),
        np.diag([2.4, 2.5, 2.7]),
        np.ones(3, bool),
    )
    energies = energies_of(ensemble, one, repeated(one, 4, 4, 4))
    assert (energies[:, 0] * 64 - energies[:, 1]).abs().max() < 1e-6
    assert member_forces_of(ensemble, one).abs().max() < 1e-9


def test_a_large_empty_cell_is_no_cell(ensemble):
    molecule = make("molecule")
    boxed = Structure(
        molecule.numbers, molecule.positions, np.eye(3) * 30.0, np.ones(3, bool)
    )
    energies = energies_of(ensemble, molecule, boxed)
    assert (energies[:, 0] - energies[:, 1]).abs().max() < 1e-9


@pytest.mark.parametrize("case", CASES)
def test_forces_sum_to_zero(ensemble, case):
    total = member_forces_of(ensemble, make(case)).sum(1)
    assert total.abs().max() < 1e-10


@pytest.mark.parametrize("distance_A", [REACH_A, 4.0])
def test_the_energy_is_smooth_at_the_cutoffs(ensemble, distance_A):
    """Where a neighbour leaves the radial or the angular part, energy and force are continuous."""

    def forces(gap):
        numbers = np.array([8, 8, 1], np.uint8)
        positions = np.array([[0.0, 0, 0], [distance_A + gap, 0, 0], [0, 1.0, 0]])
        structure = Structure(numbers, positions)
        return energies_of(ensemble, structure), member_forces_of(ensemble, structure)

    (e_in, f_in), (e_out, f_out) = forces(-1e-6), forces(1e-6)
    assert (e_in - e_out).abs().max() < 1e-5
    assert (f_in - f_out).abs().max() < 1e-5
