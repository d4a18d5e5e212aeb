"""Campaigns whose training meets trouble: members that diverge, and what the user hears of it."""

import numpy as np
import pytest
import torch

from alflow.cli.training import running_trainings
from alflow.config.resolution import settings_from_resolved
from alflow.core.errors import StoreError
from alflow.core.labels import Label
from alflow.core.structures import Structure
from alflow.core.tasks import TaskState
from alflow.execution.inline import InlineExecutor
from alflow.loop.campaign import resume_campaign, run_campaign
from alflow.loop.manager import Ending, Manager
from alflow.loop.preview import preview
from alflow.models.ani.ensemble import AniEnsemble
from alflow.models.ani.settings import AniSettings
from alflow.store import (
    ImportSource,
    NewLabelled,
    NewStructure,
    SightingKind,
    open_store,
)
from alflow.store.views import progress, status
from alflow.training.checkpoint import Checkpoint

pytestmark = pytest.mark.timeout(300)

BOX = {
    "kind": "random_box",
    "composition": {"Al": 1},
    "atoms": [4, 6],
    "density_g_per_cm3": [1.6, 2.4],
}


def settings_of(train=None, **loop):
    return settings_from_resolved(
        {
            "name": "trouble",
            "seed": 3,
            "system": {"elements": ["Al"], "builders": [BOX]},
            "label": {
                "primary": "gupta",
                "batch_size": 6,
                "levels": {"gupta": {"kind": "analytic"}},
            },
            "model": {
                "members": 3,
                "hidden": [6],
                "radial_cutoff_A": 4.0,
                "angular_cutoff_A": 3.5,
            },
            "train": {
                "epochs": 8,
                "warm_epochs": 2,
                "minimum_steps": 0,
                "folds": 2,
                **(train or {}),
            },
            "sample": {
                "replicas": 2,
                "tasks": 1,
                "rounds": 1,
                "timestep_fs": 2.0,
                "duration_ps": 0.05,
                "temperature_K": {"start": [300, 900], "end": [300, 900]},
            },
            "acquire": {
                "per_iteration": 2,
                "grace_fs": 0,
                "energy_spread_meV": 0.001,
                "rejected_factor": 1e9,
            },
            "test": {"count": 2, "builders": [BOX]},
            "loop": {"bootstrap": 6, "max_iterations": 1, **loop},
        }
    )


def run(campaign):
    notices = []
    campaign.store.record_directory(campaign.files.root)
    manager = Manager(campaign, InlineExecutor(campaign.files), notices.append)
    assert manager.run() is Ending.DECIDED
    return notices


@pytest.fixture
def last_member_breaks(monkeypatch):
    """Fresh ensembles whose last member can never be trained."""
    create = AniSettings.create

    def broken(self, elements, seed):
        ensemble = create(self, elements, seed)
        with torch.no_grad():
            for tensor in ensemble.networks.parameters():
                tensor[-1] = torch.nan
        return ensemble

    monkeypatch.setattr(AniSettings, "create", broken)


@pytest.mark.usefixtures("last_member_breaks")
def test_a_campaign_goes_on_with_k_of_n_members(tmp_path) -> None:
    with run_campaign(tmp_path / "c.db", settings_of({"retries": 0})) as campaign:
        notices = run(campaign)
        store = campaign.store
        assert [g.state for g in progress(store).generations] == ["ready", "ready"]
        first = AniEnsemble.from_bytes(store.weights(0))
        events = [e for e in status(store).events if e["kind"] == "note"]
        with store.read() as connection:
            rows = connection.exec_driver_sql(
                "SELECT e.generation, m.member FROM model m JOIN ensemble e "
                "ON e.id = m.ensemble_id ORDER BY 1, 2"
            ).all()
    assert first.n_members == 2
    assert [tuple(row) for row in rows] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    told = [notice.text for notice in notices if notice.kind == "note"]
    assert told[0].startswith("train/g0: member 2 gave numbers that are not finite")
    assert told[0].endswith("2 of 3 members are trained")
    assert "was missing from the parent generation" in told[1]
    assert {event["severity"] for event in events} == {"warning"}


@pytest.mark.usefixtures("last_member_breaks")
def test_the_missing_member_comes_back_in_the_next_generation(
    tmp_path, monkeypatch
) -> None:
    database = tmp_path / "c.db"
    with run_campaign(database, settings_of({"retries": 0}, max_iterations=0)) as campaign:
        run(campaign)
    monkeypatch.undo()
    with run_campaign(database, settings_of({"retries": 1})) as campaign:
        run(campaign)
        store = campaign.store
        assert AniEnsemble.from_bytes(store.weights(0)).n_members == 2
        assert AniEnsemble.from_bytes(store.weights(1)).n_members == 3
        with store.read() as connection:
            anew = connection.exec_driver_sql(
                "SELECT m.member, x.value FROM metric x JOIN model m ON m.id = x.model_id "
                "JOIN ensemble e ON e.id = m.ensemble_id "
                "WHERE x.name = 'retrained' AND e.generation = 1 ORDER BY 1"
            ).all()
    assert [tuple(row) for row in anew] == [(0, 0.0), (1, 0.0), (2, 1.0)]


@pytest.mark.usefixtures("last_member_breaks")
def test_too_few_members_end_the_campaign_with_the_reason(tmp_path) -> None:
    train = {"retries": 0, "minimum_members": 3}
    with run_campaign(tmp_path / "c.db", settings_of(train)) as campaign:
        notices = run(campaign)
        view = status(campaign.store)
    assert view.state == "failed"
    (failed,) = [notice.text for notice in notices if notice.kind == "failed"]
    assert "2 of 3 members could be trained, fewer than minimum_members (3)" in failed
    assert "lower train.learning_rate" in failed
    (note,) = [notice.text for notice in notices if notice.kind == "note"]
    assert note.endswith("it is left out: 2 of 3 members are trained")


def test_a_campaign_interrupted_in_mid_training_ends_the_same(
    tmp_path, monkeypatch
) -> None:
    settings = settings_of({"checkpoint_minutes": 0}, max_iterations=0)
    with run_campaign(tmp_path / "calm.db", settings) as campaign:
        run(campaign)
        expected = campaign.store.content_digest()
        weights = campaign.store.weights(0)
    to_bytes = Checkpoint.to_bytes
    count = iter(range(100))

    def interrupted(self, digest):
        if next(count) == 4:
            raise KeyboardInterrupt
        return to_bytes(self, digest)

    monkeypatch.setattr(Checkpoint, "to_bytes", interrupted)
    database = tmp_path / "killed.db"
    with pytest.raises(KeyboardInterrupt), run_campaign(database, settings) as campaign:
        run(campaign)
    with open_store(database, read_only=True) as store:
        (training,) = running_trainings(store, str(database))
    assert training["key"] == "train/g0"
    assert (training["epoch"], training["epochs"]) == (4.0, 8.0)
    assert training["active_members"] == 3.0
    assert training["seconds_left"] >= 0
    with run_campaign(database, settings) as campaign:
        run(campaign)
        assert campaign.store.content_digest() == expected
        assert campaign.store.weights(0) == weights
    # Eight epochs: four before the interruption, one that was lost, then four.
    assert next(count) == 4 + 1 + 4


def dimers(energies, *, forces: bool):
    """Labels of aluminium dimers at growing distances."""
    return [
        NewLabelled(
            NewStructure(
                Structure(
                    np.array([13, 13], np.uint8),
                    np.array([[0, 0, 0], [0, 0, 2.4 + k / 10]]),
                ),
                f"dimer-{k}",
                "train",
                "known.xyz",
                kind=SightingKind.IMPORT,
            ),
            Label(energy, np.zeros((2, 3)) if forces else None),
            k,
        )
        for k, energy in enumerate(energies)
    ]


def trained_on(folder, labels, train=None):
    """What a campaign says that trains on imported labels alone, and its status."""
    settings = settings_of(train, bootstrap=1, max_iterations=0)
    with run_campaign(folder / "c.db", settings) as campaign:
        source = ImportSource("known.xyz", "0" * 64)
        campaign.store.import_labelled(source, "gupta", labels)
        notices = run(campaign)
        return [f"{one.kind}: {one.text}" for one in notices], status(campaign.store)


@pytest.mark.parametrize(
    ("labels", "train", "what", "next_step"),
    [
        (
            dimers([0.1], forces=True),
            {},
            "the snapshot has 1 labelled structure; training needs at least 2",
            "raise loop.bootstrap",
        ),
        (
            dimers([0.1, 0.2, 0.3], forces=False),
            {"energy_weight": 0.0},
            "train.energy_weight is 0 and no label has forces",
            "label at a level that has them",
        ),
    ],
)
def test_what_cannot_be_trained_on_is_told(
    tmp_path, labels, train, what, next_step
) -> None:
    told, view = trained_on(tmp_path, labels, train)
    (failed,) = [text for text in told if text.startswith("failed")]
    assert what in failed
    assert "Nothing was trained." in failed
    assert next_step in failed
    assert view.state == "failed"
    assert any(what in str(event["data"]) for event in view.events)


def test_energies_without_forces_are_enough(tmp_path) -> None:
    told, view = trained_on(tmp_path, dimers([0.1, 0.2, 0.3], forces=False))
    assert view.generation == 0
    assert not [text for text in told if text.startswith("note")]


def test_two_levels_mixed_by_mistake_are_told(tmp_path) -> None:
    energies = [0.1, 0.2, 0.3, -112.1, -112.2, -112.3]
    told, view = trained_on(tmp_path, dimers(energies, forces=True))
    assert view.generation == 0
    (note,) = [text for text in told if text.startswith("note")]
    assert "two groups, 3 and 3 structures, 56.1 eV per atom apart" in note
    assert "alflow quarantine" in note


def test_a_failed_training_begins_anew_with_better_settings(tmp_path) -> None:
    """And nothing of the failure is left in what the campaign then is."""
    database = tmp_path / "c.db"
    with run_campaign(
        database, settings_of({"learning_rate": 1e12}, max_iterations=0)
    ) as c:
        run(c)
        before = status(c.store)
    assert before.state == "failed"
    assert "`alflow run` trains again" in before.verdict
    better = settings_of(max_iterations=0)
    assert preview(database, c.settings) == ["nothing: the campaign is failed"]
    assert "planned anew" in "".join(preview(database, better))
    with run_campaign(database, better) as campaign:
        run(campaign)
        after, digest = status(campaign.store), campaign.store.content_digest()
        weights = campaign.store.weights(0)
        (done,) = campaign.store.tasks(0, "train", TaskState.DONE)
        (withdrawn,) = campaign.store.tasks(0, "train", TaskState.CANCELLED)
    assert after.state == "finished"
    assert withdrawn.spec.settings["train"]["learning_rate"] == 1e12
    assert done.spec.settings["train"]["learning_rate"] == better.train.learning_rate
    with run_campaign(tmp_path / "calm.db", better) as campaign:
        run(campaign)
        assert campaign.store.weights(0) == weights
        assert campaign.store.content_digest() == digest


def test_a_failed_training_begins_anew_with_more_labels(tmp_path) -> None:
    database = tmp_path / "c.db"
    few, more = dimers([0.1], forces=True), dimers([0.1, 0.2, 0.3, 0.4], forces=True)[1:]
    _, view = trained_on(tmp_path, few)
    assert view.state == "failed"
    with open_store(database) as store, store.acquire_lease("test"):
        store.import_labelled(ImportSource("more.xyz", "1" * 64), "gupta", more)
        (task,) = store.tasks(0, "train")
        assert store.release_task(task.id) == 0
        assert status(store).state == "running"
        with pytest.raises(StoreError, match="it is cancelled"):
            store.release_task(task.id)
    with resume_campaign(database) as campaign:
        run(campaign)
        assert status(campaign.store).generation == 0
        assert len(campaign.store.dataset("train", "gupta", generation=0)) >= 4
