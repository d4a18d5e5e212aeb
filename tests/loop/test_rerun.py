"""A task once more: from the database alone, in the foreground, with the same result."""

import shutil

import pytest

from alflow.cli.main import run_command
from alflow.config.loading import load_campaign
from alflow.core.errors import StoreError
from alflow.core.labels import Failure, FailureKind
from alflow.core.tasks import TaskState
from alflow.execution.inline import InlineExecutor
from alflow.execution.process import ProcessExecutor
from alflow.loop.campaign import run_campaign
from alflow.loop.manager import Manager
from alflow.loop.rerun import rerun
from alflow.store import CampaignState, open_store
from alflow.store.views import progress
from alflow.testing.toy import CAMPAIGN

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small campaign that has ended; its campaign directory is gone."""
    folder = tmp_path_factory.mktemp("finished")
    text = CAMPAIGN.replace(
        "bootstrap: 132, max_iterations: 2", "bootstrap: 6, max_iterations: 0"
    )
    (folder / "campaign.yaml").write_text(text.replace("count: 12", "count: 2"))
    database = folder / "chaos.db"
    with run_campaign(database, load_campaign(folder / "campaign.yaml")) as campaign:
        executor = ProcessExecutor(campaign.files, 2)
        executor.start()
        try:
            Manager(campaign, executor, lambda _: None).run()
        finally:
            executor.close(cancel=True)
        shutil.rmtree(campaign.files.root)
    return database


@pytest.mark.parametrize("kind", ["build", "label", "train", "validate"])
def test_every_kind_of_task_comes_to_the_same_result(finished, tmp_path, kind):
    with open_store(finished, read_only=True) as store:
        task = store.tasks(0, kind)[0]
        done = rerun(store, task.id, tmp_path)
    assert done.outcome.failure is None
    assert done.compared > 0
    assert done.differences == []
    assert (tmp_path / "tasks" / str(task.id) / "spec.json").exists()


def test_a_result_that_differs_is_told(finished, tmp_path, monkeypatch, capfd):
    database = tmp_path / "other.db"
    shutil.copy(finished, database)
    with open_store(database) as store:
        label = store.tasks(0, "label")[0].id
        with store.database.write() as connection:
            connection.exec_driver_sql(
                "UPDATE label SET content_sha = zeroblob(32) WHERE id = 1"
            )
    monkeypatch.setenv("ALFLOW_DB", str(database))
    assert run_command(["task", "rerun", f"t-{label}", "--local"]) == 3
    assert "results differ: label of" in capfd.readouterr().out


def test_the_command_says_what_it_compared(finished, tmp_path, capfd):
    folder = tmp_path / "kept"
    command = ["task", "rerun", "t-1", "--db", str(finished), "--directory", str(folder)]
    assert run_command(command) == 2
    assert "--local" in capfd.readouterr().err
    assert run_command([*command, "--local"]) == 0
    assert "results are the same as in the database, bit by bit" in capfd.readouterr().out
    assert run_command([*command, "--local"]) == 2
    assert "is not empty" in capfd.readouterr().err


def test_show_tells_what_a_task_ran_with(finished, capfd):
    assert run_command(["show", "t-1", "--db", str(finished)]) == 0
    shown = capfd.readouterr().out
    for part in (
        "alflow.execution.foreman",
        "variables",
        "OMP_NUM_THREADS",
        "PATH",
        "alflow task rerun t-1 --local",
    ):
        assert part in shown


def test_a_failed_task_is_tried_again_and_the_campaign_goes_on(tmp_path):
    text = CAMPAIGN.replace(
        "bootstrap: 132, max_iterations: 2", "bootstrap: 6, max_iterations: 0"
    )
    (tmp_path / "campaign.yaml").write_text(text.replace("count: 12", "count: 2"))
    settings = load_campaign(tmp_path / "campaign.yaml")
    database = tmp_path / "chaos.db"

    class Breaks(InlineExecutor):
        """Every train task is a bug."""

        def submit(self, attempt, *, larger=False):
            if attempt.kind == "train":
                self._lost.append((attempt, Failure(FailureKind.INVALID_INPUT, "mended")))
            else:
                super().submit(attempt, larger=larger)

    with run_campaign(database, settings) as campaign:
        Manager(campaign, Breaks(campaign.files), lambda _: None).run()
        assert campaign.store.campaign().state == CampaignState.FAILED
        (task,) = campaign.store.tasks(0, "train", TaskState.FAILED)
    assert run_command(["retry", f"t-{task.id}", "--db", str(database)]) == 0
    with run_campaign(database, settings) as campaign:
        assert campaign.store.campaign().state == CampaignState.RUNNING
        Manager(campaign, InlineExecutor(campaign.files), lambda _: None).run()
        assert progress(campaign.store).state == "finished"
        (done,) = campaign.store.tasks(0, "train", TaskState.DONE)
        with pytest.raises(StoreError, match="it is done"):
            campaign.store.release_task(done.id)
        with pytest.raises(StoreError, match="it is cancelled"):
            campaign.store.release_task(task.id)


def test_labels_of_a_task_that_is_tried_again_are_pending(finished, tmp_path):
    database = tmp_path / "other.db"
    shutil.copy(finished, database)
    with open_store(database) as store, store.acquire_lease("test"):
        task = store.tasks(0, "label")[0]
        with store.database.write() as connection:
            for statement in (
                "UPDATE label_item SET state = 'failed', failure_kind = 'crash' WHERE task_id = :t",
                "UPDATE task SET state = 'failed' WHERE id = :t",
                "UPDATE task_count SET n = n - 1 WHERE kind = 'label' AND state = 'done'",
                "INSERT INTO task_count VALUES (1, 'label', 'failed', 1)",
            ):
                connection.exec_driver_sql(statement.replace(":t", str(task.id)))
        before = progress(store).labels["pending"]
        store.release_task(task.id)
        assert progress(store).labels["pending"] == before + len(task.spec.items)
        assert store.glance().queued == {"label": 1}
