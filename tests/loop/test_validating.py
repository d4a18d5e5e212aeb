"""Suites of a campaign: asked once, beside the reference, by itself or on command."""

import shutil
from dataclasses import replace

import pytest

from alflow.cli.main import run_command
from alflow.config.loading import load_campaign
from alflow.core.errors import SettingsError, StoreError
from alflow.execution.process import ProcessExecutor
from alflow.loop.campaign import run_campaign
from alflow.loop.manager import Ending, Manager
from alflow.loop.plan import ActionKind, plan
from alflow.loop.validating import answers, ask, newest
from alflow.report import collect, render_html
from alflow.store import open_store
from alflow.store.properties import PROPERTY, asked
from alflow.store.views import progress
from alflow.testing.toy import CAMPAIGN

pytestmark = pytest.mark.timeout(300)
SECTION = """
validate:
  every: 1
  reference: gupta
  given: {fcc/lattice_constant: 4.05}
  suites:
  - {kind: crystal, element: Al, phases: [fcc]}
"""
SUITE = "  - {kind: vacancy, element: Al, sites: 8}\n"


def small(more=""):
    text = CAMPAIGN.replace(
        "bootstrap: 132, max_iterations: 2", "bootstrap: 6, max_iterations: 1"
    )
    text = text.replace("tasks: 6", "tasks: 1").replace(
        "per_iteration: 24", "per_iteration: 3"
    )
    return text.replace("count: 12", "count: 2") + SECTION + more


def manage(campaign, **how):
    executor = ProcessExecutor(campaign.files, 1)
    executor.start()
    try:
        return Manager(campaign, executor, lambda _: None).run(**how)
    finally:
        executor.close(cancel=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A campaign that has ended and asked both of its generations."""
    folder = tmp_path_factory.mktemp("finished")
    file = folder / "campaign.yaml"
    file.write_text(small())
    with run_campaign(folder / "chaos.db", load_campaign(file)) as campaign:
        manage(campaign)
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    """A copy that may be changed."""
    return shutil.copytree(finished, tmp_path / "copy")


def test_a_campaign_asks_by_itself_and_waits_for_the_answers(finished):
    with open_store(finished / "chaos.db", read_only=True) as store:
        with store.read() as connection:
            found = asked(connection)
        assert store.campaign().state != "running"
        view = progress(store)
    owners = sorted(key.split("/")[1] for key in found)
    assert owners == ["g0", "g1", "level"]
    assert {one.state for one in found.values()} == {"done"}
    assert all(one.ended for one in view.iterations)


def test_answers_stand_beside_what_is_known(finished):
    with open_store(finished / "chaos.db", read_only=True) as store:
        found = answers(store, newest(store))
        report = collect(store)
    assert not found.open
    assert not found.failed
    assert report.properties.generation == max(g.number for g in report.generations)
    page = render_html(report)
    if found.rows:
        assert "of the reference" in page or "propert" in page
        assert {row.source for row in found.rows} <= {"", "given", "gupta"}
    else:
        assert found.notes


def test_nothing_is_asked_twice_and_what_is_new_is(folder):
    file = folder / "campaign.yaml"
    database = folder / "chaos.db"
    with run_campaign(database, load_campaign(file), goes_on=False) as campaign:
        assert ask(campaign, 1) == 0
    file.write_text(file.read_text() + SUITE)
    with run_campaign(database, load_campaign(file), goes_on=False) as campaign:
        state = campaign.store.campaign().state
        assert state != "running"
        assert [change.path for change in campaign.changes] == ["validate.suites"]
        assert ask(campaign, 1) == 2
        assert manage(campaign, only=PROPERTY) is Ending.PAUSED
        assert ask(campaign, 1) == 0
        assert campaign.store.campaign().state == state
        assert ask(campaign, 0, "vacancy") == 1
        assert answers(campaign.store, 0).open


def test_what_there_is_not_is_refused(folder):
    with open_store(folder / "chaos.db", read_only=True) as store:
        with pytest.raises(SettingsError, match="no validation suite 'phonons'"):
            answers(store, 0, "phonons")
        with pytest.raises(StoreError, match="g9"):
            answers(store, 9)


def test_the_command_prints_what_is_there(finished, capfd):
    assert run_command(["validate", str(finished / "chaos.db"), "--generation", "g0"]) == 0
    told = capfd.readouterr()
    assert told.out.startswith("property")
    code = run_command(["validate", str(finished / "chaos.db"), "--json"])
    assert (code, '"generation": 1' in capfd.readouterr().out) == (0, True)


def test_only_the_end_waits_for_open_questions(finished):
    settings = load_campaign(finished / "campaign.yaml")
    with open_store(finished / "chaos.db", read_only=True) as store:
        view = progress(store)
    last = view.iterations[-1]
    tasks = {**last.tasks, "property": {"queued": 1}}
    view = replace(
        view,
        state="running",
        iterations=(*view.iterations[:-1], replace(last, tasks=tasks)),
    )
    assert plan(view, settings) == []
    (action,) = plan(
        view,
        settings.model_copy(
            update={"loop": settings.loop.model_copy(update={"max_iterations": 9})}
        ),
    )
    assert action.kind is ActionKind.BEGIN_ITERATION
