"""The calculator against finite differences, against the batched evaluation, and as ASE uses it."""

import io

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.calculators.test import gradient_test
from ase.filters import FrechetCellFilter
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS

from alflow.core.errors import SettingsError
from alflow.core.structures import Structure
from alflow.md.ase_calculator import EnsembleCalculator
from alflow.models.ani.ensemble import fresh_ensemble
from alflow.models.ani.settings import AniSettings
from alflow.models.gupta import GuptaPotential
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch

SHAPE = {"members": 3, "hidden": (12,), "radial_cutoff_A": 4.5, "angular_cutoff_A": 3.5}


@pytest.fixture
def pair_ensemble(potentials):
    return potentials.PairPotential((0.10, 0.12, 0.11), (2.6, 2.62, 2.58), 4.5)


def ani(dtype="float64"):
    return fresh_ensemble(AniSettings(**SHAPE, dtype=dtype), [13], 1)


def disturbed(atoms, width_A=0.1, seed=0):
    atoms.positions += width_A * np.random.default_rng(seed).normal(size=(len(atoms), 3))
    return atoms


def crystal(seed=0):
    atoms = bulk("Al", cubic=True)
    atoms.set_cell(atoms.cell[:] @ [[1, 0.05, 0], [0, 1.1, 0.02], [0, 0, 0.95]], True)
    return disturbed(atoms, seed=seed)


@pytest.mark.parametrize("ensemble", ["pair_ensemble", "ani", "gupta"])
def test_forces_and_stress_are_the_derivatives_of_the_energy(ensemble, request):
    potentials = {"ani": ani, "gupta": lambda: GuptaPotential.published("Al")}
    build = potentials.get(ensemble, lambda: request.getfixturevalue(ensemble))
    atoms = crystal()
    atoms.calc = EnsembleCalculator(build())
    forces, stress = atoms.get_forces(), atoms.get_stress()
    assert np.abs(forces).max() > 1e-3
    assert np.abs(stress).max() > 1e-4
    numeric = calculate_numerical_forces(atoms, eps=1e-4)
    assert forces == pytest.approx(numeric, abs=1e-6 * np.abs(forces).max() + 1e-7)
    numeric = calculate_numerical_stress(atoms, eps=1e-4)
    assert stress == pytest.approx(numeric, abs=1e-5 * np.abs(stress).max())


def test_single_precision_gives_a_stress_too():
    atoms = crystal()
    stresses = []
    for dtype in ("float32", "float64"):
        atoms.calc = EnsembleCalculator(ani(dtype))
        stresses.append(atoms.get_stress())
    assert stresses[0] == pytest.approx(stresses[1], abs=2e-3 * np.abs(stresses[1]).max())


def test_ase_finds_the_gradient_right(pair_ensemble):
    atoms = disturbed(Atoms("Al4", [[0, 0, 0], [2.8, 0, 0], [0, 2.8, 0], [0, 0, 2.8]]))
    atoms.calc = EnsembleCalculator(pair_ensemble)
    forces, numeric = gradient_test(atoms)
    assert forces == pytest.approx(numeric, abs=1e-6)


def test_the_spread_is_that_of_the_ensemble(pair_ensemble):
    atoms = crystal()
    atoms.calc = EnsembleCalculator(pair_ensemble)
    atoms.get_potential_energy()
    results = atoms.calc.results
    structure = Structure(
        atoms.numbers.astype(np.uint8), atoms.positions, atoms.cell[:], atoms.pbc
    )
    batch = Batch.from_structures([structure])
    found = pair_ensemble.evaluate(batch, neighbour_pairs(batch, 4.5), forces="members")
    assert results["energy"] == pytest.approx(float(found.energies.mean()), abs=1e-6)
    assert results["member_energies"] == pytest.approx(
        found.energies[:, 0].numpy(), abs=1e-6
    )
    expected = float(found.energies.std(correction=0)) / np.sqrt(len(atoms))
    assert results["energy_spread"] == pytest.approx(expected, rel=1e-5)
    assert results["force_spread"] == pytest.approx(found.force_spread().numpy(), rel=1e-5)
    assert results["force_spread"].shape == (4,)


def test_forces_of_members_are_computed_when_they_are_asked_for(pair_ensemble):
    atoms = crystal()
    atoms.calc = EnsembleCalculator(pair_ensemble, forces="mean")
    quick = atoms.get_forces()
    assert "force_spread" not in atoms.calc.results
    assert pair_ensemble.n_evaluations["members"] == 0
    spread = atoms.calc.get_property("force_spread", atoms)
    assert spread.min() > 0
    assert atoms.get_forces() == pytest.approx(quick, abs=1e-12)


def test_a_path_is_the_same_with_a_list_that_is_kept(pair_ensemble):
    """Atoms move, are replaced, wrapped, strained; the answer is that of a new calculator."""
    kept = EnsembleCalculator(pair_ensemble)
    rng = np.random.default_rng(1)
    atoms = crystal().repeat((2, 1, 1))
    changes = [
        lambda: atoms.rattle(0.05, rng=rng),
        lambda: atoms.rattle(0.8, rng=rng),
        atoms.wrap,
        lambda: atoms.set_cell(atoms.cell[:] * 1.05, scale_atoms=True),
        lambda: atoms.set_pbc((True, True, False)),
        atoms.pop,
        lambda: atoms.translate((9.0, 0.0, 0.0)),
    ]
    for change in changes:
        change()
        energies, forces = [], []
        for calculator in (kept, EnsembleCalculator(pair_ensemble)):
            atoms.calc = calculator
            energies.append(atoms.get_potential_energy())
            forces.append(atoms.get_forces())
        assert energies[0] == pytest.approx(energies[1], rel=1e-12)
        scale = np.abs(forces[1]).max()
        assert forces[0] == pytest.approx(forces[1], abs=1e-11 * scale)


def test_a_molecule_has_no_stress(potentials):
    atoms = molecule("CH3CH2OH")
    atoms.calc = EnsembleCalculator(potentials.PairPotential((0.1,), (1.2,), 4.5))
    with pytest.raises(PropertyNotImplementedError, match="periodic in all directions"):
        atoms.get_stress()
    assert atoms.get_forces().shape == (9, 3)


def test_what_is_not_finite_stays_so():
    atoms = crystal()
    atoms.calc = EnsembleCalculator(ani())
    atoms.get_forces()
    atoms.positions[1, 2] = np.nan
    assert np.isnan(atoms.get_potential_energy())
    assert np.isnan(atoms.get_forces()).all()


def test_ase_relaxes_runs_and_writes_with_it(pair_ensemble):
    atoms = disturbed(bulk("Al", cubic=True), 0.05)
    atoms.calc = EnsembleCalculator(pair_ensemble)
    assert BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-4, steps=200)
    assert np.abs(atoms.get_forces()).max() < 1e-4
    atoms.set_momenta(np.random.default_rng(0).normal(size=(4, 3)))
    before = atoms.get_total_energy()
    VelocityVerlet(atoms, 2 * units.fs).run(100)
    moved = atoms.get_kinetic_energy()
    assert abs(atoms.get_total_energy() - before) < 5e-3 * max(moved, 1e-3)
    text = io.StringIO()
    ase.io.write(text, atoms, format="extxyz")
    text.seek(0)
    again = ase.io.read(text, format="extxyz")
    assert again.get_potential_energy() == pytest.approx(atoms.get_potential_energy())
    assert atoms.get_properties(["energy", "forces"])["energy"] == pytest.approx(
        atoms.get_potential_energy()
    )


def test_energies_and_forces_are_float64_whatever_the_ensemble():
    atoms = crystal()
    atoms.calc = EnsembleCalculator(ani("float32"))
    assert atoms.get_forces().dtype == np.float64
    assert atoms.calc.results["force_spread"].dtype == np.float64


def test_no_atoms_have_no_energy():
    with pytest.raises(SettingsError, match="there are no atoms"):
        EnsembleCalculator(ani()).get_potential_energy(Atoms())
