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
from alflow.labelers import correlated, engine, names, scf, stability
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
    closed = label(hartree_fock.model_copy(update={"stability": "off"}), apart)
    broken = label(PyscfSettings(method="hf", basis="6-31g*", unrestricted=True), apart)
    assert closed.energy - broken.energy > 3.0
    assert broken.extras["spin_square"] == pytest.approx(1.0, abs=0.05)


def apart(symbols: list[int], *rows: tuple[float, float, float], **changes) -> Structure:
    return Structure(np.array(symbols, np.uint8), np.array(rows), **changes)


HYDROXYLS = apart([1, 8, 8, 1], (0, 0.92, 0.3), (0, 0, 0), (3.5, 0, 0), (3.5, -0.92, 0.3))


HYDROGEN = apart([1, 1], (0, 0, 0), (0, 0, 2.5))


@pytest.mark.parametrize(("method", "broken"), [("hf", HYDROXYLS), ("pbe", HYDROGEN)])
def test_a_broken_bond_is_caught_told_or_labelled_with_spins_apart(method, broken):
    def by(policy: str) -> PyscfSettings:
        return PyscfSettings(method=method, basis="6-31g", grid_level=2, stability=policy)

    refused = failure(by("reject"), broken)
    assert refused.kind is FailureKind.SUSPICIOUS
    assert "no ground state" in refused.message
    told, blind, right = (label(by(one), broken) for one in ("flag", "off", "relabel"))
    assert told.energy == blind.energy
    drop = blind.energy - right.energy
    assert drop > 0.5
    assert told.extras["instability_eV"] == pytest.approx(drop, abs=0.05)
    assert refused.details["instability_eV"] == pytest.approx(drop, abs=0.05)
    assert right.extras["spin_square"] == pytest.approx(1.0, abs=0.1)


def test_a_broken_bond_is_caught_where_the_walk_from_the_saddle_ends_too_high():
    rows = [(0, 0, 0), (0.96, 0, 0), (0, 0, 3.5), (-0.96, 0, 3.5)]
    settings = PyscfSettings(method="pbe0", basis="6-31g", grid_level=1)
    refused = failure(settings, apart([8, 1, 8, 1], *rows))
    assert refused.kind is FailureKind.SUSPICIOUS
    assert refused.details["instability_eV"] == pytest.approx(3.1, abs=0.1)


def test_a_closed_shell_that_is_one_is_neither_checked_nor_changed(monkeypatch):
    settings = PyscfSettings(method="pbe", basis="6-31g", grid_level=2)
    found = label(settings, water())
    assert "instability_eV" not in found.extras
    always = settings.model_copy(update={"stability_gap_eV": 1e9})
    checked = label(always, water())
    assert checked.extras["instability_eV"] == 0.0
    assert checked.energy == found.energy


def test_the_eigenvalue_is_that_of_pyscf():
    """The same matrix, built by PySCF from its own pieces and diagonalised."""
    settings = PyscfSettings(method="hf", basis="6-31g", density_fit=False)
    level, limits = settings.level(), scf.Limits(100, 500)
    solver = scf.converge(scf.molecule(HYDROXYLS, level, limits), level, limits).last.solver
    pieces = engine.load("pyscf.scf.stability")._gen_hop_rhf_external(solver, False)
    hessian = np.array([pieces[2](row) for row in np.eye(len(pieces[3]))])
    expected = np.linalg.eigvalsh((hessian + hessian.T) / 2)[0]
    found = stability.instability(solver)
    assert found is not None
    assert found.eigenvalue_hartree == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("method", "share"), [("hf", 1.0), ("pbe", 0.0), ("pbe0", 0.25), ("wb97x", 0.579)]
)
def test_the_gap_that_is_safe_grows_with_exact_exchange(method, share):
    assert stability.exact_exchange(method) == pytest.approx(share, abs=0.001)
    assert stability.safe_gap_eV(method) == pytest.approx(4 + 15 * share, abs=0.02)


def test_a_second_start_finds_the_lower_state_of_an_oxide():
    """Chromium oxide: the usual guess converges 0.9 eV too high (B3LYP/def2-SVP)."""
    oxide = apart([24, 8], (0, 0, 0), (0, 0, 1.62), multiplicity=5)
    settings = PyscfSettings(
        method="hf", basis="def2-svp", contamination_limit=3.0, force_cap_eV_per_A=500
    )
    once = label(settings.model_copy(update={"second_start": False}), oxide)
    twice = label(settings, oxide)
    assert twice.energy <= once.energy + 1e-6
    assert twice.extras["other_start_eV"] >= 0
    assert "other_start_eV" not in once.extras


def test_every_structure_is_started_twice_if_asked(hartree_fock):
    once = label(hartree_fock, water())
    twice = label(hartree_fock.model_copy(update={"second_start": "always"}), water())
    assert "other_start_eV" not in once.extras
    assert twice.extras["other_start_eV"] == pytest.approx(0, abs=1e-6)
    assert twice.energy == pytest.approx(once.energy, abs=1e-6)


def test_what_else_is_in_memory_is_not_counted(monkeypatch):
    """PySCF looks at the whole process, which may be a fork of one with gigabytes in use."""
    monkeypatch.setattr("pyscf.lib.current_memory", lambda: [50_000.0, 50_000.0])
    settings = PyscfSettings(method="mp2", basis="6-31g", frozen_core=False)
    assert label(settings, water()).energy < -2050


def test_states_of_another_spin_are_put_aside(hartree_fock):
    strained = hartree_fock.model_copy(update={"contamination_limit": 1e-4})
    hydroxyl = apart([8, 1], (0, 0, 0), (0, 0, 0.97), multiplicity=2)
    found = failure(strained, hydroxyl)
    assert found.kind is FailureKind.SUSPICIOUS
    assert "states of other spin" in found.message


def test_what_is_chosen_for_broken_bonds_is_part_of_the_level():
    settings = PyscfSettings(method="pbe", basis="6-31g")
    kept = [settings.model_copy(update={"stability": one}) for one in ("flag", "off")]
    assert all(one.level_identity() == settings.level_identity() for one in kept)
    other = settings.model_copy(update={"stability": "relabel"})
    assert other.level_identity() != settings.level_identity()


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
    rungs = ["diis", "damped", "shifted", "atom", "huckel", "newton", "smeared"]
    assert [rung["rung"] for rung in found.details["rungs"]] == rungs


def test_gradient_refuses_an_unconverged_solver(hartree_fock):
    level = hartree_fock.level()
    limits = scf.Limits(max_cycle=1, max_memory_MB=500)
    with engine.one_thread():
        ascent = scf.converge(scf.molecule(water(), level, limits), level, limits)
    with pytest.raises(ValueError, match="unconverged"):
        scf.gradient(ascent.rungs[0].solver, level)


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


PUBLISHED_WATER = {
    "hf": -76.02602,
    "mp2": -76.22851,
    "ccsd": -76.23808,
    "ccsd(t)": -76.24117,
}
"""Water, cc-pVDZ, frozen core, at the geometry of `WATER`, by PySCF's own drivers [Hartree]."""


@pytest.mark.parametrize("method", ["mp2", "ccsd", "ccsd(t)"])
@pytest.mark.parametrize("fitted", [True, False])
def test_correlated_energies_are_those_of_the_drivers(method, fitted):
    settings = PyscfSettings(
        method=method, basis="cc-pvdz", frozen_core=True, density_fit=fitted
    )
    found = label(settings, water())
    assert found.forces is None
    parts = found.extras["components"]
    names = [*parts]
    assert names[0] == "hf_hartree"
    assert len(names) == (3 if method == "ccsd(t)" else 2)
    total = found.energy / 27.211386245988
    assert total == pytest.approx(sum(parts.values()), abs=1e-9)
    assert total == pytest.approx(PUBLISHED_WATER[method], abs=2e-4 if fitted else 2e-5)


def test_all_electrons_give_another_energy_and_another_level():
    frozen = PyscfSettings(method="mp2", basis="cc-pvdz", frozen_core=True)
    whole = PyscfSettings(method="mp2", basis="cc-pvdz", frozen_core=False)
    assert label(whole, water()).energy < label(frozen, water()).energy - 0.01
    assert whole.level_identity() != frozen.level_identity()


@pytest.mark.parametrize("method", ["mp2", "ccsd", "ccsd(t)"])
@pytest.mark.parametrize("multiplicity", [1, 2])
def test_correlated_forces_are_the_slope_of_the_energy(method, multiplicity):
    settings = PyscfSettings(
        method=method,
        basis="6-31g",
        frozen_core=False,
        density_fit=False,
        correlated_forces=True,
        conv_tol_hartree=1e-11,
    )
    numbers = [8, 1] if multiplicity == 2 else [9, 1]

    def at(distance: float) -> Structure:
        return apart(numbers, (0, 0, 0), (0, 0, distance), multiplicity=multiplicity)

    forces = label(settings, at(1.0)).forces
    assert forces is not None
    ends = [label(settings, at(1.0 + step)).energy for step in (1e-3, -1e-3)]
    assert forces[1, 2] == pytest.approx(-(ends[0] - ends[1]) / 2e-3, abs=1e-3)


def test_poor_references_are_told_or_put_aside():
    ozone = apart([8, 8, 8], (0, 1.0885, -0.2252), (0, 0, 0.4504), (0, -1.0885, -0.2252))
    settings = PyscfSettings(
        method="ccsd", basis="6-31g", frozen_core=True, stability="off"
    )
    told = label(settings, ozone)
    assert told.extras["t1"] > 0.02
    assert told.extras["multireference"] is True
    assert label(settings, water()).extras["multireference"] is False
    refused = failure(settings.model_copy(update={"multireference": "reject"}), ozone)
    assert refused.kind is FailureKind.SUSPICIOUS
    assert "T1 0.0" in refused.message


def test_no_correlation_comes_of_an_unconverged_field(monkeypatch):
    monkeypatch.setattr(correlated, "MAX_CYCLE", 1)
    settings = PyscfSettings(method="ccsd(t)", basis="6-31g", frozen_core=True)
    found = failure(settings, water())
    assert found.kind is FailureKind.NOT_CONVERGED
    assert "coupled cluster did not converge" in found.message


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "ccsd(t)"}, "needs frozen_core"),
        ({"method": "hf", "frozen_core": True}, "correlates nothing"),
        ({"method": "ccsdt", "frozen_core": True}, "triples beyond"),
        ({"method": "mp2", "frozen_core": True, "correlated_forces": True}, "density_fit"),
        ({"method": "pbe", "correlated_forces": True}, "of mp2, ccsd and ccsd"),
    ],
)
def test_correlated_settings_say_what_they_mean(settings, words):
    with pytest.raises(ValueError, match=words):
        PyscfSettings(basis="cc-pvdz", **settings)


@pytest.mark.parametrize("name", ["RI-MP2", "df-mp2", "MP2"])
def test_fitted_or_not_is_said_elsewhere(name):
    assert PyscfSettings(method=name, basis="cc-pvdz", frozen_core=True).method == "mp2"


def test_heavy_elements_have_the_core_potential_of_their_basis():
    iodide = apart([53, 1], (0, 0, 0), (0, 0, 1.62))
    settings = PyscfSettings(method="hf", basis="def2-svp")
    found = label(settings, iodide)
    assert found.energy / 27.211386245988 == pytest.approx(-297.3, abs=1.0)
    assert abs(found.forces).max() < 3


def test_light_elements_have_it_too_where_the_basis_was_made_for_one():
    assert names.core_potentials("lanl2dz", [26, 8]) == {"Fe": "lanl2dz"}
    assert names.core_potentials("def2svp", [26, 8, 53]) == {"I": "def2svp"}
    assert names.core_potentials("631g*", [8]) == {}
