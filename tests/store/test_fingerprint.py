"""A database whose tables are not ours is not opened, whatever its header says."""

import sqlite3
import time
from contextlib import closing

import pytest
from sqlalchemy import text

from alflow.core.errors import NotAnAlflowStore
from alflow.store import fingerprint, migrations, open_store
from alflow.store.schema import metadata


def change(path, *statements):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def rewrite(path, table, old, new):
    """Edit the text of a definition in place, as an attacker would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE name = ?",
            (old, new, table),
        )


TRIGGER = "CREATE TRIGGER evil AFTER INSERT ON event BEGIN UPDATE label SET energy = 0; END"
HOSTILE = [
    ([TRIGGER], "there is a trigger 'evil'"),
    (["CREATE VIEW best AS SELECT * FROM label"], "there is a view 'best'"),
    (["CREATE TABLE notes (text TEXT)"], "there is a table 'notes'"),
    (["ALTER TABLE event DROP COLUMN subject"], "table 'event' has no column subject"),
    (
        ["ALTER TABLE event ADD COLUMN more INTEGER GENERATED ALWAYS AS (id * 2)"],
        "table 'event' has a column more",
    ),
    (["CREATE INDEX slow ON event (kind)"], "there is an index 'slow'"),
    (["DROP INDEX uq_label_current"], "there is no index 'uq_label_current'"),
    (
        [
            "DROP INDEX uq_label_current",
            "CREATE INDEX uq_label_current ON label (structure_id, lot_id)",
        ],
        "index 'uq_label_current' is another one",
    ),
    (["ALTER TABLE task_dep RENAME TO task_dip"], "there is no table 'task_dep'"),
    (
        ["CREATE VIRTUAL TABLE search USING fts5(text)"],
        "'search' is not an ordinary table",
    ),
]


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize(("statements", "message"), HOSTILE)
def test_what_is_not_ours_is_named(sqlite_world, statements, message, read_only):
    sqlite_world.store.close()
    change(sqlite_world.path, *statements)
    with pytest.raises(NotAnAlflowStore) as caught:
        open_store(sqlite_world.path, read_only=read_only)
    assert message in caught.value.message
    assert caught.value.code == "AL320"


EDITED = [
    ("label", "energy REAL NOT NULL", "energy TEXT NOT NULL", "'energy TEXT NOT NULL'"),
    ("label", "energy REAL NOT NULL", "energy REAL", "'energy REAL'"),
    ("label", "length(forces) = 24 * n_atoms", "1", "ck_label_forces_size CHECK(1)"),
    ("event", "STRICT", "", "is declared as"),
    ("event", "FOREIGN KEY(campaign_id)", "CHECK (1), FOREIGN KEY(ts)", "CHECK(1)"),
    ("event", "ts REAL", "ts /* , */ REAL", "'event'"),
]


@pytest.mark.parametrize(("table", "old", "new", "message"), EDITED)
def test_edited_definitions_are_named(sqlite_world, table, old, new, message):
    sqlite_world.store.close()
    rewrite(sqlite_world.path, table, old, new)
    with pytest.raises(NotAnAlflowStore) as caught:
        open_store(sqlite_world.path, read_only=True)
    assert message in caught.value.message


def test_a_refused_database_is_as_it_was(sqlite_world):
    sqlite_world.store.close()
    change(sqlite_world.path, TRIGGER)
    before = sqlite_world.path.read_bytes()
    with pytest.raises(NotAnAlflowStore):
        open_store(sqlite_world.path)
    assert sqlite_world.path.read_bytes() == before


def test_statistics_of_the_query_planner_are_allowed(sqlite_world):
    sqlite_world.whole()
    sqlite_world.store.close()
    change(sqlite_world.path, "ANALYZE")
    with open_store(sqlite_world.path) as store:
        assert store.campaign().name == "water"


def test_a_table_that_grew_equals_one_made_at_once(sqlite_world, monkeypatch):
    """Also without the digest that saves the comparison."""
    monkeypatch.setattr(fingerprint, "USUAL", "")
    open_store(sqlite_world.path).close()
    sqlite_world.store.close()
    change(
        sqlite_world.path,
        "ALTER TABLE model DROP COLUMN best_epoch",
        "ALTER TABLE model ADD COLUMN best_epoch INTEGER",
        "ALTER TABLE metric_epoch RENAME TO other",
        "ALTER TABLE other RENAME TO metric_epoch",
    )
    with open_store(sqlite_world.path) as store:
        assert store.campaign().name == "water"


def test_the_usual_digest_is_that_of_a_new_store(sqlite_world):
    with closing(sqlite3.connect(sqlite_world.path)) as connection:
        rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master")
        found = fingerprint.digest(rows)
    assert found == fingerprint.USUAL, "the schema has changed: write down the new digest"


def test_it_takes_a_few_milliseconds_at_most(sqlite_world):
    times = []
    with sqlite_world.store.read() as connection:
        for _ in range(5):
            start = time.process_time()
            fingerprint.check(connection, "x", migrations.REVISIONS[-1])
            times.append(time.process_time() - start)
    assert min(times) < 5e-3


def test_other_revisions_may_have_other_tables_but_no_code(sqlite_world):
    sqlite_world.store.close()
    change(sqlite_world.path, "CREATE TABLE of_the_future (id INTEGER)")
    with closing(sqlite3.connect(sqlite_world.path)) as connection:
        connection.execute("UPDATE alflow_schema SET version_num = '0999'")
        connection.commit()
    open_store(sqlite_world.path, read_only=True).close()
    change(sqlite_world.path, "CREATE VIEW v AS SELECT 1")
    with pytest.raises(NotAnAlflowStore, match="view 'v'"):
        open_store(sqlite_world.path, read_only=True)


SERVER = [
    ("ALTER TABLE event DROP COLUMN subject", "table 'event' has no column subject"),
    ("ALTER TABLE event ADD COLUMN more TEXT", "table 'event' has a column more"),
    (
        "ALTER TABLE label ALTER COLUMN energy TYPE REAL",
        "column energy of table 'label' is real, not double precision",
    ),
    (
        "ALTER TABLE label ALTER COLUMN energy DROP NOT NULL",
        "column energy of table 'label' is double precision",
    ),
    (
        (
            "CREATE TRIGGER evil BEFORE UPDATE ON label FOR EACH ROW"
            " EXECUTE FUNCTION suppress_redundant_updates_trigger()"
        ),
        "there is a trigger 'evil' on table 'label'",
    ),
    (
        "CREATE RULE evil AS ON DELETE TO label DO INSTEAD NOTHING",
        "there is a rule 'evil' on table 'label'",
    ),
]


@pytest.mark.postgres
@pytest.mark.parametrize(("statement", "message"), SERVER)
def test_on_a_server_too(new_postgres_store, statement, message):
    url = new_postgres_store()
    with open_store(url) as store, store.database.write() as connection:
        connection.execute(text("CREATE TABLE of_somebody_else (id INTEGER)"))
    with open_store(url) as store, store.database.write() as connection:
        connection.execute(text(statement))
    with pytest.raises(NotAnAlflowStore) as caught:
        open_store(url, read_only=True)
    assert message in caught.value.message


def test_every_table_is_compared():
    tables, indexes = fingerprint._expected()
    assert set(tables) == {*metadata.tables, migrations.VERSION_TABLE}
    assert "uq_label_current" in indexes
