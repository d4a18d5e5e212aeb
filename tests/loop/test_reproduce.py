"""A generation once more: the same bits, noise, or a difference that is told."""

import json
import shutil

import pytest

from alflow.cli.main import run_command
from alflow.config.loading import load_campaign
from alflow.core.canonical import path_sha256, sha256_hex
from alflow.execution.process import ProcessExecutor
from alflow.loop.campaign import run_campaign
from alflow.loop.manager import Manager
from alflow.models.ani.ensemble import AniEnsemble
from alflow.store import open_store
from alflow.testing.toy import CAMPAIGN

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small campaign of two generations that has ended; its campaign directory is gone."""
    folder = tmp_path_factory.mktemp("finished")
    text = CAMPAIGN.replace(
        "bootstrap: 132, max_iterations: 2", "bootstrap: 6, max_iterations: 1"
    )
    text = text.replace("tasks: 6", "tasks: 1").replace(
        "per_iteration: 24", "per_iteration: 3"
    )
    (folder / "campaign.yaml").write_text(text.replace("count: 12", "count: 2"))
    database = folder / "chaos.db"
    with run_campaign(database, load_campaign(folder / "campaign.yaml")) as campaign:
        executor = ProcessExecutor(campaign.files, 2)
        executor.start()
        try:
            Manager(campaign, executor, lambda _: None).run()
        finally:
            executor.close(cancel=True)
        shutil.rmtree(campaign.files.root)
    return database


@pytest.fixture
def database(finished, tmp_path):
    """A copy that may be changed."""
    copy = tmp_path / "copy.db"
    shutil.copy(finished, copy)
    return copy


def change(database, statement, *values):
    with open_store(database) as store, store.database.write() as connection:
        connection.exec_driver_sql(statement, values)


def reproduce(capfd, *arguments):
    capfd.readouterr()
    code = run_command(["reproduce", *map(str, arguments)])
    told = capfd.readouterr()
    return code, told.out, told.err


@pytest.mark.parametrize("name", ["g0", "g1", "1"])
def test_a_generation_comes_out_the_same(finished, capfd, name):
    before = path_sha256(finished)
    code, out, _ = reproduce(capfd, finished, name)
    assert code == 0
    with open_store(finished, read_only=True) as store:
        sha = store.weights_sha(int(name.removeprefix("g")))
    assert f"the same, bit by bit: sha256 {sha}" in out
    assert path_sha256(finished) == before


def put_in_place(database, factor):
    """Weights of g1 that are not what training made, with a checksum that fits them."""
    with open_store(database, read_only=True) as store:
        old = store.weights_sha(1)
        ensemble = AniEnsemble.from_bytes(store.weights(1))
    for weight in ensemble.networks.weights:
        weight.data *= factor
    content = ensemble.to_bytes(ensemble.metadata)
    change(database, "PRAGMA foreign_keys = OFF")
    with open_store(database) as store, store.database.write() as connection:
        connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        connection.exec_driver_sql(
            "UPDATE blob SET sha256 = ?, data = ?, size = ? WHERE sha256 = ?",
            (sha256_hex(content), content, len(content), old),
        )
        connection.exec_driver_sql(
            "UPDATE ensemble SET weights_sha = ? WHERE weights_sha = ?",
            (sha256_hex(content), old),
        )
    return sha256_hex(content)


def test_float_noise_is_called_noise(database, capfd):
    put_in_place(database, 1 + 1e-6)
    code, out, _ = reproduce(capfd, database, "g1", "--json")
    found = json.loads(out)
    assert (code, found["reproduced"], found["equal"]) == (0, True, False)
    assert 0 < found["predictions"]["force_eV_per_A"] < 1e-3
    assert found["predictions"]["split"] == "test"
    assert len(found["members"]) == 2
    code, out, _ = reproduce(
        capfd, database, "g1", "--force-noise", "0", "--energy-noise", "0"
    )
    assert (code, "came out different" in out) == (1, True)


def test_weights_that_training_did_not_make_are_told(database, capfd):
    stored = put_in_place(database, 1.5)
    change(database, "UPDATE model SET best_epoch = 77 WHERE member = 1")
    change(
        database,
        """UPDATE environment SET packages_json =
        replace(packages_json, '"alflow":"', '"alflow":"0.0.')""",
    )
    code, out, _ = reproduce(capfd, database, "g1")
    assert code == 1
    assert "came out different" in out
    assert f"stored {stored}" in out
    assert "meV/Å" in out
    lines = [line.split() for line in out.splitlines()]
    assert any(line[:3] == ["1", "best_epoch", "77"] for line in lines)
    assert any(line[:1] == ["alflow"] and line[1].startswith("0.0.") for line in lines)


def test_a_changed_label_of_the_snapshot_is_told(database, capfd):
    with open_store(database, read_only=True) as store:
        item = store.labelled("train", "gupta", generation=1)[0]
    change(database, "UPDATE label SET energy = energy + 1e-9 WHERE id = ?", item.label_id)
    code, _, err = reproduce(capfd, database, "g1")
    assert code == 2
    assert "the snapshot of g1 is not what it was trained on" in err
    assert "Nothing was trained." in err


def test_damaged_weights_are_told(database, capfd):
    with open_store(database, read_only=True) as store:
        sha = store.weights_sha(1)
    change(database, "UPDATE blob SET data = zeroblob(size) WHERE sha256 = ?", sha)
    code, _, err = reproduce(capfd, database, "g1")
    assert code == 2
    assert sha[:12] in err


def test_training_that_fails_is_told(database, capfd):
    change(
        database,
        """UPDATE task SET spec_json =
        replace(spec_json, '"kind":"stacked"', '"kind":"stacked","unheard_of":1')""",
    )
    code, out, _ = reproduce(capfd, database, "g0")
    assert code == 1
    assert "g0 could not be trained again" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["g7"], "no generation g7"), (["seven"], "not the name of a generation")],
)
def test_what_is_not_there_is_told(finished, capfd, arguments, message):
    code, _, err = reproduce(capfd, finished, *arguments)
    assert (code, message in err) == (2, True)


def test_the_generation_must_be_named_and_the_folder_empty(finished, capfd, tmp_path):
    code, _, err = reproduce(capfd, finished)
    assert (code, "which generation" in err) == (2, True)
    (tmp_path / "file").touch()
    code, _, err = reproduce(capfd, finished, "g0", "--directory", tmp_path)
    assert (code, "is not empty" in err) == (2, True)
    code, _, _ = reproduce(capfd, "--db", finished, "0", "--directory", tmp_path / "new")
    assert (code, (tmp_path / "new" / "tasks").is_dir()) == (0, True)
