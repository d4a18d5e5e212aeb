"""Labels from files: once each, beside labels that were asked for."""

import numpy as np
import pytest
from sqlalchemy import select

from alflow.core.errors import LeaseHeld, StoreError
from alflow.core.labels import Failure, FailureKind, Label
from alflow.core.tasks import Outcome
from alflow.store import (
    ImportResult,
    ImportSource,
    NewLabelled,
    NewStructure,
    SightingKind,
    open_store,
)
from alflow.store.importing import compare
from alflow.store.lineage import show
from alflow.store.schema import event, label, label_item, sighting
from alflow.store.views import progress, status

SOURCE = ImportSource("old.xyz", "ab" * 32)
SETTINGS = {"kind": "pyscf", "method": "pbe"}


def _items(structures, make_label, split="train"):
    return [
        NewLabelled(
            NewStructure(one, "import/old", split, "old", None, SightingKind.IMPORT),
            make_label(one),
            k,
        )
        for k, one in enumerate(structures)
    ]


@pytest.fixture
def items(world, make_label, make_water):
    world.store.register_level("dft", SETTINGS)
    return _items([make_water(200 + k) for k in range(5)], make_label)


def _rows(world, table):
    with world.store.read() as connection:
        return connection.execute(select(table).order_by(*table.primary_key.columns)).all()


def test_labels_come_back_bit_by_bit(world, items, make_label):
    assert world.store.import_labelled(SOURCE, "dft", items) == ImportResult(5, 5)
    found = world.store.labelled("train", "dft")
    assert [one.structure for one in found] == [i.structure.structure for i in items]
    for one in found:
        expected = make_label(one.structure)
        assert one.label.energy == expected.energy
        assert np.array_equal(one.label.forces, expected.forces)
        shown = show(world.store, f"l-{one.label_id}")
        assert shown["program"] == "imported from old.xyz"
        (origin,) = shown["origins"]
        assert (origin["source"], origin["file_sha256"]) == ("old.xyz", SOURCE.sha256)
        assert items[origin["frame"]].structure.structure == one.structure
    seen = _rows(world, sighting)
    assert [(s.file_id, s.frame, s.kind) for s in seen] == [
        (1, k, "import") for k in range(5)
    ]
    assert _rows(world, event)[-1].kind == "imported"


def test_importing_twice_is_importing_once(world, items):
    world.store.import_labelled(SOURCE, "dft", items)
    digest = world.store.content_digest()
    again = world.store.import_labelled(SOURCE, "dft", items)
    assert again == ImportResult(n_known=5)
    assert world.store.content_digest() == digest
    assert len(_rows(world, sighting)) == 5
    elsewhere = ImportSource("copy.xyz", "ef" * 32)
    assert world.store.import_labelled(elsewhere, "dft", items[:2]).n_known == 2
    assert len(_rows(world, sighting)) == 7


def test_a_contradiction_is_reported_and_changes_nothing(world, items):
    world.store.import_labelled(SOURCE, "dft", items)
    digest = world.store.content_digest()
    old = items[2].label
    other = NewLabelled(items[2].structure, Label(old.energy + 1, old.forces), 7)
    assert world.store.import_labelled(SOURCE, "dft", [other]).conflicts == (7,)
    with world.store.read() as connection:
        assert compare(connection, "dft", [other]).conflicts == (7,)
    assert world.store.content_digest() == digest


def test_comparing_says_what_importing_would_do(world, items):
    with world.store.read() as connection:
        assert compare(connection, "dft", items) == ImportResult(5, 5)
        assert compare(connection, "unknown", items) == ImportResult(5, 5)
    assert world.store.labelled(None, "dft") == []


def test_a_structure_keeps_its_split(world, items, make_label):
    world.store.import_labelled(SOURCE, "dft", items)
    world.store.register_level("cc", {"kind": "pyscf", "method": "ccsd(t)"})
    as_test = _items([items[0].structure.structure], make_label, "test")
    result = world.store.import_labelled(SOURCE, "cc", as_test)
    assert result == ImportResult(n_labels=1, n_other_split=1)
    assert len(world.store.labelled("train", "cc")) == 1


def test_requests_that_wait_or_failed_are_answered(world, make_label):
    world.bootstrap()
    first, second = world.store.queued({"label": 9})
    ref = world.store.start_attempt(first.id)
    hashes = first.spec.items
    failure = Failure(FailureKind.NOT_CONVERGED, "no")
    world.store.commit_items(ref, {hashes[0]: failure}, "analytic 1")
    structures = world.store.structures([hashes[0], hashes[1]])
    items = _items(structures, make_label)
    assert world.store.import_labelled(SOURCE, "dft", items).n_labels == 2
    # What the task brings for them later is not written a second time.
    results = {one: make_label(s) for one, s in
               zip(hashes, world.store.structures(hashes), strict=True)}  # fmt: skip
    assert world.store.commit_items(ref, results, "analytic 1") == len(hashes) - 2
    assert world.store.finish_task(ref, Outcome())
    assert all(row.state == "ok" for row in _rows(world, label_item)[: len(hashes)])
    assert len(_rows(world, label)) == len(hashes)
    assert second.id != first.id


def test_the_next_snapshot_has_them(world, items, make_label, make_water):
    world.store.update_config({"label": {"primary": "dft"}})
    world.bootstrap()
    world.label_all()
    world.store.import_labelled(SOURCE, "dft", items)
    more = _items([make_water(300)], make_label, "test")
    world.store.import_labelled(ImportSource("more.xyz", "cd" * 32), "dft", more)
    view = progress(world.store)
    assert (view.n_train, view.n_test, view.n_requested) == (11, 3, 6)
    assert view.labels["ok"] == 14
    assert view.iterations[0].n_labelled == 8
    world.train_generation(0)
    assert len(world.store.labelled("train", "dft", generation=0)) == 11


def test_labels_of_another_level_do_not_count_for_the_plan(tmp_path, items):
    with open_store(tmp_path / "two.db", create=True) as store:
        store.create_campaign("two", {"label": {"primary": "cc"}}, 1)
        with store.acquire_lease("tester"):
            store.register_level("dft", SETTINGS)
            store.import_labelled(SOURCE, "dft", items)
        assert progress(store).n_train == 0
        assert status(store).labels["ok"] == 0


def test_it_needs_the_lease_and_a_known_level(world, items):
    with pytest.raises(StoreError, match="'ccsd' is not registered"):
        world.store.import_labelled(SOURCE, "ccsd", items)
    with open_store(world.url) as other:
        with pytest.raises(StoreError, match="needs the lease"):
            other.import_labelled(SOURCE, "dft", items)
        with pytest.raises(LeaseHeld):
            other.acquire_lease("second")
    broken = NewLabelled(items[0].structure, Label(float("nan")), 3)
    with pytest.raises(StoreError, match=r"frame 3 of old\.xyz has an energy of nan"):
        world.store.import_labelled(SOURCE, "dft", [*items[1:], broken])
    assert world.store.labelled(None, "dft") == []
