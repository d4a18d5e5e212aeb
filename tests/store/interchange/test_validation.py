"""Mistakes in files are found and named, and sound files are left alone."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alflow.core.units import ANGSTROM_PER_BOHR, EV_PER_HARTREE, EV_PER_KCAL_PER_MOL
from alflow.store.interchange import ImportedFrame, Limits, Units, validate
from alflow.store.interchange.consistency import force_test
from alflow.store.interchange.diagnosis import Reading
from alflow.store.interchange.energies import (
    all_electron_ratio,
    energy_outliers,
    recognised_unit,
)

EV = Reading(Units("eV", "angstrom"))


def _validated(frames, reading=EV, **limits):
    return validate(frames, reading, Limits(**limits))


def _only(frames, **limits):
    (one,) = _validated(frames, **limits).quarantined
    return one


def test_a_sound_file_is_accepted_whole(waters):
    found = _validated(waters)
    assert len(found.accepted) == found.n_frames == 60
    assert (found.quarantined, found.refusals, found.duplicates) == ((), (), ())
    assert found.forces.slope == pytest.approx(1, abs=0.03)
    assert found.forces.correlation > 0.99


@pytest.mark.parametrize(
    ("factors", "fix"),
    [
        ({"force": -1.0}, "--forces-are-gradient"),
        ({"force": ANGSTROM_PER_BOHR}, "--force-unit eV/bohr"),
        ({"force": 1 / EV_PER_HARTREE}, "--force-unit hartree/angstrom"),
        ({"force": ANGSTROM_PER_BOHR / EV_PER_HARTREE}, "--force-unit hartree/bohr"),
        ({"force": 1 / EV_PER_KCAL_PER_MOL}, "--force-unit kcal/mol/angstrom"),
        ({"energy": 1 / EV_PER_HARTREE}, "--energy-unit hartree --force-unit eV/angstrom"),
        (
            {"energy": 1 / EV_PER_HARTREE, "force": 1 / EV_PER_HARTREE},
            "--energy-unit hartree",
        ),
        (
            {
                "energy": 1 / EV_PER_HARTREE,
                "force": -ANGSTROM_PER_BOHR / EV_PER_HARTREE,
            },
            "--energy-unit hartree --forces-are-gradient --force-unit hartree/bohr",
        ),
        (
            {"energy": 1 / EV_PER_KCAL_PER_MOL, "force": 1 / EV_PER_KCAL_PER_MOL},
            "--energy-unit kcal/mol",
        ),
        (
            {"length": 1 / ANGSTROM_PER_BOHR},
            "--length-unit bohr --force-unit eV/angstrom",
        ),
    ],
)
def test_wrong_units_and_signs_are_recognised_and_mended(waters, scaled, factors, fix):
    found = _validated(scaled(waters, **factors))
    assert found.accepted == ()
    assert found.fix == fix
    assert found.to_json()["fix"] == fix


def test_a_slope_is_no_mistake_if_its_check_is_left_out(waters, scaled):
    found = _validated(
        scaled(waters, force=-1.0),
        replace(EV, skipped=frozenset({"force-test"})),
    )
    assert len(found.accepted) == 60


def test_the_option_itself_can_be_the_mistake(waters, scaled):
    found = _validated(scaled(waters, force=-1.0), replace(EV, forces_are_gradient=True))
    assert "no gradient" in found.refusals[0].message
    assert found.fix == "(without --forces-are-gradient)"


def test_forces_of_other_atoms_are_noticed(waters):
    frames = [replace(f, forces=np.roll(g.forces, 1, 0)) for f, g in
              zip(waters, waters[7:] + waters[:7], strict=True)]  # fmt: skip
    (refusal,) = _validated(frames).refusals
    assert refusal.check == "force-test"
    assert "do not belong together" in refusal.message


def test_few_frames_and_frames_without_forces_are_told(waters):
    assert "too few neighbouring frames" in _validated(waters[:3]).notes[0]
    bare = [replace(frame, forces=None) for frame in waters]
    found = _validated(bare)
    assert (len(found.accepted), found.forces) == (60, None)
    assert "no forces" in found.notes[0]


def test_periodic_frames_are_compared_across_the_boundary():
    rng = np.random.default_rng(1)
    cell = np.diag([8.0, 9.0, 10.0])
    sites = rng.uniform(0, 1, (6, 3)) @ cell

    def frame(k):
        shift = rng.normal(0, 0.05, (6, 3))
        forces = -STIFF * (shift - shift.mean(0))
        energy = -50 + STIFF / 2 * ((shift - shift.mean(0)) ** 2).sum()
        x = (sites + shift) % np.diag(cell)
        return ImportedFrame(
            k, np.full(6, 13), x, cell, np.ones(3, bool), energy=energy, forces=forces
        )

    found = force_test([frame(k) for k in range(30)])
    assert found.slope == pytest.approx(1, abs=0.02)


STIFF = 5.0


@pytest.mark.parametrize(
    ("change", "check", "words"),
    [
        ({"positions": np.full((3, 3), np.nan)}, "finite", "positions"),
        ({"energy": float("inf")}, "finite", "energy inf"),
        ({"forces": np.zeros((2, 3))}, "shape", r"forces of shape (2, 3)"),
        ({"energy": None}, "no-energy", "no energy"),
        ({"numbers": np.array([8, 1, 0])}, "element", "no element"),
        ({"numbers": np.array([8, 1, 3])}, "element", "Li is not among"),
        ({"positions": np.zeros((3, 3))}, "distance", "0.000 Å apart"),
        ({"forces": np.diag([500.0, -500, 0])}, "force-cap", "500 eV/Å (limit 100"),
        ({"forces": np.full((3, 3), 1.0)}, "net-force", "add up to 5.2 eV/Å"),
        ({"multiplicity": 2}, "parity", "10 electrons"),
        ({"multiplicity": 1, "charge": 1}, "parity", "9 electrons (charge 1)"),
        ({"stress": np.full(6, 30.0)}, "stress", "30 eV/Å³"),
        ({"pbc": np.ones(3, bool)}, "cell", "has no cell"),
        (
            {"pbc": np.ones(3, bool), "cell": np.diag([9.0, 9, -9])},
            "cell",
            "left-handed",
        ),
        ({"pbc": np.ones(3, bool), "cell": np.ones((3, 3))}, "cell", "no volume"),
        (
            {"pbc": np.array([1, 0, 0], bool), "cell": np.zeros((3, 3))},
            "cell",
            "no length",
        ),
    ],
)
def test_faults_of_single_frames(waters, change, check, words):
    bad = replace(waters[5], **change)
    one = _only([*waters[:5], bad], elements=frozenset({"H", "O"}))
    assert (one.index, one.check) == (5, check)
    assert words in one.message


def test_a_slab_is_no_crystal(waters):
    slab = replace(
        waters[0], cell=np.diag([9.0, 9.0, 0.5]), pbc=np.array([True, True, False])
    )
    assert len(_validated([slab]).accepted) == 1
    tight = replace(slab, cell=np.diag([0.4, 9.0, 9.0]))
    assert _only([tight]).check == "distance"


def test_skipped_checks_let_frames_through(waters):
    bad = replace(waters[0], forces=np.full((3, 3), 1.0))
    assert len(_validated([bad], skipped=frozenset({"net-force"})).accepted) == 1
    broken = replace(waters[0], energy=None)
    assert _only([broken], skipped=frozenset({"no-energy"})).check == "no-energy"


def test_repeated_frames_count_once_and_contradictions_not_at_all(waters):
    again = replace(waters[0], index=60)
    richer = replace(waters[1], index=61)
    other = replace(waters[2], index=62, energy=waters[2].energy + 0.1)
    poorer = [replace(waters[1], forces=None) if f.index == 1 else f for f in waters]
    found = _validated([*poorer, again, richer, other])
    assert found.duplicates == (1, 60)
    assert [one.index for one in found.quarantined] == [2, 62]
    assert {one.check for one in found.quarantined} == {"conflict"}
    assert "differ by 0.1 eV" in found.quarantined[0].message
    assert found.counts() == {"conflict": 2}
    assert len(found.accepted) == 59


def test_a_contradiction_does_not_hide_that_forces_are_gradients(waters, scaled):
    other = replace(waters[2], index=62, energy=waters[2].energy + 3.0)
    assert len(_validated([*waters, other]).accepted) == 59
    found = _validated(scaled([*waters, other], force=-1.0))
    assert found.fix == "--forces-are-gradient"


def test_one_energy_in_another_unit_stands_out(waters):
    slip = replace(waters[9], energy=waters[9].energy / EV_PER_HARTREE)
    frames = [slip if frame.index == 9 else frame for frame in waters]
    one = _only(frames)
    assert (one.index, one.check) == (9, "energy-window")
    assert _validated(frames, skipped=frozenset({"energy-window"})).n_frames == 60


def test_energies_of_many_compositions_are_fitted_per_element():
    rng = np.random.default_rng(0)
    frames = []
    for k in range(40):
        numbers = np.repeat([6, 1], rng.integers(1, 6, 2))
        energy = (numbers == 6).sum() * -1030.0 + (numbers == 1).sum() * -13.6
        frames.append(
            ImportedFrame(k, numbers, rng.normal(size=(len(numbers), 3)), energy=energy)
        )
    assert energy_outliers(frames, 0.5) == {}
    frames[7] = replace(frames[7], energy=frames[7].energy + 60.0)
    assert set(energy_outliers(frames, 0.5)) == {7}
    assert energy_outliers(frames[:2], 0.5) == {}


@given(
    unit=st.sampled_from(["eV", "hartree", "kcal/mol", "kJ/mol", "rydberg", "meV"]),
    declared=st.sampled_from(["eV", "hartree", "kcal/mol", "kJ/mol", "rydberg", "meV"]),
)
def test_the_unit_of_total_energies_is_recognised(unit, declared):
    from alflow.store.interchange.units import ENERGY_UNITS

    numbers = np.array([6, 1, 1, 1, 1])
    value = -40.5 * EV_PER_HARTREE / ENERGY_UNITS[unit] * ENERGY_UNITS[declared]
    frame = ImportedFrame(0, numbers, np.zeros((5, 3)), energy=value)
    assert recognised_unit(all_electron_ratio([frame]), declared) == unit


@pytest.mark.parametrize(
    ("numbers", "energy"),
    [([14, 14], -10.8), ([1, 1], -31.7), ([79], -5.0), ([8, 1, 1], -14.2)],
)
def test_energies_of_pseudopotentials_say_nothing_about_units(numbers, energy):
    positions = np.arange(3.0 * len(numbers)).reshape(-1, 3)
    frame = ImportedFrame(0, np.array(numbers), positions, energy=energy)
    assert recognised_unit(all_electron_ratio([frame]), "eV") is None
