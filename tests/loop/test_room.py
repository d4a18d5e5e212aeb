"""What does not fit into memory is found out once for each device, not once for each task."""

import pytest

from alflow.config.resolution import settings_from_resolved
from alflow.core.tasks import MOST_ATOMS, TaskState
from alflow.execution.inline import InlineExecutor
from alflow.loop.campaign import run_campaign
from alflow.loop.manager import Ending, Manager
from alflow.loop.rerun import rerun
from alflow.models.loading import load_potential
from alflow.store.room import most_atoms

pytestmark = pytest.mark.timeout(300)

N_FITTING = 20
"""Atoms for which there is memory; the batches of the campaign have 32 to 40."""


class Cramped:
    def __init__(self, potential, refused):
        self.potential, self.refused = potential, refused

    def __getattr__(self, name):
        return getattr(self.potential, name)

    def evaluate(self, batch, pairs, *, forces="mean"):
        if len(batch.numbers) > N_FITTING:
            self.refused.append(len(batch.numbers))
            raise MemoryError("no room")
        return self.potential.evaluate(batch, pairs, forces=forces)


def _settings():
    box = {
        "kind": "random_box",
        "composition": {"Al": 1},
        "atoms": [8, 10],
        "density_g_per_cm3": [1.6, 2.4],
    }
    return settings_from_resolved(
        {
            "name": "tiny",
            "seed": 5,
            "system": {"elements": ["Al"], "builders": [box]},
            "label": {"primary": "gupta", "levels": {"gupta": {"kind": "analytic"}}},
            "model": {
                "members": 2,
                "hidden": [8],
                "radial_cutoff_A": 4.0,
                "angular_cutoff_A": 3.5,
            },
            "train": {"epochs": 2, "warm_epochs": 1, "minimum_steps": 0, "folds": 2},
            "sample": {
                "replicas": 4,
                "slots": 4,
                "tasks": 1,
                "rounds": 1,
                "timestep_fs": 2.0,
                "duration_ps": 0.02,
                "temperature_K": {"start": 300, "end": 300},
            },
            "acquire": {
                "per_iteration": 2,
                "grace_fs": 0,
                "energy_spread_meV": 0.001,
                "rejected_factor": 1e9,
            },
            "loop": {"bootstrap": 4, "max_iterations": 3},
        }
    )


def _run(database):
    with run_campaign(database, _settings()) as campaign:
        assert most_atoms(campaign.store) == {}
        manager = Manager(campaign, InlineExecutor(campaign.files), lambda _: None)
        assert manager.run() is Ending.DECIDED
        tasks = [
            task
            for number in (1, 2, 3)
            for task in campaign.store.tasks(number, "sample", TaskState.DONE)
        ]
        specs = [campaign.files.read_spec(task.id).settings for task in tasks]
        again = None
        if MOST_ATOMS in tasks[0].outcome.values:
            folder = database.parent / "again"
            folder.mkdir()
            again = rerun(campaign.store, tasks[0].id, folder)
        known = most_atoms(campaign.store)
        return campaign.store.content_digest(), tasks, specs, known, again


def test_only_the_first_task_runs_out_of_memory(tmp_path, monkeypatch):
    roomy, tasks, specs, known, _ = _run(tmp_path / "roomy.db")
    assert known == {}
    assert not any(MOST_ATOMS in task.outcome.values for task in tasks)
    assert not any(MOST_ATOMS in settings for settings in specs)

    refused = []

    def load(*given):
        refused.append("task")
        return Cramped(load_potential(*given), refused)

    monkeypatch.setattr("alflow.tasks.sample.load_potential", load)
    digest, tasks, specs, known, again = _run(tmp_path / "cramped.db")
    assert refused.index("task", 1) > 1, "the first task was refused memory"
    assert refused.count("task") == len(tasks) == 3
    assert refused[-2:] == ["task", "task"], "the others were not"
    assert known == {"cpu": tasks[0].outcome.values[MOST_ATOMS]["cpu"]}
    assert 8 <= known["cpu"] <= N_FITTING
    assert [settings.get(MOST_ATOMS) for settings in specs] == [None, known, known]
    assert not any(MOST_ATOMS in task.spec.settings for task in tasks)
    assert digest == roomy, "what is found does not depend on how much fits"
    assert again.compared > 5
    assert again.differences == []
