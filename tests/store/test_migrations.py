"""An older store becomes a newer one whole or not at all, whoever is killed meanwhile."""

import os
import re
import runpy
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from alflow.core.errors import LeaseHeld, SchemaMismatch, StoreError
from alflow.store import migrations, open_store
from alflow.store.schema import metadata

SCHEMAS = Path(__file__).with_name("schemas")

SECOND = '''
"""A change as hard as they come: a table to which others refer is replaced."""

import os
import time

import sqlalchemy as sa
from alembic import op

from alflow.store.schema import level_of_theory

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    with op.batch_alter_table("level_of_theory", copy_from=level_of_theory) as batch:
        batch.alter_column("tier", new_column_name="rung")
        batch.add_column(sa.Column("note", TEXT, nullable=True))
    if os.environ.get("ALFLOW_TEST_PAUSE"):
        print("in the middle", flush=True)
        time.sleep(60)
    op.execute("UPDATE level_of_theory SET note = 'was ' || name")
    if os.environ.get("ALFLOW_TEST_FAIL"):
        op.execute("UPDATE no_such_table SET x = 1")
'''

NEWER = '''
"""Makes a process one of an alflow with that change: migrations and tables."""

from pathlib import Path

from sqlalchemy import Column, MetaData

from alflow.store import fingerprint, migrations
from alflow.store.schema import metadata
from alflow.store.schema.base import TEXT


def become(setattr):
    tables = MetaData(naming_convention=metadata.naming_convention)
    for table in metadata.sorted_tables:
        table.to_metadata(tables)
    levels = tables.tables["level_of_theory"]
    levels.c.tier.name = "rung"
    levels.append_column(Column("note", TEXT))
    setattr(fingerprint, "metadata", tables)
    for name in ("_made", "_expected", "_server_columns"):
        setattr(fingerprint, name, getattr(fingerprint, name).__wrapped__)
    setattr(migrations, "SCRIPTS", str(Path(__file__).parent))
    setattr(migrations, "REVISIONS", ("0001", "0002"))
'''

OPENER = textwrap.dedent(
    """
    import runpy
    import sys
    from alflow.store import open_store

    runpy.run_path(sys.argv[2])["become"](setattr)
    print("ready", flush=True)
    sys.stdin.readline()
    with open_store(sys.argv[1]) as store:
        print(store.content_digest(), flush=True)
    """
)


@pytest.fixture
def scripts(tmp_path):
    """The migrations of this alflow and one more."""
    folder = tmp_path / "changes 100%"
    shutil.copytree(
        Path(migrations.__file__).parent, folder, ignore=lambda *_: {"__pycache__"}
    )
    (folder / "versions" / "0002_second.py").write_text(SECOND)
    (folder / "newer.py").write_text(NEWER)
    return folder


@pytest.fixture
def newer(scripts, monkeypatch):
    """Makes this process a newer alflow, until it is undone."""

    def become():
        runpy.run_path(str(scripts / "newer.py"))["become"](monkeypatch.setattr)
        return monkeypatch

    return become


@pytest.fixture
def old(world):
    """A closed store of today's schema with a campaign, and its digest."""
    world.whole()
    digest = world.store.content_digest()
    world.store.close()
    return world.url, digest


def opener(url, scripts, **variables):
    return subprocess.Popen(
        [sys.executable, "-c", OPENER, str(url), str(scripts / "newer.py")],
        env={**os.environ, **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def state(url):
    """Revision, columns of the changed table, names of all tables, notes."""
    with open_store(url, read_only=True) as store, store.read() as connection:
        found = inspect(connection)
        columns = [column["name"] for column in found.get_columns("level_of_theory")]
        notes = text("SELECT note FROM level_of_theory")
        return (
            migrations.revision(connection),
            columns,
            set(found.get_table_names()),
            connection.scalars(notes).all() if "note" in columns else None,
        )


def assert_old(url):
    revision, columns, tables, _ = state(url)
    assert revision == "0001"
    assert "tier" in columns
    assert "note" not in columns
    assert tables == {*metadata.tables, migrations.VERSION_TABLE}


def assert_new(url, digest):
    revision, columns, tables, notes = state(url)
    assert revision == "0002"
    assert "rung" in columns
    assert tables == {*metadata.tables, migrations.VERSION_TABLE}
    assert notes == ["was dft"]
    with open_store(url, read_only=True) as store:
        assert store.content_digest() == digest
    if isinstance(url, Path):
        with closing(sqlite3.connect(url)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


@pytest.mark.recovery
def test_a_migration_that_is_killed_never_happened(old, scripts, newer):
    url, digest = old
    with opener(url, scripts, ALFLOW_TEST_PAUSE="1") as process:
        process.stdin.write("go\n")
        process.stdin.flush()
        lines = [process.stdout.readline() for _ in range(2)]
        assert lines == ["ready\n", "in the middle\n"]
        process.send_signal(signal.SIGKILL)
    assert_old(url)
    with open_store(url) as store:
        assert store.content_digest() == digest
    newer()
    open_store(url).close()
    assert_new(url, digest)


@pytest.mark.recovery
def test_four_may_open_it_at_once(old, scripts, newer):
    url, digest = old
    processes = [opener(url, scripts) for _ in range(4)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert said == [digest] * 4
    newer()
    assert_new(url, digest)
    if isinstance(url, Path):
        assert_backup(url, digest)


def assert_backup(path, digest):
    drafts = [one.name for one in path.parent.iterdir() if one.name.startswith(".")]
    assert drafts == []
    backup = path.with_name(f"{path.name}.backup-0001")
    with closing(sqlite3.connect(backup)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        version = connection.execute("SELECT version_num FROM alflow_schema").fetchall()
        assert version == [("0001",)]


def test_a_backup_is_made_and_told(old, newer, caplog):
    url, digest = old
    undo = newer()
    open_store(url).close()
    assert "store schema 0001 is upgraded to 0002" in caplog.text
    undo.undo()
    if isinstance(url, Path):
        assert "a backup is water.db.backup-0001" in caplog.text
        assert_backup(url, digest)
        # The backup is a store of the older alflow.
        with open_store(url.with_name("water.db.backup-0001")) as store:
            assert store.content_digest() == digest
    else:
        assert "pg_dump makes one" in caplog.text


def test_an_upgraded_store_is_newer_than_the_older_alflow(old, newer):
    url, _ = old
    undo = newer()
    with pytest.raises(SchemaMismatch, match="older than this alflow"):
        open_store(url, read_only=True)
    open_store(url).close()
    undo.undo()
    with pytest.raises(SchemaMismatch, match="has store schema 0002, written by") as caught:
        open_store(url)
    assert "knows up to 0001" in str(caught.value)
    assert "upgrade alflow" in caught.value.next_step


def test_a_migration_that_fails_never_happened(old, newer, monkeypatch):
    url, digest = old
    undo = newer()
    monkeypatch.setenv("ALFLOW_TEST_FAIL", "1")
    with pytest.raises(StoreError, match="no_such_table"):
        open_store(url)
    monkeypatch.delenv("ALFLOW_TEST_FAIL")
    open_store(url).close()
    assert_new(url, digest)
    undo.undo()


def test_a_store_that_is_being_run_is_not_migrated(world, newer):
    world.bootstrap()
    newer()
    with pytest.raises(LeaseHeld, match="is being run by"):
        open_store(world.url)
    world.label_all()


def test_an_upgraded_store_is_like_a_new_one(old, newer, new_database, describe):
    url, _ = old
    newer()
    open_store(url).close()
    fresh = new_database()
    open_store(fresh, create=True).close()
    with (
        open_store(url, read_only=True) as upgraded,
        open_store(fresh, read_only=True) as created,
        upgraded.read() as one,
        created.read() as other,
    ):
        assert describe(one) == describe(other)


def test_every_revision_has_a_stored_database():
    assert sorted(path.stem for path in SCHEMAS.glob("*.sql")) == list(migrations.REVISIONS)


@pytest.mark.parametrize("revision", migrations.REVISIONS)
def test_stores_of_every_released_schema_are_upgraded(tmp_path, revision, describe):
    dump = (SCHEMAS / f"{revision}.sql").read_text()
    expected = re.search(r"^-- content digest (\w+)$", dump, re.MULTILINE)[1]
    path = tmp_path / "water.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(dump)
    open_store(path).close()
    open_store(tmp_path / "fresh.db", create=True).close()
    with (
        open_store(path, read_only=True) as upgraded,
        open_store(tmp_path / "fresh.db", read_only=True) as created,
        upgraded.read() as one,
        created.read() as other,
    ):
        assert describe(one) == describe(other)
        assert upgraded.content_digest() == expected
        assert one.execute(text("PRAGMA foreign_key_check")).all() == []
        assert migrations.revision(one) == migrations.REVISIONS[-1]
