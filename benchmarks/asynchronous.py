"""Asynchronous against generational mode: wall time and idle workers, as simulated and as run.

    python benchmarks/asynchronous.py [--labels 120] [--scale 1.0] [--json FILE]

The site has two workers for labels, one that samples and one for everything else, each a pool of
its own. The campaign is real: store, manager, Parsl, networks, dynamics, an analytic potential for
the labels. Its tasks are short, so that four workers fit on two cores, and each then waits until it
has taken as long as such a task would on machines a hundred times as large: a label 4 s in the
median (lognormal, sigma 0.5), a task of sampling 12 s, training 20 s. `--scale` multiplies these.

First a campaign of two iterations is run in generational mode; the times of its tasks are all that
the simulation of both modes knows (two, since how a training grows with the labels takes two of
them to tell). Then both are run. Wall time is from the start of the first task
to the end of the last; a worker is busy while it is at a task.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import arguments

MODES = ("generational", "asynchronous")
LABEL_S, SAMPLE_S, TRAIN_S = 4.0, 12.0, 20.0
REPEATS = 20
PER_ITERATION, BOOTSTRAP = 16, 24

PLUGIN = '''
"""Plug-ins that take their time."""

import os
import time
from statistics import NormalDist
from typing import Literal

from alflow.builders.random_box import RandomBoxSettings
from alflow.labelers.analytic import AnalyticSettings
from alflow.registry import Settings
from alflow.training.settings import StackedSettings


class SlowLabels(Settings):
    kind: Literal["paced"] = "paced"
    median_s: float

    def create(self):
        return Labels(self.median_s)

    def level_identity(self):
        return AnalyticSettings().level_identity()


class Labels:
    def __init__(self, median_s):
        self._labeler, self._median_s = AnalyticSettings().create(), median_s

    def label(self, structure):
        begun = time.monotonic()
        label = self._labeler.label(structure)
        share = (int(structure.hash[:8], 16) + 0.5) / 16**8
        factor = 2.718281828 ** (0.5 * NormalDist().inv_cdf(share))
        wait(begun, self._median_s * factor)
        return label

    def version(self):
        return self._labeler.version()


class SlowBoxes(RandomBoxSettings):
    kind: Literal["paced"] = "paced"
    seconds: float

    def create(self):
        return Boxes(super().create(), self.seconds)


class Boxes:
    def __init__(self, builder, seconds):
        self._builder, self._seconds = builder, seconds

    def build(self, rng, count):
        begun = time.monotonic()
        found = self._builder.build(rng, count)
        wait(begun, self._seconds)
        return found


class SlowTraining(StackedSettings):
    kind: Literal["paced"] = "paced"
    seconds: float

    def create(self, model):
        return Training(super().create(model), self.seconds)


class Training:
    def __init__(self, trainer, seconds):
        self._trainer, self._seconds = trainer, seconds

    def train(self, *args, **more):
        begun = time.monotonic()
        found = self._trainer.train(*args, **more)
        wait(begun, self._seconds)
        return found


def wait(begun, seconds):
    time.sleep(max(0.0, begun + seconds - time.monotonic()))
'''
POINTS = """
[alflow.labelers]
paced = alflow_paced:SlowLabels
[alflow.builders]
paced = alflow_paced:SlowBoxes
[alflow.trainers]
paced = alflow_paced:SlowTraining
"""


def install(folder: Path) -> None:
    """Make the plug-ins known here and in every process started from here."""
    metadata = folder / "alflow_paced-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / "alflow_paced.py").write_text(PLUGIN)
    text = "Metadata-Version: 2.1\nName: alflow-paced\nVersion: 1.0\n"
    (metadata / "METADATA").write_text(text)
    (metadata / "entry_points.txt").write_text(POINTS)
    path = [str(folder), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    sys.path.insert(0, str(folder))


def campaign(mode: str, scale: float, labels: int | None) -> dict[str, Any]:
    """Settings of the campaign; without `labels` it has two iterations."""
    box = {
        "kind": "paced",
        "composition": {"Al": 1},
        "atoms": [8, 16],
        "density_g_per_cm3": [1.6, 2.4],
        "seconds": SAMPLE_S * scale,
    }
    return {
        "name": f"paced-{mode}" if labels else "paced-first",
        "seed": 11,
        "system": {"elements": ["Al"], "builders": [box]},
        "label": {
            "primary": "paced",
            "levels": {"paced": {"kind": "paced", "median_s": LABEL_S * scale}},
            "batch_size": 1,
            "audit": None,
        },
        "model": {
            "members": 2,
            "hidden": [8],
            "radial_cutoff_A": 4.0,
            "angular_cutoff_A": 3.5,
        },
        "train": {
            "kind": "paced",
            "seconds": TRAIN_S * scale,
            "epochs": 20,
            "warm_epochs": 10,
            "minimum_steps": 0,
            "folds": 2,
        },
        "sample": {
            "replicas": 10,
            "tasks": 2,
            "rounds": 1,
            "timestep_fs": 2.0,
            "duration_ps": 0.1,
            "temperature_K": {"start": [300, 900], "end": [300, 900]},
        },
        "acquire": {
            "per_iteration": PER_ITERATION,
            "grace_fs": 0,
            "energy_spread_meV": 0.001,
            "rejected_factor": 1e9,
        },
        "loop": {
            "mode": mode,
            "bootstrap": BOOTSTRAP,
            "max_iterations": 100 if labels else 2,
        },
        "stop": {"budget": {"labels": labels}},
    }


def site() -> Any:
    """Two workers for labels, one that samples, one for everything else."""
    from alflow.execution.sites import Site, local_pool

    qm, explore = local_pool("qm", workers=2), local_pool("explore", workers=1)
    rest = local_pool("rest", workers=1)
    return Site("paced", pools={"label": qm, "sample": explore, "*": rest})


def run(given: dict[str, Any], folder: Path) -> tuple[dict[str, float], Any]:
    """Run a campaign; what came of it, and the times of its tasks."""
    from alflow.config.resolution import settings_from_resolved
    from alflow.execution.parsl import ParslExecutor
    from alflow.loop.campaign import run_campaign
    from alflow.loop.manager import Manager
    from alflow.loop.measured import measured_times
    from alflow.store import history
    from alflow.store.views import status

    where = site()
    path = folder / f"{given['name']}.db"
    with run_campaign(path, settings_from_resolved(given)) as opened:
        executor = ParslExecutor(opened.files, where)
        executor.start()
        try:
            Manager(opened, executor, lambda _: None).run()
        finally:
            executor.close(cancel=True)
        with opened.store.read() as connection:
            attempts = history.attempts(connection)
        times, view = measured_times(opened.store), status(opened.store)
    told = [one for one in attempts if one.wall_s is not None]
    begun = min(one.ended - one.wall_s for one in told)
    wall_s = max(one.ended for one in told) - begun
    busy = dict.fromkeys(("qm", "explore", "rest"), 0.0)
    for one in told:
        busy[where.pool_of(one.kind).label] += one.wall_s
    workers = {pool.label: pool.workers for pool in where.distinct_pools()}
    shares = {f"busy {k}": value / wall_s / workers[k] for k, value in busy.items()}
    n_labels = {
        "labels": float(view.labels["ok"]),
        "iterations": float(view.iteration or 0),
    }
    return {"wall_s": wall_s, **shares, **n_labels}, times


def foretold(given: dict[str, Any], times: Any) -> dict[str, float]:
    """The same as the simulation says, medians of its courses."""
    from alflow.config.resolution import settings_from_resolved
    from alflow.config.times import Times
    from alflow.loop.described import of_site
    from alflow.loop.simulate import simulate, summary

    model = of_site(site(), Times())
    settings = settings_from_resolved(given)
    courses = [simulate(settings, times, model, repeat) for repeat in range(REPEATS)]
    found = summary(courses, model)
    shares = {f"busy {name}": pool.busy.median for name, pool in found.pools.items()}
    return {
        "wall_s": 3600 * found.wall_hours.median,
        **shares,
        "labels": found.labels.median,
        "iterations": found.iterations.median - 1,
    }


def main() -> None:
    """Foretell, run, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--labels", type=arguments.count, default=120)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--json", type=arguments.result_file)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="alflow-asynchronous-") as name:
        folder = Path(name)
        install(folder / "plugin")
        first, times = run(campaign(MODES[0], options.scale, None), folder)
        print(f"first: {first['wall_s']:.0f} s, {first['labels']:.0f} labels", flush=True)
        asked = {mode: campaign(mode, options.scale, options.labels) for mode in MODES}
        found: dict[str, Any] = {"first": first}
        for mode, given in asked.items():
            found[mode] = {"simulated": foretold(given, times)}
            _show(f"{mode}, simulated", found[mode]["simulated"])
        for mode, given in asked.items():
            found[mode]["run"], _ = run(given, folder)
            _show(f"{mode}, run", found[mode]["run"])
    real, simulated = (
        found[MODES[1]][how]["wall_s"] / found[MODES[0]][how]["wall_s"]
        for how in ("run", "simulated")
    )
    found["ratio"] = {"run": real, "simulated": simulated}
    print(f"asynchronous / generational: {real:.2f} run, {simulated:.2f} simulated")
    for mode in MODES:
        ratio = found[mode]["simulated"]["wall_s"] / found[mode]["run"]["wall_s"]
        print(f"{mode}: simulated / run {ratio:.3f}")
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1))


def _show(name: str, one: dict[str, float]) -> None:
    shares = ", ".join(
        f"{key.removeprefix('busy ')} {value:.2f}"
        for key, value in one.items()
        if key.startswith("busy ")
    )
    print(
        f"{name:26s} {one['wall_s']:6.0f} s   {one['labels']:.0f} labels, "
        f"{one['iterations']:.0f} iterations   busy: {shares}",
        flush=True,
    )


if __name__ == "__main__":
    main()
