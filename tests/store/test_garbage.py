"""Only what nothing needs is deleted."""

import os

import pytest

from alflow.core.errors import LeaseHeld
from alflow.store import blobs, open_store
from alflow.store.checking import CheckState, check_store
from alflow.store.garbage import GarbageKind, collect_garbage, find_garbage
from alflow.store.schema import blob

OLD = 1_000_000_000


def put(path, content=b"x" * 10, *, is_old=True):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if is_old:
        os.utime(path, (OLD, OLD))
    return path


def add_blob(world, content):
    values = blobs.prepare(world.store.database.path, content, "text/plain")
    with world.store.database.write() as connection:
        connection.execute(blob.insert(), values)
    return values["sha256"]


@pytest.fixture
def large(sqlite_world, monkeypatch):
    monkeypatch.setattr(blobs, "INLINE_BYTES", 3)
    sqlite_world.whole()
    sqlite_world.lease.release()
    for path in blobs.files(sqlite_world.path):
        os.utime(path, (OLD, OLD))
    return sqlite_world


def sound(store):
    return {one.state for one in check_store(store)} == {CheckState.OK}


def test_nothing_of_a_campaign_is_garbage(world):
    world.whole()
    world.lease.release()
    assert find_garbage(world.store, grace_s=0.0) == []
    assert collect_garbage(world.store, grace_s=0.0) == []
    assert sound(world.store)


def test_every_kind_is_found_and_deleted(large, tmp_path):
    row = add_blob(large, b"nobody needs this")
    os.utime(blobs.file_of(large.path, row), (OLD, OLD))
    inline = add_blob(large, b"abc")
    orphan = put(blobs.file_of(large.path, "ab" * 32))
    drafts = [
        put(tmp_path / ".water.db.0123abcd.new"),
        put(tmp_path / ".copy.db.0123abcd.partial"),
        put(tmp_path / "backups" / ".water-1.db.0123abcd.partial"),
        put(orphan.with_name("cd" * 32 + ".new")),
    ]
    cache = tmp_path / "water" / "cache"
    inputs = tmp_path / "water" / "blobs"
    cached = put(cache / "deep" / "positions.npy")
    done_with = put(inputs / "ab" / ("ab" * 32))
    waiting = put(inputs / "cd" / ("cd" * 32))
    with large.store.acquire_lease("a manager"):
        large.store.publish([large.task("validate", "x", 1, settings={"in": "cd" * 32})])
    kept = [
        waiting,
        put(tmp_path / ".hidden.new"),
        put(tmp_path / "notes.partial"),
        put(tmp_path / "water" / "tasks" / "1" / "spec.json"),
        put(cache / "young.npy", is_old=False),
        put(blobs.file_of(large.path, "ef" * 32), is_old=False),
    ]
    (cache / "link").symlink_to(tmp_path / "water.db")
    expected = {row, inline, str(orphan), str(cached), str(done_with), *map(str, drafts)}
    found = find_garbage(large.store, grace_s=3600.0, directory=cache.parent)
    assert {one.name for one in found} == expected
    assert {one.kind for one in found} == set(GarbageKind)
    assert orphan.exists()
    done = collect_garbage(large.store, grace_s=3600.0, directory=cache.parent)
    assert {(one.name, one.size) for one in done} == {(one.name, one.size) for one in found}
    assert not any(
        map(os.path.exists, [orphan, cached, cached.parent, done_with.parent, *drafts])
    )
    assert all(path.exists() for path in kept)
    assert not blobs.file_of(large.path, row).exists()
    assert sum(one.size for one in done) == 17 + 3 + 10 * (len(drafts) + 3)
    assert large.store.weights(0) == b"weights\x00"
    assert large.store.weights(1) == b"weights\x01"
    kept[-1].unlink()
    assert sound(large.store)


def test_what_is_young_is_kept(large):
    row = add_blob(large, b"will be used in a moment")
    put(blobs.file_of(large.path, "ab" * 32), is_old=False)
    assert collect_garbage(large.store) == []
    assert blobs.file_of(large.path, row).exists()


def test_what_is_mentioned_is_kept(world):
    sha = add_blob(world, b"an input of a task")
    world.store.begin_iteration(0, "build", [world.task("build", "x", settings={"a": sha})])
    world.lease.release()
    assert collect_garbage(world.store, grace_s=0.0) == []


def test_not_while_a_manager_runs(sqlite_world):
    with open_store(sqlite_world.path) as store, pytest.raises(LeaseHeld):
        collect_garbage(store)


def test_a_store_without_a_campaign(tmp_path):
    with open_store(tmp_path / "a.db", create=True) as store:
        assert collect_garbage(store, grace_s=0.0, directory=tmp_path / "none") == []
