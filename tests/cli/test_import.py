"""The command that brings labelled structures in."""

import json
from dataclasses import replace

import numpy as np
import pytest

from alflow.core.batches import LabelledStructure
from alflow.core.labels import Label
from alflow.core.structures import Structure
from alflow.store import open_store
from alflow.store.interchange import FORMATS, ExportedFrame

CAMPAIGN = """
name: water
seed: 1
system: {elements: [H, O], builders: [{kind: molecules, names: [H2O]}]}
label: {primary: dft, levels: {dft: {kind: pyscf, method: pbe, basis: sto-3g}}}
sample: {duration_ps: 1, temperature_K: {start: [300, 600], end: [300, 600]}}
acquire: {per_iteration: 4}
"""
SPRING = 30.0


def _frame(k: int) -> ExportedFrame:
    rng = np.random.default_rng(k)
    rest = np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    x = rest + rng.normal(0, 0.03, (3, 3))
    energy, forces = -2078.0, np.zeros((3, 3))
    for i, j in ((0, 1), (0, 2), (1, 2)):
        length = np.linalg.norm(x[i] - x[j])
        stretch = length - np.linalg.norm(rest[i] - rest[j])
        energy += SPRING / 2 * stretch**2
        pull = -SPRING * stretch * (x[i] - x[j]) / length
        forces[i] += pull
        forces[j] -= pull
    structure = Structure(np.array([8, 1, 1], np.uint8), x)
    item = LabelledStructure(structure, Label(float(energy), forces), 0, "md", "md")
    return ExportedFrame(item, "dft", "train")


def _written(path, frames):
    FORMATS["extxyz"].write(path, frames)
    return path


@pytest.fixture
def good(tmp_path):
    return _written(tmp_path / "good.xyz", [_frame(k) for k in range(30)])


@pytest.fixture
def gradients(tmp_path):
    frames = []
    for k in range(30):
        frame = _frame(k)
        label = Label(frame.item.label.energy, -frame.item.label.forces)
        frames.append(replace(frame, item=replace(frame.item, label=label)))
    return _written(tmp_path / "gradients.xyz", frames)


@pytest.fixture
def campaign(tmp_path):
    path = tmp_path / "campaign.yaml"
    path.write_text(CAMPAIGN)
    return path


def _labels(path):
    with open_store(path, read_only=True) as store:
        return store.labelled(None, "dft")


def test_a_campaign_can_begin_with_a_file(alflow, campaign, good, tmp_path):
    done = alflow("import", good, "--campaign", campaign, "--level", "dft", "--json")
    assert done.code == 0
    (told,) = done.json
    assert (told["format"], told["result"]["n_labels"]) == ("extxyz", 30)
    assert told["force_test"]["slope"] == pytest.approx(1, abs=0.05)
    assert len(_labels(tmp_path / "water.db")) == 30
    assert "imported labels (30 to train on" in alflow("run", campaign, "--dry-run").out
    again = alflow("import", good, "water.db", "--level", "dft")
    assert again.code == 0
    assert "30" in again.out.splitlines()[1].split()[4]
    shown = alflow("show", "l-3")
    assert "imported from good.xyz" in shown.out


def test_gradients_are_refused_with_the_option_that_mends_them(
    alflow, campaign, gradients, good, tmp_path
):
    arguments = ["--campaign", campaign, "--level", "dft"]
    refused = alflow("import", gradients, good, *arguments)
    assert refused.code == 2
    assert "is the gradient" in refused.err
    assert "[AL132]" in refused.err
    assert "mend it with: --forces-are-gradient" in refused.err
    assert not (tmp_path / "water.db").exists()
    done = alflow("import", gradients, *arguments, "--forces-are-gradient")
    assert done.code == 0
    found = {item.structure.hash: item.label for item in _labels(tmp_path / "water.db")}
    for k in range(30):
        item = _frame(k).item
        np.testing.assert_allclose(
            found[item.structure.hash].forces, item.label.forces, atol=1e-7
        )


def test_bad_frames_are_listed_and_stored_nowhere(alflow, campaign, tmp_path):
    frames = [_frame(k) for k in range(30)]
    x = frames[4].item.structure.positions.copy()
    x[1] = x[0] + 0.01
    overlapping = replace(frames[4].item, structure=Structure(
        frames[4].item.structure.numbers, x))  # fmt: skip
    frames[4] = replace(frames[4], item=overlapping)
    path = _written(tmp_path / "mixed.xyz", frames)
    arguments = ["import", path, "--campaign", campaign, "--level", "dft"]
    strict = alflow(*arguments, "--strict")
    assert (strict.code, "1 frames are quarantined" in strict.err) == (2, True)
    assert not (tmp_path / "water.db").exists()
    done = alflow(*arguments, "--report", "report.json")
    assert done.code == 0
    assert "frame 4 H2O: O0 and H1 are 0.017 Å apart" in done.err
    (told,) = json.loads((tmp_path / "report.json").read_text())
    assert [one["check"] for one in told["quarantined"]] == ["distance"]
    assert len(_labels(tmp_path / "water.db")) == 29


def test_labels_that_contradict_the_database_are_told(alflow, campaign, good, tmp_path):
    alflow("import", good, "--campaign", campaign, "--level", "dft")
    frame = _frame(0)
    label = Label(frame.item.label.energy + 1, frame.item.label.forces)
    other = _written(
        tmp_path / "other.xyz", [replace(frame, item=replace(frame.item, label=label))]
    )
    done = alflow("import", other, "--level", "dft", "--split", "test")
    assert done.code == 0
    assert "1 frames contradict labels in the database, which stay: 0" in done.err
    assert "keep the split that they had" in done.err


def test_a_dry_run_writes_nothing(alflow, campaign, good, tmp_path):
    arguments = ["import", good, "--campaign", campaign, "--level", "dft"]
    done = alflow(*arguments, "--dry-run")
    assert (done.code, "Nothing was written" in done.err) == (0, True)
    assert not (tmp_path / "water.db").exists()


def test_a_manager_is_not_disturbed(alflow, campaign, good, tmp_path):
    alflow("import", good, "--campaign", campaign, "--level", "dft")
    with open_store(tmp_path / "water.db") as store, store.acquire_lease("manager"):
        told = alflow("import", good, "--level", "dft")
    assert (told.code, "is being run by" in told.err) == (4, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--level", "dtf"], "did you mean 'dft'"),
        (["--level", "dft", "--split", "tset"], "there is no split 'tset'"),
        (["--level", "dft", "--skip-check", "force-tst"], "did you mean 'force-test'"),
        (["--level", "dft", "--energy-unit", "erg"], "'erg' is no unit of energy"),
        (["--level", "dft", "--format", "exyz"], "did you mean 'extxyz'"),
        (["--level", "dft", "--energy-unit", "hartree"], "--energy-unit eV"),
        (["--level", "dft", "--max-force", "0"], "none of its 30 frames"),
    ],
)
def test_what_cannot_be_imported(alflow, campaign, good, tmp_path, arguments, words):
    told = alflow("import", good, "--campaign", campaign, *arguments)
    assert (told.code, words in told.err) == (2, True)
    assert not (tmp_path / "water.db").exists()


def test_files_and_databases_are_told_apart(alflow, campaign, good, tmp_path):
    alflow("import", good, "--campaign", campaign, "--level", "dft")
    told = alflow("import", "water.db", "--level", "dft")
    assert (told.code, "there is no file to import" in told.err) == (2, True)
    alflow("export", "structures", "--db", "water.db", "-o", "ase.db")
    again = alflow("import", "ase.db", "water.db", "--level", "dft", "--json")
    assert again.json[0]["result"]["n_known"] == 30
    two = alflow("import", good, "water.db", "postgresql://host/x", "--level", "dft")
    assert (two.code, "two databases" in two.err) == (2, True)
