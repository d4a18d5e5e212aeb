"""A backup is one moment of a store, whole and private, whoever writes meanwhile."""

import shutil
import sqlite3
import stat
import threading
from contextlib import closing

import pytest

from alflow.core.errors import StoreError
from alflow.store import backup, blobs, open_store
from alflow.store.backup import back_up
from alflow.store.checking import CheckState, check_store
from alflow.store.database import PAGE_SIZE


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def is_sound(path):
    with open_store(path, read_only=True) as store:
        return {one.state for one in check_store(store)} == {CheckState.OK}


def test_a_backup_is_the_store(sqlite_world, tmp_path):
    sqlite_world.whole()
    folder = tmp_path / "safe"
    folder.mkdir()
    made = back_up(sqlite_world.store, folder / "copy.db")
    assert made.path == folder / "copy.db"
    assert made.size == made.path.stat().st_size > PAGE_SIZE
    assert names(folder) == ["copy.db"]
    assert is_sound(made.path)
    with open_store(made.path) as copy:
        assert copy.content_digest() == sqlite_world.store.content_digest()
        with copy.acquire_lease("somebody else"), copy.read() as connection:
            mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
            assert mode == "wal"


def test_only_its_owner_can_read_it(sqlite_world):
    made = back_up(sqlite_world.store)
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.path.parent.stat().st_mode) == 0o700


def test_by_default_it_does_not_get_in_the_way(sqlite_world, tmp_path):
    made = back_up(sqlite_world.store)
    assert made.path.parent == tmp_path / "backups"
    assert made.path.name.startswith("water-2")
    assert made.path.suffix == ".db"
    assert [path.name for path in tmp_path.glob("*.db")] == ["water.db"]


def test_under_concurrent_writes(sqlite_world, tmp_path, monkeypatch):
    monkeypatch.setattr(backup, "_PAGES_PER_STEP", 4)
    world, stop, written = sqlite_world, threading.Event(), []
    world.whole()

    def write():
        while not stop.is_set():
            world.store.event("note", "info", "x", {"text": "y" * 20_000})
            written.append(1)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with open_store(world.path, read_only=True) as store:
            made = [back_up(store, tmp_path / f"copy-{k}.db") for k in range(3)]
    finally:
        stop.set()
        writer.join()
    assert len(written) > 3
    for one in made:
        assert is_sound(one.path)
    digest = world.store.content_digest()
    with open_store(made[-1].path) as copy:
        assert copy.content_digest() == digest


@pytest.fixture
def large(sqlite_world, monkeypatch):
    monkeypatch.setattr(blobs, "INLINE_BYTES", 3)
    sqlite_world.whole()
    return sqlite_world


def test_large_content_comes_along(large, tmp_path):
    made = back_up(large.store, tmp_path / "copy.db")
    assert (made.n_files, made.file_bytes) == (2, 16)
    large.store.close()
    shutil.rmtree(blobs.folder(large.path))
    assert is_sound(made.path)
    with open_store(made.path) as copy:
        assert copy.weights(1) == b"weights\x01"
    files = blobs.files(made.path)
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_damaged_content_is_not_backed_up(large, tmp_path):
    blobs.files(large.path)[0].write_bytes(b"?")
    with pytest.raises(StoreError, match="is damaged: its checksum differs") as caught:
        back_up(large.store, tmp_path / "copy.db")
    assert caught.value.consequence.startswith("There is no backup")
    assert not (tmp_path / "copy.db").exists()


def test_a_damaged_store_is_not_backed_up(sqlite_world, tmp_path):
    sqlite_world.whole()
    sqlite_world.store.close()
    content = bytearray(sqlite_world.path.read_bytes())
    with closing(sqlite3.connect(sqlite_world.path)) as connection:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'label'"
        (page,) = connection.execute(query).fetchone()
    content[(page - 1) * PAGE_SIZE : (page - 1) * PAGE_SIZE + 64] = b"\xff" * 64
    sqlite_world.path.write_bytes(content)
    before = names(tmp_path)
    with (
        open_store(sqlite_world.path, read_only=True) as store,
        pytest.raises(StoreError, match="damaged") as caught,
    ):
        back_up(store, tmp_path / "copy.db")
    assert caught.value.code == "AL324"
    # What readers of a database leave beside it is nothing of the backup.
    assert {*names(tmp_path)} - {*before} <= {"water.db-shm", "water.db-wal"}


def test_what_exists_is_left_alone(sqlite_world, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="exists already"):
        back_up(sqlite_world.store, tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "mine"
    with pytest.raises(StoreError, match="there is no directory"):
        back_up(sqlite_world.store, tmp_path / "no" / "copy.db")


def test_a_full_disk_leaves_nothing(sqlite_world, tmp_path, monkeypatch):
    def full(_path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup, "_sync", full)
    folder = tmp_path / "safe"
    folder.mkdir()
    with pytest.raises(StoreError, match="No space left"):
        back_up(sqlite_world.store, folder / "copy.db")
    assert names(folder) == []


def test_where_there_are_no_hard_links(sqlite_world, tmp_path, monkeypatch):
    def refuse(_source, _target):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    assert is_sound(back_up(sqlite_world.store, tmp_path / "copy.db").path)


@pytest.mark.postgres
def test_a_server_has_its_own_tool(new_postgres_store):
    with (
        open_store(new_postgres_store()) as store,
        pytest.raises(StoreError, match="on a server") as caught,
    ):
        back_up(store)
    assert "pg_dump" in caught.value.next_step
    assert "alflow db copy" in caught.value.next_step
