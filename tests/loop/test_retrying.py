"""What failed is tried again: by a manager that runs, and by the one that resumes."""

import pytest

from alflow.cli.main import run_command
from alflow.core.labels import Failure, FailureKind
from alflow.execution.inline import InlineExecutor
from alflow.labelers.analytic import AnalyticSettings
from alflow.loop.campaign import resume_campaign, run_campaign
from alflow.loop.manager import Ending, Manager
from alflow.store import open_store
from alflow.store.views import progress
from alflow.testing.toy import CAMPAIGN

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def settings(tmp_path):
    from alflow.config.loading import load_campaign

    text = CAMPAIGN.replace(
        "bootstrap: 132, max_iterations: 2", "bootstrap: 6, max_iterations: 0"
    )
    (tmp_path / "campaign.yaml").write_text(text.replace("count: 12", "count: 2"))
    return load_campaign(tmp_path / "campaign.yaml")


@pytest.fixture
def broken(monkeypatch):
    """Every second label does not converge until the list that is returned has something in it."""
    mended = []
    create = AnalyticSettings.create

    def sometimes(settings):
        labeler = create(settings)
        label = labeler.label

        def one(structure):
            if not mended and structure.hash[0] in "01234567":
                return Failure(FailureKind.NOT_CONVERGED, "no luck")
            return label(structure)

        labeler.label = one
        return labeler

    monkeypatch.setattr(AnalyticSettings, "create", sometimes)
    return mended


def run(campaign, executor=None):
    return Manager(
        campaign, executor or InlineExecutor(campaign.files), lambda _: None
    ).run()


def test_failed_labels_of_a_finished_campaign_are_made_by_resume(
    tmp_path, settings, broken, capfd
):
    database = tmp_path / "toy.db"
    with run_campaign(database, settings) as campaign:
        run(campaign)
        before = progress(campaign.store)
    assert before.state == "finished"
    n_failed = before.labels["failed"]
    assert n_failed > 0
    broken.append(True)
    command = ["retry", "--failed", "--db", str(database)]
    assert run_command([*command, "--dry-run"]) == 0
    assert f"0 tasks, {n_failed} label" in capfd.readouterr().out
    assert run_command(command) == 0
    told = capfd.readouterr()
    assert "would" not in told.out
    assert f"alflow resume {database}" in told.err
    with resume_campaign(database) as campaign:
        assert run(campaign) is Ending.DECIDED
        after = progress(campaign.store)
    assert after.state == "finished"
    assert after.labels == {
        "pending": 0,
        "ok": before.labels["ok"] + n_failed,
        "failed": 0,
    }
    assert run_command(command) == 0
    assert "nothing to try again" in capfd.readouterr().out


def test_a_manager_that_runs_takes_requests_up(tmp_path, settings, broken):
    database = tmp_path / "toy.db"
    said = []

    class Asks(InlineExecutor):
        """Somebody else asks for retries while the manager waits for the training."""

        def wait(self, timeout_s):
            if self._queue and self._queue[0].kind == "train" and not said:
                broken.append(True)
                said.append(run_command(["retry", "--failed", "--db", str(database)]))
            return super().wait(timeout_s)

    with run_campaign(database, settings) as campaign:
        run(campaign, Asks(campaign.files))
        view = progress(campaign.store)
    assert said == [0]
    assert view.state == "finished"
    assert view.labels["failed"] == 0


def test_a_request_that_nobody_took_up_is_done_by_the_next_manager(
    tmp_path, settings, broken
):
    database = tmp_path / "toy.db"
    with run_campaign(database, settings) as campaign:
        run(campaign)
    with open_store(database) as store:
        store.request_retry(store.failed_work())
    broken.append(True)
    with resume_campaign(database) as campaign:
        assert campaign.store.glance().queued
        run(campaign)
        assert progress(campaign.store).labels["failed"] == 0
