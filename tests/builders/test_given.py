"""Structures that a user gives in a file: what is wrong with them is told before they are built."""

import ase
import ase.io
import numpy as np
import pytest

from alflow.builders import given
from alflow.builders.from_file import FromFileSettings
from alflow.builders.molecules import MoleculesSettings


def _findings(tmp_path, *frames, elements=("H", "O"), **settings):
    path = tmp_path / "start.xyz"
    ase.io.write(path, list(frames), format="extxyz")
    return list(FromFileSettings(path=path, **settings).problems(elements))


def _radical(distance_A=0.97, **info):
    atoms = ase.Atoms("OH", [[0, 0, 0], [0, 0, distance_A]])
    atoms.info.update(info)
    return atoms


def test_good_frames_have_no_findings(tmp_path):
    assert _findings(tmp_path, _radical(), _radical(charge=-1, multiplicity=1)) == []


def test_the_first_frame_with_each_fault_is_told(tmp_path):
    strange = ase.Atoms("SH2", [[0, 0, 0], [0, 0, 1.3], [0, 1.3, 0]])
    found = _findings(
        tmp_path, _radical(), _radical(multiplicity=1), strange, _radical(multiplicity=3)
    )
    assert [(one.path, one.code) for one in found] == [(("path",), "AL121")] * 2
    assert found[0].message.startswith("frame 2, HO: 9 electrons (charge 0)")
    assert found[1].message == "frame 3, H2S: S is not in system.elements [H, O]"
    assert found[1].hint == "add S there"


def test_atoms_on_top_of_each_other_can_be_meant(tmp_path):
    (close,) = _findings(tmp_path, _radical(0.2))
    assert "O0 and H1 are 0.200 Å apart" in close.message
    assert close.hint.endswith("to override: allow_close_atoms: true")
    assert _findings(tmp_path, _radical(0.2), allow_close_atoms=True) == []


def test_images_count_and_moments_of_solids_are_no_multiplicities(tmp_path):
    cell = ase.Atoms("O", cell=np.eye(3) * 4.0, pbc=True)
    cell.set_initial_magnetic_moments([1.0])
    assert _findings(tmp_path, cell) == []
    pair = ase.Atoms("O2", [[0.1, 0, 0], [3.9, 0, 0]], cell=np.eye(3) * 4.0, pbc=True)
    (close,) = _findings(tmp_path, pair)
    assert "O0 and O1 are 0.200 Å apart" in close.message


def test_frames_that_are_not_used_are_not_looked_at(tmp_path):
    assert _findings(tmp_path, _radical(), _radical(0.2), frames=":1") == []


def test_molecules_name_the_file_and_no_setting(tmp_path):
    path = tmp_path / "close.xyz"
    ase.io.write(path, _radical(0.2), format="extxyz")
    settings = MoleculesSettings(smiles=["O"], files=[tmp_path / "none.xyz", path])
    (found,) = settings.problems(("H", "O"))
    assert (found.path, found.hint) == (("files", 1), "mend the file")


def test_a_file_that_cannot_be_read_is_told_as_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "start.xyz").write_text("nothing\n")
    (found,) = FromFileSettings(path="start.xyz").problems(("H",))
    assert found.message.startswith("ASE cannot read start.xyz: ")
    assert found.code == "AL103"


@pytest.mark.parametrize("limit", ["LARGEST_BYTES", "MOST_PAIRS"])
def test_a_check_takes_no_longer_than_it_may(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(given, limit, 1)
    assert _findings(tmp_path, _radical(0.2)) == []


def test_images_across_a_slab_count_and_across_its_vacuum_do_not(tmp_path):
    slab = ase.Atoms("Al2", [[0.2, 1.4, 0.1], [3.9, 1.4, 2.4]], cell=[4.05, 2.86, 2.5])
    slab.pbc = [True, True, False]
    assert _findings(tmp_path, slab, elements=("Al",)) == []
    slab.positions[1, 2] = 0.1
    (found,) = _findings(tmp_path, slab, elements=("Al",))
    assert "Al0 and Al1 are 0.350 Å apart" in found.message
