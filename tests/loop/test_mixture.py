"""Campaigns with several arms: what is published, recorded and told."""

from collections import Counter

import pytest

from alflow.cli.status import screen
from alflow.config.resolution import resolved, settings_from_resolved
from alflow.core.sampling import Gate
from alflow.core.tasks import TaskState
from alflow.execution.inline import InlineExecutor
from alflow.loop import trial
from alflow.loop.campaign import resume_campaign, run_campaign
from alflow.loop.manager import Ending, Manager
from alflow.loop.publish import sample_tasks
from alflow.loop.stopping import judge
from alflow.report.collect import collect
from alflow.report.render import render_html
from alflow.store.chosen import chosen
from alflow.store.lineage import show
from alflow.store.listings import listing
from alflow.store.views import IterationProgress, Progress, status
from alflow.store.yields import ArmYield, n_accepted

pytestmark = pytest.mark.timeout(300)

BOX = {
    "kind": "random_box",
    "composition": {"Al": 1},
    "atoms": [8, 10],
    "density_g_per_cm3": [1.6, 2.4],
}


def _arm(kind, temperature_K, replicas):
    return {
        "kind": kind,
        "replicas": replicas,
        "timestep_fs": 2.0,
        "duration_ps": 0.1,
        "temperature_K": {"start": temperature_K, "end": temperature_K},
    }


def _settings(**changes):
    arms = {"mild": _arm("nemd", 300, 3), "drawn": _arm("udd", 900, 2)}
    return settings_from_resolved(
        {
            "name": "tiny",
            "seed": 3,
            "system": {"elements": ["Al"], "builders": [BOX]},
            "label": {"primary": "gupta", "levels": {"gupta": {"kind": "analytic"}}},
            "model": {
                "members": 2,
                "hidden": [8],
                "radial_cutoff_A": 4.0,
                "angular_cutoff_A": 3.5,
            },
            "train": {"epochs": 3, "warm_epochs": 2, "minimum_steps": 0, "folds": 2},
            "sample": {
                "kind": "mixture",
                "tasks": 5,
                "rounds": 1,
                "arms": arms,
                **changes,
            },
            "acquire": {
                "per_iteration": 4,
                "grace_fs": 0,
                "energy_spread_meV": 0.001,
                "rejected_factor": 1e9,
            },
            "loop": {"bootstrap": 6, "max_iterations": 2},
        }
    )


def _run(campaign, **options):
    notices = []
    manager = Manager(campaign, InlineExecutor(campaign.files), notices.append)
    return manager.run(**options), notices


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A campaign of two iterations, and what was told on the way."""
    database = tmp_path_factory.mktemp("mixture") / "tiny.db"
    with run_campaign(database, _settings()) as campaign:
        ending, notices = _run(campaign)
        assert ending is Ending.DECIDED
        yield campaign.store, notices


def test_each_task_runs_one_arm_as_if_it_stood_alone(ended):
    store, _ = ended
    for number in (1, 2):
        tasks = store.tasks(number, "sample", TaskState.DONE)
        arms = Counter(task.spec.settings["arm"] for task in tasks)
        assert arms.total() == 5
        assert set(arms) == {"mild", "drawn"}
        for task in tasks:
            is_mild = task.spec.settings["arm"] == "mild"
            own = task.spec.settings["sample"]
            assert own["kind"] == ("nemd" if is_mild else "udd")
            assert task.spec.settings["count"] == (3 if is_mild else 2)
            assert not {"arms", "tasks", "rounds"} & own.keys()
            assert task.outcome.values["n_trajectories"] == (3 if is_mild else 2)


def test_what_arms_bring_in_is_recorded(ended):
    store, _ = ended
    yields = status(store).arms
    assert [one.arm for one in yields] == ["drawn", "mild"]
    by_task = n_accepted(store, 2)
    for one in yields:
        tasks = [
            task
            for task in store.tasks(2, "sample", TaskState.DONE)
            if task.spec.settings["arm"] == one.arm
        ]
        values = [task.outcome.values for task in tasks]
        assert one == ArmYield(
            2,
            one.arm,
            float(len(tasks)),
            float(sum(of["n_trajectories"] for of in values)),
            float(sum(of["n_flagged"] for of in values)),
            float(sum(by_task.get(task.spec.key, 0) for task in tasks)),
            float(sum(of["atom_steps"] for of in values)),
        )
    assert sum(by_task.values()) > 0
    assert all(of["atom_steps"] >= 8 * of["n_trajectories"] for of in values)


def test_a_structure_tells_which_arm_found_it(ended):
    store, _ = ended
    found = Counter()
    for row in listing(store, "candidates"):
        (*_, origin) = show(store, f"s-{row['structure']}")["origins"]
        found[origin["sampler"]] += 1
    assert set(found) <= {"mild (nemd)", "drawn (udd)"}
    assert len(found) == 2


def test_frames_of_the_audit_earn_an_arm_nothing(ended):
    store, _ = ended
    for number in (1, 2):
        with store.read() as connection:
            found = chosen(connection, number, 100)
        flagged = [one for one in found if one.reason == "flagged"]
        labelled = [one for one in flagged if one.label_state == "ok"]
        assert sum(n_accepted(store, number).values()) == len(labelled)


def test_the_plan_says_who_gets_the_tasks_and_why(ended):
    store, notices = ended
    first, second = (
        n.text for n in notices if n.kind == "begin-iteration" and n.subject != "i0"
    )
    assert "(no yield known)" in first
    arms = Counter(t.spec.settings["arm"] for t in store.tasks(2, "sample", TaskState.DONE))
    assert f"drawn {arms['drawn']} (" in second
    assert f"mild {arms['mild']} (" in second
    assert "accepted frames per million atom-steps" in second
    assert "no yield known" not in second


def test_status_and_report_have_a_table_of_arms(ended):
    store, _ = ended
    lines = "\n".join(screen(status(store), "tiny.db"))
    assert "arms in i2" in lines
    assert "accepted per million" in lines
    report = collect(store)
    assert [(one.iteration, one.arm) for one in report.arms] == [
        (1, "drawn"),
        (1, "mild"),
        (2, "drawn"),
        (2, "mild"),
    ]
    assert "brought in most for its cost" in render_html(report)


def test_a_campaign_that_pauses_gives_the_same_arms_and_content(ended, tmp_path):
    store, _ = ended
    database = tmp_path / "tiny.db"
    with run_campaign(database, _settings()) as campaign:
        assert _run(campaign, last_iteration=1)[0] is Ending.PAUSED
    with resume_campaign(database) as campaign:
        assert _run(campaign)[0] is Ending.DECIDED
        assert campaign.store.content_digest() == store.content_digest()


def _survived(*arms) -> Progress:
    """A campaign whose last iteration ran these arms and met nothing unknown."""
    stats = {"n_trajectories": 4.0, "n_flagged": 0.0, "n_finished": 4.0, "longest_ps": 0.1}
    for arm in arms:
        stats |= ArmYield(1, arm, n_trajectories=2.0, atom_steps=1e3).to_statistics()
    last = IterationProgress(1, "label", ended=True, stats=stats)
    return Progress("running", iterations=(last,), n_train=6, n_requested=6)


def test_all_arms_must_survive():
    verdict = judge(_survived("mild", "drawn"), _settings())
    assert verdict.state == "converged"
    verdict = judge(_survived("mild"), _settings())
    assert verdict.state == "failed"
    assert "every sample task of drawn failed" in verdict.sentence


def test_yields_decide_about_the_next_round():
    settings = _settings(tasks=30)
    rich = ArmYield(1, "drawn", n_accepted=80.0, atom_steps=2e6).to_statistics()
    poor = ArmYield(1, "mild", n_accepted=1.0, atom_steps=2e6).to_statistics()
    past = [IterationProgress(1, "validate", ended=True, stats=rich | poor)]
    tasks = sample_tasks(settings, 2, 0, Gate(), "weights", past)
    arms = Counter(task.spec.settings["arm"] for task in tasks)
    assert arms["drawn"] > 25
    assert sample_tasks(settings, 2, 0, Gate(), "weights", past) == tasks
    unknown = Counter(
        task.spec.settings["arm"]
        for task in sample_tasks(settings, 2, 0, Gate(), "weights")
    )
    assert unknown["mild"] > arms["mild"]
    backwards = resolved(settings)
    backwards["sample"]["arms"] = dict(reversed(backwards["sample"]["arms"].items()))
    same = sample_tasks(settings_from_resolved(backwards), 2, 0, Gate(), "weights", past)
    assert same == tasks, "a database does not keep the order of a mapping"


def test_a_trial_tries_every_arm():
    found = trial.try_stage("sampler", _settings())
    assert len(found.trajectories) == 3 + 2
    assert found.wall_s["sample"] > 0
