"""How long a report of a large campaign takes, and how large it is; and what status takes.

    python benchmarks/report.py [--labels 100000] [--frames 1000000] [--iterations 20]
                                [--keep FILE] [--json FILE]

The campaign is made up, by statements that fill the tables of a store: water clusters of eight
molecules, as many candidates in every iteration, of which the same share is labelled, a test set
of a hundredth of the labels that every generation is asked about, and one attempt for every
sixteen labels. The report is written by the command line, in a process of its own.
"""

import argparse
import json
import os
import platform
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import arguments
import numpy as np

from alflow.loop.forecast import forecast
from alflow.store import open_store
from alflow.store.views import status

TARGETS = {"report_s": 10.0, "report_kB": 300.0, "status_ms": 300.0}
CONFIG = {
    "name": "large",
    "label": {"primary": "dft", "levels": {"dft": {"kind": "pyscf"}}},
    "acquire": {"kind": "threshold", "per_iteration": 5000},
    "loop": {"max_iterations": 30},
    "stop": {"budget": {"labels": 200000}},
}
MOLECULES = 8
N_ATOMS = 3 * MOLECULES
REPORT = "from alflow.cli.main import main; main()"


def water() -> tuple[bytes, bytes]:
    """Atomic numbers and positions of molecules on a lattice, as a store has them."""
    one = np.array([[0, 0, 0.1], [0, 0.76, -0.47], [0, -0.76, -0.47]])
    places = 3.0 * np.array([[k & 1, k >> 1 & 1, k >> 2] for k in range(MOLECULES)])
    positions = (places[:, None] + one).reshape(-1, 3)
    return bytes([8, 1, 1] * MOLECULES), positions.astype("<f8").tobytes()


def forces(seed: int, scale: float) -> bytes:
    """Random forces, as a store has them."""
    rng = np.random.default_rng(seed)
    return rng.normal(0.0, scale, (N_ATOMS, 3)).astype("<f8").tobytes()


_UP_TO = "WITH RECURSIVE k(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM k WHERE i < {})"
# A number between 0 and 1 that looks random and is the same in every run.
_ANY = "((({0}) * 2654435761 % 4294967296) / 4294967296.0)"
_STARTED = "1.79e9 + 36000 * ({0})"
STATEMENTS = f"""
INSERT INTO iteration (id, campaign_id, number, phase, ensemble_id, started, ended, n_flagged,
                       n_candidates, n_selected)
    {_UP_TO.format(":iterations")}
    SELECT i, 1, i - 1, 'train', NULL, {_STARTED.format("i")}, {_STARTED.format("i + 1")},
           :frames / :iterations, :frames / :iterations, :labels / :iterations FROM k;
INSERT INTO snapshot (id, campaign_id, seq, n_train, n_val, digest, rule_json, created)
    {_UP_TO.format(":iterations")}
    SELECT i, 1, i - 1, i * :labels / :iterations, 0, printf('%064d', i), '{{}}', 0 FROM k;
INSERT INTO blob (sha256, size, media_type, storage, data)
    {_UP_TO.format(":iterations")} SELECT printf('%064d', i), 1, 'x', 'inline', x'00' FROM k;
INSERT INTO ensemble (id, campaign_id, generation, iteration, role, snapshot_id, lot_id, relation,
                      arch_json, arch_sha, state, weights_sha, created)
    SELECT id, 1, seq, seq, 'committee', id, 1, 'fresh', '{{}}', '', 'ready', printf('%064d', id), 0
    FROM snapshot;
INSERT INTO model (id, ensemble_id, member, seed, state)
    {_UP_TO.format("8 * :iterations")} SELECT i, 1 + (i - 1) / 8, (i - 1) % 8, i, 'ready' FROM k;
INSERT INTO structure (id, hash, n_atoms, formula, numbers, positions, pbc, charge,
                       multiplicity, created)
    {_UP_TO.format(":frames + :test")}
    SELECT i, CAST(printf('%032d', i) AS BLOB), :n_atoms, 'H16O8', :numbers, :positions, 0, 0, 1, 0
    FROM k;
INSERT INTO campaign_structure (structure_id, campaign_id, group_key, split, source, added_iter)
    SELECT id, 1, 'g' || id, CASE WHEN id > :frames THEN 'test' ELSE 'train' END,
           CASE WHEN id > :frames THEN 'molecules' ELSE 'nemd' END,
           (id - 1) * :iterations / (:frames + :test) FROM structure;
INSERT INTO task (id, campaign_id, iteration_id, kind, key, lot_id, state, priority, spec_json,
                  attempts, charged, published)
    {_UP_TO.format(":tasks")}
    SELECT i, 1, 1 + (i - 1) * :iterations / :tasks,
           CASE i % 16 WHEN 0 THEN 'sample' WHEN 1 THEN 'train' ELSE 'label' END,
           'key/' || i, CASE WHEN i % 16 > 1 THEN 1 END, 'done', 0, '{{"settings":{{}}}}', 1, 0,
           {_STARTED.format("1 + (i - 1.0) * :iterations / :tasks")} FROM k;
INSERT INTO environment (id, sha, packages_json) VALUES (1, 'e', '{{"threads": "4"}}');
INSERT INTO attempt (id, task_id, no, token, epoch, fence, host, env_id, state, charged, started,
                     ended, wall_s, failure_class)
    SELECT id, id, 1, 't' || id, 1, 1, 'node' || (id % 8), 1,
           CASE WHEN id % 40 THEN 'done' ELSE 'failed' END, 0, published + 5,
           published + 10 + 2000 * {_ANY.format("id")},
           CASE WHEN id % 40 THEN 2000 * {_ANY.format("id")} END,
           CASE WHEN id % 40 THEN NULL ELSE 'lost' END FROM task;
INSERT INTO trajectory (id, campaign_id, iteration_id, ensemble_id, task_id, position, sampler,
                        seed, start_structure_id, schedule_json, n_steps, time_fs, stop_reason,
                        trace_json)
    {_UP_TO.format(":frames / 2")}
    SELECT i, 1, 1 + (i - 1) * :iterations / (:frames / 2),
           1 + (i - 1) * :iterations / (:frames / 2), 1, i, CASE i % 3 WHEN 0 THEN 'nemd'
           ELSE 'normal_modes' END, i, 1, '{{}}', 100, 4000 * {_ANY.format("i")},
           CASE WHEN i % 7 = 0 THEN 'finished' WHEN i % 50 = 0 THEN 'too-hot' ELSE 'flagged' END,
           '{{"time_fs":[0.0,1.0,2.0],"energy_spread":[0.1,0.2,0.3]}}' FROM k;
INSERT INTO sighting (structure_id, source, group_key, kind, trajectory_id, step)
    SELECT id, 'molecules', 'g' || id, 'start', id, 0 FROM trajectory;
INSERT INTO candidate (id, iteration_id, structure_id, trajectory_id, ensemble_id, step, time_fs,
                       temperature_K, reason, measure, energy_spread, force_spread_mean,
                       force_spread_max, force_scale, decision, decision_reason, rank)
    {_UP_TO.format(":frames")}
    SELECT i, 1 + (i - 1) * :iterations / :frames, i, 1 + (i - 1) / 2,
           1 + (i - 1) * :iterations / :frames, 100, 50.0, 300.0,
           CASE WHEN i % 11 THEN 'flagged' ELSE 'audit' END,
           CASE WHEN i % 11 THEN 'force_max' ELSE '' END,
           0.01 * {_ANY.format("i")}, 0.1 * {_ANY.format("i + 1")}, 0.4 * {_ANY.format("i + 2")},
           1.0, CASE WHEN i % (:frames / :labels) THEN 'over-budget' ELSE 'selected' END,
           'a sentence that says why it was decided like this, with numbers',
           CASE WHEN i % (:frames / :labels) THEN NULL ELSE i END FROM k;
INSERT INTO label_item (id, task_id, position, structure_id, lot_id, state, failure_kind)
    {_UP_TO.format(":labels")}
    SELECT i, 1 + (i - 1) * :tasks / :labels, i, i * (:frames / :labels), 1,
           CASE WHEN i % 50 THEN 'ok' ELSE 'failed' END,
           CASE WHEN i % 50 THEN NULL ELSE 'not-converged' END FROM k;
INSERT INTO label_item (id, task_id, position, structure_id, lot_id, state)
    SELECT :labels + id - :frames, 1, :labels + id, id, 1, 'ok' FROM structure WHERE id > :frames;
INSERT INTO label (id, structure_id, lot_id, n_atoms, energy, forces, fmax, quality, content_sha,
                   extras_json, attempt_id, program_version, created)
    SELECT id, structure_id, 1, :n_atoms, -1e4 - {_ANY.format("id")}, :forces, 3.0, 'ok',
           zeroblob(32), json_object('wall_s', 60 * {_ANY.format("id + 7")}, 'cores', 4, 'rung',
           CASE WHEN id % 30 THEN 'diis' ELSE 'newton' END, 'cycles', 12), task_id, '1',
           {_STARTED.format("1 + (id - 1.0) * :iterations / :labels")}
    FROM label_item WHERE state = 'ok';
INSERT INTO prediction (ensemble_id, label_id, energy, energy_spread, force_rmse,
                        force_spread_mean, force_spread_max, force_scale, forces)
    SELECT 1 + (id - 1) * :iterations / :labels, id, energy + 0.1 * {_ANY.format("id")}, 0.01,
           0.2 * {_ANY.format("id + 3")}, 0.1 * {_ANY.format("id + 4")}, 0.3, 1.0, :predicted
    FROM label WHERE id <= :labels;
INSERT INTO prediction (ensemble_id, label_id, energy, energy_spread, force_rmse,
                        force_spread_mean, force_spread_max, force_scale, forces)
    SELECT e.id, l.id, energy + 0.1 * {_ANY.format("l.id + e.id")}, 0.01,
           0.2 / e.id * {_ANY.format("l.id + 3")}, 0.1, 0.3, 1.0, :predicted
    FROM label l, ensemble e WHERE l.id > :labels;
INSERT INTO task_count SELECT iteration_id, kind, state, count(*) FROM task GROUP BY 1, 2, 3;
INSERT INTO label_count
    SELECT t.iteration_id, l.lot_id, c.split, l.state, count(*)
    FROM label_item l JOIN task t ON t.id = l.task_id
    JOIN campaign_structure c ON c.structure_id = l.structure_id GROUP BY 1, 2, 3, 4;
ANALYZE;
"""


def make_campaign(path: Path, labels: int, frames: int, iterations: int) -> None:
    """Fill a new database."""
    with open_store(path, create=True) as store:
        store.create_campaign("large", CONFIG, 1)
        with store.acquire_lease("benchmark"):
            store.register_level("dft", {"kind": "pyscf", "method": "wb97x"})
    numbers, positions = water()
    values = {
        "labels": labels,
        "frames": frames,
        "iterations": iterations,
        "tasks": max(iterations, labels // 16),
        "test": labels // 100,
        "n_atoms": N_ATOMS,
        "numbers": numbers,
        "positions": positions,
        "forces": forces(1, 1.0),
        "predicted": forces(2, 1.0),
    }
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("BEGIN")
    for statement in STATEMENTS.split(";\n"):
        named = {name: value for name, value in values.items() if f":{name}" in statement}
        connection.execute(statement, named)
    connection.execute("COMMIT")
    connection.close()


def measure_report(path: Path, page: Path) -> dict[str, float]:
    """Time, peak memory and size of the report that the command line writes."""
    command = [sys.executable, "-c", REPORT, "report", str(path), "-o", str(page)]
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    taken = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {"report_s": taken, "report_kB": page.stat().st_size / 1e3, "peak_MB": peak}


def measure_status(path: Path) -> dict[str, float]:
    """Time of all that `alflow status` asks [ms]: first, and in the median."""
    times = []
    with open_store(path, read_only=True) as store:
        for _ in range(5):
            begun = time.perf_counter()
            status(store)
            forecast(store)
            times.append(1e3 * (time.perf_counter() - begun))
    return {"status_first_ms": times[0], "status_ms": statistics.median(times)}


def main() -> None:
    """Make, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--labels", type=arguments.count, default=100_000)
    parser.add_argument("--frames", type=arguments.count, default=1_000_000)
    parser.add_argument("--iterations", type=arguments.count, default=20)
    parser.add_argument("--keep", type=Path, help="database to make, or to use again")
    parser.add_argument(
        "--json", type=arguments.result_file, help="where to write the numbers"
    )
    options = parser.parse_args()
    load = os.getloadavg()
    with tempfile.TemporaryDirectory(prefix="alflow-benchmark-") as name:
        path = options.keep or Path(name) / "large.db"
        if not path.exists():
            make_campaign(path, options.labels, options.frames, options.iterations)
        found = {
            **measure_status(path),
            **measure_report(path, Path(name) / "report.html"),
        }
    for key, value in found.items():
        target = TARGETS.get(key)
        verdict = ""
        if target is not None:
            verdict = f"<= {target:g}  {'met' if value <= target else 'MISSED'}"
        print(f"{key:18s} {value:12,.1f}  {verdict}")
    about = {
        "labels": options.labels,
        "frames": options.frames,
        "iterations": options.iterations,
        "load_before": load,
        "load_after": os.getloadavg(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }
    if options.json:
        options.json.write_text(json.dumps({**about, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
