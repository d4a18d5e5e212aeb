"""Kills a small campaign at every failpoint, resumes it, and prints what came of it as JSON.

Run in a process of its own, which imports everything, opens nothing, and forks the rest.
"""

import json
import os
import random
import sys
from pathlib import Path

import numpy as np

from alflow.config.loading import load_campaign
from alflow.core import failpoints
from alflow.core.failpoints import NAMES
from alflow.core.labels import Failure, FailureKind, Label
from alflow.core.structures import Structure
from alflow.execution.forked import ForkedProcess
from alflow.execution.inline import InlineExecutor
from alflow.labelers.analytic import AnalyticLabeler
from alflow.loop import retries
from alflow.loop.campaign import run_campaign
from alflow.loop.manager import Manager
from alflow.store import (
    ImportSource,
    NewLabelled,
    NewStructure,
    Quality,
    SightingKind,
    Store,
    Workers,
    blobs,
    faults,
    open_store,
)
from alflow.testing.chaos import ChaosSettings
from alflow.testing.trial import warm_up

BOX = (
    "{kind: random_box, composition: {Al: 1}, atoms: [3, 7], density_g_per_cm3: [1.6, 2.4]}"
)
CAMPAIGN = f"""
name: points
seed: 5
system: {{elements: [Al], builders: [{BOX}]}}
label:
  primary: gupta
  batch_size: 3
  levels: {{gupta: {{kind: analytic}}}}
  audit:  # another potential: every label that is doubted is refuted
    sigma: 2.0
    changes:
      parameters:
        Al: {{repulsion_eV: 0.2, hopping_eV: 1.3, p: 8.6, q: 2.5, r0_A: 2.86}}
model: {{kind: ani, members: 2, hidden: [4], radial_cutoff_A: 4.0, angular_cutoff_A: 3.5}}
train: {{epochs: 1, warm_epochs: 1, minimum_steps: 0, folds: 2, checkpoint_minutes: 0}}
sample:
  kind: nemd
  replicas: 3
  rounds: 1
  timestep_fs: 2.0
  duration_ps: 0.02
  temperature_K: {{start: [300, 900], end: [300, 900]}}
acquire:
  kind: threshold
  per_iteration: 3
  grace_fs: 0
  energy_spread_meV: 0.001
  rejected_factor: 1.0e+9
test: {{count: 2, builders: [{BOX}]}}
validate:
  every: 1
  reference: gupta
  suites: [{{kind: crystal, element: Al, phases: [fcc]}}]
"""
KNOWN = [
    NewLabelled(
        NewStructure(
            Structure(
                np.array([13, 13], np.uint8), np.array([[0, 0, 0], [0, 0, distance]])
            ),
            "dimer",
            "train",
            "known.xyz",
            kind=SightingKind.IMPORT,
        ),
        Label(0.1 * distance, np.zeros((2, 3)), None),
        index,
    )
    for index, distance in enumerate((2.5, 2.9))
]
"""Labels that the campaign has from elsewhere."""
BAD_ATOMS = 7
"""Structures of this size have no label: their task raises, is tried again, and fails."""


def write(folder: Path, iterations: int) -> Path:
    file = folder / f"campaign-{iterations}.yaml"
    loop = f"loop: {{bootstrap: 7, max_iterations: {iterations}}}\n"
    file.write_text(CAMPAIGN + loop)
    return file


def think_again(store: Store) -> None:
    """Set one of the known labels aside, and supersede the other one, once."""
    with store.read() as connection:
        found = connection.exec_driver_sql(
            "SELECT id, rev FROM label WHERE program_version = 'imported from known.xyz' "
            "OR rev > 0 ORDER BY id"
        ).all()
    store.set_quality([found[0][0]], Quality.SUSPECT, "a test")
    if not any(row[1] for row in found):
        store.supersede_label(found[1][0], Label(0.3, np.zeros((2, 3))), "test", "a test")


def release_quarantined(store: Store) -> None:
    """Release what failed before, once: it fails again."""
    with store.read() as connection:
        found = faults.troubles(connection, 0.0).quarantined
        is_done = connection.exec_driver_sql(
            "SELECT count(*) FROM event WHERE kind = 'task-released'"
        ).scalar_one()
    if found and not is_done:
        store.release_task(found[0].id)


def ask_for_retries(store: Store) -> None:
    """Ask that everything that failed be tried again, once: it fails again."""
    with store.read() as connection:
        is_done = connection.exec_driver_sql(
            "SELECT count(*) FROM event WHERE kind = 'retry-requested'"
        ).scalar_one()
    wanted = store.failed_work()
    if not is_done:
        assert wanted.tasks
        assert wanted.labels
        store.request_retry(wanted)


def run_to_the_end(folder: Path, iterations: int) -> None:
    settings = load_campaign(write(folder, iterations))
    with run_campaign(folder / "points.db", settings) as campaign:
        campaign.store.event("reached", "info", f"i{iterations}", {})
        campaign.store.record_directory(campaign.files.root)
        campaign.store.record_workers({"local": Workers(1, frozenset({"label"}))})
        campaign.store.import_labelled(ImportSource("known.xyz", "0" * 64), "gupta", KNOWN)
        think_again(campaign.store)
        release_quarantined(campaign.store)
        Manager(campaign, InlineExecutor(campaign.files), lambda _: None).run()


def story(folder: Path) -> str:
    """A campaign, a request to stop, a larger limit, the rest of it, and retries; the digest."""
    run_to_the_end(folder, 0)
    with open_store(folder / "points.db") as store:
        store.request_stop(now=False)
    run_to_the_end(folder, 1)
    with open_store(folder / "points.db") as store:
        ask_for_retries(store)
    run_to_the_end(folder, 1)
    with open_store(folder / "points.db", read_only=True) as store:
        return store.content_digest()


def tell(folder: Path, point: str = "") -> tuple[int, str]:
    """The story, in a child that may kill itself; how it ended and what it said."""

    def body(_requests: int, replies: int) -> None:
        if point:
            failpoints.arm(point)
        os.write(replies, story(folder).encode())

    child = ForkedProcess(body)
    said = child.stdout.read()
    code = child.wait()
    child.close()
    return code, (said or b"").decode()


def killed_at(root: Path, point: str) -> dict[str, object]:
    folder = root / point
    folder.mkdir()
    first, _ = tell(folder, point)
    second, digest = tell(folder)
    return {"ends": [first, second], "digest": digest}


def fail_sometimes() -> None:
    """Make the labeler raise or give up for some structures, whichever process it runs in."""
    label = AnalyticLabeler.label

    def sometimes(self, structure):
        if structure.n_atoms == BAD_ATOMS:
            raise RuntimeError("a bug in a plug-in")
        if structure.hash[0] in "012":
            return Failure(FailureKind.NOT_CONVERGED, "no luck")
        return label(self, structure)

    AnalyticLabeler.label = sometimes


def main() -> None:
    root = Path(sys.argv[1])
    warm_up(root, ChaosSettings(str(root)))
    fail_sometimes()
    retries.BACKOFF_S = 0.0
    blobs.INLINE_BYTES = 0
    calm = root / "calm"
    calm.mkdir()
    _, digest = tell(calm)
    points = [*NAMES]
    random.Random(1).shuffle(points)
    found = {
        point: killed_at(root, point)
        for point in points[int(sys.argv[2]) :: int(sys.argv[3])]
    }
    sys.stdout.write(json.dumps({"digest": digest, "points": found}))


if __name__ == "__main__":
    main()
