"""Normal modes against what can be solved on paper."""

import numpy as np
import pytest

from alflow.core.elements import MASSES_AMU
from alflow.core.structures import Structure
from alflow.core.units import (
    ACCELERATION_PER_FORCE,
    BOLTZMANN_EV_PER_K,
    SPEED_OF_LIGHT_CM_PER_FS,
)
from alflow.samplers.modes import Modes, hessian, normal_modes

K = 30.0
OXYGEN, H, C = 8, 1, 6


def molecule(numbers, positions, **more):
    return Structure(np.array(numbers, np.uint8), np.array(positions, float), **more)


def wavenumber(stiffness):
    """Of an eigenvalue of the mass-weighted Hessian [eV/(Å² amu)]."""
    return np.sqrt(stiffness * ACCELERATION_PER_FORCE) / (
        2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS
    )


def modes_of(structure, springs):
    return normal_modes(structure, hessian(structure, springs((K,), (1.0,))))


def test_a_wavenumber_is_that_of_a_known_molecule():
    """HCl: 516 N/m and 2990 per cm (harmonic)."""
    k = 516.0 / 16.02176634
    reduced = 1 / (1 / 1.008 + 1 / 34.969)
    assert wavenumber(k / reduced) == pytest.approx(2990, abs=5)


def test_a_dimer_vibrates_with_its_reduced_mass(springs):
    found = modes_of(molecule([OXYGEN, H], [[0, 0, 0], [0.6, 0.8, 0]]), springs)
    reduced = 1 / (1 / MASSES_AMU[OXYGEN] + 1 / MASSES_AMU[H])
    assert found.wavenumbers_per_cm == pytest.approx([wavenumber(K / reduced)], rel=1e-4)
    # along the bond, the light atom moves more, the centre of mass stays
    (shape,) = found.shapes
    assert np.abs(np.cross(shape, [0.6, 0.8, 0])).max() < 1e-6
    assert MASSES_AMU[[OXYGEN, H]] @ shape == pytest.approx(np.zeros(3), abs=1e-9)


def test_a_linear_trimer_has_two_stretches_and_two_bends(springs):
    """O=C=O with bonds only: k/M and k(1/M + 2/m), and two bends without a force."""
    found = modes_of(
        molecule([OXYGEN, C, OXYGEN], [[-1, 0, 0], [0, 0, 0], [1, 0, 0]]), springs
    )
    heavy, centre = MASSES_AMU[OXYGEN], MASSES_AMU[C]
    expected = [0, 0, wavenumber(K / heavy), wavenumber(K * (1 / heavy + 2 / centre))]
    # a bend stretches a bond in second order of the step only
    assert found.wavenumbers_per_cm[:2] == pytest.approx([0, 0], abs=30)
    assert found.wavenumbers_per_cm[2:] == pytest.approx(expected[2:], rel=1e-4)


def test_a_triangle_breathes_and_has_a_pair_of_equal_modes(springs):
    """Equal masses at equal distances: 3k/m once, 3k/(2m) twice."""
    corner = np.sqrt(3) / 2
    found = modes_of(molecule([C] * 3, [[0, 0, 0], [1, 0, 0], [0.5, corner, 0]]), springs)
    m = MASSES_AMU[C]
    expected = [wavenumber(1.5 * K / m)] * 2 + [wavenumber(3 * K / m)]
    assert found.wavenumbers_per_cm == pytest.approx(expected, rel=1e-4)


def test_only_translations_are_left_out_of_a_crystal(springs):
    """A cubic chain of springs: the modes of a 2x2x2 cell are the phonons at its corners."""
    grid = np.stack(np.meshgrid([0, 1.0], [0, 1.0], [0, 1.0], indexing="ij"), -1)
    box = molecule([C] * 8, grid.reshape(-1, 3), cell=np.eye(3) * 2.0, pbc=np.ones(3, bool))
    found = normal_modes(box, hessian(box, springs((K,), (1.0,), 1.2)))
    assert len(found.stiffness) == 21
    # along each axis the four waves that alternate have 4k/m, those that do not have none
    top = wavenumber(4 * K / MASSES_AMU[C])
    assert found.wavenumbers_per_cm[-12:] == pytest.approx([top] * 12, rel=1e-3)
    assert np.abs(found.wavenumbers_per_cm[:9]).max() < 0.03 * top


def test_a_compressed_bond_has_imaginary_bends(springs):
    found = modes_of(
        molecule([OXYGEN, C, OXYGEN], [[-0.9, 0, 0], [0, 0, 0], [0.9, 0, 0]]), springs
    )
    assert (found.wavenumbers_per_cm[:2] < -100).all()
    assert (found.stiffness[2:] > 0).all()


def test_a_lone_atom_does_not_vibrate(springs):
    assert len(modes_of(molecule([OXYGEN], [[1, 2, 3]]), springs).stiffness) == 0


def test_all_copies_are_evaluated_together_and_in_parts_alike(springs, monkeypatch):
    water = molecule([OXYGEN, H, H], [[0, 0, 0], [0.9, 0, 0], [0, 0.95, 0.1]])
    potential = springs((K, K + 1), (1.0, 0.9))
    whole = hessian(water, potential)
    assert potential.n_systems == [18]
    monkeypatch.setattr("alflow.samplers.modes.MOST_ATOMS_TOGETHER", 20)
    assert np.array_equal(hessian(water, potential), whole)
    assert potential.n_systems[1:] == [6, 6, 6]


@pytest.mark.physics
def test_drawn_displacements_have_the_energy_of_equipartition(springs):
    """kT/2 for each mode, with the variance of one squared normal number."""
    corner = np.sqrt(3) / 2
    start = molecule([C, OXYGEN, H], [[0, 0, 0], [1, 0, 0], [0.5, corner, 0]])
    second = hessian(start, springs((K,), (1.0,)))
    modes = normal_modes(start, second)
    stream = np.random.default_rng(5)
    draws = np.array([modes.draw(stream, 400.0, 10.0).ravel() for _ in range(4000)])
    kT = BOLTZMANN_EV_PER_K * 400.0
    energies = 0.5 * np.einsum("na,ab,nb->n", draws, second, draws)
    assert energies.mean() == pytest.approx(3 * kT / 2, rel=0.05)
    assert energies.var() == pytest.approx(3 * kT**2 / 2, rel=0.15)
    masses = np.repeat(MASSES_AMU[start.numbers], 3)
    coordinates = np.einsum("na,a,ma->nm", draws, masses, modes.shapes.reshape(3, 9))
    of_modes = 0.5 * (coordinates**2).mean(0) * modes.stiffness
    assert of_modes == pytest.approx([kT / 2] * 3, rel=0.1)
    assert np.corrcoef(coordinates.T)[np.triu_indices(3, 1)] == pytest.approx(0, abs=0.06)
    # neither shifted nor turned
    momenta = (draws * masses).reshape(-1, 3, 3)
    assert np.abs(momenta.sum(1)).max() < 1e-9
    centre = (MASSES_AMU[start.numbers] @ start.positions) / MASSES_AMU[start.numbers].sum()
    assert np.abs(np.cross(start.positions - centre, momenta).sum(1)).max() < 1e-8


def test_soft_and_imaginary_modes_move_as_the_softest_that_is_allowed():
    shapes = np.ones((3, 1, 3))
    modes = Modes(np.array([-1.0, 1e-9, 1.0]), shapes)
    stiffest = wavenumber(1.0)
    drawn = modes.draw(np.random.default_rng(1), 300.0, stiffest)
    same = Modes(np.ones(3), shapes).draw(np.random.default_rng(1), 300.0, 1.0)
    assert drawn == pytest.approx(same, rel=1e-9)
