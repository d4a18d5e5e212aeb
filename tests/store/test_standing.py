"""What somebody who watches asks: on each kind of database, and without any writing."""

import pytest

from alflow.core.errors import StoreError
from alflow.core.labels import Failure, FailureKind, Label
from alflow.core.tasks import Outcome
from alflow.store import Workers, open_store
from alflow.store.standing import standing


def look(world):
    with world.store.read() as connection:
        return standing(connection)


def stage(view, kind):
    (found,) = [one for one in view.stages if one.kind == kind]
    return found


def test_without_a_campaign_there_is_nothing_to_see(tmp_path):
    with (
        open_store(tmp_path / "a.db", create=True) as store,
        store.read() as connection,
        pytest.raises(StoreError, match="no campaign yet"),
    ):
        standing(connection)


def test_before_the_first_iteration(world):
    view = look(world)
    assert (view.iteration, view.phase, view.stages, view.attempts) == (None, "", [], [])
    assert (view.state, view.generation, view.began) == ("running", None, None)
    assert view.manager.alive


def test_labels_are_counted_one_by_one_other_tasks_whole(world):
    world.bootstrap()
    ref = world.attempt("label")
    view = look(world)
    assert (view.iteration, view.phase, view.under_way) == (0, "label", {0: "label"})
    labels = stage(view, "label")
    assert (labels.n_done, labels.n_failed, labels.n_open) == (0, 0, 8)
    assert (stage(view, "build").n_done, stage(view, "build").n_open) == (1, 0)
    (one,) = view.attempts
    assert (one.ref, one.n_parts) == (ref, 4)
    assert one.key.startswith("label/")


def test_a_label_that_failed_is_named(world):
    world.bootstrap()
    ref = world.attempt("label")
    items = [one.hash for one in (*world.test, *world.train)][:4]
    no = Failure(FailureKind.NOT_CONVERGED, "no convergence")
    results = {items[0]: Label(-1.0, None), items[1]: no}
    world.store.commit_items(ref, results, "program 1")
    view = look(world)
    labels = stage(view, "label")
    assert (labels.n_done, labels.n_failed, labels.n_open) == (2, 1, 6)
    assert view.labels == {"pending": 6, "ok": 1, "failed": 1}
    assert view.failed_label.kind == "not-converged"
    assert view.failed_label.text == "no convergence"
    assert view.failed_label.subject.startswith("s-")


def test_times_are_those_of_one_label(world):
    world.bootstrap()
    for _ in range(2):
        ref = world.attempt("label")
        task = next(one for one in world.store.open_attempts() if one.ref == ref).task
        results = {item: Label(-1.0, None) for item in task.spec.items}
        world.store.commit_items(ref, results, "program 1")
        world.store.finish_task(ref, Outcome(wall_s=8.0))
    assert stage(look(world), "label").times_s == (2.0, 2.0)
    assert stage(look(world), "build").times_s == (0.0,)


def test_curves_are_by_iteration(world):
    world.whole()
    world.store.end_iteration(1, {"n_flagged": 3, "n_trajectories": 4, "other": 1.0})
    view = look(world)
    assert view.curves["n_flagged"] == {1: 3.0}
    assert view.curves["n_trajectories"] == {1: 4.0}
    assert "other" not in view.curves
    assert view.generation == 1
    assert [one.kind for one in view.stages], "those of the last one stay"


def test_what_went_wrong_comes_newest_first(world):
    world.bootstrap()
    gone = Failure(FailureKind.LOST, "its worker is gone")
    world.store.requeue(world.attempt("label"), gone, charged=False)
    world.store.event("spread-drifts", "warning", "i0", {"message": "it drifts"})
    world.store.event("fine", "info", "i0", {})
    drift, lost = look(world).troubles[:2]
    assert (drift.kind, drift.text) == ("spread-drifts", "it drifts")
    assert (lost.kind, lost.text) == ("task-requeued", "its worker is gone")
    assert lost.subject.startswith("t-")
    assert drift.id > lost.id


def test_workers_are_those_that_were_recorded_last(world):
    assert look(world).workers == {}
    for n in (2, 3):
        pools = {"cpu": Workers(n, frozenset({"label", "build"}))}
        world.store.record_workers(pools)
        assert look(world).workers == pools


def test_looking_writes_nothing(sqlite_world):
    sqlite_world.bootstrap()
    before = sqlite_world.path.read_bytes()
    with open_store(sqlite_world.path, read_only=True) as store, store.read() as connection:
        standing(connection)
    assert sqlite_world.path.read_bytes() == before
