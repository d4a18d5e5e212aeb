"""`alflow compare`: how generations are named, and what is printed."""

import csv
import io
import shutil

import pytest

from alflow.store import open_store


@pytest.fixture
def other(database, tmp_path):
    """The same campaign with other settings, in a folder of its own."""
    folder = tmp_path / "other"
    folder.mkdir()
    path = folder / "other.db"
    shutil.copy(database, path)
    with open_store(path) as store, store.acquire_lease("test"):
        generation_of_old = store.campaign().config
        with store.database.write() as connection:
            connection.exec_driver_sql("UPDATE ensemble SET created = 4e9")
        store.update_config({**generation_of_old, "seed": 8})
    return path


def test_a_generation_with_itself(alflow, database):
    told = alflow("compare", "g0", "g0")
    assert told.code == 0
    assert "data: labels trained on" in told.out
    assert "no setting differs" in told.out
    assert "no test error of" in told.err


def test_two_databases_by_their_newest_generations(alflow, database, other):
    told = alflow("compare", database, f"{other}:g0")
    assert told.code == 0
    assert "settings that differ" in told.out
    seed = next(line for line in told.out.splitlines() if line.startswith("seed"))
    assert seed.split() == ["seed", "7", "→", "8"]


def test_as_json_and_csv(alflow, database, other):
    value = alflow("compare", f"{database}:g0", other, "--json").json
    assert value["comparable"] is False
    assert value["first"]["generation"] == value["second"]["generation"] == 0
    assert value["settings"] == [{"path": "seed", "first": 7, "second": 8}]
    rows = list(csv.DictReader(io.StringIO(alflow("compare", "g0", "g0", "--csv").out)))
    labels = next(row for row in rows if row["name"] == "labels so far")
    assert (labels["first"], labels["second"], labels["change"]) == ("2.0", "2.0", "0.0")


def test_what_is_not_there(alflow, database):
    assert "there is no generation g5" in alflow("compare", "g0", "g5").err
    assert alflow("compare", "missing.db", "g0").code == 2
