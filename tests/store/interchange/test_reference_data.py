"""Public data sets whose mistakes are known: they are found, named, and mended by an option."""

import json

import numpy as np
import pytest

from alflow.store.interchange import (
    ImportedFrame,
    Limits,
    ReadOptions,
    parsed_units,
    read_file,
    validate,
)
from alflow.store.interchange.diagnosis import Reading
from alflow.store.interchange.units import EV_ANGSTROM

S66X8 = "s66x8/s66x8_wb97x6-31gd.h5"
ETHANE = "alkanes/DFT/NMS/C2H6_DFT+Force_NMS.h5"


def _validated(path, *units, gradient=False):
    units = parsed_units(*(*units, None, None, None, None)[:4])
    options = ReadOptions(units=units, forces_are_gradient=gradient)
    return validate(*read_file(path, options), Limits())


def test_gradients_that_are_called_forces(data):
    found = _validated(data / S66X8, "hartree", "angstrom")
    (refusal,) = found.refusals
    assert (refusal.check, refusal.fix) == ("force-test", "--forces-are-gradient")
    assert "is the gradient" in refusal.message
    assert found.forces.slope == pytest.approx(-1, abs=0.1)
    assert found.accepted == ()
    mended = _validated(data / S66X8, "hartree", "angstrom", gradient=True)
    assert (len(mended.accepted), mended.quarantined) == (528, ())
    assert mended.accepted[0].frame.level == "wb97x/6-31g*"


def test_forces_per_bohr_with_coordinates_in_angstrom(data):
    found = _validated(data / ETHANE, "hartree", "angstrom")
    assert found.fix == "--force-unit hartree/bohr"
    assert found.forces.slope == pytest.approx(1.89, abs=0.1)
    mended = _validated(data / ETHANE, "hartree", "angstrom", "hartree/bohr")
    assert mended.refusals == ()
    assert len(mended.accepted) > 9500
    assert len(mended.duplicates) > 100
    assert set(mended.counts()) == {"conflict", "force-cap"}


@pytest.mark.parametrize("name", [S66X8, ETHANE])
def test_hartree_taken_for_ev(data, name):
    found = _validated(data / name, "eV", "angstrom")
    assert "--energy-unit hartree" in found.fix
    assert "27.2" in found.refusals[0].message


@pytest.mark.parametrize(
    ("name", "n_frames"),
    [
        ("DFT/ANI-1_Core/gdb_HC_s01.h5", 5400),
        ("DFT/MEP/C2H6_DFT_MEP.h5", 42),
        ("DFT/aseMD/C2H6_DFT_aseMD.h5", 2000),
        ("CASPT2/NMS/C2H6_CAS_NMS.h5", 480),
        ("CASPT2/MEP/C2H6_CAS_MEP.h5", 42),
    ],
)
def test_energies_alone(data, name, n_frames):
    found = _validated(data / "alkanes" / name, "hartree", "angstrom")
    assert (len(found.accepted) + len(found.duplicates), found.refusals) == (n_frames, ())
    assert "no forces" in found.notes[0]


@pytest.mark.parametrize(
    "name",
    ["train_300K", "train_600K", "test_MD_300K", "test_H_transfer", "isolated_atoms"],
)
def test_sound_extended_xyz(data, name):
    found = _validated(data / "acac" / f"{name}.xyz")
    assert len(found.accepted) == found.n_frames
    assert (found.refusals, found.quarantined) == ((), ())


def test_periodic_silicon_with_stress(data):
    frames = []
    for k, one in enumerate(json.loads((data / "mlearn-si/training.json").read_text())):
        sites, out = one["structure"]["sites"], one["outputs"]
        cell = np.array(one["structure"]["lattice"]["matrix"])
        x = np.array([site["xyz"] for site in sites])
        cell, x = (cell, x) if np.linalg.det(cell) > 0 else (-cell, -x)
        frames.append(
            ImportedFrame(
                k,
                np.full(len(x), 14),
                x,
                cell,
                np.ones(3, bool),
                energy=out["energy"],
                forces=np.array(out["forces"]),
            )
        )
    found = validate(frames, Reading(EV_ANGSTROM), Limits())
    assert found.refusals == ()
    assert found.forces.slope == pytest.approx(1, abs=0.15)
    assert len(found.accepted) + len(found.duplicates) >= 0.95 * found.n_frames
