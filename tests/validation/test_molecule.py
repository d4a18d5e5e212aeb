"""Molecules: against closed forms, and against ASE on another route."""

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from pydantic import ValidationError

from alflow.core.elements import MASSES_AMU
from alflow.core.errors import SettingsError
from alflow.core.units import ACCELERATION_PER_FORCE, SPEED_OF_LIGHT_CM_PER_FS
from alflow.validation.molecule import MoleculeSettings
from alflow.validation.molecules import turned, wavenumbers

pytestmark = pytest.mark.physics


@pytest.fixture
def dimer(bonded):
    """Two atoms on a spring, by three members."""
    return bonded.Bonded((4.0, 5.0, 6.0), (20.0, 30.0, 40.0), 1.1)


def settings(path, atoms, **changes):
    ase.io.write(path, atoms)
    return MoleculeSettings(file=path, **{"duration_ps": 0.0, **changes})


def test_a_spring_has_one_wavenumber_for_each_member(dimer, tmp_path):
    given = settings(tmp_path / "n2.xyz", Atoms("N2", positions=[[0, 0, 0], [0, 0, 1.15]]))
    found = {one.name: one for one in given.create().run(dimer, 1).properties}
    k = np.array([20.0, 30.0, 40.0])
    omega = np.sqrt(k * ACCELERATION_PER_FORCE * 2 / MASSES_AMU[7])
    exact = omega / (2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS)
    assert found["molecule/vibration_1"].members == pytest.approx(exact, rel=1e-3)
    assert "molecule/vibration_2" not in found
    zero_point = found["molecule/zero_point_energy"]
    # 1 meV is 8.0655 1/cm
    assert zero_point.members == pytest.approx(exact / 2 / 8.0655, rel=1e-3)


def test_a_run_keeps_its_energy(dimer, tmp_path):
    atoms = Atoms("N2", positions=[[0, 0, 0], [0, 0, 1.1]])
    given = settings(tmp_path / "n2.xyz", atoms, duration_ps=0.5, name="nitrogen")
    found = {one.name: one.value for one in given.create().run(dimer, 1).properties}
    assert found["nitrogen/survived"] == pytest.approx(0.5)
    assert abs(found["nitrogen/energy_drift"]) < 1.0


def test_a_turn_moves_one_side_only():
    ethane = molecule("C2H6")
    carbons = [k for k, z in enumerate(ethane.numbers) if z == 6]
    first = next(k for k in range(8) if k not in carbons and _near(ethane, k, carbons[0]))
    last = next(k for k in range(8) if k not in carbons and _near(ethane, k, carbons[1]))
    torsion = (first, *carbons, last)
    turns = turned(ethane, torsion, 6)
    assert turns[0].positions == pytest.approx(ethane.positions)
    start = ethane.get_dihedral(*torsion)
    for step, turn in enumerate(turns):
        angle = (turn.get_dihedral(*torsion) - start) % 360
        assert angle == pytest.approx(60 * step, abs=1e-6)
        assert turn.positions[first] == pytest.approx(ethane.positions[first])
        lengths = turn.get_all_distances()[carbons[1]]
        assert lengths[last] == pytest.approx(ethane.get_distance(carbons[1], last))


def _near(atoms, a, b):
    return atoms.get_distance(a, b) < 1.3


def test_a_bond_in_a_ring_does_not_turn():
    with pytest.raises(SettingsError, match="ring"):
        turned(molecule("C6H6"), (0, 1, 2, 3), 6)
    with pytest.raises(SettingsError, match="not bonded"):
        turned(molecule("C2H6"), (2, 2, 5, 5), 6)


def test_water_has_three_vibrations_for_every_member(bonded):
    """Springs between all three atoms; the sum of eigenvalues is that of the stiffnesses."""
    springs = bonded.Bonded((1.0,), (30.0,), 1.0)
    triangle = Atoms("OH2", positions=[[0, 0, 0], [1, 0, 0], [0.5, 0.75**0.5, 0]])
    found = wavenumbers(springs, triangle, 0.005)
    assert found.shape == (1, 3)
    scale = (2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS) ** 2 / ACCELERATION_PER_FORCE
    o, h = 1 / MASSES_AMU[8], 1 / MASSES_AMU[1]
    trace = 30.0 * (2 * (o + h) + 2 * h)
    assert (found**2).sum() * scale == pytest.approx(trace, rel=1e-3)


def test_conformers_torsions_and_notes(tmp_path):
    tblite = pytest.importorskip("tblite.ase")
    from alflow.labelers.tblite import TbliteSettings
    from alflow.validation.labelled import reference_potential

    del tblite
    labeler = TbliteSettings().create()
    potential = reference_potential(labeler, [1, 8])
    peroxide = molecule("H2O2")
    oxygens = [k for k, z in enumerate(peroxide.numbers) if z == 8]
    hydrogens = [
        next(k for k, z in enumerate(peroxide.numbers) if z == 1 and _near(peroxide, k, o))
        for o in oxygens
    ]
    torsion = (hydrogens[0], *oxygens, hydrogens[1])
    given = settings(
        tmp_path / "hooh.xyz",
        [peroxide, peroxide],
        torsions=[torsion],
        torsion_steps=12,
    )
    result = given.create().run(potential, 1)
    found = {one.name: one.value for one in result.properties}
    assert found["molecule/conformer_2/energy"] == pytest.approx(0, abs=1)
    assert 150 < found["molecule/torsion_1/barrier"] < 700
    assert sum(name.startswith("molecule/vibration") for name in found) == 6
    assert 3000 < found["molecule/vibration_6"] < 4200
    (curve,) = result.curves
    assert len(curve.x) == 12


def test_a_file_must_be_there_and_stay_what_it_is(tmp_path, dimer):
    with pytest.raises(ValidationError, match="there is no file"):
        MoleculeSettings(file=tmp_path / "none.xyz")
    path = tmp_path / "n2.xyz"
    given = settings(path, Atoms("N2", positions=[[0, 0, 0], [0, 0, 1.1]]))
    assert len(given.sha256) == 64
    assert MoleculeSettings.model_validate_json(given.model_dump_json()) == given
    ase.io.write(path, Atoms("N2", positions=[[0, 0, 0], [0, 0, 1.2]]))
    with pytest.raises(SettingsError, match="not the file"):
        given.create()
    other = Atoms("NO", positions=[[0, 0, 0], [0, 0, 1.2]])
    ase.io.write(path, [Atoms("N2", positions=[[0, 0, 0], [0, 0, 1.1]]), other])
    with pytest.raises(SettingsError, match="one molecule"):
        MoleculeSettings(file=path).create()
