"""Asynchronous mode: what the plan lets overlap, and real campaigns in it."""

import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from alflow.config.resolution import settings_from_resolved
from alflow.execution.process import ProcessExecutor
from alflow.loop.campaign import resume_campaign, run_campaign
from alflow.loop.manager import Ending, Manager
from alflow.loop.plan import ActionKind, plan
from alflow.loop.replay_campaign import replay
from alflow.loop.serving import serving
from alflow.store import history, open_store
from alflow.store.views import GenerationProgress, IterationProgress, Progress, status

DONE = {"done": 2}


def _settings(**changes):
    values = {"open_iterations": 3, "waiting_labels": None, "max_iterations": 5, **changes}
    labels, sleepy = values.pop("labels", None), values.pop("sleepy", False)
    kind = "sleepy" if sleepy else "analytic"
    box = {
        "kind": "random_box",
        "composition": {"Al": 1},
        "atoms": [4, 10],
        "density_g_per_cm3": [1.6, 2.4],
    }
    return settings_from_resolved(
        {
            "name": "overlap",
            "seed": 5,
            "system": {"elements": ["Al"], "builders": [box]},
            "label": {
                "primary": "slow",
                "levels": {"slow": {"kind": kind}},
                "batch_size": 1,
                "audit": None,
            },
            "model": {
                "members": 2,
                "hidden": [8],
                "radial_cutoff_A": 4.0,
                "angular_cutoff_A": 3.5,
            },
            "train": {"epochs": 20, "warm_epochs": 10, "minimum_steps": 0, "folds": 2},
            "sample": {
                "replicas": 6,
                "tasks": 2,
                "rounds": 1,
                "timestep_fs": 2.0,
                "duration_ps": 0.1,
                "temperature_K": {"start": [300, 900], "end": [300, 900]},
            },
            "acquire": {
                "kind": "calibrated",
                "per_iteration": 10,
                "grace_fs": 0,
                "energy_tolerance_meV": 0.01,
                "rejected_factor": 1e9,
            },
            "test": {"count": 3, "builders": [box]},
            "loop": {"mode": "asynchronous", "bootstrap": 12, **values},
            "stop": {"budget": {"labels": labels}},
        }
    )


def _ended(number):
    return IterationProgress(number, "audited", ended=True, n_selected=10)


def _open(number, phase, **changes):
    values = {"generation": 0, "n_selected": 10, "n_labelled": 10, **changes}
    return IterationProgress(number, phase, **values)


def _with(*iterations, generations=(0,)):
    return Progress(
        "running",
        iterations=(_ended(0), *iterations),
        generations=tuple(GenerationProgress(k, "ready") for k in generations),
        n_train=40,
        n_test=8,
        n_requested=40,
    )


def _only(progress, **changes):
    (action,) = plan(progress, _settings(**changes))
    return action.kind, action.iteration


LABELLING = _open(1, "label", tasks={"label": {"queued": 1}}, n_labelled=0, n_pending=4)
SAMPLED = _open(2, "sample", tasks={"sample": DONE}, n_flagged=12, n_selected=0)


def test_the_next_iteration_samples_while_labels_are_computed():
    assert _only(_with(LABELLING)) == (ActionKind.BEGIN_ITERATION, 2)


def test_generational_mode_waits_for_the_labels():
    assert plan(_with(LABELLING), _settings(mode="generational")) == []


def test_no_more_iterations_are_open_than_may_be():
    other = replace(LABELLING, number=2)
    assert _only(_with(LABELLING, other)) == (ActionKind.BEGIN_ITERATION, 3)
    assert plan(_with(LABELLING, other), _settings(open_iterations=2)) == []


def test_one_iteration_samples_at_a_time():
    sampling = _open(2, "sample", tasks={"sample": {"leased": 1}})
    assert plan(_with(LABELLING, sampling), _settings()) == []


@pytest.mark.parametrize("limit", [{"labels": 40}, {"max_iterations": 1}])
def test_nothing_begins_beyond_a_limit_and_the_end_waits_for_what_is_open(limit):
    assert plan(_with(LABELLING), _settings(**limit)) == []
    (stop,) = plan(_with(_ended(1)), _settings(**limit))
    assert (stop.kind, stop.state) == (ActionKind.STOP, "finished")


def test_frames_are_chosen_when_few_labels_are_to_come():
    assert _only(_with(LABELLING, SAMPLED)) == (ActionKind.SELECT, 2)
    many = replace(LABELLING, n_pending=6)
    assert plan(_with(many, SAMPLED), _settings()) == []
    assert _only(_with(many, SAMPLED), waiting_labels=8) == (ActionKind.SELECT, 2)


def test_a_newer_generation_judges_the_frames_again():
    progress = _with(_ended(1), SAMPLED, generations=(0, 1))
    assert _only(progress) == (ActionKind.SCORE, 2)
    scored = replace(SAMPLED, phase="score", tasks={"sample": DONE, "score": {"done": 1}})
    progress = _with(_ended(1), scored, generations=(0, 1))
    assert _only(progress) == (ActionKind.SELECT, 2)


def test_a_generation_serves_once_it_has_been_judged():
    progress = _with(_open(1, "audit", tasks={"label": DONE}), SAMPLED, generations=(0, 1))
    assert serving(progress, 2) == 0
    assert serving(_with(_ended(1), SAMPLED, generations=(0, 1)), 2) == 1


def test_one_iteration_trains_at_a_time():
    training = _open(1, "train", tasks={"train": {"leased": 1}})
    ready = _open(2, "label", tasks={"label": DONE})
    sampling = _open(3, "sample", tasks={"sample": {"leased": 1}})
    assert plan(_with(training, ready, sampling), _settings()) == []


def test_iterations_whose_labels_are_all_there_are_trained_on_together():
    first, second = (_open(k, "label", tasks={"label": DONE}) for k in (1, 2))
    sampling = _open(3, "sample", tasks={"sample": {"leased": 1}})
    assert _only(_with(first, second, sampling)) == (ActionKind.JOIN, 1)
    joined = replace(first, phase="joined", tasks={"validate": {"leased": 1}})
    assert _only(_with(joined, second, sampling)) == (ActionKind.TRAIN, 2)
    checked = replace(first, phase="joined", tasks={"validate": {"done": 1}})
    assert _only(_with(checked, second, sampling)) == (ActionKind.END_ITERATION, 1)


def test_labels_that_are_late_are_waited_for_in_order():
    late = replace(LABELLING, n_pending=1)
    ready = _open(2, "label", tasks={"label": DONE})
    sampling = _open(3, "sample", tasks={"sample": {"leased": 1}})
    assert plan(_with(late, ready, sampling), _settings()) == []


def test_a_failure_lets_the_others_finish():
    failed = _open(1, "label", tasks={"label": DONE}, n_labelled=0, n_failed=10)
    sampling = _open(2, "sample", tasks={"sample": {"leased": 1}})
    assert plan(_with(failed, sampling), _settings()) == []
    (stop,) = plan(_with(failed), _settings())
    assert (stop.kind, stop.state) == (ActionKind.STOP, "failed")


def test_frames_that_are_all_known_by_now_end_nothing():
    nothing = replace(_ended(1), n_selected=0, tasks={"score": {"done": 1}})
    assert _only(_with(nothing, generations=(0, 1))) == (ActionKind.BEGIN_ITERATION, 2)


def _run(campaign):
    executor = ProcessExecutor(campaign.files, 3)
    executor.start()
    try:
        return Manager(campaign, executor, lambda _: None).run()
    finally:
        executor.close(cancel=True)


@pytest.fixture
def database(sleepy, tmp_path):
    path = tmp_path / "overlap.db"
    with run_campaign(path, _settings(sleepy=True, labels=42)) as campaign:
        assert _run(campaign) is Ending.DECIDED
    return path


def _spans(store, kind):
    with store.read() as connection:
        attempts = history.attempts(connection)
    return [(one.ended - one.wall_s, one.ended) for one in attempts if one.kind == kind]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_campaign_overlaps_and_does_everything_once(database):
    with open_store(database, read_only=True) as store:
        labels, samples = _spans(store, "label"), _spans(store, "sample")
        view = status(store)
        with store.read() as connection:
            asked = connection.exec_driver_sql(
                "SELECT count(*), count(DISTINCT structure_id) FROM label"
            ).one()
            trained = connection.exec_driver_sql(
                "SELECT n_train FROM snapshot ORDER BY seq"
            ).all()
        replayed = replay(store, [], None)
    overlapping = [
        (sample, label)
        for sample in samples
        for label in labels
        if sample[0] < label[1] and label[0] < sample[1]
    ]
    assert overlapping
    assert view.state == "finished"
    assert view.labels["ok"] == asked[0] == asked[1] == 45
    assert trained[-1][0] == 42  # the last generation has learnt from all of them
    assert replayed.is_exact
    assert view.under_way == {}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_frames_that_waited_are_judged_by_the_newest_generation(sleepy, tmp_path):
    path = tmp_path / "overlap.db"
    # labels of the iteration before must be there; by then one of an earlier iteration is trained
    settings = _settings(sleepy=True, labels=52, waiting_labels=1, max_iterations=9)
    with run_campaign(path, settings) as campaign:
        assert _run(campaign) is Ending.DECIDED
    with open_store(path, read_only=True) as store, store.read() as connection:
        scored = connection.exec_driver_sql(
            "SELECT task.key, ensemble.generation FROM task"
            " JOIN iteration ON iteration.id = task.iteration_id"
            " JOIN ensemble ON ensemble.id = iteration.ensemble_id"
            " WHERE task.kind = 'score' AND task.state = 'done'"
        ).all()
    assert scored
    assert all(key.endswith(f"/g{generation}") for key, generation in scored)
    with open_store(path, read_only=True) as store:
        assert replay(store, [], None).is_exact


CODE = """
import sys
from pathlib import Path
from alflow.execution.process import ProcessExecutor
from alflow.loop.campaign import resume_campaign
from alflow.loop.manager import Manager
with resume_campaign(Path(sys.argv[1])) as campaign:
    executor = ProcessExecutor(campaign.files, 3)
    executor.start()
    Manager(campaign, executor, lambda _: None).run()
"""


@pytest.mark.slow
@pytest.mark.recovery
@pytest.mark.timeout(300)
def test_a_campaign_that_is_killed_again_and_again_does_everything_once(sleepy, tmp_path):
    path = tmp_path / "overlap.db"
    with run_campaign(path, _settings(sleepy=True, labels=42)):
        pass
    for seconds in (5.0, 7.0, 9.0):
        process = subprocess.Popen([sys.executable, "-c", CODE, str(path)])
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
    with resume_campaign(path) as campaign:
        assert _run(campaign) is Ending.DECIDED
        view = status(campaign.store)
        with campaign.store.read() as connection:
            done = connection.exec_driver_sql(
                "SELECT count(*), count(DISTINCT structure_id) FROM label"
            ).one()
            (last,) = connection.exec_driver_sql(
                "SELECT n_train FROM snapshot ORDER BY seq DESC LIMIT 1"
            ).one()
    assert view.labels["ok"] == done[0] == done[1] == 45
    assert last == 42
