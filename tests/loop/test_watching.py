"""What is seen of a campaign: what the database says, and what workers have taken."""

from dataclasses import replace

import pytest

from alflow.core.tasks import AttemptRef, Outcome, TaskSpec
from alflow.execution.files import CampaignFiles, Claim
from alflow.loop.watching import Taken, Watcher, seen
from alflow.store import NewTask, Workers, open_store
from alflow.store.standing import OpenAttempt, StageCounts, Standing
from alflow.store.views import ManagerStatus

NOW = 1000.0


def attempt(number, kind="label", n_parts=1):
    ref = AttemptRef(number, 1, f"token{number}", kind)
    return OpenAttempt(ref, f"{kind}/{number}", n_parts, NOW - 50.0)


def a_standing(**changes):
    values = {
        "campaign": "water",
        "config": {},
        "state": "running",
        "verdict": "",
        "stop_requested": None,
        "iteration": 3,
        "phase": "label",
        "under_way": {3: "label"},
        "began": NOW - 60.0,
        "generation": 2,
        "stages": [StageCounts("label", 4, 1, 6, (10.0,) * 4)],
        "labels": {"ok": 5},
        "curves": {},
        "attempts": [attempt(k) for k in range(4)],
        "manager": ManagerStatus(alive=True, holder="node1 (pid 5)", silent_s=4.0),
        "workers": {"cpu": Workers(2, frozenset({"label", "build"}))},
    }
    return Standing(**{**values, **changes})


def taken(*numbers, since=NOW - 5.0):
    return {attempt(k).ref: Taken("node7", since) for k in numbers}


def test_only_what_a_worker_has_taken_runs():
    found = seen(a_standing(), taken(0, 2), {}, NOW)
    (stage,) = found.stages
    assert (stage.n, stage.n_done, stage.n_running, stage.n_waiting) == (10, 4, 2, 4)
    assert [(one.task_id, one.host) for one in found.running] == [
        (0, "node7"),
        (2, "node7"),
    ]
    assert [(one.name, one.n, one.n_busy) for one in found.pools] == [("cpu", 2, 2)]
    assert (stage.typical_s, stage.left_s) == (10.0, pytest.approx(25.0))


def test_out_of_sight_of_the_files_as_many_run_as_there_are_workers():
    found = seen(a_standing(), None, {}, NOW)
    assert [one.task_id for one in found.running] == [0, 1]
    assert found.pools[0].n_busy == 2


def test_without_a_manager_nothing_is_known_to_run():
    gone = ManagerStatus(alive=False, holder="node1 (pid 5)", silent_s=400.0)
    found = seen(a_standing(manager=gone), taken(0, 2), {}, NOW)
    assert (found.running, found.pools) == ([], [])
    assert (found.stages[0].n_waiting, found.stages[0].left_s) == (6, None)


def test_a_task_of_several_labels_tells_nothing_of_the_present_one():
    attempts = [attempt(0, n_parts=8)]
    found = seen(a_standing(attempts=attempts), taken(0, since=NOW - 500), {}, NOW)
    assert found.stages[0].left_s == pytest.approx(60.0)


def test_a_training_tells_its_time_itself():
    view = a_standing(
        stages=[StageCounts("train", 0, 0, 1)], attempts=[attempt(9, kind="train")]
    )
    found = seen(
        view, {view.attempts[0].ref: Taken("", NOW)}, {9: {"seconds_left": 77.0}}, NOW
    )
    assert found.stages[0].left_s == 77.0
    assert found.running[0].said == {"seconds_left": 77.0}


def test_stages_come_in_their_order():
    kinds = ("train", "own", "label", "sample")
    view = a_standing(stages=[StageCounts(kind, 1, 0, 0) for kind in kinds])
    found = seen(view, {}, {}, NOW)
    assert [one.kind for one in found.stages] == ["sample", "label", "train", "own"]


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "a.db", create=True) as store:
        store.create_campaign("a", {}, 1)
        with store.acquire_lease("node1"):
            spec = TaskSpec("train", "train/g0", 1)
            store.begin_iteration(0, "train", [NewTask(spec, 0)])
            yield store


def test_claims_and_progress_are_read_from_the_campaign_directory(store, tmp_path):
    files = CampaignFiles(tmp_path / "a")
    (task,) = store.tasks(0, "train")
    ref = store.start_attempt(task.id)
    files.write_spec(task.id, task.spec)
    watcher = Watcher(store, files)
    assert watcher.look(NOW).running == []
    files.claim(ref, replace(Claim.of_this_process(), host="node9"))
    files.write_progress(ref, {"epoch": 3, "seconds_left": float("nan"), "note": "x"})
    (one,) = watcher.look(NOW).running
    assert (one.host, one.key, one.said) == ("node9", "train/g0", {"epoch": 3.0})
    store.finish_task(ref, Outcome(wall_s=1.0))
    assert watcher.look(NOW).running == []


def test_a_revoked_attempt_does_not_run(store, tmp_path):
    files = CampaignFiles(tmp_path / "a")
    (task,) = store.tasks(0, "train")
    ref = store.start_attempt(task.id)
    files.write_spec(task.id, task.spec)
    files.revoke(ref)
    assert Watcher(store, files).look(NOW).running == []
