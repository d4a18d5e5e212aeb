"""A whole small campaign on a PostgreSQL server is the one on SQLite."""

import pytest

from alflow.config.resolution import settings_from_resolved
from alflow.core.errors import LeaseHeld
from alflow.execution.inline import InlineExecutor
from alflow.loop.campaign import check_unchanged, resume_campaign, run_campaign
from alflow.loop.manager import Ending, Manager
from alflow.loop.preview import preview, preview_stored
from alflow.loop.replay_campaign import replay
from alflow.store import open_store
from alflow.store.views import progress, status

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(300)]

BOX = {
    "kind": "random_box",
    "composition": {"Al": 1},
    "atoms": [8, 9],
    "density_g_per_cm3": [1.6, 2.4],
}
ARM = {
    "replicas": 3,
    "timestep_fs": 2.0,
    "duration_ps": 0.05,
    "temperature_K": {"start": [300, 900], "end": [300, 900]},
}
SETTINGS = {
    "name": "tiny",
    "seed": 4,
    "system": {"elements": ["Al"], "builders": [BOX]},
    "label": {
        "primary": "gupta",
        "batch_size": 3,
        "levels": {"gupta": {"kind": "analytic"}},
    },
    "model": {"members": 2, "hidden": [8], "radial_cutoff_A": 4.0, "angular_cutoff_A": 3.5},
    "train": {"epochs": 2, "warm_epochs": 2, "minimum_steps": 0, "folds": 2},
    "sample": {
        "kind": "mixture",
        "tasks": 3,
        "rounds": 1,
        "arms": {"plain": {**ARM, "kind": "nemd"}, "drawn": {**ARM, "kind": "udd"}},
    },
    "acquire": {
        "per_iteration": 4,
        "grace_fs": 0,
        "energy_spread_meV": 0.001,
        "rejected_factor": 1e9,
    },
    "test": {"count": 2, "builders": [BOX]},
    "loop": {"bootstrap": 5, "max_iterations": 2},
}


@pytest.fixture
def settings():
    return settings_from_resolved(SETTINGS)


def run(campaign, **options):
    manager = Manager(campaign, InlineExecutor(campaign.files), lambda _: None)
    return manager.run(**options)


def test_the_content_is_that_on_sqlite(settings, postgres_url, tmp_path, monkeypatch):
    (tmp_path / "sqlite").mkdir()
    with run_campaign(tmp_path / "sqlite" / "tiny.db", settings) as campaign:
        assert run(campaign) is Ending.DECIDED
        expected = campaign.store.content_digest()
        arms = status(campaign.store).arms
        assert [one.arm for one in arms] == ["drawn", "plain"]

    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(here)
    assert preview(postgres_url, settings) == [
        "i0  begin-iteration: bootstrap with 5 structures"
    ]
    with run_campaign(postgres_url, settings) as campaign:
        assert campaign.is_new
        assert campaign.files.root == here / "tiny"
        assert run(campaign, last_iteration=0) is Ending.PAUSED

    # Its files are found from another folder too, and are not made a second time.
    monkeypatch.chdir(elsewhere)
    assert check_unchanged(postgres_url, settings, "x.yaml") == "campaign 'tiny', running"
    assert preview_stored(postgres_url)
    with resume_campaign(postgres_url) as campaign:
        assert campaign.files.root == here / "tiny"
        with (
            pytest.raises(LeaseHeld, match="is being run by"),
            resume_campaign(postgres_url),
        ):
            pass
        assert run(campaign) is Ending.DECIDED
        assert progress(campaign.store).state == "finished"
        assert campaign.store.content_digest() == expected
        assert status(campaign.store).arms == arms
        again = replay(campaign.store)
        assert again.is_exact
        assert again.stop.now.state == "finished"
    assert list(elsewhere.iterdir()) == []


def test_files_that_are_gone_are_made_here(settings, postgres_url, tmp_path, monkeypatch):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    monkeypatch.chdir(first)
    with run_campaign(postgres_url, settings):
        pass
    first.rename(tmp_path / "moved")
    monkeypatch.chdir(second)
    with resume_campaign(postgres_url) as campaign:
        assert campaign.files.root == second / "tiny"
    with open_store(postgres_url, read_only=True) as store:
        assert store.directory() == second / "tiny"
