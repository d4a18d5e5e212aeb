"""The tables refuse bad rows, and the migrations give the tables that the code speaks of."""

import sqlite3

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, func, select, text

from alflow.core.errors import StoreError
from alflow.store import migrations
from alflow.store.schema import metadata


def test_migrations_give_the_schema(world, backend, request, describe):
    url = "sqlite://"
    if backend == "postgres":
        url = request.getfixturevalue("postgres_url")
    engine = create_engine(url)
    with engine.begin() as connection:
        metadata.create_all(connection)
        expected = describe(connection)
    engine.dispose()
    assert expected
    with world.store.read() as connection:
        assert describe(connection) == expected
        context = MigrationContext.configure(
            connection, opts={"version_table": migrations.VERSION_TABLE}
        )
        assert compare_metadata(context, metadata) == []


@pytest.mark.postgres
def test_arrays_are_not_compressed_in_vain(postgres_server, new_postgres_store):
    name = new_postgres_store().partition("@/")[2].partition("?")[0]
    query = """SELECT attrelid::regclass::text, attname FROM pg_attribute
        WHERE attstorage = 'e' AND attrelid IN (
            SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)"""
    found = set(postgres_server.execute(query, name))
    assert {("structure", "positions"), ("label", "forces"), ("blob", "data")} <= found


def test_every_table_is_strict(sqlite_world):
    with sqlite_world.store.read() as connection:
        rows = connection.execute(text("PRAGMA table_list")).all()
    strict = {row.name: row.strict for row in rows}
    assert all(strict[name] for name in metadata.tables)


def test_known_revisions_are_the_files():
    config = Config()
    config.set_main_option("script_location", "alflow.store:migrations")
    script = ScriptDirectory.from_config(config)
    found = [one.revision for one in script.walk_revisions()]
    assert tuple(reversed(found)) == migrations.REVISIONS
    assert migrations.MIN_READER in migrations.REVISIONS


def test_the_file_is_made_as_decided(sqlite_world):
    with sqlite_world.store.database.write() as connection:
        values = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in (
                "page_size",
                "journal_mode",
                "synchronous",
                "foreign_keys",
                "trusted_schema",
                "busy_timeout",
            )
        }
    assert values == {
        "page_size": 32768,
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "trusted_schema": 0,
        "busy_timeout": 30000,
    }


BAD_UPDATES = [
    "structure SET positions = x'00'",
    "structure SET numbers = x'00'",
    "structure SET hash = x'00'",
    "structure SET n_atoms = 0",
    "structure SET pbc = 8",
    "structure SET pbc = 1",
    "structure SET multiplicity = 0",
    "structure SET cell = x'00'",
    "structure SET n_atoms = 'three'",
    "campaign_structure SET split = 'holdout'",
    "label SET energy = 9e999",
    "label SET energy = NULL",
    "label SET forces = x'00'",
    "label SET stress = x'00'",
    "label SET quality = 'good'",
    "label SET lot_id = 77",
    "label_item SET state = 'failed'",
    "label_item SET failure_kind = 'crash'",
    "label_item SET state = 'lost'",
    "task SET state = 'running'",
    "task SET key = ''",
    "task SET charged = 99",
    "task SET iteration_id = 99",
    "attempt SET state = 'failed'",
    "attempt SET charged = 2",
    "ensemble SET weights_sha = NULL",
    "ensemble SET weights_sha = 'abc'",
    "ensemble SET state = 'good'",
    "blob SET data = NULL",
    "blob SET size = 3",
    "snapshot_interval SET to_seq = from_seq",
    "candidate SET decision = 'maybe'",
    "candidate SET rank = NULL",
    "candidate SET force_spread_max = -9e999",
    "trajectory SET stop_reason = 'tired'",
    "prediction SET energy = 9e999",
    "iteration SET number = -1",
    "iteration_stat SET value = 9e999",
    "campaign SET state = 'happy'",
    "campaign SET stop_mode = 'later'",
    "campaign SET name = ''",
    "event SET severity = 'loud'",
    "manager_lease SET epoch = -1",
]


def test_bad_rows_are_refused(world, backend):
    world.whole()
    for update in BAD_UPDATES:
        table = update.split()[0]
        with world.store.read() as connection:
            assert connection.scalar(select(func.count()).select_from(text(table))), table
        if backend == "postgres":
            update = update.replace("x'00'", "'\\x00'::bytea")  # noqa: PLW2901
            update = update.replace("9e999", "'Infinity'::float8")  # noqa: PLW2901
        with (  # noqa: PT012 (the statement and the commit may both refuse)
            pytest.raises(
                StoreError, match=r"constraint|cannot store|invalid input syntax"
            ),
            world.store.database.write() as connection,
        ):
            connection.execute(text(f"UPDATE {update}"))
            pytest.fail(f"accepted: {update}")


def test_ordinary_readers_find_an_intact_database(sqlite_world):
    sqlite_world.whole()
    sqlite_world.store.close()
    connection = sqlite3.connect(sqlite_world.path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()
