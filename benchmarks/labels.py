"""Labels per hour on the cores of this machine, and how much of that time is the program's own.

    python benchmarks/labels.py [--labels 16] [--batch 1] [--workers 2] [--only NAME ...]
                                [--json FILE]

Label tasks go to the worker processes of this machine, as in a campaign: each is written to disk,
claimed, run in a child process and committed. Structures are rattled by 0.05 Å each, `--batch` of
them make a task (`label.batch_size`). Counted is the time between the first claim and the last
result, once for each worker; inside the program is what the labeler itself took for calculations.
The rest is starting processes, files, and workers without work at the end; what the labeler adds to
each calculation is told apart. Medians do not apply: it is a rate. Aluminium needs GPAW.
"""

import argparse
import itertools
import json
import os
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import arguments
import numpy as np
from ase.build import bulk, molecule

from alflow.core.batches import pack_structures
from alflow.core.structures import Structure
from alflow.core.tasks import AttemptRef, TaskSpec
from alflow.execution.files import CampaignFiles
from alflow.execution.process import ProcessExecutor

RATTLE_A = 0.05
DFT = {"kind": "pyscf", "method": "wb97x", "basis": "6-31g*", "stability": "reject"}
PBE = {
    "kind": "ase",
    "calculator": "gpaw",
    "settings": {
        "mode": {"name": "pw", "ecut": 250},
        "xc": "PBE",
        "kpts": {"density": 1.8},
        "occupations": {"name": "fermi-dirac", "width": 0.15},
        "convergence": {"energy": 1.0e-5, "density": 1.0e-5},
    },
}
TRIMER = [
    ("O", 1.613, 0.050, -0.002), ("H", 0.972, 0.770, 0.063), ("H", 2.175, 0.245, -0.758),
    ("O", -0.770, 1.440, 0.010), ("H", -1.128, 0.535, -0.045), ("H", -1.290, 1.930, 0.650),
    ("O", -0.850, -1.360, 0.010), ("H", 0.105, -1.180, 0.060), ("H", -0.960, -2.250, -0.340),
]  # fmt: skip
MALONALDEHYDE = [
    ("O", -1.28, -1.13, 0.0), ("O", 1.28, -1.13, 0.0), ("C", -1.20, 0.20, 0.0),
    ("C", 0.0, 0.90, 0.0), ("C", 1.20, 0.10, 0.0), ("H", -0.34, -1.45, 0.0),
    ("H", -2.16, 0.72, 0.0), ("H", 0.02, 1.98, 0.0), ("H", 2.18, 0.62, 0.0),
]  # fmt: skip


def cases() -> dict[str, tuple[Any, dict[str, Any]]]:
    """Atoms and level of each case, by name."""
    from ase import Atoms

    def of(rows: list[tuple[str, float, float, float]]) -> Atoms:
        return Atoms([row[0] for row in rows], [row[1:] for row in rows])

    found: dict[str, tuple[Any, dict[str, Any]]] = {
        "water trimer, wB97X/6-31G*": (of(TRIMER), DFT),
        "ethanol, wB97X/6-31G*": (molecule("CH3CH2OH"), DFT),
        "malonaldehyde, wB97X/6-31G*": (of(MALONALDEHYDE), DFT),
    }
    if find_spec("gpaw") is not None:
        found["16 atoms of Al, PBE (GPAW)"] = (bulk("Al", cubic=True) * (2, 2, 1), PBE)
    return found


def main() -> None:
    """Measure each case and print a line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--labels", type=arguments.count, default=16)
    parser.add_argument("--batch", type=arguments.count, default=1)
    parser.add_argument("--workers", type=arguments.count, default=2)
    parser.add_argument("--only", nargs="*", default=[], help="words of names")
    parser.add_argument("--json", type=arguments.result_file, help="file for the numbers")
    options = parser.parse_args()
    found = {}
    for name, (atoms, settings) in cases().items():
        if options.only and not any(word in name for word in options.only):
            continue
        found[name] = measure(
            atoms, settings, options.labels, options.batch, options.workers
        )
        numbers = ", ".join(f"{key} {value}" for key, value in found[name].items())
        print(f"{name:32} {numbers}", flush=True)
    print(f"load {os.getloadavg()[0]:.1f}")
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def measure(
    atoms: Any, settings: dict[str, Any], n_labels: int, batch: int, n_workers: int
) -> dict[str, float]:
    """Label rattled copies of a structure; labels per hour and shares of worker time [%]."""
    rng = np.random.default_rng(7)
    structures = [
        Structure(
            atoms.numbers.astype(np.uint8),
            atoms.positions + rng.normal(0, RATTLE_A, atoms.positions.shape),
            atoms.cell.array if atoms.pbc.any() else None,
            atoms.pbc,
        )
        for _ in range(n_labels)
    ]
    # Imports and first use are paid once, by a task of one structure for each worker.
    starts = [*range(n_workers), *range(n_workers, n_labels, batch)]
    tasks = [
        structures[start:end] for start, end in itertools.pairwise([*starts, n_labels])
    ]
    with tempfile.TemporaryDirectory(prefix="alflow-labels-") as folder:
        files = CampaignFiles(Path(folder))
        attempts = []
        for number, task in enumerate(tasks, 1):
            spec = TaskSpec(
                "label",
                f"label/{number}",
                number,
                {"labeler": settings},
                {"structures": files.write_blob(pack_structures(task))},
                tuple(structure.hash for structure in task),
            )
            files.write_spec(number, spec)
            attempts.append(AttemptRef(number, 1, "bench", "label"))
        executor = ProcessExecutor(files, n_workers)
        executor.start()
        for attempt in attempts[:n_workers]:
            executor.submit(attempt)
        _wait(executor, files, attempts[:n_workers])
        began = time.perf_counter()
        for attempt in attempts[n_workers:]:
            executor.submit(attempt)
        _wait(executor, files, attempts)
        wall_s = time.perf_counter() - began
        executor.close(cancel=False)
        items = [
            item
            for attempt in attempts[n_workers:]
            for item in files.read_items(attempt.task_id).values()
        ]
    labels = [item["label"] for item in items if item["label"] is not None]
    inside_s = sum(
        label["extras"].get("calculation_s", label["extras"]["wall_s"]) for label in labels
    )
    around_s = sum(label["extras"]["wall_s"] for label in labels) - inside_s
    return {
        "labels": len(labels),
        "failed": len(items) - len(labels),
        "per_hour": round(3600 * len(labels) / wall_s),
        "seconds_each": round(inside_s / max(1, len(labels)), 2),
        "seconds_around_each": round(around_s / max(1, len(labels)), 3),
        "inside_program_%": round(100 * inside_s / (n_workers * wall_s), 1),
    }


def _wait(executor: ProcessExecutor, files: CampaignFiles, attempts: Any) -> None:
    while not all(files.has_result(attempt) for attempt in attempts):
        executor.wait(1.0)


if __name__ == "__main__":
    main()
