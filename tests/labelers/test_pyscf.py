"""Labels from PySCF: right numbers, and a value for everything that goes wrong."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from alflow import registry
from alflow.core.errors import SettingsError, SiteError
from alflow.core.labels import Failure, FailureKind, Label
from alflow.core.structures import Structure
from alflow.labelers import engine, scf
from alflow.labelers.pyscf import PyscfSettings
from alflow.labelers.quality import judge_forces

WATER = np.array([[0, 0, 0.119262], [0, 0.763239, -0.477047], [0, -0.763239, -0.477047]])


def water(scale: float = 1.0, **changes) -> Structure:
    return Structure(np.array([8, 1, 1], np.uint8), WATER * scale, **changes)


def failure(settings: PyscfSettings, structure: Structure) -> Failure:
    answer = settings.create().label(structure)
    assert isinstance(answer, Failure), answer
    return answer


def label(settings: PyscfSettings, structure: Structure) -> Label:
    answer = settings.create().label(structure)
    assert isinstance(answer, Label), answer
    return answer


@pytest.fixture(scope="module")
def hartree_fock() -> PyscfSettings:
    return PyscfSettings(method="hf", basis="6-31g*")


def test_entry_point_finds_it():
    assert registry.find("labelers", "pyscf") is PyscfSettings


def test_water_has_the_energy_of_the_textbooks():
    exact = PyscfSettings(method="hf", basis="6-31g*", cartesian=True, density_fit=False)
    result = label(exact, water())
    assert result.energy / 27.211386245988 == pytest.approx(-76.00981, abs=1e-5)
    assert result.stress is None
    assert result.extras["rung"] == "diis"
    assert result.extras["program"].startswith("pyscf 2.")
    assert result.extras["net_force_eV_per_A"] < 1e-4
    assert "spin_square" not in result.extras


@pytest.mark.parametrize("method", ["hf", "pbe"])
def test_forces_are_the_slope_of_the_energy(method):
    settings = PyscfSettings(
        method=method, basis="6-31g", grid_level=2, conv_tol_hartree=1e-11
    )
    forces = label(settings, water(1.05)).forces
    assert forces is not None
    step, ends = 2e-3, []
    for sign in (1, -1):
        moved = WATER * 1.05
        moved[1, 1] += sign * step
        ends.append(label(settings, Structure(np.array([8, 1, 1], np.uint8), moved)).energy)
    assert forces[1, 1] == pytest.approx(-(ends[0] - ends[1]) / (2 * step), abs=5e-4)


def test_same_structure_gives_the_same_numbers_whatever_came_before(hartree_fock):
    labeler = hartree_fock.create()
    first = labeler.label(water())
    labeler.label(water(1.2))
    second = labeler.label(water())
    assert isinstance(first, Label)
    assert isinstance(second, Label)
    assert second.energy == first.energy
    assert np.array_equal(second.forces, first.forces)


def test_coarse_start_does_not_move_the_converged_energy(monkeypatch):
    settings = PyscfSettings(method="pbe", basis="6-31g", grid_level=3)
    started = label(settings, water())
    monkeypatch.setattr(scf, "COARSE_GRID_LEVEL", 9)
    direct = label(settings, water())
    assert started.energy == pytest.approx(direct.energy, abs=1e-7)
    assert np.abs(started.forces - direct.forces).max() < 2e-4


def test_radicals_are_unrestricted_and_tell_their_spin(hartree_fock):
    hydroxyl = Structure(
        np.array([8, 1], np.uint8), np.array([[0, 0, 0], [0, 0, 0.97]]), multiplicity=2
    )
    result = label(hartree_fock, hydroxyl)
    assert result.extras["spin_square"] == pytest.approx(0.75, abs=0.01)
    assert 0 <= result.extras["contamination"] < 0.01


def test_broken_symmetry_finds_the_lower_state_of_a_broken_bond(hartree_fock):
    apart = Structure(np.array([1, 1], np.uint8), np.array([[0, 0, 0], [0, 0, 3.0]]))
    closed = label(hartree_fock, apart)
    broken = label(PyscfSettings(method="hf", basis="6-31g*", unrestricted=True), apart)
    assert closed.energy - broken.energy > 3.0
    assert broken.extras["spin_square"] == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    ("structure", "words"),
    [
        (water(multiplicity=2), "multiplicity 2"),
        (water(charge=1), "9 electrons"),
        (water(charge=10), "0 electrons"),
        (water(cell=np.eye(3) * 8, pbc=np.ones(3, bool)), "periodic"),
        (
            Structure(np.array([53, 1], np.uint8), np.array([[0, 0, 0], [0, 0, 1.6]])),
            "core potential",
        ),
    ],
)
def test_impossible_input_is_told_before_any_calculation(hartree_fock, structure, words):
    found = failure(hartree_fock, structure)
    assert found.kind is FailureKind.INVALID_INPUT
    assert words in found.message


def test_atoms_that_are_too_close_are_rejected_before_any_calculation(hartree_fock):
    found = failure(hartree_fock, water(0.3))
    assert found.kind is FailureKind.BAD_GEOMETRY
    assert "O0 and H1 are 0.291 Å apart" in found.message


def test_elements_without_a_basis_are_invalid_input():
    potassium = Structure(np.array([19, 9], np.uint8), np.array([[0, 0, 0], [0, 0, 2.2]]))
    found = failure(
        PyscfSettings(method="hf", basis="def2-svp", auxbasis="cc-pvdz-jkfit"), potassium
    )
    assert found.kind is FailureKind.INVALID_INPUT


def test_force_cap_puts_labels_aside():
    settings = PyscfSettings(method="hf", basis="6-31g*", force_cap_eV_per_A=1.0)
    found = failure(settings, water(1.2))
    assert found.kind is FailureKind.SUSPICIOUS
    assert found.details["max_force_eV_per_A"] > 1.0


def test_quality_of_forces():
    limits = {"force_cap_eV_per_A": 10.0, "net_force_eV_per_A": 1e-3}
    sound = np.array([[1.0, 0, 0], [-1.0, 0, 0]])
    assert judge_forces(sound, **limits) is None
    noisy = judge_forces(sound + np.array([0.01, 0, 0]), **limits)
    assert noisy is not None
    assert "net force" in noisy.message
    broken = judge_forces(sound * np.nan, **limits)
    assert broken is not None
    assert "finite" in broken.message


def test_no_force_comes_from_an_unconverged_field(monkeypatch):
    monkeypatch.setattr(scf, "NEWTON_CYCLES", 1)
    monkeypatch.setattr(scf, "gradient", None)
    settings = PyscfSettings(method="hf", basis="6-31g*", max_cycle=2)
    found = failure(settings, water())
    assert found.kind is FailureKind.NOT_CONVERGED
    assert not found.is_retryable
    assert [rung["rung"] for rung in found.details["rungs"]] == ["diis", "damped", "newton"]


def test_gradient_refuses_an_unconverged_solver(hartree_fock):
    level = hartree_fock.level()
    limits = scf.Limits(max_cycle=1, max_memory_MB=500)
    solver = (
        scf.converge(scf.molecule(water(), level, limits), level, limits).rungs[0].solver
    )
    with pytest.raises(ValueError, match="unconverged"):
        scf.gradient(solver, level)


@pytest.mark.parametrize("method", ["hf", "pbe"])
def test_newton_rescues_and_finds_the_same_state(method):
    settings = PyscfSettings(method=method, basis="6-31g", grid_level=2)
    rescued = label(settings.model_copy(update={"max_cycle": 3}), water())
    assert rescued.extras["rung"] == "newton"
    usual = label(settings, water())
    assert rescued.energy == pytest.approx(usual.energy, abs=1e-6)
    assert np.abs(rescued.forces - usual.forces).max() < 1e-3


def test_unknown_methods_and_basis_sets_are_refused():
    with pytest.raises(SettingsError, match="no functional 'nosuch'"):
        PyscfSettings(method="nosuch", basis="6-31g").create()
    with pytest.raises(SettingsError, match="no basis set 'nosuch'"):
        PyscfSettings(method="hf", basis="nosuch").create()
    with pytest.raises(ValueError, match="dispersion"):
        PyscfSettings(method="wb97x-d3", basis="6-31g")
    with pytest.raises(ValueError, match="unrestricted"):
        PyscfSettings(method="hf", basis="6-31g", unrestricted=False)


def test_missing_pyscf_is_told(monkeypatch):
    def absent(name):
        raise engine.PackageNotFoundError(name)

    monkeypatch.setattr(engine, "installed_version", absent)
    with pytest.raises(SiteError, match="not installed"):
        PyscfSettings(method="hf", basis="6-31g").create().version()


def test_configuration_in_the_working_directory_is_not_executed(tmp_path: Path):
    (tmp_path / ".pyscf_conf.py").write_text("raise SystemExit('executed')\n")
    code = (
        "import os\n"
        "from alflow.labelers.pyscf import PyscfSettings\n"
        "import sys; assert 'pyscf' not in sys.modules and 'torch' not in sys.modules\n"
        "PyscfSettings(method='hf', basis='6-31g').create()\n"
        "assert 'PYSCF_CONFIG_FILE' not in os.environ\n"
    )
    environment = {**os.environ, "HOME": str(tmp_path)}
    environment.pop("PYSCF_CONFIG_FILE", None)
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment)
