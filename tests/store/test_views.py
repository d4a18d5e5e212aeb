"""What the planner, the status line, `ls` and `show` read."""

import json

import pytest

from alflow.core.errors import SettingsError
from alflow.core.labels import Failure, FailureKind
from alflow.core.tasks import Outcome
from alflow.store import open_store
from alflow.store.lineage import show
from alflow.store.listings import LISTINGS, listing
from alflow.store.narrowing import Filters
from alflow.store.views import Progress, progress, status


def test_an_empty_store_has_not_begun(tmp_path):
    with open_store(tmp_path / "a.db", create=True) as store:
        assert progress(store) == Progress.empty()


def test_progress_through_two_iterations(world):
    view = progress(world.store)
    assert (view.state, view.iterations, view.n_requested) == ("running", (), 0)

    world.bootstrap()
    view = progress(world.store)
    (first,) = view.iterations
    assert (first.number, first.phase, first.ended) == (0, "label", False)
    assert first.tasks == {"build": {"done": 1}, "label": {"queued": 2}}
    assert (first.n_pending, first.n_labelled, first.n_failed) == (8, 0, 0)
    assert view.labels == {"pending": 8, "ok": 0, "failed": 0}
    assert view.n_requested == 6

    world.label_all()
    view = progress(world.store)
    assert (view.n_train, view.n_test, view.iterations[0].n_labelled) == (6, 2, 8)

    world.train_generation(0)
    view = progress(world.store)
    assert view.iterations[0].phase == "train"
    (ready,) = view.generations
    assert (ready.number, ready.state, ready.n_train) == (0, "ready", 6)
    assert not ready.has_test_predictions

    world.predict(0, "test")
    (ready,) = progress(world.store).generations
    assert (ready.has_test_predictions, ready.has_new_predictions) == (True, False)
    assert ready.metrics["test.force_rmse"] == 0.2
    assert ready.metrics["test.bad"] != ready.metrics["test.bad"]
    assert "test.note" not in ready.metrics
    assert progress(world.store).iterations[0].phase == "validate"

    world.store.end_iteration(0, {"n_labelled": 8, "lost": float("nan")})
    (first,) = progress(world.store).iterations
    assert (first.ended, first.stats) == (True, {"n_labelled": 8.0})

    world.sample(1)
    last = progress(world.store).iterations[-1]
    assert (last.phase, last.n_flagged, last.n_candidates, last.n_selected) == (
        "label",
        2,
        4,
        2,
    )
    world.label_all()
    world.predict(0, "train", 1)
    (ready,) = progress(world.store).generations
    assert ready.has_new_predictions


def test_rounds_and_flagged_frames_before_the_decision(world):
    world.bootstrap()
    world.label_all()
    world.train_generation(0)
    tasks = [world.task("sample", f"i1/r{r}/{k}", 1) for r in range(2) for k in range(2)]
    world.store.begin_iteration(1, "sample", tasks[:2])
    assert progress(world.store).iterations[-1].n_rounds == 1
    world.store.publish(tasks[2:])
    for n_flagged in (3, 4):
        world.store.finish_task(world.attempt("sample"), Outcome({"n_flagged": n_flagged}))
    last = progress(world.store).iterations[-1]
    assert (last.n_rounds, last.n_flagged, last.n_candidates) == (2, 7, None)
    assert last.tasks["sample"] == {"done": 2, "queued": 2}


def test_status_is_json(world):
    world.whole()
    world.store.request_stop(now=False)
    found = json.loads(json.dumps(status(world.store).to_json()))
    assert found["campaign"] == "water"
    assert found["stop_requested"] == "drain"
    assert (found["iteration"], found["phase"], found["generation"]) == (1, "train", 1)
    assert found["labels"] == {"pending": 0, "ok": 10, "failed": 0}
    assert found["tasks"]["label"] == {"done": 3}
    assert found["manager"]["alive"]
    assert found["manager"]["holder"] == "tester"
    assert [one["kind"] for one in found["events"]][:2] == [
        "stop-requested",
        "generation-ready",
    ]


def test_status_before_the_first_manager(tmp_path):
    with open_store(tmp_path / "a.db", create=True) as store:
        store.create_campaign("x", {}, 1)
        found = status(store)
    assert (found.iteration, found.generation, found.manager.alive) == (None, None, False)


def test_every_listing_is_json_and_can_be_filtered(world):
    world.whole()
    for what in LISTINGS:
        rows = listing(world.store, what)
        assert json.loads(json.dumps(rows)) == rows
        assert len(listing(world.store, what, Filters(limit=1))) == min(1, len(rows))
        narrowed = listing(world.store, what, Filters(iteration=1))
        assert len(narrowed) < max(1, len(rows)) or what in ("candidates", "trajectories")
    assert len(listing(world.store, "tasks", Filters(kind="label", state="done"))) == 3
    assert (
        len(listing(world.store, "candidates", Filters(state="selected", kind="flagged")))
        == 1
    )
    assert [row["generation"] for row in listing(world.store, "generations")] == [0, 1]


def test_failures_are_listed(world):
    world.bootstrap()
    ref = world.attempt("label")
    failure = Failure(FailureKind.NOT_CONVERGED, "128 cycles", {"rungs": [1, 2]})
    world.store.commit_items(ref, {world.test[0].hash: failure}, "v")
    (row,) = listing(world.store, "failures", Filters(kind="not-converged"))
    assert (row["label"], row["message"], row["level"]) == (1, "128 cycles", "dft")
    assert listing(world.store, "failures", Filters(kind="crash")) == []
    assert show(world.store, "l-1")["details"] == {"rungs": [1, 2]}


def test_a_list_that_does_not_exist(world):
    with pytest.raises(SettingsError, match="did you mean 'structures'"):
        listing(world.store, "structure")
    with pytest.raises(SettingsError, match="iterations cannot be filtered by kind"):
        listing(world.store, "iterations", Filters(kind="x"))


def test_metrics_stand_beside_the_generations(world):
    world.bootstrap()
    world.label_all()
    world.train_generation(0)
    world.predict(0, "test")
    (row,) = listing(world.store, "generations")
    assert row["test_force_rmse"] == 0.2


def test_the_lineage_of_a_frame(world):
    world.whole()
    item = show(world.store, "l-9")
    frame = show(world.store, f"s-{item['structure']}")
    assert frame["what"] == "structure"
    (origin,) = frame["origins"]
    assert (origin["kind"], origin["generation"], origin["snapshot"]) == ("sampler", 0, 0)
    start = show(world.store, f"s{origin['parent']}")
    assert [one["kind"] for one in start["origins"]] == ["start"]
    assert start["origins"][0]["source"] == "molecules"
    assert frame["considered"][0]["decision"] == "selected"
    assert frame["labels"][0]["state"] == "ok"
    assert item["extras"] == {"cycles": 9}


def test_everything_can_be_shown(world):
    world.whole()
    for name in ("s-1", "l-1", "t-1", "g1", "i1", "d1"):
        found = show(world.store, name)
        assert json.loads(json.dumps(found)) == found
    assert show(world.store, "g1")["parent"] == 0
    assert show(world.store, "g0")["parent"] is None
    assert show(world.store, "g0")["members"][0]["metrics"] == {"force_rmse": 0.1}
    assert show(world.store, "d1")["n_train"] == 8
    assert show(world.store, "i1")["decisions"] == {"selected": 2, "over-budget": 2}
    assert show(world.store, "t-2")["labels"] == {"ok": 4}
    assert show(world.store, "t-2")["attempts"][0]["host"] == "n1"


@pytest.mark.parametrize("name", ["s-99", "l-99", "t-99", "g9", "i9", "d9"])
def test_what_is_not_there(world, name):
    with pytest.raises(SettingsError, match=f"there is no .* {name}"):
        show(world.store, name)


@pytest.mark.parametrize(
    "name", ["x-1", "s", "12", "s-1; DROP TABLE task", "s--1", "s-" + "9" * 30]
)
def test_names_of_nothing(world, name):
    with pytest.raises(SettingsError, match="names nothing"):
        show(world.store, name)
