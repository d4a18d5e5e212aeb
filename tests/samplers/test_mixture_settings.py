"""Mixtures: what a campaign file may say, and what comes back out of the database."""

from typing import Any

import pytest
from pydantic import ValidationError

from alflow.config.loading import load_campaign
from alflow.config.problems import CampaignFileError
from alflow.config.resolution import config_diff, resolved, settings_from_resolved
from alflow.samplers.mixture import MixtureSettings
from alflow.samplers.nemd import NemdSettings
from alflow.samplers.udd import UddSettings

COLD: dict[str, Any] = {
    "kind": "nemd",
    "duration_ps": 1.0,
    "replicas": 5,
    "temperature_K": {"start": 300, "end": 300},
}
DRAWN = {**COLD, "kind": "udd", "duration_ps": 2.0}

FILE = """\
name: tiny
seed: 3
system:
  elements: [Al]
  builders: [{kind: random_box, composition: {Al: 1}, density_g_per_cm3: [2, 2]}]
label: {primary: gupta, levels: {gupta: {kind: analytic}}}
acquire: {per_iteration: 4}
stop: {converged: {survival_ps: 1.5}}
sample:
  kind: mixture
  arms:
    mild: {kind: nemd, duration_ps: 1.0, temperature_K: {start: 300, end: 300}}
    drawn: {kind: udd, duration_ps: 2.0, temperature_K: {start: 300, end: 300}}
"""


def mixture(**changes) -> MixtureSettings:
    return MixtureSettings.model_validate(
        {"arms": {"mild": COLD, "drawn": DRAWN}, **changes}
    )


@pytest.fixture
def load(tmp_path):
    def load(old="", new=""):
        assert old in FILE
        path = tmp_path / "campaign.yaml"
        path.write_text(FILE.replace(old, new, 1))
        return load_campaign(path)

    return load


def test_arms_are_settings_of_their_own_samplers():
    arms = mixture().arms
    assert isinstance(arms["mild"], NemdSettings)
    assert isinstance(arms["drawn"], UddSettings)
    assert (arms["mild"].replicas, arms["drawn"].duration_ps) == (5, 2.0)


def test_what_is_stored_is_read_again(load):
    settings = load()
    again = settings_from_resolved(resolved(settings))
    assert resolved(again) == resolved(settings)
    assert again.sample.arms.keys() == {"mild", "drawn"}
    assert not {"tasks", "rounds"} & resolved(settings)["sample"]["arms"]["mild"].keys()


def test_changes_are_told_one_by_one(load):
    longer = load("kind: nemd, duration_ps: 1.0", "kind: nemd, duration_ps: 1.5")
    changes = config_diff(load(), longer)
    assert [(one.path, one.old, one.new, one.effect) for one in changes] == [
        ("sample.arms.mild.duration_ps", 1.0, 1.5, "allowed")
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tasks": 1}, "1 tasks are too few to try 2 arms"),
        ({"arms": {}}, "at least 1"),
        ({"arms": {"a.b": COLD}}, "pattern"),
        ({"arms": {"a": {**COLD, "tasks": 2}}}, "tasks: belongs to the mixture"),
        ({"arms": {"a": {**COLD, "rounds": 2}}}, "rounds: belongs to the mixture"),
        ({"arms": {"a": {"kind": "mixture", "arms": {"b": COLD}}}}, "cannot be a mixture"),
        ({"arms": {"a": {**COLD, "kind": "unheard"}}}, "unheard"),
        ({"memory": 1.5}, "less than or equal to 1"),
    ],
)
def test_what_makes_no_mixture_is_refused(changes, words):
    with pytest.raises(ValidationError, match=words):
        mixture(**changes)


@pytest.mark.parametrize(
    ("old", "new", "path", "line", "words"),
    [
        ("{start: 300", "{stort: 300", "arms.mild.temperature_K.stort", 12, "stort"),
        ("kind: udd,", "kind: ugg,", "arms.drawn.kind", 13, "no sampler 'ugg'"),
        ("kind: udd,", "kind: udd, tasks: 2,", "arms.drawn.tasks", 13, "to the mixture"),
        ("kind: udd,", "kind: udd, timestep_fs: 9,", "arms.drawn.timestep_fs", 13, "9 fs"),
        ("mixture\n", "mixture\n  tasks: 1\n", "tasks", 11, "too few to try 2 arms"),
    ],
)
def test_problems_are_told_where_they_are(load, old, new, path, line, words):
    with pytest.raises(CampaignFileError) as caught:
        load(old, new)
    (problem,) = caught.value.problems
    assert (problem.path, problem.line) == (f"sample.{path}", line)
    assert words in problem.message


def test_the_longest_arm_decides_how_long_one_can_survive(load):
    load("survival_ps: 1.5", "survival_ps: 2.0")
    with pytest.raises(CampaignFileError, match="no trajectory is longer than 2 ps"):
        load("survival_ps: 1.5", "survival_ps: 2.5")
