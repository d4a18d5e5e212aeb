"""Commands about the database itself: db info, check, backup, gc, copy, upgrade; and sql."""

import json
import os
import sqlite3
import stat
from contextlib import closing

import pytest

from alflow.cli.db import size_in_words
from alflow.core.errors import EXPLANATIONS
from alflow.store import migrations, open_store


def rewrite(path, *statements):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints=ON")
        for statement in statements:
            connection.execute(statement)


def test_info_says_what_and_where(alflow, database):
    facts = alflow("db", "info", "--json").json
    assert facts["backend"].startswith("SQLite 3")
    assert facts["journal mode"] == "wal"
    assert facts["page size"] == 32768
    assert facts["file system"]
    assert facts["store schema"] == migrations.REVISIONS[-1]
    assert facts["rows"]["labels"] > 3
    assert "alflow db check" in facts["integrity"]


@pytest.mark.postgres
def test_info_of_a_server_shows_no_password(alflow, new_postgres_store):
    url = new_postgres_store().replace("postgres@", "postgres:hunter2@")
    result = alflow("db", "info", url)
    assert result.code == 0
    assert "PostgreSQL" in result.out
    assert "hunter2" not in result.out + result.err
    assert "journal mode" not in result.out


def test_a_network_is_warned_about(alflow, database, monkeypatch):
    monkeypatch.setattr("alflow.store.facts.filesystem_type", lambda _folder: "lustre")
    result = alflow("db", "info", "--json")
    assert "lustre, a network" in result.json["file system"]
    assert "warning: water.db is on lustre" in result.err


def test_check_of_a_sound_database(alflow, database):
    result = alflow("db", "check", database)
    assert (result.code, result.err) == (0, "")
    assert "FAIL" not in result.out
    rows = alflow("db", "check", "--db", database, "--sample", "1", "--json").json
    assert {row["state"] for row in rows} == {"ok"}
    assert next(row for row in rows if row["check"] == "structures")["looked_at"] == 1


def test_check_names_what_is_wrong(alflow, database):
    rewrite(database, "UPDATE structure SET charge = 1 WHERE id = 2")
    result = alflow("db", "check")
    assert result.code == 3
    assert "water.db is not as it should be: structures. [AL322]" in result.err
    (line,) = [line for line in result.out.splitlines() if line.startswith("FAIL")]
    assert line.split()[1:5] == ["structures", "3", "1", "s-2"]
    failed = alflow("db", "check", "--json")
    assert failed.code == 3
    assert [row["first"] for row in failed.json if row["state"] == "FAIL"] == [["s-2"]]


def test_a_tampered_database_is_explained(alflow, database):
    rewrite(database, "CREATE VIEW v AS SELECT 1")
    result = alflow("db", "check")
    assert result.code == 2
    assert "there is a view 'v'" in result.err
    assert "[AL320]" in result.err


def test_backup(alflow, database, tmp_path):
    result = alflow("db", "backup")
    assert result.code == 0
    (made,) = (tmp_path / "backups").iterdir()
    assert f"Backup: {made} (" in result.out
    assert f"alflow resume {made}" in result.err
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert alflow("db", "check", made).code == 0
    # The database is still the only one here.
    assert alflow("status", "--json").code == 3
    named = alflow("db", "backup", database, "-o", tmp_path / "b.db")
    assert "b.db" in named.out
    again = alflow("db", "backup", "--db", database, "-o", tmp_path / "b.db")
    assert again.code == 2
    assert "exists already" in again.err


def test_gc(alflow, database, tmp_path):
    cached = tmp_path / "water" / "cache" / "x.npy"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"x" * 2000)
    assert "0 things deleted, 0 bytes" in alflow("db", "gc").err
    os.utime(cached, (1e9, 1e9))
    dry = alflow("db", "gc", "--dry-run")
    assert "1 things would be deleted, 2 kB (2000 bytes)" in dry.err
    assert cached.exists()
    assert alflow("db", "gc", "--json").json == [
        {"kind": "cache", "name": "water/cache/x.npy", "bytes": 2000}
    ]
    assert not cached.exists()


def test_gc_waits_for_the_manager(alflow, database):
    with open_store(database) as store, store.acquire_lease("node2 (pid 9)"):
        assert alflow("db", "gc").code == 4


def test_copy_says_what_to_move(alflow, database, tmp_path):
    (tmp_path / "water").mkdir()
    result = alflow("db", "copy", "water.db", "other.db")
    assert result.code == 0
    assert "Copied" in result.out
    assert "water.db → other.db" in result.out
    assert "cp -a water other" in result.out
    assert "Go on there:  alflow resume other.db" in result.out
    digests = [
        alflow("db", "info", name, "--json", "--digest").json["content digest"]
        for name in ("water.db", "other.db")
    ]
    assert digests[0] == digests[1]
    assert digests[0] in result.out
    again = alflow("db", "copy", "water.db", "other.db")
    assert again.code == 2
    assert "other.db is not empty" in again.err


def test_copy_of_what_runs(alflow, database):
    with open_store(database) as store, store.acquire_lease("node2 (pid 9)"):
        result = alflow("db", "copy", database, "other.db")
    assert "warning: a manager runs the source" in result.err
    assert alflow("db", "copy", "none.db", "x.db").code == 2
    rows = alflow("db", "copy", database, "third.db", "--json").json
    assert rows["total"] == sum(rows["rows"].values())


@pytest.mark.postgres
def test_copy_to_a_server(alflow, database, new_postgres_url):
    url = new_postgres_url().replace("postgres@", "postgres:hunter2@")
    result = alflow("db", "copy", database, url)
    assert result.code == 0
    assert "hunter2" not in result.out + result.err
    back = alflow("db", "copy", url, "back.db")
    assert back.code == 0
    assert result.out.splitlines()[1] == back.out.splitlines()[1]


def test_upgrade(alflow, database, monkeypatch):
    assert "has the newest schema, 0001" in alflow("db", "upgrade").out
    rewrite(database, "UPDATE alflow_schema SET version_num = '0000'")
    monkeypatch.setattr(migrations, "REVISIONS", ("0000", "0001"))

    def migrate(connection):
        connection.exec_driver_sql("UPDATE alflow_schema SET version_num = '0001'")

    monkeypatch.setattr(migrations, "upgrade", migrate)
    assert "older than this alflow" in alflow("db", "info").err
    assert "water.db: schema 0000 → 0001" in alflow("db", "upgrade", database).out


def test_sql(alflow, database):
    result = alflow("sql", "SELECT id, positions FROM structure ORDER BY id LIMIT 1")
    assert result.out.splitlines()[0].split() == ["id", "positions"]
    assert result.out.splitlines()[1].split(maxsplit=1) == ["1", "<72 bytes>"]
    assert result.err == "1 rows\n"
    rows = alflow("sql", "SELECT id FROM label", "--json", "--db", database).json
    assert rows == [{"id": 1}, {"id": 2}]
    assert alflow("sql", "SELECT id FROM label", database, "--csv").out == "id\n1\n2\n"


def test_sql_that_cannot_be(alflow, database):
    before = database.read_bytes()
    for statement, words in (
        ("SELECT missing FROM label", "no such column: missing"),
        ("DELETE FROM label", "only one query that reads"),
        ("SELECT 1; SELECT 2", "one statement"),
    ):
        result = alflow("sql", statement)
        assert result.code == 2
        assert "[AL104]" in result.err
        assert words in result.err
    assert database.read_bytes() == before


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (2 * 10**6, "2 MB"), (5 * 10**16, "5e+04 TB")],
)
def test_sizes(size, words):
    assert size_in_words(size) == words


@pytest.mark.parametrize("code", ["AL104", "AL210", *(f"AL32{k}" for k in range(5))])
def test_every_code_is_explained(alflow, code):
    assert json.dumps(EXPLANATIONS[code])[1:-1] in json.dumps(alflow("explain", code).out)
