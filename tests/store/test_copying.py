"""A campaign moves to another database with everything that it knows."""

import dataclasses
import itertools
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from alflow.core.errors import SchemaMismatch, StoreError
from alflow.store import blobs, copying, open_store
from alflow.store.checking import CheckState, check_store
from alflow.store.copying import copy_store
from alflow.store.schema import event, label, label_item


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def new_target(request, tmp_path_factory):
    """Makes places where there is no store yet, on each kind of database."""
    if request.param == "postgres":
        return request.getfixturevalue("new_postgres_url")
    folder, count = tmp_path_factory.mktemp("targets"), itertools.count()
    return lambda: str(folder / f"copy-{next(count)}.db")


def is_sound(url):
    with open_store(url, read_only=True) as store:
        return {one.state for one in check_store(store)} == {CheckState.OK}


def supersede(world):
    """Give some labels new revisions, in a chain whose newest has the largest id."""
    with world.store.database.write() as connection:
        columns = ", ".join(
            c.name for c in label.columns if c.name not in {"id", "rev", "superseded_by"}
        )
        items = ", ".join(
            c.name for c in label_item.columns if c.name not in {"id", "rev", "task_id"}
        )
        for old, new, rev in ((1, 901, 1), (901, 902, 2), (2, 900, 1)):
            connection.execute(
                text(
                    f"INSERT INTO label_item (id, rev, {items})"
                    f" SELECT {new}, {rev}, {items} FROM label_item WHERE id = {old}"
                )
            )
            connection.execute(
                text(
                    f"INSERT INTO label (id, rev, superseded_by, {columns})"
                    f" SELECT {new}, {rev}, {old}, {columns} FROM label WHERE id = {old}"
                )
            )
            connection.execute(
                text(f"UPDATE label SET superseded_by = {new} WHERE id = {old}")
            )
            connection.execute(
                text(f"UPDATE label SET superseded_by = NULL WHERE id = {new}")
            )
        connection.execute(
            text(
                "INSERT INTO label_count SELECT 0, lot_id, split, 'ok', count(*) FROM label_item"
                " JOIN campaign_structure USING (structure_id) WHERE task_id IS NULL"
                " GROUP BY lot_id, split"
            )
        )


def test_whole_campaigns_in_all_directions(world, new_target):
    world.whole()
    supersede(world)
    digest = world.store.content_digest()
    world.store.close()
    first, second = new_target(), new_target()
    done = copy_store(world.url, first)
    assert (done.campaign, done.digest, done.is_running) == ("water", digest, False)
    assert done.rows["label"] == 13
    again = copy_store(first, second)
    assert again.digest == digest
    assert again.rows == done.rows
    for url in (first, second):
        assert is_sound(url)
    with open_store(second) as copy:
        assert copy.content_digest() == digest
        assert copy.weights(1) == b"weights\x01"
        assert copy.campaign().config == {"seed": 5, "nested": {"a": [1, 2]}}


def test_the_copy_goes_on_where_the_campaign_was(world, new_target):
    world.whole()
    target = new_target()
    done = copy_store(world.url, target)
    assert done.is_running
    world.predict(1, "test", 1)
    expected = world.store.content_digest()
    world.lease.release()
    with world.store.read() as connection:
        n_events = len(connection.execute(event.select()).all())
    with open_store(target) as store, store.acquire_lease("next") as lease:
        assert lease.epoch > 1
        dataclasses.replace(world, store=store, lease=lease).predict(1, "test", 1)
        assert store.content_digest() == expected
        with store.read() as connection:
            rows = connection.execute(event.select().order_by(event.c.id)).all()
        # One more for the lease of the copy.
        assert len(rows) == len({row.id for row in rows}) == n_events + 1


def test_large_content_goes_where_it_belongs(sqlite_world, new_target, monkeypatch):
    monkeypatch.setattr(blobs, "INLINE_BYTES", 3)
    sqlite_world.whole()
    target = new_target()
    copy_store(sqlite_world.path, target)
    with open_store(target) as copy:
        assert copy.weights(0) == b"weights\x00"
    assert is_sound(target)
    n_files = 0 if "://" in target else 2
    if "://" not in target:
        assert len(blobs.files(Path(target))) == n_files
        return
    back = sqlite_world.path.with_name("back.db")
    copy_store(target, back)
    assert len(blobs.files(back)) == 2
    assert is_sound(back)


def test_a_target_with_something_in_it_is_left_alone(world, new_target):
    world.whole()
    target = new_target()
    with open_store(target, create=True) as store:
        store.create_campaign("other", {}, 1)
    with pytest.raises(StoreError, match="not empty: it holds campaign 'other'") as caught:
        copy_store(world.url, target)
    assert caught.value.code == "AL323"
    with pytest.raises(StoreError, match="holds campaign 'water'"):
        copy_store(world.url, world.url)
    with open_store(target) as store:
        assert store.campaign().name == "other"


def test_an_empty_store_is_a_target(world, new_target):
    target = new_target()
    open_store(target, create=True).close()
    copy_store(world.url, target)
    with open_store(target) as copy:
        assert copy.campaign().name == "water"


def test_a_difference_undoes_the_copy(world, new_target, monkeypatch):
    world.whole()
    target = new_target()
    monkeypatch.setattr(copying, "content_digest", lambda connection: str(id(connection)))
    with pytest.raises(StoreError, match=r"content digest of .* differs") as caught:
        copy_store(world.url, target)
    assert caught.value.consequence == "The copy was undone."
    if "://" in target:
        with open_store(target) as store:
            assert store.campaign_or_none() is None
    else:
        assert list(Path(target).parent.iterdir()) == []
    monkeypatch.undo()
    copy_store(world.url, target)


def test_values_are_compared_one_by_one(sqlite_world, new_target, monkeypatch):
    sqlite_world.whole()
    real = copying._moved

    def almost(table, row, here, there):
        values = real(table, row, here, there)
        if table.name == "prediction":
            values["energy"] += 1e-12
        return values

    monkeypatch.setattr(copying, "_moved", almost)
    with pytest.raises(StoreError, match=r"table prediction of .* differs"):
        copy_store(sqlite_world.path, new_target())


def test_labels_that_supersede_each_other(sqlite_world, new_target):
    sqlite_world.whole()
    sqlite_world.store.close()
    with closing(sqlite3.connect(sqlite_world.path)) as connection:
        connection.execute("UPDATE label SET superseded_by = 2 WHERE id = 1")
        connection.execute("UPDATE label SET superseded_by = 1 WHERE id = 2")
        connection.commit()
    with pytest.raises(StoreError, match="label refer to each other in a circle"):
        copy_store(sqlite_world.path, new_target())


def test_only_the_newest_schema_is_copied(sqlite_world, tmp_path):
    sqlite_world.store.close()
    with closing(sqlite3.connect(sqlite_world.path)) as connection:
        connection.execute("UPDATE alflow_schema SET version_num = '0000'")
        connection.commit()
    with pytest.raises(SchemaMismatch, match="store schema 0000"):
        copy_store(sqlite_world.path, tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()
