"""What cannot be opened is told, and left as it was."""

import os
import sqlite3
import threading
from contextlib import closing, suppress

import pytest

from alflow.core.errors import NotAnAlflowStore, SchemaMismatch, StoreError
from alflow.store import open_store
from alflow.store.database import PAGE_SIZE
from alflow.store.filesystem import network_filesystem


def listing(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_missing_file_is_named_and_not_created(tmp_path):
    for read_only in (False, True):
        with pytest.raises(StoreError, match=r"there is no database .*none\.db"):
            open_store(tmp_path / "none.db", read_only=read_only)
    with pytest.raises(StoreError, match="there is no database"):
        open_store(tmp_path / "none.db", read_only=True, create=True)
    with pytest.raises(StoreError, match="there is no directory"):
        open_store(tmp_path / "no" / "none.db", create=True)
    assert listing(tmp_path) == {}


@pytest.mark.parametrize("form", ["{}", "sqlite:///{}", "path"])
def test_paths_and_urls(tmp_path, form):
    path = tmp_path / "odd name %20#?.db" if form != "sqlite:///{}" else tmp_path / "a.db"
    url = path if form == "path" else form.format(path)
    with open_store(url, create=True) as store:
        store.create_campaign("x", {}, 1)
        assert store.name == str(path)
    with open_store(url, read_only=True) as store:
        assert store.campaign().name == "x"
    # A reader that is the last to close leaves an empty journal behind.
    assert listing(tmp_path).keys() <= {path.name, f"{path.name}-wal", f"{path.name}-shm"}


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("mysql://host/name", "cannot keep a store in 'mysql'"),
        ("://secret", "cannot be understood"),
    ],
)
def test_other_urls_are_refused(url, message):
    with pytest.raises(StoreError, match=message) as caught:
        open_store(url, create=True)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("content", [b"name: water\n" * 50, b"SQLite format 3", b"x"])
def test_a_file_that_is_no_database(tmp_path, content, create, read_only):
    path = tmp_path / "campaign.yaml"
    path.write_bytes(content)
    with pytest.raises(NotAnAlflowStore, match=r"campaign\.yaml is not a database"):
        open_store(path, create=create, read_only=read_only)
    assert listing(tmp_path) == {"campaign.yaml": content}


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize("journal", ["WAL", "DELETE"])
def test_a_database_of_something_else(tmp_path, create, journal):
    path = tmp_path / "ase.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode={journal}")
        connection.execute("CREATE TABLE systems (id INTEGER)")
    before = listing(tmp_path)
    with pytest.raises(NotAnAlflowStore, match="something else"):
        open_store(path, create=create)
    assert listing(tmp_path) == before


def test_an_empty_file_becomes_a_store_only_if_asked(tmp_path):
    path = tmp_path / "a.db"
    path.touch()
    with pytest.raises(NotAnAlflowStore):
        open_store(path)
    assert path.stat().st_size == 0
    open_store(path, create=True).close()
    open_store(path).close()


def test_a_directory_is_no_database(tmp_path):
    with pytest.raises(StoreError, match="is a directory") as caught:
        open_store(tmp_path, create=True)
    assert caught.value.code == "AL103"


def rewrite(path, sql, *values):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(sql, values)
        connection.commit()


def test_a_newer_store_is_refused(sqlite_world):
    sqlite_world.store.close()
    rewrite(sqlite_world.path, "UPDATE alflow_schema SET version_num = '0999'")
    rewrite(
        sqlite_world.path, "UPDATE store_meta SET value = '9.9' WHERE key = 'created_by'"
    )
    with pytest.raises(SchemaMismatch, match=r"schema 0999, written by alflow 9\.9"):
        open_store(sqlite_world.path)
    with open_store(sqlite_world.path, read_only=True) as store:
        assert store.campaign().name == "water"
    rewrite(
        sqlite_world.path, "UPDATE store_meta SET value = '0500' WHERE key LIKE 'min_%'"
    )
    with pytest.raises(SchemaMismatch, match="upgrade alflow"):
        open_store(sqlite_world.path, read_only=True)


def test_another_hash_scheme_is_refused(sqlite_world):
    sqlite_world.store.close()
    rewrite(
        sqlite_world.path, "UPDATE store_meta SET value = 'v0' WHERE key = 'hash_scheme'"
    )
    with pytest.raises(SchemaMismatch, match="names structures by 'v0'"):
        open_store(sqlite_world.path)


def test_our_file_without_our_tables(sqlite_world):
    sqlite_world.store.close()
    rewrite(sqlite_world.path, "DROP TABLE alflow_schema")
    with pytest.raises(NotAnAlflowStore, match="is not an alflow store"):
        open_store(sqlite_world.path, create=True)


def test_an_older_store_is_migrated_by_a_writer_only(sqlite_world, monkeypatch):
    sqlite_world.store.close()
    monkeypatch.setattr("alflow.store.migrations.REVISIONS", ("0001", "0002"))
    with pytest.raises(SchemaMismatch, match="older than this alflow"):
        open_store(sqlite_world.path, read_only=True)
    done = []
    monkeypatch.setattr("alflow.store.migrations.upgrade", done.append)
    open_store(sqlite_world.path).close()
    assert len(done) == 1


def test_a_damaged_store_is_told(sqlite_world):
    sqlite_world.whole()
    sqlite_world.store.close()
    content = bytearray(sqlite_world.path.read_bytes())
    content[100:] = bytes(len(content) - 100)
    sqlite_world.path.write_bytes(content)
    with pytest.raises(StoreError, match=r"damaged|not an alflow store"):
        open_store(sqlite_world.path)


def test_a_damaged_page_is_told(sqlite_world):
    sqlite_world.whole()
    sqlite_world.store.close()
    content = bytearray(sqlite_world.path.read_bytes())
    for start in range(PAGE_SIZE, len(content), PAGE_SIZE):
        content[start : start + 64] = b"\xff" * 64
    sqlite_world.path.write_bytes(content)
    with (
        pytest.raises(StoreError, match="damaged"),
        open_store(sqlite_world.path, read_only=True) as store,
    ):
        store.content_digest()


def test_a_read_only_store_writes_nothing(sqlite_world):
    sqlite_world.bootstrap()
    with open_store(sqlite_world.path, read_only=True) as store:
        assert len(store.structures([sqlite_world.train[0].hash])) == 1
        with pytest.raises(StoreError, match="opened for reading only"):
            store.request_stop(now=True)
        with pytest.raises(StoreError, match="reading only"):
            store.acquire_lease("me")
    assert sqlite_world.store.stop_requested() is None


def test_no_permission_is_told(sqlite_world, monkeypatch):
    sqlite_world.store.close()
    real = os.access

    def deny(mode, what):
        return lambda path, asked: (
            False if (path == what and asked & mode) else real(path, asked)
        )

    monkeypatch.setattr("os.access", deny(os.W_OK, sqlite_world.path.parent))
    with pytest.raises(StoreError, match=r"directory .* is not writable") as caught:
        open_store(sqlite_world.path)
    assert caught.value.code == "AL103"
    monkeypatch.setattr("os.access", deny(os.W_OK, sqlite_world.path))
    with pytest.raises(StoreError, match=r"water\.db is not writable"):
        open_store(sqlite_world.path)
    open_store(sqlite_world.path, read_only=True).close()
    monkeypatch.setattr("os.access", deny(os.R_OK, sqlite_world.path))
    with pytest.raises(StoreError, match="no permission"):
        open_store(sqlite_world.path, read_only=True)


def test_creation_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def fail(_connection):
        raise sqlite3.OperationalError("disk full")

    monkeypatch.setattr("alflow.store.migrations.upgrade", fail)
    with pytest.raises(StoreError, match="cannot be created: disk full"):
        open_store(tmp_path / "a.db", create=True)
    assert listing(tmp_path) == {}


def test_many_creators_agree_on_one_store(tmp_path):
    names, errors = [], []

    def create(name):
        try:
            with open_store(tmp_path / "a.db", create=True) as store:
                with suppress(StoreError):
                    store.create_campaign(name, {}, 1)
                names.append(store.campaign().name)
        except Exception as error:  # noqa: BLE001 (told in the main thread)
            errors.append(error)

    threads = [threading.Thread(target=create, args=(f"c{k}",)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(set(names)) == 1


MOUNTS = """\
20 1 8:1 / / rw - ext4 /dev/vda rw
21 20 0:50 / /home rw - nfs4 server:/home rw
22 21 8:2 / /home/local\\040disk rw - xfs /dev/vdb rw
23 20 0:51 / /cluster rw - fuse.sshfs host:/ rw
24 20 0:52 / /scratch rw - lustre mgs:/scratch rw
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/data", None),
        ("/home/user", "nfs4"),
        ("/home/local disk/x", None),
        ("/cluster", "fuse.sshfs"),
        ("/scratch/a/b", "lustre"),
        ("/homework", None),
    ],
)
def test_network_file_systems_are_recognised(tmp_path, folder, kind):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert network_filesystem(tmp_path.__class__(folder), mounts) == kind
    assert network_filesystem(tmp_path.__class__(folder), tmp_path / "none") is None


def test_a_store_on_a_network_is_read_but_not_written(sqlite_world, monkeypatch):
    sqlite_world.store.close()
    monkeypatch.setattr("alflow.store.opening.network_filesystem", lambda _folder: "nfs4")
    with pytest.raises(StoreError, match=r"network file system \(nfs4\)"):
        open_store(sqlite_world.path)
    open_store(sqlite_world.path, read_only=True).close()
