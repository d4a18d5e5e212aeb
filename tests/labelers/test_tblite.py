"""Labels by extended tight binding."""

import importlib.metadata
import os
import subprocess
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from pydantic import ValidationError

from alflow import registry
from alflow.core.errors import SiteError
from alflow.core.labels import Failure, FailureKind, Label
from alflow.core.structures import Structure, snap
from alflow.labelers import tblite
from alflow.labelers.level import level_digest
from alflow.labelers.tblite import TbliteSettings

pytest.importorskip("tblite.interface")

CO2_FRACTIONS = (
    np.array(
        [
            [0.9441259872, 0.9437851680, 0.9543505632],
            [3.7179966528, 0.9556570368, 3.7316862240],
            [3.7159517376, 3.7149292800, 0.9692330016],
            [0.9529872864, 3.7220864832, 3.7296981120],
            [1.6213905408, 1.6190616096, 1.6313879040],
            [0.2656685664, 0.2694175776, 0.2776540416],
            [4.3914553920, 1.6346256864, 3.0545920000],
            [3.0440834880, 0.2764611744, 4.4080419264],
            [4.3910577696, 3.0416409504, 0.2881058304],
            [3.0399936576, 4.3879335936, 1.6497353376],
            [0.2741322432, 4.4003734944, 3.0573754368],
            [1.6312174944, 3.0434586528, 4.4023048032],
        ]
    )
    / 5.68032
)


def of_atoms(atoms, **spin):
    cell = np.array(atoms.cell) if atoms.pbc.any() else None
    return Structure(
        atoms.numbers.astype(np.uint8), atoms.positions, cell, atoms.pbc, **spin
    )


def rough(name, noise_A=0.08, **spin):
    atoms = molecule(name)
    atoms.positions += np.random.default_rng(7).normal(0, noise_A, (len(atoms), 3))
    return of_atoms(atoms, **spin)


def carbon_dioxide(strain=None):
    """A crystal of dry ice, sheared a little so that no component of its stress vanishes."""
    shear = np.array([[1.0, 0.02, 0.01], [0.02, 0.97, -0.02], [0.01, -0.02, 1.02]])
    cell = 5.4 * shear @ (np.eye(3) if strain is None else strain)
    numbers = np.array([6] * 4 + [8] * 8, np.uint8)
    return Structure(numbers, CO2_FRACTIONS @ cell, cell, np.ones(3, bool))


def label_of(structure, **settings):
    label = TbliteSettings(**settings).create().label(structure)
    assert isinstance(label, Label), label
    return label


def failure_of(structure, **settings):
    answer = TbliteSettings(**settings).create().label(structure)
    assert isinstance(answer, Failure), answer
    return answer


def test_entry_point_finds_it():
    assert registry.find("labelers", "tblite") is TbliteSettings


def test_methods_are_known_by_their_usual_spellings():
    assert TbliteSettings().method == "GFN2-xTB"
    assert TbliteSettings(method="gfn1").method == "GFN1-xTB"
    assert TbliteSettings(method="IPEA1").method == "IPEA1-xTB"
    with pytest.raises(ValidationError, match="GFN1-xTB"):
        TbliteSettings(method="gfn-ff")


@pytest.mark.parametrize(
    ("method", "energy_eV"), [("gfn2", -137.96777625229421), ("gfn1", -156.9675057724589)]
)
def test_water_has_the_energy_of_the_manual(method, energy_eV):
    label = label_of(of_atoms(molecule("H2O")), method=method)
    assert label.energy == pytest.approx(energy_eV, rel=1e-7)
    assert label.stress is None
    assert label.extras["program"] == f"tblite {importlib.metadata.version('tblite')}"


def test_a_crystal_is_what_the_calculator_of_tblite_says():
    from tblite.ase import TBLite

    structure = carbon_dioxide()
    atoms = Atoms(
        structure.numbers, structure.positions, cell=structure.cell, pbc=structure.pbc
    )
    atoms.calc = TBLite(method="GFN1-xTB", verbosity=0)
    label = label_of(structure, method="gfn1")
    assert label.energy == pytest.approx(atoms.get_potential_energy(), rel=1e-7)
    np.testing.assert_allclose(label.forces, atoms.get_forces(), atol=1e-5)
    np.testing.assert_allclose(label.stress, atoms.get_stress(), atol=1e-7)


@pytest.mark.parametrize(
    ("structure", "method"),
    [
        (rough("CH3CH2OH"), "gfn2"),
        (rough("CH3CH2OH"), "gfn1"),
        (rough("H2O"), "ipea1"),
        (rough("CH3", multiplicity=2), "gfn2"),
    ],
)
def test_forces_are_the_slope_of_the_energy(structure, method):
    labeler = TbliteSettings(method=method, accuracy=0.01).create()
    label = labeler.label(structure)
    # Positions are snapped; steps of whole multiples of the grid reach what was meant.
    step = snap(2e-3 * np.random.default_rng(1).normal(size=structure.positions.shape))
    energies = [
        labeler.label(
            Structure(
                structure.numbers,
                structure.positions + k * step,
                multiplicity=structure.multiplicity,
            )
        ).energy
        for k in (-2, -1, 1, 2)
    ]
    change = np.dot(energies, [1, -8, 8, -1]) / 12
    assert -np.vdot(label.forces, step) == pytest.approx(change, abs=1e-8)


def test_stress_is_the_slope_of_the_energy_by_strain():
    labeler = TbliteSettings(method="gfn1", accuracy=0.01).create()
    structure = carbon_dioxide()
    stress, step = labeler.label(structure).stress, 1e-3
    assert np.abs(stress).min() > 1e-4
    for k, (x, y) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        ends = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[x, y] += sign * step / 2
            strain[y, x] += sign * step / 2
            ends.append(labeler.label(carbon_dioxide(strain)).energy)
        slope = (ends[0] - ends[1]) / (2 * step * structure.volume_A3)
        assert stress[k] == pytest.approx(slope, abs=2e-6)


def test_a_stretched_crystal_is_under_tension():
    assert (label_of(carbon_dioxide(1.1 * np.eye(3)), method="gfn1").stress[:3] > 0).all()


def test_charge_and_multiplicity_count():
    radical = label_of(rough("OH", 0.0, multiplicity=2)).energy
    anion = label_of(rough("OH", 0.0, charge=-1)).energy
    cation = label_of(rough("OH", 0.0, charge=1, multiplicity=3)).energy
    assert anion < radical < cation
    oxygen = {m: label_of(rough("O2", 0.0, multiplicity=m)).energy for m in (1, 3)}
    assert abs(oxygen[1] - oxygen[3]) > 1e-3
    assert failure_of(rough("OH")).kind is FailureKind.INVALID_INPUT
    assert "multiplicity 1" in failure_of(rough("OH")).message
    assert failure_of(rough("H2", multiplicity=5)).kind is FailureKind.INVALID_INPUT


def test_the_same_structure_gives_the_same_bits_whatever_came_before():
    structure = rough("CH3CH2OH")
    labeler = TbliteSettings().create()
    first = labeler.label(structure)
    labeler.label(rough("H2O"))
    again, fresh = labeler.label(structure), label_of(structure)
    assert first.energy == again.energy == fresh.energy
    assert (first.forces == again.forces).all()
    assert (first.forces == fresh.forces).all()


THREADS = """
import os
from ase.build import molecule
from alflow.core.structures import Structure
from alflow.labelers.tblite import TbliteSettings
ring = molecule("C6H6")
label = TbliteSettings().create().label(Structure(ring.numbers.astype("u1"), ring.positions))
print(label.energy.hex(), len(os.listdir("/proc/self/task")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_it_takes_one_thread_whatever_the_environment_says():
    wanted = {"OMP_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    answer = subprocess.run(
        [sys.executable, "-c", THREADS],
        env={**os.environ, **wanted},
        capture_output=True,
        text=True,
        check=True,
    )
    energy, threads = answer.stdout.split()
    assert float.fromhex(energy) == label_of(of_atoms(molecule("C6H6"))).energy
    assert int(threads) == 1


def test_nothing_is_printed(capfd):
    label_of(rough("H2O"))
    failure_of(rough("H2O"), max_cycle=2)
    assert capfd.readouterr() == ("", "")


def test_a_field_that_does_not_converge_is_a_failure():
    answer = failure_of(rough("H2O"), max_cycle=2)
    assert answer.kind is FailureKind.NOT_CONVERGED
    assert "not converged in 2 cycles" in answer.message


def test_heavy_elements_need_no_basis_set():
    label = label_of(Structure(np.array([53, 53], np.uint8), np.diag([0, 0, 2.7])[1:]))
    assert np.abs(label.forces).max() < 3


def images(pbc, charge=0, length_A=4.0):
    cell = length_A * np.eye(3)
    return Structure(
        np.array([10], np.uint8), np.zeros((1, 3)), cell, np.array(pbc, bool), charge
    )


@pytest.mark.parametrize(
    ("structure", "kind", "message"),
    [
        (
            Structure(np.array([92], np.uint8), np.zeros((1, 3))),
            FailureKind.INVALID_INPUT,
            "no parameters for U",
        ),
        (images([1, 1, 0]), FailureKind.INVALID_INPUT, "some directions only"),
        (images([1, 1, 1], 2), FailureKind.INVALID_INPUT, "charge 2"),
        (
            images([1, 1, 1], length_A=0.5),
            FailureKind.BAD_GEOMETRY,
            "Ne0 and an image of Ne0 are 0.500 Å apart",
        ),
        (
            Structure(np.array([1, 1], np.uint8), np.zeros((2, 3))),
            FailureKind.BAD_GEOMETRY,
            "H0 and H1 are 0.000 Å apart",
        ),
    ],
)
def test_what_cannot_be_labelled_is_a_failure(structure, kind, message):
    answer = failure_of(structure)
    assert answer.kind is kind
    assert message in answer.message


def test_what_tblite_itself_finds_too_close_is_bad_geometry():
    overlap = Structure(np.array([1, 1], np.uint8), np.zeros((2, 3)))
    answer = failure_of(overlap, min_distance_factor=0.0)
    assert answer.kind is FailureKind.BAD_GEOMETRY
    assert answer.message.startswith("tblite: Too close")


def test_labels_with_enormous_forces_are_put_aside():
    pair = Structure(np.array([1, 1], np.uint8), np.array([[0, 0, 0], [0.35, 0, 0.0]]))
    answer = failure_of(pair)
    assert answer.kind is FailureKind.SUSPICIOUS
    assert "exceeds the cap" in answer.message


def test_the_level_is_what_changes_numbers():
    level = level_digest(TbliteSettings())
    assert level_digest(TbliteSettings(method="gfn2", max_cycle=10)) == level
    for change in (
        {"method": "gfn1"},
        {"accuracy": 0.1},
        {"electronic_temperature_K": 1000},
    ):
        assert level_digest(TbliteSettings(**change)) != level


def test_hot_electrons_lower_the_energy():
    structure = rough("O2", 0.0, multiplicity=3)
    hot = label_of(structure, electronic_temperature_K=9000.0)
    assert hot.energy < label_of(structure).energy - 0.01


def test_unknown_elements_are_found_before_anything_starts():
    (finding,) = TbliteSettings().problems(["H", "U"])
    assert finding.path == ("method",)
    assert "no parameters for U" in finding.message


def test_without_tblite_the_extra_is_named(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(tblite, "version", missing)
    with pytest.raises(SiteError, match="not installed") as caught:
        TbliteSettings().create()
    assert "alflow[tblite]" in caught.value.next_step


def test_settings_import_nothing_heavy():
    code = (
        "import sys, alflow.labelers.tblite\n"
        "print(sorted({'torch', 'ase', 'tblite', 'vesin'} & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
