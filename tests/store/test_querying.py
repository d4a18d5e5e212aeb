"""Queries of users read, and do nothing else."""

import pytest

from alflow.core.errors import SettingsError, StoreError
from alflow.store import open_store
from alflow.store.querying import query


@pytest.fixture
def store(world):
    world.whole()
    world.store.close()
    with open_store(world.url, read_only=True) as opened:
        yield opened


def test_rows_and_columns(store):
    found = query(store, "SELECT id, n_atoms AS n, positions FROM structure ORDER BY id;")
    assert found.columns == ("id", "n", "positions")
    assert found.rows[0] == (1, 3, "<72 bytes>")
    assert query(store, "SELECT NULL AS x").rows == [(None,)]
    assert query(store, "WITH a AS (SELECT 1 AS one) SELECT * FROM a").rows == [(1,)]
    assert query(store, "SELECT '50 %' AS x, ':y' AS z").rows == [("50 %", ":y")]


WRITES = [
    "DELETE FROM label",
    "UPDATE label SET energy = 0",
    "INSERT INTO store_meta VALUES ('a', 'b')",
    "DROP TABLE label",
    "CREATE TABLE x (y INTEGER)",
    "CREATE TEMP TABLE x (y INTEGER)",
    "BEGIN",
    "COMMIT",
    "SELECT 1; DELETE FROM label",
    "SELECT 1; COMMIT; DELETE FROM label",
    "SELECT 1; SELECT 2",
    "WITH gone AS (DELETE FROM label RETURNING id) SELECT * FROM gone",
    "",
    "-- nothing",
]


@pytest.mark.parametrize("sql", WRITES)
def test_everything_else_is_refused(store, sql):
    digest = store.content_digest()
    with pytest.raises(SettingsError) as caught:
        query(store, sql)
    assert caught.value.code == "AL104"
    assert store.content_digest() == digest
    assert query(store, "SELECT count(*) AS n FROM label").rows[0][0] > 0


SQLITE_WRITES = [
    "ATTACH ':memory:' AS other",
    "ATTACH '/tmp/x.db' AS other",
    "DETACH main",
    "PRAGMA query_only=OFF",
    "PRAGMA journal_mode=DELETE",
    "PRAGMA writable_schema=ON",
    "PRAGMA wal_checkpoint",
    "SELECT load_extension('x')",
    "SELECT * FROM pragma_journal_mode",
    "VACUUM INTO '/tmp/x.db'",
    "REINDEX",
    "UPDATE sqlite_master SET sql = ''",
    "ANALYZE",
]


@pytest.mark.parametrize("sql", SQLITE_WRITES)
def test_what_only_sqlite_can_do_is_refused(sqlite_world, sql):
    with (
        open_store(sqlite_world.path, read_only=True) as store,
        pytest.raises(SettingsError) as caught,
    ):
        query(store, sql)
    assert caught.value.code == "AL104"


def test_the_schema_can_be_asked_for(sqlite_world):
    with open_store(sqlite_world.path, read_only=True) as store:
        tables = query(store, "SELECT name FROM pragma_table_list WHERE strict")
        assert ("label",) in tables.rows
        columns = query(store, "PRAGMA table_info(label)")
        assert "energy" in {row[1] for row in columns.rows}
        assert query(store, "EXPLAIN QUERY PLAN SELECT * FROM label").rows


SERVER_WRITES = [
    "COPY label TO '/tmp/label'",
    "SET default_transaction_read_only = off",
    "SELECT nextval('event_id_seq')",
    "SELECT * INTO x FROM label",
    "SELECT * FROM label FOR UPDATE",
    "VACUUM",
    "CALL x()",
]


@pytest.mark.postgres
@pytest.mark.parametrize("sql", SERVER_WRITES)
def test_what_only_a_server_can_do_is_refused(new_postgres_store, sql):
    with (
        open_store(new_postgres_store(), read_only=True) as store,
        pytest.raises(SettingsError) as caught,
    ):
        query(store, sql)
    assert caught.value.code == "AL104"


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT enery FROM label", "enery"),
        ("SELECT * FROM lable", "lable"),
        ("SELEC 1", "syntax error"),
    ],
)
def test_mistakes_are_told(store, sql, words):
    with pytest.raises(SettingsError) as caught:
        query(store, sql)
    assert words in caught.value.message
    assert caught.value.exit_code == 2


LONG = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000)"
    " SELECT count(*) AS n FROM n"
)


def test_a_query_that_takes_too_long_is_given_up(store):
    with pytest.raises(SettingsError, match=r"takes longer than 0\.2 s") as caught:
        query(store, LONG, timeout_s=0.2)
    assert "--timeout" in caught.value.next_step
    assert query(store, "SELECT 1 AS x").rows == [(1,)]


def test_a_store_that_can_be_written_is_not_asked(world):
    with pytest.raises(StoreError, match="opened for reading only"):
        query(world.store, "SELECT 1")
