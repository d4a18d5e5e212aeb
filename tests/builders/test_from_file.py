"""Frames from files, with charge and spin."""

import ase
import ase.io
import numpy as np
import pytest

from alflow import registry
from alflow.builders.from_file import FromFileSettings
from alflow.core.errors import SettingsError


@pytest.fixture
def frames(tmp_path):
    path = tmp_path / "frames.xyz"
    atoms = [ase.Atoms("OH", [[0, 0, 0], [0, 0, 0.9 + 0.01 * k]]) for k in range(10)]
    atoms[3].info["charge"] = -1
    atoms[4].info["multiplicity"] = 4
    atoms[5].set_cell(np.eye(3) * 6)
    atoms[5].pbc = True
    ase.io.write(path, atoms, format="extxyz")
    return path


def test_entry_point_finds_it():
    assert registry.find("builders", "from_file") is FromFileSettings


def test_frames_are_drawn_once_each_and_reproducibly(frames):
    builder = FromFileSettings(path=frames).create()
    drawn = builder.build(np.random.default_rng(0), 10)
    assert len({structure.hash for structure in drawn}) == 10
    some = builder.build(np.random.default_rng(1), 4)
    assert some == builder.build(np.random.default_rng(1), 4)
    assert some != drawn[:4]
    assert builder.build(np.random.default_rng(1), 0) == []


def test_charge_spin_and_cell_are_kept(frames):
    plain, ion, quartet, periodic = (
        FromFileSettings(path=frames, frames=str(k))
        .create()
        .build(np.random.default_rng(0), 1)[0]
        for k in (0, 3, 4, 5)
    )
    assert (plain.charge, plain.multiplicity) == (0, 2)
    assert (ion.charge, ion.multiplicity) == (-1, 1)
    assert quartet.multiplicity == 4
    assert periodic.pbc.all()
    assert periodic.cell == pytest.approx(np.eye(3) * 6)
    assert plain.cell is None


def test_files_that_do_not_serve_are_told(frames, tmp_path):
    rng = np.random.default_rng(0)
    with pytest.raises(SettingsError, match="has 10 frames, 11"):
        FromFileSettings(path=frames).create().build(rng, 11)
    with pytest.raises(SettingsError, match="not a file"):
        FromFileSettings(path=tmp_path / "absent.xyz").create().build(rng, 1)
    (tmp_path / "bad.dat").write_text("nonsense\n")
    with pytest.raises(SettingsError, match="cannot read"):
        FromFileSettings(path=tmp_path / "bad.dat").create().build(rng, 1)


def test_a_relative_path_still_leads_there_from_another_folder(tmp_path, monkeypatch):
    molecule = ase.Atoms("H2", [[0, 0, 0], [0, 0, 0.75]])
    ase.io.write(tmp_path / "frames.xyz", molecule, format="extxyz")
    monkeypatch.chdir(tmp_path)
    settings = FromFileSettings(path="frames.xyz")
    monkeypatch.chdir("/")
    (found,) = settings.create().build(np.random.default_rng(0), 1)
    assert found.formula == "H2"
