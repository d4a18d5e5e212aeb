"""A simulation beside the real campaign that its times were measured in.

What is compared is the time in which at least one task ran, from the start of the first task to
the end of the last one: time in which nothing runs at all is the manager's, which a simulation
leaves out.
"""

import pytest

from alflow.config.resolution import settings_from_resolved
from alflow.config.times import Times
from alflow.execution.process import ProcessExecutor
from alflow.loop.campaign import run_campaign
from alflow.loop.described import described
from alflow.loop.manager import Ending, Manager
from alflow.loop.measured import measured_times
from alflow.loop.simulate import simulate, summary
from alflow.store import history

WORKERS, REPEATS = 2, 10
TOLERANCE = 0.10


def _settings():
    box = {
        "kind": "random_box",
        "composition": {"Al": 1},
        "atoms": [4, 10],
        "density_g_per_cm3": [1.6, 2.4],
    }
    return settings_from_resolved(
        {
            "name": "sleepy",
            "seed": 5,
            "system": {"elements": ["Al"], "builders": [box]},
            "label": {
                "primary": "slow",
                "levels": {"slow": {"kind": "sleepy"}},
                "batch_s": 2.0,
                "audit": None,
            },
            "model": {
                "members": 2,
                "hidden": [8],
                "radial_cutoff_A": 4.0,
                "angular_cutoff_A": 3.5,
            },
            "train": {"epochs": 20, "warm_epochs": 10, "minimum_steps": 0, "folds": 2},
            "sample": {
                "replicas": 4,
                "tasks": 4,
                "rounds": 1,
                "timestep_fs": 2.0,
                "duration_ps": 0.1,
                "temperature_K": {"start": [300, 900], "end": [300, 900]},
            },
            "acquire": {
                "per_iteration": 16,
                "grace_fs": 0,
                "energy_spread_meV": 0.001,
                "rejected_factor": 1e9,
            },
            "test": {"count": 6, "builders": [box]},
            "loop": {"bootstrap": 26, "max_iterations": 2},
        }
    )


def _run(folder, workers):
    """Run the campaign; the time in which something ran, and the times of its tasks."""
    with run_campaign(folder / "sleepy.db", _settings()) as campaign:
        executor = ProcessExecutor(campaign.files, workers)
        executor.start()
        try:
            ending = Manager(campaign, executor, lambda _: None).run()
        finally:
            executor.close(cancel=True)
        assert ending is Ending.DECIDED
        with campaign.store.read() as connection:
            attempts = history.attempts(connection)
        return _time_with_tasks(attempts), measured_times(campaign.store)


def _time_with_tasks(attempts):
    # an attempt that was lost tells no time
    told = [one for one in attempts if one.wall_s is not None]
    spans = sorted((one.ended - one.wall_s, one.ended) for one in told)
    total, until = 0.0, spans[0][0]
    for start, end in spans:
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


def _simulated(times, workers):
    pools = {"here": {"tasks": ["*"], "workers": workers}}
    known = Times.model_validate({"pools": pools}).over(times)
    site = described(known)
    courses = [simulate(_settings(), known, site, repeat) for repeat in range(REPEATS)]
    return 3600 * summary(courses, site).wall_hours.median


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_simulation_takes_as_long_as_the_campaign(sleepy, tmp_path):
    real_s, times = _run(tmp_path, WORKERS)
    assert _simulated(times, WORKERS) == pytest.approx(real_s, rel=TOLERANCE)
