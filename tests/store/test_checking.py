"""Whatever is wrong with a store is found and named."""

import hashlib
import sqlite3
from contextlib import closing

import numpy as np
import pytest

from alflow.store import blobs, open_store
from alflow.store.checking import CheckState, check_store
from alflow.store.database import PAGE_SIZE

CHECKS = [
    "pages",
    "foreign keys",
    "array lengths",
    "structures",
    "labels",
    "settings",
    "blobs",
    "blob files",
    "snapshots",
    "splits",
    "current labels",
    "requested labels",
    "counts",
]


def looked(path, sample=None):
    with open_store(path, read_only=True) as store:
        return {one.name: one for one in check_store(store, sample)}


def failures(path):
    return {n: r for n, r in looked(path).items() if r.state is CheckState.FAIL}


def damage(path, *statements):
    """Change rows behind the back of all constraints."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints=ON")
        connection.execute("PRAGMA foreign_keys=OFF")
        for statement in statements:
            assert connection.execute(statement).rowcount


@pytest.fixture
def store_path(sqlite_world):
    sqlite_world.whole()
    sqlite_world.store.close()
    return sqlite_world.path


@pytest.mark.parametrize("sample", [None, 3])
def test_a_sound_store_passes(world, sample):
    world.whole()
    found = {one.name: one for one in check_store(world.store, sample)}
    assert {one.state for one in found.values()} == {CheckState.OK}
    assert all(one.n_bad == 0 and one.first == () for one in found.values())
    n_structures = 3 if sample else len(world.train) + len(world.test) + 6
    assert found["structures"].n_checked == n_structures
    expected = CHECKS
    if world.store.database.path is None:
        expected = [name for name in CHECKS if name not in {"pages", "blob files"}]
    assert list(found) == expected


def test_an_empty_store_passes(tmp_path):
    open_store(tmp_path / "a.db", create=True).close()
    assert failures(tmp_path / "a.db") == {}


DAMAGE = [
    (
        "UPDATE structure SET positions = zeroblob(length(positions)) WHERE id = 2",
        "structures",
        "s-2",
    ),
    ("UPDATE structure SET charge = 1 WHERE id = 3", "structures", "s-3"),
    ("UPDATE structure SET formula = 'H3O' WHERE id = 3", "structures", "s-3"),
    ("UPDATE structure SET positions = x'00' WHERE id = 2", "array lengths", "s-2"),
    ("UPDATE structure SET numbers = x'00' WHERE id = 2", "structures", "s-2"),
    ("UPDATE label SET energy = energy + 1e-9 WHERE id = 4", "labels", "l-4"),
    ("UPDATE label SET fmax = 0 WHERE id = 4", "labels", "l-4"),
    ("UPDATE label SET forces = NULL WHERE id = 4", "labels", "l-4"),
    ("UPDATE label SET stress = x'00' WHERE id = 4", "array lengths", "l-4"),
    ("UPDATE label SET n_atoms = 4 WHERE id = 4", "array lengths", "l-4"),
    ("UPDATE campaign SET config_json = '{}'", "settings", "campaign water"),
    ("UPDATE level_of_theory SET settings_json = '{}'", "settings", "level dft"),
    (
        "UPDATE ensemble SET arch_json = '{}' WHERE generation = 1",
        "settings",
        "generation 1",
    ),
    ("UPDATE blob SET data = zeroblob(size)", "blobs", "is damaged"),
    ("UPDATE snapshot SET digest = 'x' WHERE seq = 1", "snapshots", "d1"),
    ("UPDATE snapshot SET n_train = 77 WHERE seq = 0", "snapshots", "d0"),
    (
        "DELETE FROM snapshot_interval WHERE label_id = 5",
        "snapshots",
        "d0",
    ),
    (
        "UPDATE campaign_structure SET split = 'test' WHERE structure_id = 5",
        "splits",
        "since d0",
    ),
    (
        "UPDATE campaign_structure SET group_key = 'both' WHERE structure_id IN (1, 5)",
        "splits",
        "group both",
    ),
    ("UPDATE label SET superseded_by = id WHERE id = 4", "current labels", "l-4"),
    (
        "UPDATE label SET superseded_by = 5 WHERE id = 4",
        "current labels",
        "l-4",
    ),
    ("UPDATE label SET lot_id = 77 WHERE id = 4", "foreign keys", "label 4: lot_id"),
    ("DELETE FROM blob", "foreign keys", "ensemble 1: weights_sha"),
    ("DELETE FROM label WHERE id = 4", "requested labels", "l-4 is ok without label"),
    (
        "UPDATE label_item SET state = 'pending' WHERE id = 4",
        "requested labels",
        "l-4 is pending with another label",
    ),
    ("UPDATE label SET rev = 1 WHERE id = 4", "requested labels", "l-4"),
    (
        "UPDATE task_count SET n = n + 1 WHERE kind = 'label'",
        "counts",
        "task_count 1/label",
    ),
    ("UPDATE label_count SET n = 0 WHERE split = 'test'", "counts", "label_count 1/1/test"),
]


@pytest.mark.parametrize(("statement", "check", "name"), DAMAGE)
def test_damage_is_found_and_named(store_path, statement, check, name):
    damage(store_path, statement)
    result = failures(store_path)[check]
    assert result.n_bad > 0
    assert any(name in first for first in result.first), result
    assert result.detail


def test_a_label_that_nobody_computes(sqlite_world):
    sqlite_world.bootstrap()
    sqlite_world.store.close()
    assert failures(sqlite_world.path) == {}
    damage(sqlite_world.path, "UPDATE task SET state = 'cancelled' WHERE kind = 'label'")
    found = failures(sqlite_world.path)["requested labels"]
    assert found.n_bad == 8
    assert len(found.first) == 5
    assert "l-1 is pending, its task cancelled" in found.first


def test_a_sample_misses_what_it_does_not_draw(store_path):
    damage(store_path, "UPDATE structure SET charge = 1")
    assert looked(store_path, 3)["structures"].n_bad == 3
    assert looked(store_path, 1000)["structures"].n_bad > 3


def test_damaged_pages_are_told_check_by_check(store_path):
    content = bytearray(store_path.read_bytes())
    with closing(sqlite3.connect(store_path)) as connection:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'label'"
        (page,) = connection.execute(query).fetchone()
    content[(page - 1) * PAGE_SIZE : (page - 1) * PAGE_SIZE + 64] = b"\xff" * 64
    store_path.write_bytes(content)
    found = failures(store_path)
    assert "pages" in found
    assert "damaged" in found["labels"].detail
    assert "structures" not in found


def test_an_index_that_lost_rows(store_path):
    content = bytearray(store_path.read_bytes())
    with closing(sqlite3.connect(store_path)) as connection:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'uq_label_current'"
        (page,) = connection.execute(query).fetchone()
    content[(page - 1) * PAGE_SIZE + 3 : (page - 1) * PAGE_SIZE + 5] = bytes(2)
    store_path.write_bytes(content)
    found = failures(store_path)
    assert list(found) == ["pages"]
    assert "missing from index uq_label_current" in found["pages"].first[1]


@pytest.fixture
def large(sqlite_world, monkeypatch):
    """A store whose weights lie in files."""
    monkeypatch.setattr(blobs, "INLINE_BYTES", 3)
    sqlite_world.whole()
    sqlite_world.store.close()
    return sqlite_world.path


def test_large_content_is_read_again(large):
    assert set(looked(large).values())
    assert failures(large) == {}
    first, second = blobs.files(large)
    first.write_bytes(b"?")
    second.unlink()
    found = failures(large)["blobs"]
    assert found.n_bad == 2
    assert found.first == (
        f"{first.name[:12]} is damaged",
        f"{second.name[:12]} has no file",
    )


def test_a_file_without_a_row_is_a_warning(large):
    content = np.arange(10).tobytes()
    path = blobs.file_of(large, hashlib.sha256(content).hexdigest())
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    found = looked(large)["blob files"]
    assert found.state is CheckState.WARN
    assert found.first == (f"{path.name[:12]} (80 bytes)",)
    assert "alflow db gc" in found.detail
    assert failures(large) == {}
