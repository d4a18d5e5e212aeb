"""A full disk, no permission, half a file, a file that is locked: told, survived, gone again."""

import os
import shutil
import subprocess
import sys
import textwrap
from contextlib import contextmanager

import pytest

from alflow.core.errors import StoreError
from alflow.store import migrations, open_store
from alflow.store.database import PAGE_SIZE

pytestmark = pytest.mark.recovery


@pytest.fixture
def small_disk(tmp_path):
    """A disk of a few megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("this machine does not let root mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def filled(folder, leave=0):
    """The disk is full but for some bytes, for a block."""
    ballast = folder / "ballast"
    room = shutil.disk_usage(folder).free - leave
    ballast.write_bytes(bytes(max(0, room)))
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def read_only(folder):
    """Nothing in the folder can be written, for a block."""
    if os.geteuid() == 0:
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    else:
        folder.chmod(0o555)
    try:
        yield
    finally:
        if os.geteuid() == 0:
            subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
        else:
            folder.chmod(0o755)


def write_until_full(store):
    """Events until there is no room; how many are promised, and the error."""
    for count in range(10_000):
        try:
            store.event("note", "info", f"n{count}", {"text": "x" * 5000})
        except StoreError as error:
            return count, error
    pytest.fail("the disk never gets full")


def notes(store):
    with store.read() as connection:
        rows = connection.exec_driver_sql("SELECT subject FROM event WHERE kind = 'note'")
        return [row[0] for row in rows]


def test_a_full_disk_loses_nothing(small_disk, make_world):
    world = make_world(small_disk / "water.db")
    world.bootstrap()
    world.label_all()
    digest = world.store.content_digest()
    with filled(small_disk, leave=200_000):
        promised, error = write_until_full(world.store)
        assert "water.db: the disk is full" in str(error)
        assert "nothing is lost" in error.next_step
        assert promised > 0
        with pytest.raises(StoreError, match=r"disk"):
            world.train_generation(0)
        assert world.store.content_digest() == digest
        assert notes(world.store) == [f"n{k}" for k in range(promised)]
    world.train_generation(0)
    world.store.event("note", "info", "after", {})
    world.store.close()
    with open_store(small_disk / "water.db") as store:
        assert notes(store) == [*(f"n{k}" for k in range(promised)), "after"]
        with store.read() as connection:
            check = connection.exec_driver_sql("PRAGMA integrity_check").scalar()
        assert check == "ok"


def test_a_store_on_a_full_disk_is_resumed_later(small_disk, make_world):
    path = small_disk / "water.db"
    make_world(path).store.close()
    with filled(small_disk), pytest.raises(StoreError) as caught:  # noqa: PT012
        with open_store(path) as store:
            store.acquire_lease("me")
        pytest.fail("a lease was taken without room to write it down")
    assert "disk" in str(caught.value)
    with open_store(path) as store, store.acquire_lease("me"):
        store.begin_iteration(0, "build")


def test_no_store_is_made_on_a_full_disk(small_disk):
    with filled(small_disk, leave=3 * PAGE_SIZE), pytest.raises(StoreError, match="disk"):
        open_store(small_disk / "water.db", create=True)
    assert list(small_disk.iterdir()) == []
    open_store(small_disk / "water.db", create=True).close()


def test_nothing_is_migrated_without_room_for_a_backup(small_disk, make_world, monkeypatch):
    path = small_disk / "water.db"
    world = make_world(path)
    world.bootstrap()
    digest = world.store.content_digest()
    world.store.close()
    with filled(small_disk, leave=10 * PAGE_SIZE), monkeypatch.context() as newer:
        newer.setattr(migrations, "REVISIONS", ("0001", "0002"))
        with pytest.raises(StoreError, match="cannot be backed up") as caught:
            open_store(path)
        assert "Nothing in it was changed" in str(caught.value)
    assert {one.name for one in small_disk.iterdir()} <= {
        *("water.db", "water.db-wal", "water.db-shm", "water.db.lock")
    }
    with open_store(path) as store:
        assert store.content_digest() == digest


@pytest.fixture
def closed_folder(request, tmp_path):
    """A folder that `read_only` can close; for root that takes a file system of its own."""
    return request.getfixturevalue("small_disk") if os.geteuid() == 0 else tmp_path


def test_a_read_only_folder(closed_folder, make_world):
    path = closed_folder / "water.db"
    world = make_world(path)
    world.bootstrap()
    digest = world.store.content_digest()
    world.store.close()
    before = sorted(one.name for one in closed_folder.iterdir())
    with read_only(closed_folder):
        for target in (path, closed_folder / "new.db"):
            with pytest.raises(StoreError, match="is not writable") as caught:
                open_store(target, create=True)
            assert caught.value.code == "AL103"
        with (
            pytest.raises(StoreError, match="needs to write to its directory") as caught,
            open_store(path, read_only=True),
        ):
            pytest.fail("opened")
        assert "backup" in caught.value.next_step
    assert sorted(one.name for one in closed_folder.iterdir()) == before
    with open_store(path) as store, store.acquire_lease("next"):
        assert store.content_digest() == digest
        store.begin_iteration(1, "sample")


@pytest.mark.parametrize("keep", [0.05, 0.5, 0.95])
def test_half_a_file(sqlite_world, keep):
    sqlite_world.whole()
    digest = sqlite_world.store.content_digest()
    sqlite_world.store.close()
    whole = sqlite_world.path.read_bytes()
    sqlite_world.path.write_bytes(whole[: int(len(whole) * keep)])
    half = sqlite_world.path.read_bytes()
    for more in ({}, {"read_only": True}, {"create": True}):
        with (
            pytest.raises(StoreError, match="the file is damaged") as caught,
            open_store(sqlite_world.path, **more) as store,
        ):
            store.content_digest()
        assert "backup" in caught.value.next_step
    assert sqlite_world.path.read_bytes() == half
    sqlite_world.path.write_bytes(whole)
    with open_store(sqlite_world.path) as store:
        assert store.content_digest() == digest


HOLDER = textwrap.dedent(
    """
    import sqlite3, sys
    connection = sqlite3.connect(sys.argv[1], isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    print("locked", flush=True)
    sys.stdin.readline()
    connection.execute("ROLLBACK")
    """
)


def test_a_file_that_another_process_has_locked(sqlite_world, monkeypatch):
    monkeypatch.setattr("alflow.store.database.BUSY_TIMEOUT_MS", 100)
    path = sqlite_world.path
    sqlite_world.store.close()
    command = [sys.executable, "-c", HOLDER, str(path)]
    with (
        open_store(path) as store,
        store.acquire_lease("me"),
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process,
    ):
        assert process.stdout.readline() == "locked\n"
        assert store.campaign().name == "water"
        with pytest.raises(StoreError, match=r"kept it locked for 0\.1 s") as caught:
            store.begin_iteration(0, "build")
        assert caught.value.exit_code == 2
        process.communicate("\n", timeout=30)
        assert store.begin_iteration(0, "build")


@pytest.mark.postgres
def test_a_table_that_another_session_has_locked(
    postgres_world, postgres_server, monkeypatch
):
    import psycopg

    monkeypatch.setattr("alflow.store.server.LOCK_TIMEOUT_S", 0.1)
    postgres_world.store.close()
    url = postgres_server.url(postgres_server.names[-1])
    with open_store(url) as store, store.acquire_lease("me"):
        with psycopg.connect(url) as other:
            other.execute("LOCK TABLE iteration IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(StoreError, match=r"kept it locked for 0\.1 s") as caught:
                store.begin_iteration(0, "build")
            assert "pg_stat_activity" in caught.value.next_step
            other.rollback()
        assert store.begin_iteration(0, "build")
