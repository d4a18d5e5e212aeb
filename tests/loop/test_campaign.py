"""Whole small campaigns with the inline executor: what the manager does with the plan."""

import pytest

from alflow.config.resolution import resolved, settings_from_resolved
from alflow.core.errors import CampaignChanged, LeaseHeld
from alflow.core.labels import Failure, FailureKind
from alflow.execution.files import CampaignFiles
from alflow.execution.inline import InlineExecutor
from alflow.labelers.analytic import AnalyticSettings
from alflow.loop.campaign import resume_campaign, run_campaign
from alflow.loop.manager import Ending, Manager, StopSignal
from alflow.loop.preview import preview
from alflow.store.views import progress

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
    with resume_campaign(database) as campaign:
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
    monkeypatch.setattr("alflow.loop.ingest.BACKOFF_S", 0.0)
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
            super().wait(timeout_s)

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


def test_the_preview_touches_nothing(database):
    assert preview(database, _settings()) == [
        "i0  begin-iteration: bootstrap with 6 structures"
    ]
    assert not database.exists()
