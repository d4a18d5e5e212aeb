"""SQLite on a network: refused with the ways out, or one process at a time."""

from pathlib import Path

import pytest

from alflow.core.errors import StoreError
from alflow.store import filesystem, open_store
from alflow.store.backup import back_up
from alflow.store.filesystem import filesystem_type, is_network, meaning

MOUNTS = """\
20 1 8:1 / / rw - ext4 /dev/vda rw
21 20 0:50 / /home rw - autofs systemd-1 rw
22 20 0:51 / /home/me rw - nfs4 server:/home/me rw
23 20 0:52 / /data rw - gpfs data rw
24 23 8:2 / /data/local rw - xfs /dev/vdb rw
25 20 0:53 / /mix rw - tmpfs tmpfs rw
26 20 0:54 / /mix rw - lustre mgs:/mix rw
"""


@pytest.mark.parametrize(
    ("folder", "kind", "network"),
    [
        ("/tmp", "ext4", False),
        ("/home/me/campaigns", "nfs4", True),
        ("/data/x", "gpfs", True),
        ("/data/local/x", "xfs", False),
        ("/mix/deep/down", "lustre", True),
    ],
)
def test_the_mount_that_counts(tmp_path, folder, kind, network):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert filesystem_type(Path(folder), mounts) == kind
    assert is_network(kind) is network


@pytest.mark.parametrize(
    "kind",
    [
        *("nfs", "nfs4", "lustre", "gpfs", "mmfs", "beegfs", "cifs", "smb3", "9p", "ceph"),
        *("afs", "panfs", "wekafs", "virtiofs", "fuse.sshfs", "fuse.rclone", "fuse.other"),
    ],
)
def test_networks(kind):
    assert is_network(kind)


@pytest.mark.parametrize(
    "kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuse.fuse-overlayfs", None]
)
def test_disks(kind):
    assert not is_network(kind)


@pytest.fixture
def on_network(monkeypatch):
    """Every folder is on NFS."""
    monkeypatch.setattr(filesystem, "filesystem_type", lambda *_: "nfs4")


def test_a_refusal_has_three_ways_out(tmp_path, on_network):
    with pytest.raises(StoreError) as caught:
        open_store(tmp_path / "water.db", create=True)
    error = caught.value
    assert error.code == "AL321"
    assert "water.db is on a network file system (nfs4)" in error.message
    for way in ("--db /local/disk/water.db", "alflow db backup", "postgresql://HOST/NAME"):
        assert way in error.next_step
    assert "ALFLOW_ALLOW_NETWORK_SQLITE=1" in error.next_step
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", ["", "0", "yes"])
def test_only_a_clear_yes_counts(tmp_path, on_network, monkeypatch, value):
    monkeypatch.setenv(filesystem.ALLOW_VARIABLE, value)
    with pytest.raises(StoreError, match="network file system"):
        open_store(tmp_path / "water.db", create=True)


@pytest.fixture
def alone(on_network, monkeypatch):
    """... and the user has promised to be alone."""
    monkeypatch.setenv(filesystem.ALLOW_VARIABLE, "1")
    monkeypatch.setattr("alflow.store.database.BUSY_TIMEOUT_MS", 100)


def pragma(store, name):
    with store.read() as connection:
        return connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()


def test_one_process_at_a_time(sqlite_world, alone):
    sqlite_world.store.close()
    with open_store(sqlite_world.path) as store:
        assert pragma(store, "journal_mode") == "delete"
        assert pragma(store, "locking_mode") == "exclusive"
        assert pragma(store, "synchronous") == 2
        assert not sqlite_world.path.with_name("water.db-shm").exists()
        for read_only in (False, True):
            with pytest.raises(StoreError, match="kept it locked"):
                open_store(sqlite_world.path, read_only=read_only)
    open_store(sqlite_world.path, read_only=True).close()


def test_a_campaign_alone(tmp_path, alone, make_world):
    world = make_world(tmp_path / "alone.db")
    world.whole()
    expected = world.store.content_digest()
    assert back_up(world.store, tmp_path / "copy.db").size > 0
    world.store.close()
    with open_store(tmp_path / "copy.db", read_only=True) as copy:
        assert copy.content_digest() == expected


def test_back_on_a_disk_it_is_an_ordinary_store(sqlite_world, alone, monkeypatch):
    sqlite_world.store.close()
    open_store(sqlite_world.path).close()
    monkeypatch.undo()
    with open_store(sqlite_world.path) as store, open_store(sqlite_world.path) as other:
        assert pragma(store, "locking_mode") == "normal"
        assert pragma(other, "journal_mode") == "wal"


def test_what_it_means(monkeypatch):
    assert meaning("ext4") == "ext4, local"
    assert "not written there" in meaning("nfs4")
    assert "unknown" in meaning(None)
    monkeypatch.setenv(filesystem.ALLOW_VARIABLE, "1")
    assert "one process at a time" in meaning("nfs4")
