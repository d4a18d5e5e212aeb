"""Perfect crystals: against closed forms, published numbers, and other routes to them."""

import numpy as np
import pytest
from ase import Atoms
from ase.eos import EquationOfState

from alflow.core.errors import SettingsError
from alflow.core.units import GPA_PER_EV_PER_ANGSTROM3
from alflow.md.ase_calculator import EnsembleCalculator
from alflow.models.gupta import GuptaPotential
from alflow.validation import lattices
from alflow.validation.crystal import CrystalSettings
from alflow.validation.elasticity import strained
from alflow.validation.lattices import (
    IDEAL_C_OVER_A,
    Crystal,
    birch_murnaghan,
    equilibrium,
)
from alflow.validation.potentials import Unanswered

pytestmark = pytest.mark.physics
DEPTHS, STIFFNESS, LENGTH_A = (0.45, 0.50, 0.61), (1.6, 2.0, 2.7), 2.8
LATTICE_A = LENGTH_A * 2**0.5
ATOM_A3 = LATTICE_A**3 / 4


@pytest.fixture
def ensemble(bonded):
    return bonded.Bonded(DEPTHS, STIFFNESS, LENGTH_A)


def suite(**changes):
    given = {"element": "Al", "phases": ("fcc",), "volume_A3": ATOM_A3 * 1.05, **changes}
    return CrystalSettings(**given).create()


def test_a_crystal_of_bonds_has_its_closed_form_for_every_member(ensemble):
    found = suite(atom_energy_eV=0.0).run(ensemble, 1).properties
    by_name = {one.name: one for one in found}
    unit = GPA_PER_EV_PER_ANGSTROM3 / LATTICE_A
    exact = {
        "fcc/lattice_constant": [LATTICE_A] * 3,
        "fcc/cohesive_energy": [6 * depth for depth in DEPTHS],
        "fcc/C11": [2 * k * unit for k in STIFFNESS],
        "fcc/C12": [k * unit for k in STIFFNESS],
        "fcc/C44": [k * unit for k in STIFFNESS],
        "fcc/bulk_modulus": [4 / 3 * k * unit for k in STIFFNESS],
    }
    assert set(by_name) == set(exact)
    for name, members in exact.items():
        assert by_name[name].members == pytest.approx(members, rel=2e-3), name
        assert by_name[name].value == pytest.approx(np.mean(members), rel=2e-3), name
        assert by_name[name].spread == pytest.approx(np.std(members), rel=1e-2, abs=1e-4)


def test_single_precision_is_enough(bonded):
    import torch

    single = bonded.Bonded((0.5,), (2.0,), LENGTH_A, dtype=torch.float32)
    found = {p.name: p.value for p in suite().run(single, 1).properties}
    unit = GPA_PER_EV_PER_ANGSTROM3 / LATTICE_A
    assert found["fcc/lattice_constant"] == pytest.approx(LATTICE_A, abs=1e-3)
    assert found["fcc/C11"] == pytest.approx(4 * unit, rel=0.01)
    assert found["fcc/C44"] == pytest.approx(2 * unit, rel=0.01)


def test_hcp_of_bonds_is_close_packed_and_as_stable_as_fcc(ensemble):
    found = suite(phases=("fcc", "hcp")).run(ensemble, 1)
    by_name = {one.name: one.value for one in found.properties}
    assert by_name["hcp-fcc/energy_difference"] == pytest.approx(0, abs=1e-3)
    assert by_name["hcp/c_over_a"] == pytest.approx(IDEAL_C_OVER_A, rel=1e-5)
    assert by_name["hcp/lattice_constant"] == pytest.approx(LENGTH_A, rel=1e-5)
    assert {curve.name for curve in found.curves} == {
        "fcc/energy_of_volume",
        "hcp/energy_of_volume",
    }


def test_noise_of_single_precision_does_not_hide_the_best_axes(ensemble, monkeypatch):
    noise, exact = np.random.default_rng(1), lattices.energies

    def noisy(potential, cells):
        found = exact(potential, cells)
        return found + noise.normal(0, 5e-6, found.shape)

    monkeypatch.setattr(lattices, "energies", noisy)
    found = suite(phases=("fcc", "hcp")).run(ensemble, 1)
    by_name = {one.name: one.value for one in found.properties}
    assert found.notes == ()
    assert by_name["hcp/c_over_a"] == pytest.approx(IDEAL_C_OVER_A, rel=1e-3)
    assert by_name["hcp/lattice_constant"] == pytest.approx(LENGTH_A, rel=1e-3)


def test_gupta_aluminium_is_as_published(values):
    """Cleri and Rosato 1993: a0 4.050 Å, 3.339 eV, C11, C12, C44 95, 74 and 37 GPa."""
    found = values(
        CrystalSettings(element="Al", phases=("fcc", "bcc"), atom_energy_eV=0.0)
        .create()
        .run(GuptaPotential.published("Al"), 1)
    )
    assert found["fcc/lattice_constant"] == pytest.approx(4.05, abs=0.002)
    assert found["fcc/cohesive_energy"] == pytest.approx(3.339, abs=0.002)
    assert found["fcc/C11"] == pytest.approx(95, abs=1.5)
    assert found["fcc/C12"] == pytest.approx(74.4, abs=1.5)
    assert found["fcc/C44"] == pytest.approx(37.2, abs=1.0)
    assert found["bcc-fcc/energy_difference"] > 0


@pytest.mark.parametrize("symbol", ["Cu", "Au"])
def test_constants_from_energies_are_those_from_stresses(symbol, values):
    potential = GuptaPotential.published(symbol)
    suite = CrystalSettings(element=symbol, phases=("fcc",)).create()
    found = values(suite.run(potential, 1))
    crystal = Crystal(symbol, "fcc", found["fcc/lattice_constant"] ** 3 / 4)
    cube, step, slopes = crystal.conventional(), 1e-4, {}
    for row in (0, 3):
        stress = []
        for sign in (1, -1):
            moved = strained(cube, sign * step * np.eye(6)[row])
            moved.calc = EnsembleCalculator(potential)
            stress.append(moved.get_stress() * GPA_PER_EV_PER_ANGSTROM3)
        slopes[row] = (stress[0] - stress[1]) / (2 * step)
    assert found["fcc/C11"] == pytest.approx(slopes[0][0], rel=2e-3)
    assert found["fcc/C12"] == pytest.approx(slopes[0][1], rel=2e-3)
    assert found["fcc/C44"] == pytest.approx(slopes[3][3], rel=2e-3)
    bulk = (found["fcc/C11"] + 2 * found["fcc/C12"]) / 3
    assert found["fcc/bulk_modulus"] == pytest.approx(bulk, rel=0.02)


def test_constants_of_hcp_agree_with_its_bulk_modulus(values):
    """The modulus of E(V) with relaxed axes is that of uniform stress."""
    suite = CrystalSettings(element="Cu", phases=("hcp",)).create()
    found = values(suite.run(GuptaPotential.published("Cu"), 1))
    c11, c12, c13, c33 = (found[f"hcp/{name}"] for name in ("C11", "C12", "C13", "C33"))
    bulk = (c33 * (c11 + c12) - 2 * c13**2) / (c11 + c12 + 2 * c33 - 4 * c13)
    assert found["hcp/bulk_modulus"] == pytest.approx(bulk, rel=0.02)


def test_scaled_copies_have_the_spread_of_their_factors(bonded, values):
    factors = (0.9, 1.0, 1.1)
    potential = GuptaPotential.published("Al")
    suite = CrystalSettings(element="Al", phases=("fcc", "bcc")).create()
    alone, scaled = suite.run(potential, 1), suite.run(bonded.Scaled(potential, factors), 1)
    for one, many in zip(alone.properties, scaled.properties, strict=True):
        assert many.value == pytest.approx(one.value, rel=1e-6)
        assert one.members is None
        if "lattice" not in one.name:
            assert many.spread == pytest.approx(abs(one.value) * np.std(factors), rel=1e-3)
        else:
            assert many.spread == pytest.approx(0, abs=1e-9)


def test_the_fit_of_volumes_is_that_of_ase():
    volumes = np.linspace(15, 18, 9)
    energies = 0.3 * (volumes - 16.4) ** 2 - 0.03 * (volumes - 16.4) ** 3 - 3.4
    v0, e0, modulus = EquationOfState(volumes, energies, "birchmurnaghan").fit(warn=False)
    found = birch_murnaghan(volumes, energies[None])
    assert [float(one[0]) for one in found] == pytest.approx([v0, e0, modulus], rel=1e-5)


def test_a_member_without_a_minimum_is_no_number():
    volumes = np.linspace(15, 18, 9)
    volume, _, modulus = birch_murnaghan(
        volumes, np.stack([volumes, (volumes - 16.0) ** 2])
    )
    assert np.isnan(volume[0])
    assert np.isnan(modulus[0])
    assert volume[1] == pytest.approx(16.0, abs=0.01)


def test_a_crystal_far_from_any_minimum_is_a_note(ensemble):
    found = suite(volume_A3=ATOM_A3 * 4).run(ensemble, 1)
    assert found.properties == ()
    assert "no minimum" in found.notes[0]
    with pytest.raises(Unanswered):
        equilibrium(ensemble, Crystal("Al", "fcc", ATOM_A3 * 4))


def test_an_element_that_the_potential_does_not_know_is_refused():
    with pytest.raises(SettingsError, match="does not know Cu"):
        CrystalSettings(element="Cu").create().run(GuptaPotential.published("Al"), 1)


def test_an_element_without_a_simple_crystal_needs_a_volume(ensemble):
    with pytest.raises(SettingsError, match="crystals of Ga"):
        CrystalSettings(element="Ga").create().run(ensemble, 1)


def test_supercells_are_compact():
    cell = Crystal("Al", "fcc", 16.6).supercell(100)
    assert len(cell) == 108
    assert np.ptp(cell.cell.lengths()) < 1e-9
    hcp = Crystal("Mg", "hcp", 23.0).supercell(90)
    assert len(hcp) >= 90
    assert max(hcp.cell.lengths()) / min(hcp.cell.lengths()) < 1.6
    assert isinstance(hcp, Atoms)
