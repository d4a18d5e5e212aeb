"""Labels are set aside and superseded; what was trained on them stays traceable."""

import numpy as np
import pytest

from alflow.core.errors import StoreError
from alflow.core.labels import Label
from alflow.store import Quality
from alflow.store.checking import CheckState, check_store
from alflow.store.lineage import show


def energies(store, **which):
    return sorted(one.label.energy for one in store.labelled("train", "dft", **which))


@pytest.fixture
def trained(world):
    world.bootstrap()
    world.label_all()
    world.train_generation(0)
    return world


def of_label(store, name):
    found = show(store, name)
    return found["quality"], [one["kind"] for one in found["history"]]


def test_a_quarantined_label_is_left_out_from_now_on(trained):
    store = trained.store
    first = store.labelled("train", "dft")[0]
    before = energies(store)
    assert store.set_quality([first.label_id], Quality.SUSPECT, "a wrong minimum") == 1
    assert store.set_quality([first.label_id], Quality.SUSPECT, "again") == 0
    assert len(energies(store)) == len(before) - 1
    assert energies(store, generation=0) == before
    assert of_label(store, f"l-{first.label_id}") == ("suspect", ["label-quality"])
    assert store.set_quality([first.label_id], Quality.OK, "it is right") == 1
    assert energies(store) == before
    assert {one.state for one in check_store(store)} == {CheckState.OK}


def test_a_better_label_supersedes(trained):
    store = trained.store
    first = store.labelled("train", "dft")[0]
    before = energies(store)
    better = Label(first.label.energy + 1.0, first.label.forces)
    new = store.supersede_label(first.label_id, better, "tight 1", "a tighter grid")
    assert new > max(one.label_id for one in store.labelled(None, "dft", generation=0))
    now = {one.structure.hash: one for one in store.labelled("train", "dft")}
    assert len(now) == len(before)
    assert now[first.structure.hash].label_id == new
    assert now[first.structure.hash].label.energy == better.energy
    assert energies(store, generation=0) == before
    assert of_label(store, f"l-{first.label_id}")[1] == ["label-superseded"]
    assert {one.state for one in check_store(store)} == {CheckState.OK}
    newest = store.supersede_label(new, first.label, "first 1", "it was right")
    assert energies(store) == before
    assert newest == new + 1


def test_what_cannot_be(trained):
    store = trained.store
    (first, *_) = store.labelled("train", "dft")
    digest = store.content_digest()
    with pytest.raises(StoreError, match="no label l-999"):
        store.set_quality([first.label_id, 999], Quality.SUSPECT, "no")
    with pytest.raises(StoreError, match="without a reason"):
        store.set_quality([first.label_id], Quality.SUSPECT, " ")
    bad = Label(0.0, np.full_like(first.label.forces, np.nan))
    with pytest.raises(StoreError, match="forces that are not finite"):
        store.supersede_label(first.label_id, bad, "p 1", "no")
    with pytest.raises(StoreError, match="no label l-999"):
        store.supersede_label(999, first.label, "p 1", "no")
    assert store.content_digest() == digest
    new = store.supersede_label(first.label_id, first.label, "p 1", "yes")
    with pytest.raises(StoreError, match=f"superseded by l-{new} already"):
        store.supersede_label(first.label_id, first.label, "p 1", "twice")
