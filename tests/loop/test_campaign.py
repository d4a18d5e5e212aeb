"""Whole small campaigns with the inline executor: what the manager does with the plan."""

import os
import signal
from dataclasses import replace

import pytest

from alflow.config.resolution import resolved, settings_from_resolved
from alflow.core.errors import CampaignChanged, LeaseHeld, SiteError
from alflow.core.labels import Failure, FailureKind
from alflow.core.protocols import News
from alflow.core.tasks import Outcome
from alflow.execution.files import CampaignFiles, Claim
from alflow.execution.inline import InlineExecutor
from alflow.execution.processes import machine_identity
from alflow.labelers.analytic import AnalyticSettings
from alflow.loop.campaign import resume_campaign, run_campaign
from alflow.loop.manager import Ending, Manager, StopSignal
from alflow.loop.preview import preview, preview_stored
from alflow.store import CampaignState, Glance, NewTask
from alflow.store.views import progress, status

pytestmark = pytest.mark.timeout(300)


def _settings(**changes):
    box = {
        "kind": "random_box",
        "composition": {"Al": 1},
        "atoms": [8, 10],
        "density_g_per_cm3": [1.6, 2.4],
    }
    return settings_from_resolved(
        {
            "name": "tiny",
            "seed": 3,
            "system": {"elements": ["Al"], "builders": [box]},
            "label": {
                "primary": "gupta",
                "batch_size": 3,
                "levels": {"gupta": {"kind": "analytic"}},
            },
            "model": {
                "members": 2,
                "hidden": [8],
                "radial_cutoff_A": 4.0,
                "angular_cutoff_A": 3.5,
            },
            "train": {"epochs": 3, "warm_epochs": 2, "minimum_steps": 0, "folds": 2},
            "sample": {
                "replicas": 3,
                "tasks": 2,
                "rounds": 1,
                "timestep_fs": 2.0,
                "duration_ps": 0.1,
                "temperature_K": {"start": [300, 900], "end": [300, 900]},
            },
            "acquire": {
                "per_iteration": 4,
                "grace_fs": 0,
                "energy_spread_meV": 0.001,
                "rejected_factor": 1e9,
            },
            "test": {"count": 3, "builders": [box]},
            "loop": {"bootstrap": 6, "max_iterations": 1, **changes},
        }
    )


def _run(campaign, **options) -> tuple[Ending, list]:
    notices = []
    stop = options.pop("stop", None)
    manager = Manager(campaign, InlineExecutor(campaign.files), notices.append, stop)
    return manager.run(**options), notices


@pytest.fixture
def database(tmp_path):
    return tmp_path / "tiny.db"


def test_a_campaign_ends_where_its_limit_is(database):
    with run_campaign(database, _settings()) as campaign:
        ending, notices = _run(campaign)
        view = progress(campaign.store)
    assert ending is Ending.DECIDED
    assert view.state == "finished"
    assert [generation.state for generation in view.generations] == ["ready", "ready"]
    assert view.labels["ok"] + view.labels["failed"] == view.n_requested + 3
    first, last = view.iterations
    assert first.stats["test_n_structures"] == view.n_test
    assert last.stats["n_trajectories"] == 6
    assert {"begin-iteration", "select", "train", "stop"} <= {n.kind for n in notices}


def test_running_again_changes_nothing(database):
    with run_campaign(database, _settings()) as campaign:
        _run(campaign)
        digest = campaign.store.content_digest()
    with run_campaign(database, _settings()) as campaign:
        assert not campaign.is_new
        ending, notices = _run(campaign)
        assert (ending, notices) == (Ending.DECIDED, [])
        assert campaign.store.content_digest() == digest


def test_pausing_between_iterations_gives_the_same_campaign(database, tmp_path):
    with run_campaign(tmp_path / "straight.db", _settings()) as campaign:
        _run(campaign)
        expected = campaign.store.content_digest()
    with run_campaign(database, _settings()) as campaign:
        assert _run(campaign, last_iteration=0)[0] is Ending.PAUSED
        assert len(progress(campaign.store).iterations) == 1
    with resume_campaign(database) as campaign:
        assert _run(campaign)[0] is Ending.DECIDED
        assert campaign.store.content_digest() == expected


def test_a_raised_limit_goes_on(database):
    with run_campaign(database, _settings(max_iterations=0)) as campaign:
        _run(campaign)
        assert len(progress(campaign.store).generations) == 1
    with run_campaign(database, _settings(max_iterations=1)) as campaign:
        assert [change.path for change in campaign.changes] == ["loop.max_iterations"]
        _run(campaign)
        assert len(progress(campaign.store).generations) == 2


def test_a_changed_seed_is_refused_and_nothing_is_touched(database):
    with run_campaign(database, _settings(max_iterations=0)) as campaign:
        _run(campaign)
        digest = campaign.store.content_digest()
    other = settings_from_resolved({**resolved(_settings()), "seed": 4})
    with pytest.raises(CampaignChanged, match="seed"), run_campaign(database, other):
        pass
    with resume_campaign(database) as campaign:
        assert campaign.store.content_digest() == digest


def test_a_second_manager_is_told_who_is_there(database):
    with (
        run_campaign(database, _settings()),
        pytest.raises(LeaseHeld, match="pid"),
        resume_campaign(database),
    ):
        pass


def test_stopping_drains_and_resuming_finishes(database, tmp_path):
    with run_campaign(tmp_path / "straight.db", _settings()) as campaign:
        _run(campaign)
        expected = campaign.store.content_digest()
    with run_campaign(database, _settings()) as campaign:
        stop = StopSignal()
        notices = []

        def notify(notice):
            notices.append(notice)
            if notice.kind == "labelled" and stop.mode is None:
                stop.press()

        ending = Manager(campaign, InlineExecutor(campaign.files), notify, stop).run()
        assert ending is Ending.DRAINED
        assert campaign.store.open_attempts() == []
        assert progress(campaign.store).labels["pending"] > 0
        assert campaign.store.stop_requested() == "drain", "those who watch are told"
    with resume_campaign(database) as campaign:
        assert campaign.store.stop_requested() is None
        assert _run(campaign)[0] is Ending.DECIDED
        assert campaign.store.content_digest() == expected


def test_a_request_in_the_store_stops_too(database):
    with run_campaign(database, _settings()) as campaign:
        campaign.store.request_stop(now=True)
        assert _run(campaign)[0] is Ending.INTERRUPTED


class _Refusing:
    """A labeler that gives no label at all."""

    def label(self, structure):
        return Failure(FailureKind.NOT_CONVERGED, f"{structure.formula} does not converge")

    def version(self):
        return "refusing 1"


class _Raising(_Refusing):
    def label(self, structure):
        raise RuntimeError("a bug in a plug-in")


@pytest.mark.parametrize(
    ("labeler", "words"),
    [(_Refusing, "does not converge"), (_Raising, "a bug in a plug-in")],
)
def test_without_any_label_the_campaign_fails_and_says_why(
    database, monkeypatch, labeler, words
):
    monkeypatch.setattr(AnalyticSettings, "create", lambda _: labeler())
    monkeypatch.setattr("alflow.loop.retries.BACKOFF_S", 0.0)
    with run_campaign(database, _settings()) as campaign:
        ending, notices = _run(campaign)
        row = campaign.store.campaign()
        view = progress(campaign.store)
    assert ending is Ending.DECIDED
    assert (row.state, "none of 9 labels succeeded" in row.verdict) == ("failed", True)
    assert view.labels == {"pending": 0, "ok": 0, "failed": 9}
    assert any(words in notice.text for notice in notices)


def test_some_failed_labels_are_left_out(database, monkeypatch):
    create = AnalyticSettings.create

    def sometimes(settings):
        labeler = create(settings)
        label = labeler.label

        def one(structure):
            if structure.n_atoms == 8:
                return Failure(FailureKind.NOT_CONVERGED, "eight is too many")
            return label(structure)

        labeler.label = one
        return labeler

    monkeypatch.setattr(AnalyticSettings, "create", sometimes)
    with run_campaign(database, _settings()) as campaign:
        _run(campaign)
        view = progress(campaign.store)
        used = campaign.store.labelled("train", "gupta")
    assert view.state == "finished"
    assert view.labels["failed"] > 0
    assert used
    assert all(item.structure.n_atoms != 8 for item in used)


def test_a_calculation_that_kills_its_process_costs_its_own_label_alone(
    database, monkeypatch
):
    """The batch is labelled, the rest fails after three tries, and can be tried again."""
    create = AnalyticSettings.create
    is_mended = []

    def doomed(settings):
        labeler = create(settings)
        label = labeler.label

        def one(structure):
            if structure.n_atoms == 8 and not is_mended:
                os.kill(os.getpid(), signal.SIGTERM)
            return label(structure)

        labeler.label = one
        return labeler

    monkeypatch.setattr(AnalyticSettings, "create", doomed)
    monkeypatch.setattr("alflow.loop.retries.BACKOFF_S", 0.0)
    with run_campaign(database, _settings(max_iterations=0)) as campaign:
        _, notices = _run(campaign)
        view = progress(campaign.store)
        failed = [one for one in campaign.store.tasks(0, "label") if one.state == "failed"]
        used = campaign.store.labelled("train", "gupta")
    assert view.state == "finished"
    assert view.labels["pending"] == 0
    assert view.labels["failed"] + view.labels["ok"] == 9
    assert view.labels["failed"] > 0
    assert used
    assert all(one.structure.n_atoms != 8 for one in used)
    assert {one.attempts for one in failed} == {3}
    told = [notice.text for notice in notices if notice.kind == "label-failed"]
    assert len(told) == view.labels["failed"]
    assert all("SIGTERM" in text for text in told)
    assert all(text.startswith("no label for s-") for text in told)
    is_mended.append(True)
    with resume_campaign(database) as campaign:
        for one in failed:
            campaign.store.release_task(one.id)
    with run_campaign(database, _settings(max_iterations=1)) as campaign:
        _run(campaign)
        assert progress(campaign.store).labels["failed"] == 0


class _Killed(Exception):
    """Ends a manager in the middle of its work, without any cleaning up."""


class _Doomed(InlineExecutor):
    """Takes the manager along before anything is started."""

    def wait(self, timeout_s):
        raise _Killed


def test_managers_that_die_with_a_full_queue_use_no_task_up(database):
    for _ in range(12):
        with run_campaign(database, _settings(max_iterations=0)) as campaign:
            executor = _Doomed(campaign.files)
            with pytest.raises(_Killed):
                Manager(campaign, executor, lambda _: None).run()
    with resume_campaign(database) as campaign:
        assert _run(campaign)[0] is Ending.DECIDED
        assert progress(campaign.store).state == "finished"


class _Hasty(InlineExecutor):
    """Runs label tasks only when `rush` is called."""

    def wait(self, timeout_s):
        if self._queue and self._queue[0].kind != "label":
            return super().wait(timeout_s)
        return ()

    def rush(self):
        super().wait(0.0)


def test_what_is_committed_while_the_manager_looks_is_not_lost(database, monkeypatch):
    read_items = CampaignFiles.read_items
    running = []

    def items_of_a_body_that_ends_meanwhile(files, task_id):
        found = read_items(files, task_id)
        if not running:  # a body reads its items as well
            running.append(task_id)
            executor.rush()
            running.clear()
        return found

    with run_campaign(database, _settings(max_iterations=0)) as campaign:
        executor = _Hasty(campaign.files)
        monkeypatch.setattr(
            CampaignFiles, "read_items", items_of_a_body_that_ends_meanwhile
        )
        Manager(campaign, executor, lambda _: None).run()
        assert progress(campaign.store).labels == {"pending": 0, "ok": 9, "failed": 0}


def _dead(host):
    """The claim of a worker that is gone."""
    return Claim(host=host, machine=machine_identity(), pid=1, started="before the flood")


class _Cursed(InlineExecutor):
    """Loses the worker of every attempt at some tasks."""

    def __init__(self, files, cursed):
        super().__init__(files)
        self.cursed = cursed

    def wait(self, timeout_s):
        if self._queue and self._queue[0].kind in self.cursed:
            attempt = self._queue.popleft()
            self._files.claim(attempt, _dead(f"n{attempt.number}"))
            self._lost.append((attempt, Failure(FailureKind.LOST, "its worker is gone")))
        return super().wait(timeout_s)


def test_a_task_that_loses_its_workers_is_quarantined_and_can_be_released(
    database, monkeypatch
):
    monkeypatch.setattr("alflow.loop.retries.BACKOFF_S", 0.0)
    notices = []
    with run_campaign(database, _settings(max_iterations=0)) as campaign:
        executor = _Cursed(campaign.files, {"train"})
        Manager(campaign, executor, notices.append).run()
        view = status(campaign.store)
    assert (view.state, view.troubles.n_lost) == ("failed", 5)
    assert [notice.kind for notice in notices].count("retry") == 4
    [quarantined] = view.troubles.quarantined
    assert "infrastructure, 5 times" in next(
        notice.text for notice in notices if notice.kind == "quarantined"
    )
    with run_campaign(database, _settings(max_iterations=0)) as campaign:
        [faulty] = campaign.store.tasks(0, "train")
        assert (faulty.id, faulty.attempts, faulty.charged) == (quarantined.id, 5, 0)
        campaign.store.release_task(quarantined.id)
        assert _run(campaign)[0] is Ending.DECIDED
        assert progress(campaign.store).state == "finished"
        assert status(campaign.store).troubles.quarantined == ()


def test_a_lack_of_time_is_met_with_more_of_it_once(database, monkeypatch):
    timeouts = []

    class Slow(InlineExecutor):
        def submit(self, attempt, *, larger=False):
            super().submit(attempt)
            if attempt.kind == "train":
                timeout_s = self._files.read_spec(attempt.task_id).settings["timeout_s"]
                timeouts.append((timeout_s, larger))

        def wait(self, timeout_s):
            if self._queue and self._queue[0].kind == "train":
                attempt = self._queue.popleft()
                self._files.claim(attempt, Claim(host="n1"))
                failure = Failure(FailureKind.RESOURCE, "took longer than allowed")
                self._files.commit_result(attempt, Outcome(failure=failure))
            return super().wait(timeout_s)

    publish = NewTask.__init__

    def with_timeout(self, spec, *more, **named):
        if spec.kind == "train":
            spec = replace(spec, settings={**spec.settings, "timeout_s": 30.0})
        publish(self, spec, *more, **named)

    monkeypatch.setattr(NewTask, "__init__", with_timeout)
    with run_campaign(database, _settings(max_iterations=0)) as campaign:
        Manager(campaign, Slow(campaign.files), lambda _: None).run()
        assert progress(campaign.store).state == "failed"
    assert timeouts == [(30.0, False), (60.0, True)]


class _Poolless(InlineExecutor):
    """Has a pool that gets no workers."""

    def slots(self):
        return {**super().slots(), "train": 0}

    def refusals(self):
        return {"train": SiteError("pool 'gpu' gets no workers: no such partition")}

    def news(self):
        return [News("gpu", "no such partition", is_closed=True)]


def test_a_pool_without_workers_ends_the_run_when_nothing_else_is_left(database):
    with run_campaign(database, _settings(max_iterations=0)) as campaign:
        manager = Manager(campaign, _Poolless(campaign.files), lambda _: None)
        with pytest.raises(SiteError, match="pool 'gpu' gets no workers"):
            manager.run()
        view = status(campaign.store)
    assert view.labels["ok"] == 9, "the healthy part went on"
    assert view.troubles.pools == {"gpu": "no such partition"}
    with resume_campaign(database) as campaign:
        assert _run(campaign)[0] is Ending.DECIDED


def test_hosts_on_which_tasks_fail_are_left_out(database, monkeypatch):
    monkeypatch.setattr("alflow.store.faults.EPISODE_S", -1.0)
    excluded, notices = [], []

    class Batch(InlineExecutor):
        def exclude(self, hosts):
            excluded.append(list(hosts))
            return ["cpu"]

        def wait(self, timeout_s):
            if self._queue and self._queue[0].kind == "label" and not excluded:
                attempt = self._queue.popleft()
                self._files.claim(attempt, _dead("bad"))
                self._lost.append((attempt, Failure(FailureKind.LOST, "gone")))
                return ()
            return super().wait(timeout_s)

    with run_campaign(database, _settings(max_iterations=0)) as campaign:
        manager = Manager(campaign, Batch(campaign.files), notices.append)
        assert manager.run() is Ending.DECIDED
        assert progress(campaign.store).state == "finished"
    assert excluded == [["bad"]]
    assert any("left out of cpu" in notice.text for notice in notices)
    with resume_campaign(database) as campaign:
        again = Manager(campaign, Batch(campaign.files), notices.append)
        again.run()
    assert excluded == [["bad"], ["bad"]], "a manager that resumes judges the same"


def test_a_manager_that_detaches_leaves_at_once(database, tmp_path):
    with run_campaign(tmp_path / "straight.db", _settings()) as campaign:
        _run(campaign)
        expected = campaign.store.content_digest()
    stop = StopSignal(detaches=True)

    def notify(notice):
        if notice.kind == "labelled" and stop.mode is None:
            stop.press()

    with run_campaign(database, _settings()) as campaign:
        executor = InlineExecutor(campaign.files)
        assert Manager(campaign, executor, notify, stop).run() is Ending.DETACHED
        assert campaign.store.open_attempts(), "what was handed out is left to itself"
        executor.close(cancel=False)
    with resume_campaign(database) as campaign:
        assert _run(campaign)[0] is Ending.DECIDED
        assert campaign.store.content_digest() == expected


def test_the_preview_touches_nothing(database):
    assert preview(database, _settings()) == [
        "i0  begin-iteration: bootstrap with 6 structures"
    ]
    assert not database.exists()


def test_the_preview_of_a_campaign_that_has_ended_is_what_a_run_would_do(database):
    with run_campaign(database, _settings(max_iterations=0)) as campaign:
        _run(campaign)
    assert preview(database, _settings(max_iterations=0)) == [
        "nothing: the campaign is finished"
    ]
    (line,) = preview(database, _settings(max_iterations=1))
    assert line.startswith("i1  begin-iteration: ")
    other = settings_from_resolved({**resolved(_settings()), "seed": 4})
    with pytest.raises(CampaignChanged, match="seed"):
        preview(database, other)


def test_the_preview_of_a_campaign_that_was_stopped_lifts_the_stop(database):
    with run_campaign(database, _settings()) as campaign:
        campaign.store.request_stop(now=False)
        campaign.store.set_state(CampaignState.STOPPED, "a person asked for it")
    expected = ["i0  begin-iteration: bootstrap with 6 structures"]
    assert preview(database, _settings()) == expected
    assert preview_stored(database) == expected


class _TwoPools(InlineExecutor):
    """Label tasks have a pool of two workers, all others share one of three."""

    def slots(self):
        return {kind: 2 if kind == "label" else 3 for kind in super().slots()}

    def pools(self):
        return {kind: "cpu" if kind == "label" else "gpu" for kind in super().pools()}


def test_no_pool_is_given_more_than_twice_its_workers(database):
    with run_campaign(database, _settings()) as campaign:
        manager = Manager(campaign, _TwoPools(campaign.files), lambda _: None)
        many = dict.fromkeys(("label", "sample", "train"), 100)
        assert manager._room(Glance(None, many, {})) == {
            "label": 4,
            "sample": 6,
            "train": 6,
        }
        busy = Glance(None, many, {"label": 1, "sample": 4, "build": 2})
        assert manager._room(busy) == {"label": 3, "sample": 0, "train": 0}
        assert manager._room(Glance(None, {"train": 1}, {"gone": 5})) == {"train": 6}


def test_an_attempt_that_nobody_names_is_found(database):
    class Silent(InlineExecutor):
        def wait(self, timeout_s):
            super().wait(timeout_s)
            return ()

    with run_campaign(database, _settings(max_iterations=0)) as campaign:
        Manager(campaign, Silent(campaign.files), lambda _: None).run()
        assert progress(campaign.store).state == "finished"
