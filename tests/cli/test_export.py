"""What leaves a campaign."""

import csv
import hashlib
import io

import numpy as np
import pytest
from ase.io import read

from alflow.core.batches import LabelledStructure
from alflow.core.canonical import path_sha256
from alflow.core.labels import Label
from alflow.core.structures import Structure
from alflow.store import open_store
from alflow.store.interchange import ExportedFrame, ReadOptions, read_file
from alflow.store.interchange.extxyz import labelled_atoms


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


@pytest.mark.parametrize(
    "name", ["all.db", "all.json", "all.h5", "all.deepmd", "all.parquet"]
)
def test_every_format_keeps_every_bit_and_prints_its_checksum(
    alflow, database, tmp_path, name
):
    result = alflow("export", "structures", "--db", database, "-o", name)
    assert result.code == 0
    assert f"sha256 {path_sha256(tmp_path / name)}" in result.out
    frames, _ = read_file(tmp_path / name, ReadOptions())
    with open_store(database, read_only=True) as store:
        stored = {i.structure.hash: i for i in store.labelled(None, "dft")}
    assert {frame.structure().hash for frame in frames} == set(stored)
    for frame in frames:
        label = stored[frame.structure().hash].label
        assert frame.energy == label.energy
        assert np.array_equal(frame.forces, label.forces)
        assert frame.level == "dft"
    assert alflow("export", "structures", "--db", database, "-o", name).code == 0
    assert not list(tmp_path.glob(".part*"))


def test_a_format_is_named_where_the_suffix_does_not_tell(alflow, database, tmp_path):
    refused = alflow("export", "structures", "-o", "all.dat")
    assert (refused.code, "--format extxyz|" in refused.err) == (2, True)
    assert alflow("export", "structures", "-o", "x.dat", "--format", "hdf5").code == 0
    assert "did you mean 'hdf5'" in alflow("export", "structures", "--format", "hdf").err


def test_nothing_that_is_something_else_is_replaced(alflow, database, tmp_path):
    before = database.read_bytes()
    refused = alflow("export", "structures", "--db", database, "-o", "water.db")
    assert (refused.code, "is a campaign's database" in refused.err) == (2, True)
    assert database.read_bytes() == before
    (tmp_path / "home.deepmd").mkdir()
    (tmp_path / "home.deepmd" / "thesis.tex").write_text("x")
    refused = alflow("export", "structures", "--db", database, "-o", "home.deepmd")
    assert (refused.code, "holds other things" in refused.err) == (2, True)
    assert (tmp_path / "home.deepmd" / "thesis.tex").exists()


def test_one_split(alflow, database, tmp_path):
    alflow("export", "structures", "--split", "test", "--generation", "0")
    assert alflow("export", "structures", "--split", "test").code == 0
    assert len(read(tmp_path / "structures.extxyz", index=":")) == 1


def test_periodic_structures_keep_cell_and_stress():
    structure = Structure(
        np.array([13], np.uint8), np.zeros((1, 3)), np.eye(3) * 4.05, np.ones(3, bool)
    )
    stress = np.arange(6.0)
    item = LabelledStructure(structure, Label(-3.4, None, stress))
    atoms = labelled_atoms(ExportedFrame(item, "gupta", "val"))
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


def test_metrics_are_tidy(alflow, database):
    rows = list(csv.DictReader(io.StringIO(alflow("export", "metrics").out)))
    found = {(row["generation"], row["member"], row["name"]): row for row in rows}
    assert found["0", "", "n_train"]["value"] == "1.0"
    assert found["0", "0", "force_rmse"]["split"] == "val"
    assert found["", "", "labels_failed"]["iteration"] == "0"
    told = alflow("export", "metrics", "--json").json
    assert [one["name"] for one in told] == [row["name"] for row in rows]


@pytest.mark.parametrize("name", ["m.csv", "m.json"])
def test_metrics_go_to_a_file(alflow, database, tmp_path, name):
    printed = alflow("export", "metrics", *(["--json"] if "json" in name else [])).out
    result = alflow("export", "metrics", "-o", name)
    assert (tmp_path / name).read_text() == printed
    assert f"sha256 {path_sha256(tmp_path / name)}" in result.out
    assert "neither a .csv nor" in alflow("export", "metrics", "-o", "m.txt").err


def test_a_card_lies_beside_the_structures(alflow, database, tmp_path):
    result = alflow("export", "structures", "-o", "w.extxyz", "--card")
    assert "w.README.md  description" in result.out
    card = (tmp_path / "w.README.md").read_text()
    with open_store(database, read_only=True) as store:
        digest = store.content_digest()
    for part in (
        "# Data set of the campaign water",
        "2 labelled structures with 6 atoms: all accepted labels",
        path_sha256(tmp_path / "w.extxyz"),
        digest,
        "basis: 6-31g*",
        "Computed by PySCF 2.8.",
        "| O       |          2 |     2 |",
        "| molecules |          2 |     6 |",
        "| energy, eV/atom        | -692.833 | -692.792 | -692.750 |",
        "  doi       = {FILL IN}",
        "  title     = {{water}: 2 structures labelled at dft}",
    ):
        assert part in card, card
    alflow("export", "structures", "-o", "w.extxyz", "--card")
    assert (tmp_path / "w.README.md").read_text() == card
    alflow("export", "structures", "-o", "w.extxyz", "--card", "--generation", "0")
    told = (tmp_path / "w.README.md").read_text()
    assert "the labels that generation g0 was trained on" in told
