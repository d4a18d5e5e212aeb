"""What leaves a campaign."""

import csv
import hashlib
import io

import numpy as np
import pytest
from ase.io import read

from alflow.cli.export import atoms_of
from alflow.core.batches import LabelledStructure
from alflow.core.labels import Label
from alflow.core.structures import Structure
from alflow.store import open_store


def test_structures_go_through_extxyz_unchanged(alflow, database, tmp_path):
    result = alflow("export", "structures", "-o", "all.extxyz")
    assert result.code == 0
    images = read(tmp_path / "all.extxyz", index=":")
    assert {atoms.info["split"] for atoms in images} == {"train", "test"}
    first = next(atoms for atoms in images if atoms.info["split"] == "train")
    assert first.info["REF_energy"] == -2078.5
    assert np.array_equal(first.arrays["REF_forces"], np.arange(9.0).reshape(3, 3))
    assert first.info["level"] == "dft"
    again = Structure(first.numbers.astype(np.uint8), first.positions)
    assert again.hash == first.info["alflow_hash"]
    digest = hashlib.sha256((tmp_path / "all.extxyz").read_bytes()).hexdigest()
    assert f"sha256 {digest}" in result.out


def test_one_split(alflow, database, tmp_path):
    alflow("export", "structures", "--split", "test", "--generation", "0")
    assert alflow("export", "structures", "--split", "test").code == 0
    assert len(read(tmp_path / "structures.extxyz", index=":")) == 1


def test_periodic_structures_keep_cell_and_stress():
    structure = Structure(
        np.array([13], np.uint8), np.zeros((1, 3)), np.eye(3) * 4.05, np.ones(3, bool)
    )
    stress = np.arange(6.0)
    atoms = atoms_of(
        LabelledStructure(structure, Label(-3.4, None, stress)), "gupta", "val"
    )
    assert atoms.pbc.all()
    assert np.array_equal(atoms.info["REF_stress"], stress)
    assert "REF_forces" not in atoms.arrays


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "trian"], "did you mean 'train'"),
        (["--level", "cc"], "no labelled structures to export at level 'cc'"),
        (["-o", "no/such/folder.extxyz"], "cannot write no/such/folder.extxyz"),
    ],
)
def test_what_cannot_be_exported(alflow, database, arguments, message):
    result = alflow("export", "structures", *arguments)
    assert result.code == 2
    assert message in result.err


def test_the_model_is_the_bytes_of_the_store(alflow, database, tmp_path):
    result = alflow("export", "model")
    content = (tmp_path / "water-g0.safetensors").read_bytes()
    assert content == b"the weights of an ensemble"
    assert hashlib.sha256(content).hexdigest() in result.out
    assert alflow("export", "model", "--generation", "4").code == 2


def test_no_model_yet(alflow, tmp_path):
    with open_store(tmp_path / "new.db", create=True) as store:
        store.create_campaign("new", {}, 1)
    assert "no generation is trained yet" in alflow("export", "model").err


def test_metrics(alflow, database):
    (row,) = csv.DictReader(io.StringIO(alflow("export", "metrics").out))
    assert row["generation"] == "0"
    assert alflow("export", "metrics", "--json").json[0]["state"] == "ready"
