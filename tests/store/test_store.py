"""Round trips and the sequence of a whole campaign."""

from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import select, text

from alflow.core.errors import CampaignChanged, StoreError
from alflow.core.labels import Failure, FailureKind, Label
from alflow.core.tasks import AttemptRef, Outcome, TaskSpec, TaskState
from alflow.store import CampaignState, NewStructure, NewTask, SightingKind, StopMode
from alflow.store.schema import (
    attempt,
    blob,
    candidate,
    environment,
    event,
    label,
    label_item,
    metric,
    metric_epoch,
    prediction,
    sighting,
    snapshot_interval,
    structure,
    task,
    trajectory,
)


def rows(world, table):
    with world.store.read() as connection:
        return connection.execute(select(table).order_by(*table.primary_key)).all()


def test_campaign_round_trip(world):
    row = world.store.campaign()
    assert (row.id, row.name, row.seed, row.state) == (1, "water", 5, "running")
    assert row.config == {"seed": 5, "nested": {"a": [1, 2]}}
    with pytest.raises(StoreError, match="holds campaign 'water' already"):
        world.store.create_campaign("other", {}, 1)


def test_config_changes_are_kept_as_events(world):
    before = world.store.campaign().config_sha
    world.store.update_config({"seed": 5})
    world.store.update_config({"seed": 5})
    assert world.store.campaign().config == {"seed": 5}
    assert world.store.campaign().config_sha != before
    assert [row.kind for row in rows(world, event)].count("config-changed") == 1


def test_state_and_verdict(world):
    world.store.set_state("converged", "force RMSE is small")
    row = world.store.campaign()
    assert (row.state, row.verdict) == (CampaignState.CONVERGED, "force RMSE is small")
    with pytest.raises(StoreError, match="not a state"):
        world.store.set_state("happy", "")


def test_a_stop_request_is_not_made_milder(world):
    assert world.store.stop_requested() is None
    world.store.request_stop(now=False)
    assert world.store.stop_requested() is StopMode.DRAIN
    world.store.request_stop(now=True)
    world.store.request_stop(now=False)
    assert world.store.stop_requested() is StopMode.NOW
    world.store.clear_stop()
    assert world.store.stop_requested() is None


def test_structures_come_back_bit_by_bit(world, make_crystal, make_water):
    world.store.begin_iteration(0, "build")
    given = [make_crystal(1), make_water(2), make_crystal(1)]
    new = [NewStructure(one, f"g{k}", "train", "crystal") for k, one in enumerate(given)]
    assert world.store.add_structures(new, iteration=0) == [1, 2, 1]
    found = world.store.structures([given[1].hash, given[0].hash])
    assert found == [given[1], given[0]]
    np.testing.assert_array_equal(found[1].cell, given[0].cell)
    np.testing.assert_array_equal(found[1].pbc, given[0].pbc)
    assert (found[1].charge, found[1].multiplicity) == (1, 2)
    assert len(rows(world, structure)) == 2
    assert {row.group_key for row in rows(world, sighting)} == {"g0", "g1", "g2"}
    with pytest.raises(StoreError, match="1 missing"):
        world.store.structures(["0" * 64])


def test_a_structure_keeps_its_first_split(world, make_water):
    world.store.begin_iteration(0, "build")
    one = make_water(1)
    world.store.add_structures([NewStructure(one, "a", "test", "x")], iteration=0)
    world.store.add_structures([NewStructure(one, "b", "train", "x")], iteration=0)
    world.store.register_level("dft", {"kind": "x"})
    world.store.publish(world.label_tasks([one]))
    world.label_all()
    assert world.store.labelled("train", "dft") == []
    assert [item.group for item in world.store.labelled("test", "dft")] == ["a"]


def test_parents_are_recorded_and_must_exist(world, make_water):
    world.store.begin_iteration(0, "build")
    parent, child = make_water(1), make_water(2)
    world.store.add_structures([NewStructure(parent, "a", "train", "x")], iteration=0)
    made = NewStructure(child, "a", "train", "relax", parent.hash, SightingKind.RELAX)
    world.store.add_structures([made], iteration=0)
    assert rows(world, sighting)[-1].parent_structure_id == 1
    orphan = NewStructure(make_water(3), "a", "train", "relax", "0" * 64)
    with pytest.raises(StoreError, match="parent"):
        world.store.add_structures([orphan], iteration=0)
    assert len(rows(world, structure)) == 2


def test_labels_come_back_bit_by_bit_in_order_of_ids(world, make_label):
    world.bootstrap()
    world.label_all()
    found = world.store.labelled("train", "dft")
    assert [item.label_id for item in found] == [3, 4, 5, 6, 7, 8]
    assert [item.structure for item in found] == world.train
    assert found[0].source == "molecules"
    for item in found:
        expected = make_label(item.structure)
        assert item.label.energy == expected.energy
        np.testing.assert_array_equal(item.label.forces, expected.forces)
        assert item.label.extras == {"cycles": 9}
    assert len(world.store.labelled(None, "dft")) == 8
    assert len(world.store.labelled("test", "dft", iteration=0)) == 2
    assert world.store.labelled("test", "dft", iteration=1) == []
    assert world.store.labelled("train", "other") == []


def test_stress_and_energy_only_labels(world, make_crystal, make_water):
    world.store.register_level("dft", {"kind": "x"})
    world.store.begin_iteration(0, "build")
    pair = [make_crystal(1), make_water(1)]
    new = [NewStructure(one, "a", "train", "x") for one in pair]
    world.store.add_structures(new, world.label_tasks(pair), iteration=0)
    stress = np.arange(6) / 7.0
    results = {
        pair[0].hash: Label(-1.0, np.ones((2, 3)), stress),
        pair[1].hash: Label(-2.5),
    }
    world.store.commit_items(world.attempt("label"), results, "v")
    first, second = world.store.labelled("train", "dft")
    np.testing.assert_array_equal(first.label.stress, stress)
    assert second.label.forces is None
    assert second.label.stress is None


@pytest.mark.parametrize(
    "bad",
    [
        Label(float("nan"), np.zeros((3, 3))),
        Label(float("inf"), np.zeros((3, 3))),
        Label(-1.0, np.full((3, 3), np.nan)),
        Label(-1.0, np.zeros((2, 3))),
        Label(-1.0, np.zeros((3, 3)), np.full(6, np.inf)),
    ],
)
def test_a_label_that_is_no_number_becomes_a_failure(world, bad):
    world.bootstrap()
    ref = world.attempt("label")
    assert world.store.commit_items(ref, {world.test[0].hash: bad}, "v") == 1
    item = rows(world, label_item)[0]
    assert (item.state, item.failure_kind) == ("failed", "suspicious-label")
    assert rows(world, label) == []


def test_levels_of_theory(world):
    first = world.store.register_level("dft", {"kind": "pyscf", "basis": "x"})
    assert world.store.register_level("dft", {"basis": "x", "kind": "pyscf"}) == first
    assert world.store.register_level("cc", {"kind": "pyscf", "basis": "y"}) == first + 1
    with pytest.raises(CampaignChanged, match="other settings"):
        world.store.register_level("dft", {"kind": "pyscf", "basis": "z"})
    with pytest.raises(StoreError, match="is the same as 'dft'"):
        world.store.register_level("copy", {"kind": "pyscf", "basis": "x"})


def test_label_tasks_need_a_level_and_stored_structures(world, make_water):
    world.store.begin_iteration(0, "build")
    strange = make_water(1)
    tasks = world.label_tasks([strange])
    with pytest.raises(StoreError, match="'dft' is not registered"):
        world.store.publish(tasks)
    world.store.register_level("dft", {"kind": "x"})
    with pytest.raises(StoreError, match="not in the store"):
        world.store.publish(tasks)
    assert rows(world, task) == []
    with pytest.raises(StoreError, match="i9 has not begun"):
        world.store.publish([world.task("build", "x", 9)])


def test_a_label_is_asked_for_once_per_level(world):
    world.bootstrap()
    n_items = len(rows(world, label_item))
    again = world.task("label", "again", items=tuple(one.hash for one in world.train[:2]))
    assert world.store.publish([again]) == 1
    assert len(rows(world, label_item)) == n_items
    assert rows(world, task)[-1].state == "done"
    world.store.register_level("cc", {"kind": "cc"})
    spec = TaskSpec("label", "label/cc", 1, items=again.spec.items)
    other = NewTask(spec, 0, 0, "cc")
    world.store.publish([other])
    assert [row.id for row in rows(world, label_item)][n_items:] == [
        n_items + 1,
        n_items + 2,
    ]
    assert world.store.requested([world.train[0].hash, "0" * 64]) == {world.train[0].hash}


def test_queue_order_limits_and_delay(world):
    world.store.begin_iteration(0, "build")
    names = [("a", 0), ("b", 5), ("c", 0)]
    tasks = [world.task("build", name) for name, _ in names]
    tasks = [
        new.__class__(new.spec, 0, priority)
        for new, (_, priority) in zip(tasks, names, strict=True)
    ]
    world.store.publish([*tasks, world.task("train", "x")])
    keys = [
        row.spec.key for row in world.store.queued({"build": 2, "train": 1, "label": 3})
    ]
    assert keys == ["build/b", "build/a", "train/x"]
    assert world.store.queued({"build": 0}) == []
    ref = world.attempt("build")
    lost = Failure(FailureKind.LOST, "gone")
    world.store.requeue(ref, lost, charged=False, not_before=4e9)
    assert [row.spec.key for row in world.store.queued({"build": 9})] == [
        "build/a",
        "build/c",
    ]


def test_attempts_are_counted_and_charged(world):
    world.store.begin_iteration(0, "build", [world.task("build", "x")])
    first = world.attempt("build")
    assert (first.task_id, first.number, first.kind) == (1, 1, "build")
    with pytest.raises(StoreError, match="t-1 cannot be started: it is leased"):
        world.store.start_attempt(1)
    with pytest.raises(StoreError, match="it is unknown"):
        world.store.start_attempt(99)
    (opened,) = world.store.open_attempts()
    assert (opened.ref, opened.epoch, opened.task.spec.key) == (first, 1, "build/x")
    crash = Failure(FailureKind.CRASH, "died", {"exit": 9})
    assert world.store.requeue(first, crash, charged=True)
    second = world.attempt("build")
    assert (second.number, second.token != first.token) == (2, True)
    (row,) = world.store.tasks(0, "build")
    assert (row.attempts, row.charged, row.last_attempt) == (2, 1, second)
    assert world.store.fail_task(second, crash)
    assert world.store.open_attempts() == []
    (row,) = world.store.tasks(0, "build", TaskState.FAILED)
    assert (row.charged, row.outcome) == (2, None)
    assert world.store.tasks(0, "build", TaskState.DONE) == []


def test_an_outcome_comes_back_with_its_environment(world):
    world.store.begin_iteration(
        0, "build", [world.task("build", "x"), world.task("build", "y")]
    )
    outcome = Outcome(
        {"n": 3, "rate": float("nan")}, {"f": "0" * 64}, None, 2.5, {"host": "n7"}
    )
    for _ in range(2):
        world.store.finish_task(world.attempt("build"), outcome)
    found = world.store.tasks(0, "build", TaskState.DONE)[0].outcome
    assert found == Outcome(
        {"n": 3, "rate": None}, {"f": "0" * 64}, None, 2.5, {"host": "n7"}
    )
    assert [row.hostname for row in rows(world, environment)] == ["n7"]
    assert {row.wall_s for row in rows(world, attempt)} == {2.5}


def test_a_failure_is_no_result(world):
    world.store.begin_iteration(0, "build", [world.task("build", "x")])
    failed = Outcome(failure=Failure(FailureKind.BUG, "x"))
    with pytest.raises(StoreError, match="its outcome is a failure"):
        world.store.finish_task(world.attempt("build"), failed)


def test_a_failed_label_task_fails_its_pending_labels(world, make_label):
    world.bootstrap()
    ref = world.attempt("label")
    done = world.test[0]
    world.store.commit_items(ref, {done.hash: make_label(done)}, "v")
    world.store.fail_task(ref, Failure(FailureKind.RESOURCE, "out of memory"))
    states = [(row.state, row.failure_kind) for row in rows(world, label_item)]
    assert states[:4] == [("ok", None), *[("failed", "resource")] * 3]
    second = world.attempt("label")
    world.store.finish_task(second, Outcome())
    assert {row.failure_kind for row in rows(world, label_item)[4:]} == {"bug"}


def test_a_generation_from_snapshot_to_weights(world):
    world.bootstrap()
    world.label_all()
    world.train_generation(0)
    assert world.store.weights(0) == b"weights\x00"
    assert world.store.weights_sha(0) == rows(world, blob)[0].sha256
    (train,) = world.store.tasks(0, "train")
    assert train.spec.settings["n"] == 6
    assert [(row.name, row.value) for row in rows(world, metric)] == [("force_rmse", 0.1)]
    assert [(row.epoch, row.value) for row in rows(world, metric_epoch)] == [
        (1, 2.0),
        (2, None),
    ]
    with pytest.raises(StoreError, match="no generation g4"):
        world.store.weights(4)


def test_a_generation_without_weights_has_none(world):
    world.bootstrap()
    world.label_all()
    world.store.begin_generation(0, 0, "dft", {}, [world.task("train", "g0")])
    with pytest.raises(StoreError, match="g0 is not trained yet"):
        world.store.weights(0)


def test_snapshots_are_intervals(world):
    world.whole()
    first = {item.label_id for item in world.store.labelled("train", "dft", generation=0)}
    second = {item.label_id for item in world.store.labelled("train", "dft", generation=1)}
    assert first == {3, 4, 5, 6, 7, 8}
    assert second == first | {9, 10}
    assert len(rows(world, snapshot_interval)) == 8
    with world.store.database.write() as connection:
        connection.execute(text("UPDATE label SET quality = 'rejected' WHERE id = 4"))
    world.store.begin_iteration(2, "train")
    world.train_generation(2)
    third = {item.label_id for item in world.store.labelled("train", "dft", generation=2)}
    assert third == second - {4}
    again = {item.label_id for item in world.store.labelled("train", "dft", generation=1)}
    assert again == second


def test_a_snapshot_needs_labels_and_a_new_number(world):
    world.bootstrap()
    with pytest.raises(StoreError, match="no label at level 'dft' to train on"):
        world.store.begin_generation(0, 0, "dft", {}, [])
    world.label_all()
    world.store.begin_generation(0, 3, "dft", {}, [])
    with pytest.raises(StoreError, match="d2 would come after d3"):
        world.store.begin_generation(0, 2, "dft", {}, [])
    with pytest.raises(StoreError, match="no generation g7"):
        world.store.begin_generation(0, 4, "dft", {}, [], parent=7)


def test_large_weights_are_a_file_beside_the_database(sqlite_world, monkeypatch):
    monkeypatch.setattr("alflow.store.blobs.INLINE_BYTES", 3)
    sqlite_world.bootstrap()
    sqlite_world.label_all()
    sqlite_world.train_generation(0)
    (row,) = rows(sqlite_world, blob)
    assert (row.storage, row.data) == ("file", None)
    path = sqlite_world.path.parent / row.relpath
    assert path.read_bytes() == b"weights\x00" == sqlite_world.store.weights(0)
    path.write_bytes(b"something")
    with pytest.raises(StoreError, match="damaged"):
        sqlite_world.store.weights(0)
    path.unlink()
    with pytest.raises(StoreError, match="cannot be read"):
        sqlite_world.store.weights(0)


def test_predictions_that_are_not_finite_are_missing(world):
    world.bootstrap()
    world.label_all()
    world.train_generation(0)
    world.predict(0, "test")
    found = rows(world, prediction)
    assert [row.label_id for row in found] == [1, 2]
    assert found[0].energy_spread == 0.01


def test_selection_is_one_transaction_and_happens_once(world):
    world.bootstrap()
    world.label_all()
    world.train_generation(0)
    assert world.sample(1)
    assert not world.sample(1)
    assert [row.stop_reason for row in rows(world, trajectory)] == ["flagged", "flagged"]
    assert rows(world, trajectory)[0].trace_json.endswith('"time_fs":[0.0,50.0]}')
    assert [row.id for row in rows(world, label_item)][-2:] == [9, 10]
    world.label_all()
    found = world.store.labelled("train", "dft", iteration=1)
    assert [(item.source, item.group) for item in found] == [
        ("nemd", "sample/i1/r0/0/0")
    ] * 2


def test_the_worst_of_equal_frames_is_the_candidate(world):
    world.bootstrap()
    world.label_all()
    world.train_generation(0)
    task = world.task("sample", "i1/r0/0", 1)
    world.store.begin_iteration(1, "sample", [task])
    paths = world.trajectories(task.spec.key)
    path = paths[0].trajectory
    flagged, audit = path.frames
    fingerprint = np.array([0.1, float("inf"), 1e-300])
    worse = replace(
        flagged, spread=replace(flagged.spread, energy=0.4), fingerprint=fingerprint
    )
    other = replace(audit, structure=flagged.structure)
    paths[0] = replace(paths[0], trajectory=replace(path, frames=(other, flagged, audit)))
    last = replace(paths[1].trajectory, frames=(worse, *paths[1].trajectory.frames))
    paths[1] = replace(paths[1], trajectory=last)
    assert world.store.record_selection(1, 0, paths, world.verdicts(), [])
    first, *rest = rows(world, candidate)
    assert len(rest) == 3
    assert (first.energy_spread, first.reason, first.trajectory_id) == (0.4, "flagged", 2)
    assert np.array_equal(np.frombuffer(first.fingerprint, "<f8"), fingerprint)


def test_selection_wants_verdicts_and_tasks(world):
    world.bootstrap()
    world.label_all()
    world.train_generation(0)
    world.store.begin_iteration(1, "sample", [world.task("sample", "i1/r0/0", 1)])
    paths = world.trajectories("sample/i1/r0/0")
    with pytest.raises(StoreError, match="has no verdict"):
        world.store.record_selection(1, 0, paths, {}, [])
    strange = world.trajectories("sample/other")
    with pytest.raises(StoreError, match="no task 'sample/other'"):
        world.store.record_selection(1, 0, strange, world.verdicts(), [])
    with pytest.raises(StoreError, match="i2 has not begun"):
        world.store.record_selection(2, 0, [], {}, [])
    assert rows(world, trajectory) == []
    assert world.store.record_selection(1, 0, [], {}, [])


def test_an_unknown_attempt_gives_nothing(world, make_label):
    world.bootstrap()
    world.attempt("label")
    fake = AttemptRef(2, 1, "0" * 16, "label")
    one = world.test[0]
    assert world.store.commit_items(fake, {one.hash: make_label(one)}, "v") == 0
    assert not world.store.finish_task(fake, Outcome())
    assert rows(world, label) == []


def test_writing_needs_the_lease(world):
    world.lease.release()
    with pytest.raises(StoreError, match="needs the lease"):
        world.store.publish([])
    world.store.request_stop(now=False)


def test_events_are_written_down(world):
    world.store.event("note", "warning", "t-1", {"a": 1})
    last = rows(world, event)[-1]
    assert (last.kind, last.severity, last.subject, last.data_json, last.epoch) == (
        "note",
        "warning",
        "t-1",
        '{"a":1}',
        1,
    )
