"""`alflow models`: weights from elsewhere, for elsewhere, and what they are."""

import csv
import io
import pickle

import pytest
import torch

from alflow.core.canonical import sha256_hex
from alflow.core.tasks import Outcome, TaskSpec
from alflow.models.ani.settings import AniSettings
from alflow.models.ani.torchani_state import read_torchani
from alflow.store import NewTask, open_store

SETTINGS = AniSettings(members=2, hidden=(6, 5), activation="celu", repulsion=None)


def weights_of(seed):
    ensemble = SETTINGS.create([1, 8], seed)
    ensemble.self_energies = {1: -13.6, 8: -2041.3}
    return ensemble.to_bytes({"trainer": "stacked"})


@pytest.fixture
def trained(database):
    """The campaign with a second generation, which started from the first one."""
    with open_store(database) as store:
        store.acquire_lease("node1 (pid 1)")
        train = NewTask(TaskSpec("train", "train/g1", 3), 0)
        arch = SETTINGS.model_dump(mode="json")
        store.begin_generation(0, 1, "dft", arch, [train], parent=0)
        task = next(t for t in store.tasks(0, "train") if t.spec.key == "train/g1")
        members = [
            {"seed": 11 + k, "best_epoch": 5 + k, "holdout_force_rmse_eV_per_A": 0.1}
            for k in range(2)
        ]
        store.finish_training(
            store.start_attempt(task.id), Outcome(wall_s=3.0), weights_of(3), members, []
        )
    return database


def test_generations_are_listed_with_where_they_came_from(alflow, trained):
    rows = alflow("models", "ls", trained, "--json").json
    assert [row["generation"] for row in rows] == [0, 1]
    assert rows[1]["elements"] == ["H", "O"]
    assert rows[0]["elements"] is None  # the weights of this generation are not a file
    assert (rows[1]["parent"], rows[1]["relation"]) == (0, "warm_start")
    assert (rows[1]["members"], rows[1]["level"], rows[1]["n_train"]) == (2, "dft", 1)
    table = alflow("models", "ls", trained).out
    assert "test RMSE F [eV/Å]" in table
    assert "g0" in table.splitlines()[2]
    cells = list(csv.DictReader(io.StringIO(alflow("models", "ls", trained, "--csv").out)))
    assert cells[1]["weights"] == sha256_hex(weights_of(3))


def test_a_generation_is_shown_back_to_the_first_one(alflow, trained):
    found = alflow("models", "show", trained, "g1", "--json").json
    assert found["family"] == "ani"
    assert found["layers"]["O"].endswith("-6-5-1")
    assert found["self_energies_eV"] == {"H": -13.6, "O": -2041.3}
    assert found["sha256"] == sha256_hex(weights_of(3))
    assert [member["best_epoch"] for member in found["training"]] == [5, 6]
    assert [one["generation"] for one in found["lineage"]] == [1, 0]
    text = alflow(
        "models", "show", "1"
    ).out  # the one database here, and a number without g
    assert "warm_start" in text
    assert "O  -2041.300000" in text
    assert "sha256" in text
    per_member = SETTINGS.create([1, 8], 0).networks.parameters()
    assert found["parameters_per_member"] == sum(p.numel() for p in per_member) // 2


def test_weights_go_out_and_are_what_the_file_says(alflow, trained, tmp_path):
    done = alflow("models", "export", trained, "g1", "-o", "g1.safetensors")
    assert (done.code, sha256_hex(weights_of(3)) in done.out) == (0, True)
    assert (tmp_path / "g1.safetensors").read_bytes() == weights_of(3)
    shown = alflow("models", "show", "g1.safetensors", "--json").json
    assert (shown["members"], shown["metadata"]) == (2, {"trainer": "stacked"})
    assert alflow("models", "export", "g1.safetensors", "--format", "torchani").code == 0
    there = tmp_path / "g1-torchani.safetensors"
    again = read_torchani(there.read_bytes())
    assert again.elements == (1, 8)
    assert alflow("models", "import", there, "-o", "back.safetensors").code == 0
    assert alflow("models", "show", "back.safetensors", "--json").json["members"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("g7",), "no generation g7"),
        (("nothing",), "there is no database nothing"),
        (("absent.safetensors",), "there is no file absent.safetensors"),
        (("water.db", "seven"), "'seven' is not the name of a generation"),
        (("water.db", "g0"), "not a safetensors file"),
        (("w.safetensors", "g0"), "is a file of weights"),
    ],
)
def test_what_is_not_there_is_told(alflow, database, tmp_path, arguments, message):
    (tmp_path / "w.safetensors").write_bytes(weights_of(1))
    answer = alflow("models", "show", *arguments)
    assert answer.code == 2
    assert message in answer.err


def test_files_that_hold_no_state_dict_are_named_with_what_to_do(alflow, tmp_path):
    (tmp_path / "old.pt").write_bytes(pickle.dumps({"a": 1}))
    torch.save({"a": torch.ones(1)}, tmp_path / "new.pt")
    (tmp_path / "own.safetensors").write_bytes(weights_of(1))
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "data.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    (tmp_path / "folder").mkdir()
    wanted = {
        "old.pt": "save_file(model.state_dict()",
        "new.pt": "but a pickle",
        "own.safetensors": "weights of alflow already",
        "text.txt": "not a safetensors file",
        "data.h5": "HDF5",
        "folder": "0 .params files",
        "absent": "No such file",
    }
    for name, message in wanted.items():
        answer = alflow("models", "import", name, "-o", "out.safetensors")
        assert (answer.code, message in answer.err) == (2, True), answer.err
        assert name in answer.err
        assert "Nothing was written." in answer.err
    assert not (tmp_path / "out.safetensors").exists()
