"""A campaign whose labels fail in every way there is: does it end, and what was trained on?

    python benchmarks/faults.py [--labels 500] [--rate 0.2] [--json FILE]

Structures of aluminium are labelled by an analytic potential that crashes, hangs in C with signals
ignored, finds the disk full, does not converge, returns no numbers, no forces, or an energy that is
wrong by 0.25 to 0.75 eV/atom and says nothing: each with the same probability, drawn independently,
and for audits anew. The campaign runs with `alflow run` on the processes of this machine. Then its
database tells how every label that was asked for ended, and every label that the generations learnt
from is calculated once more without faults.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import arguments

FAULTS = ("crash", "hang", "full_scratch", "not_converged", "nan", "missing_forces",
          "outlier")  # fmt: skip
CAMPAIGN = """\
name: faults
seed: 5
system:
  elements: [Al]
  builders:
    - &box {{kind: random_box, composition: {{Al: 1}}, atoms: [8, 16],
             density_g_per_cm3: [1.8, 2.6]}}
label:
  primary: faulty
  batch_size: 4
  timeout_s: 2
  levels:
    faulty:
      kind: faulty
      of: {{kind: analytic, elements: [Al]}}
      rates: {{{rates}}}
model: {{kind: ani, members: 4, hidden: [32, 16], radial_cutoff_A: 5.0, angular_cutoff_A: 3.5}}
train: {{folds: 4, epochs: 100, warm_epochs: 50}}
sample:
  {{kind: nemd, duration_ps: 0.5, replicas: 16, tasks: 8, rounds: 2, timestep_fs: 2.0,
   temperature_K: {{start: [300, 900], end: [300, 900]}}}}
acquire: {{kind: threshold, per_iteration: {per_iteration}, energy_spread_meV: 0.1,
          rejected_factor: 1000000000.0}}
loop: {{bootstrap: {bootstrap}, max_iterations: 3}}
stop: {{budget: {{labels: {labels}}}}}
"""


def main() -> None:
    """Run the campaign and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--labels", type=arguments.count, default=500, help="labels to ask for"
    )
    parser.add_argument("--rate", type=float, default=0.2, help="probability of each fault")
    parser.add_argument("--json", type=arguments.result_file, help="file for the numbers")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="alflow-faults-") as folder:
        found = run(Path(folder), options.labels, options.rate)
    print(json.dumps(found, indent=2))
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def run(folder: Path, n_labels: int, rate: float) -> dict[str, Any]:
    """Run a campaign in a folder; what came of it."""
    quarter = n_labels // 5
    text = CAMPAIGN.format(
        rates=", ".join(f"{fault}: {rate}" for fault in FAULTS),
        labels=n_labels,
        per_iteration=quarter,
        bootstrap=n_labels - 3 * quarter,
    )
    (folder / "campaign.yaml").write_text(text, encoding="utf-8")
    command = [sys.executable, "-c", "from alflow.cli.main import main; main()"]
    began = time.perf_counter()
    with (folder / "log").open("w") as log:
        code = subprocess.run(
            [*command, "run", "campaign.yaml"],
            cwd=folder,
            stdout=log,
            stderr=log,
            check=False,
        )
    wall_s = time.perf_counter() - began
    databases = list(folder.glob("*.db"))
    if not databases:
        sys.exit((folder / "log").read_text())
    return {
        "exit": code.returncode,
        "wall_s": round(wall_s),
        "last_line": (folder / "log").read_text().strip().splitlines()[-1],
        **_outcome(databases[0]),
    }


def _outcome(database: Path) -> dict[str, Any]:
    from alflow.labelers.analytic import AnalyticSettings
    from alflow.store import open_store
    from alflow.store.querying import query
    from alflow.store.views import progress

    oracle = AnalyticSettings(elements=("Al",)).create()
    with open_store(database, read_only=True) as store:
        view = progress(store)
        sql = "select state, failure_kind, count(*) from label_item group by 1, 2"
        ends = {
            f"{row[0]} {row[1] or ''}".strip(): row[2] for row in query(store, sql).rows
        }
        attempts = "select failure_class, count(*) from attempt group by 1"
        classes = {row[0] or "good": row[1] for row in query(store, attempts).rows}
        quality = "select quality, count(*) from label group by 1"
        trust = {row[0]: row[1] for row in query(store, quality).rows}
        learnt = [store.labelled("train", "faulty", generation=one.number)
                  for one in view.generations]  # fmt: skip
    used = {one.label_id: one for one in chain.from_iterable(learnt)}.values()
    wrong = Counter[str]()
    for one in used:
        true = oracle.label(one.structure)
        if one.label.forces is None:
            wrong["without forces"] += 1
        elif abs(one.label.energy - true.energy) > 1e-9 or (
            abs(one.label.forces - true.forces).max() > 1e-9
        ):
            wrong["another energy or force"] += 1
    return {
        "state": view.state,
        "labels": ends,
        "quality": trust,
        "attempts": classes,
        "generations": len(view.generations),
        "trained_on": len(used),
        "trained_on_wrong": dict(wrong),
    }


if __name__ == "__main__":
    main()
