"""How fast the store is, beside an ASE database and extended XYZ on the same structures.

    python benchmarks/store.py [--structures 50000] [--rows 1000000] [--json FILE] [--db URL]

Everything is measured in one run on one thread, so that ratios hold on a busy machine too. ASE is
given a subsample (its rates do not depend on the number, its times would), always the first
structures. Ratios are of rates per structure; what is repeated is given as a median.

The structures are random: 20 to 100 atoms of H, C, N and O in a periodic box, with energy, forces
and stress. What is timed begins with objects in memory as each library takes them; the hashes of
our structures are not known yet. Both are given a whole data set to write in one transaction (what
`alflow import` does with a file); beside it stands the way of the loop, which asks for every label
before it comes.
"""

import argparse
import gc
import json
import os
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import arguments
import ase
import ase.io
import numpy as np
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect

from alflow.core.batches import pack_dataset, unpack_dataset
from alflow.core.datasets import Dataset
from alflow.core.labels import Label
from alflow.core.structures import Structure, hashes_of
from alflow.core.tasks import Outcome, TaskSpec
from alflow.execution.files import CampaignFiles
from alflow.store import (
    ImportSource,
    NewLabelled,
    NewStructure,
    NewTask,
    SightingKind,
    Store,
    open_store,
)
from alflow.store.views import status

LEVEL = "dft"
PER_TASK = 5000
INSERTS = 5
"""Repetitions of an import and of its counterpart."""
BATCH = 64
TARGETS = {
    "insert / ase.db": 20.0,
    "scan to tensors / ase.db": 60.0,
    "random batches of 64 / ase.db": 50.0,
    "cache scan [structures/s]": 1e6,
    "status of 10^6 structures [ms]": 100.0,
    "bytes / raw arrays": 1.2,
}
AT_MOST = ("status of 10^6 structures [ms]", "bytes / raw arrays")


@dataclass(frozen=True, slots=True)
class Sample:
    """Random structures, once for alflow and once for ASE.

    Attributes:
        structures: Structures whose hashes are not known yet.
        labels: Their labels.
        raw_bytes: Size of all arrays.
    """

    structures: list[Structure]
    labels: list[Label]
    raw_bytes: int


def make_sample(count: int, seed: int = 1) -> Sample:
    """Random structures with labels."""
    rng = np.random.default_rng(seed)
    structures, labels, raw = [], [], 0
    for _ in range(count):
        n = int(rng.integers(20, 101))
        numbers = rng.choice(np.array([1, 6, 7, 8], np.uint8), n)
        cell = np.diag(rng.uniform(10, 14, 3))
        structures.append(
            Structure(numbers, rng.uniform(0, 10, (n, 3)), cell, np.ones(3, bool))
        )
        label = Label(
            float(rng.normal(-2e4, 1e3)), rng.normal(size=(n, 3)), rng.normal(size=6)
        )
        labels.append(label)
        raw += n * (1 + 24 + 24) + 72 + 8 + 48
    return Sample(structures, labels, raw)


def rate(count: int, work: Callable[[], Any]) -> float:
    """Structures a second."""
    gc.collect()
    begun = time.perf_counter()
    work()
    return count / (time.perf_counter() - begun)


def median_rate(count: int, work: Callable[[], Any], repeats: int = 5) -> float:
    """The median of several runs, in structures a second."""
    return statistics.median(rate(count, work) for _ in range(repeats))


def random_ids(count: int, batches: int) -> list[list[int]]:
    """Ids, from 1, of random batches."""
    rng = np.random.default_rng(2)
    return [rng.integers(1, count + 1, BATCH).tolist() for _ in range(batches)]


def tensors(data: Dataset) -> list[torch.Tensor]:
    """What a trainer needs, nothing copied."""
    names = ("numbers", "positions", "cells", "energy", "forces", "n_atoms")
    return [torch.from_numpy(getattr(data, name)) for name in names]


def begin(store: Store) -> None:
    """Make a campaign."""
    store.create_campaign("benchmark", {}, 1)
    store.acquire_lease("benchmark")
    store.register_level(LEVEL, {"kind": "benchmark"})


def items_of(sample: Sample) -> list[NewLabelled]:
    """The sample as it comes from a file."""
    pairs = zip(sample.structures, sample.labels, strict=True)
    return [
        NewLabelled(
            NewStructure(one, f"random/{k}", "train", "random", None, SightingKind.IMPORT),
            label,
            k,
        )
        for k, (one, label) in enumerate(pairs)
    ]


def import_all(store: Store, items: Sequence[NewLabelled]) -> None:
    """Write structures and labels as `alflow import` does."""
    begin(store)
    store.import_labelled(ImportSource("random.xyz", "ab" * 32), LEVEL, items)


def insert(store: Store, sample: Sample) -> None:
    """Write structures and labels the way that the loop does, in large tasks."""
    begin(store)
    store.begin_iteration(0, "build")
    for start in range(0, len(sample.structures), PER_TASK):
        part = sample.structures[start : start + PER_TASK]
        labels = sample.labels[start : start + PER_TASK]
        new = [
            NewStructure(one, f"random/{start + k}", "train", "random")
            for k, one in enumerate(part)
        ]
        hashes = tuple(hashes_of(part))
        spec = TaskSpec("label", f"label/{start}", 1, {}, {}, hashes)
        store.add_structures(new, [NewTask(spec, 0, 0, LEVEL)], iteration=0)
        attempt = store.start_attempt(store.queued({"label": 1})[0].id)
        store.commit_items(attempt, dict(zip(hashes, labels, strict=True)), "benchmark 1")
        store.finish_task(attempt, Outcome())


def measure_store(sample: Sample, database: str, folder: Path) -> dict[str, float]:
    """Rates of the store and of the training cache."""
    count = len(sample.structures)
    found: dict[str, float] = {}
    items = items_of(sample)
    with open_store(database, create=True) as store:
        found["insert"] = rate(count, lambda: import_all(store, items))
    with open_store(database, read_only=True) as store:
        found["scan"] = median_rate(count, lambda: tensors(store.dataset("train", LEVEL)))
        batches = random_ids(count, 200)
        found["random"] = median_rate(
            BATCH * len(batches), lambda: [tensors(store.batch(ids)) for ids in batches]
        )
        found |= measure_cache(store.dataset("train", LEVEL), folder)
    path = Path(database)
    if path.is_file():
        found["bytes"] = path.stat().st_size / count
    return found


def measure_loop(count: int, folder: Path) -> dict[str, float]:
    """Rate at which the loop writes, and how much room that takes."""
    path, sample = folder / "loop.db", make_sample(count)
    with open_store(path, create=True) as store:
        found = {"insert": rate(count, lambda: insert(store, sample))}
    return found | {"bytes": path.stat().st_size / count}


def measure_inserts(count: int, images: list[ase.Atoms], folder: Path) -> dict[str, float]:
    """Median rates of an import and of ASE's, taken in turns, and of their ratio.

    A machine that others use is not equally fast from one minute to the next.
    """
    ours, theirs = [], []
    for k in range(INSERTS):
        theirs.append(rate(len(images), partial(write_ase, images, folder / f"{k}.ase.db")))
        # New structures each time: the hashes of old ones are known.
        items, path = items_of(make_sample(count)), folder / f"{k}.db"
        with open_store(path, create=True) as store:
            ours.append(rate(count, partial(import_all, store, items)))
        path.unlink()
    return {
        "ase": statistics.median(theirs),
        "alflow": statistics.median(ours),
        "ratio": statistics.median(a / b for a, b in zip(ours, theirs, strict=True)),
    }


def write_ase(images: list[ase.Atoms], path: Path) -> None:
    """Write all images into a new ASE database in one transaction."""
    with connect(path) as database:
        for atoms in images:
            database.write(atoms)


def measure_cache(data: Dataset, folder: Path) -> dict[str, float]:
    """Rates of the file that train tasks map."""
    count, files = len(data), CampaignFiles(folder)
    found: dict[str, float] = {}
    names: list[str] = []
    found["cache_write"] = rate(
        count, lambda: names.append(files.write_blob(pack_dataset(data)))
    )

    def opened() -> Dataset:
        return unpack_dataset(files.map_blob(names[0]), is_verified=True)

    found["cache_open"] = median_rate(count, opened)
    cached = opened()
    # Every number is looked at: a map alone would cost nothing.
    found["cache_scan"] = median_rate(count, lambda: [t.sum() for t in tensors(cached)])
    batches = [np.array(ids) - 1 for ids in random_ids(count, 200)]
    found["cache_random"] = median_rate(
        BATCH * len(batches), lambda: [tensors(cached.take(ids)) for ids in batches]
    )
    return found


def atoms_of(sample: Sample, count: int) -> list[ase.Atoms]:
    """The first structures of a sample for ASE."""
    images = []
    for structure, label in zip(sample.structures[:count], sample.labels, strict=False):
        atoms = ase.Atoms(
            structure.numbers, structure.positions, cell=structure.cell, pbc=structure.pbc
        )
        atoms.calc = SinglePointCalculator(
            atoms, energy=label.energy, forces=label.forces, stress=label.stress
        )
        images.append(atoms)
    return images


def flat(images: Sequence[ase.Atoms]) -> list[torch.Tensor]:
    """Atoms as the same tensors."""
    return [
        torch.from_numpy(np.concatenate([atoms.numbers for atoms in images])),
        torch.from_numpy(np.concatenate([atoms.positions for atoms in images])),
        torch.from_numpy(np.array([atoms.cell.array for atoms in images])),
        torch.tensor([atoms.get_potential_energy() for atoms in images]),
        torch.from_numpy(np.concatenate([atoms.get_forces() for atoms in images])),
        torch.tensor([len(atoms) for atoms in images]),
    ]


def measure_ase(images: list[ase.Atoms], folder: Path) -> dict[str, float]:
    """Rates of an ASE database and of an extended XYZ file."""
    count, found = len(images), {}
    path, text = folder / "ase.db", folder / "images.extxyz"
    found["db_insert"] = rate(count, partial(write_ase, images, path))
    database = connect(path)
    found["db_scan"] = median_rate(
        count, lambda: flat([row.toatoms() for row in database.select()]), 3
    )
    batches = random_ids(count, 10)
    found["db_random"] = median_rate(
        BATCH * len(batches),
        lambda: [flat([database.get_atoms(i) for i in ids]) for ids in batches],
        3,
    )
    found["db_bytes"] = path.stat().st_size / count
    found["xyz_insert"] = rate(count, lambda: ase.io.write(text, images))
    found["xyz_scan"] = rate(count, lambda: flat(ase.io.read(text, ":")))
    found["xyz_bytes"] = text.stat().st_size / count
    return found


def measure_status(rows: int, folder: Path) -> dict[str, float]:
    """Time of a status query [ms] in a campaign with so many labelled structures."""
    path = folder / "large.db"
    with open_store(path, create=True) as store:
        store.create_campaign("large", {}, 1)
        store.acquire_lease("benchmark")
        store.register_level(LEVEL, {"kind": "benchmark"})
        store.begin_iteration(0, "build")
    with sqlite3.connect(path, isolation_level=None) as connection:
        connection.execute("BEGIN")
        for statement in SYNTHETIC.split(";"):
            connection.execute(statement, {"rows": rows} if ":rows" in statement else {})
        connection.execute("COMMIT")
    connection.close()
    with open_store(path, read_only=True) as store:
        times = []
        for _ in range(21):
            begun = time.perf_counter()
            labels = status(store).labels
            times.append(1e3 * (time.perf_counter() - begun))
    if labels["ok"] != rows:
        raise SystemExit(f"the status speaks of {labels['ok']} labels instead of {rows}")
    return {"status_first_ms": times[0], "status_ms": statistics.median(times)}


_UP_TO = "WITH RECURSIVE k(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM k WHERE i < {})"
SYNTHETIC = f"""
-- 200 iterations of which the last is open, tasks of four labels, one attempt for each.
INSERT INTO iteration (id, campaign_id, number, phase, started, ended)
    {_UP_TO.format(200)}
    SELECT i, 1, i - 1, 'label', 0, CASE WHEN i < 200 THEN 1 END FROM k WHERE i > 1;
INSERT INTO structure (id, hash, n_atoms, formula, numbers, positions, pbc, charge,
                       multiplicity, created)
    {_UP_TO.format(":rows")}
    SELECT i, CAST(printf('%032d', i) AS BLOB), 1, 'H', x'01', zeroblob(24), 0, 0, 1, 0 FROM k;
INSERT INTO campaign_structure (structure_id, campaign_id, group_key, split, source, added_iter)
    SELECT id, 1, 'g' || id, CASE WHEN id % 20 THEN 'train' ELSE 'test' END, 'random', id % 200
    FROM structure;
INSERT INTO task (id, campaign_id, iteration_id, kind, key, lot_id, state, priority, spec_json,
                  attempts, charged, published)
    SELECT id, 1, 1 + id % 200, 'label', 'label/' || id, 1, 'done', 0, '{{}}', 1, 0, 0
    FROM structure WHERE id <= (SELECT max(id) FROM structure) / 4 + 1;
INSERT INTO attempt (id, task_id, no, token, epoch, fence, state, charged, started)
    SELECT id, id, 1, 't' || id, 1, 1, 'done', 0, 0 FROM task;
INSERT INTO label_item (id, task_id, position, structure_id, lot_id, state)
    SELECT id, 1 + id / 4, id % 4, id, 1, 'ok' FROM structure;
INSERT INTO label (id, structure_id, lot_id, n_atoms, energy, quality, content_sha,
                   program_version, created)
    SELECT id, id, 1, 1, 0.0, 'ok', zeroblob(32), '1', 0 FROM structure;
INSERT INTO task_count
    SELECT iteration_id, kind, state, count(*) FROM task GROUP BY 1, 2, 3;
INSERT INTO label_count
    SELECT t.iteration_id, l.lot_id, c.split, l.state, count(*)
    FROM label_item l JOIN task t ON t.id = l.task_id
    JOIN campaign_structure c ON c.structure_id = l.structure_id GROUP BY 1, 2, 3, 4;
"""
"""A campaign as large as asked for, without the arrays."""


def ratios(found: dict[str, dict[str, float]], raw_bytes: float) -> dict[str, float]:
    """What the targets speak of."""
    ours, theirs = found["alflow"], found["ase"]
    named = {
        "insert / ase.db": found["inserts"]["ratio"]
        if found["inserts"]
        else ours["insert"] / theirs["db_insert"],
        "insert / extxyz": ours["insert"] / theirs["xyz_insert"],
        "scan to tensors / ase.db": ours["scan"] / theirs["db_scan"],
        "scan to tensors / extxyz": ours["scan"] / theirs["xyz_scan"],
        "random batches of 64 / ase.db": ours["random"] / theirs["db_random"],
        "cache scan [structures/s]": ours["cache_scan"],
    }
    if "status_ms" in found["status"]:
        named["status of 10^6 structures [ms]"] = found["status"]["status_ms"]
    if loop := found["loop"]:
        named["insert by the loop / ase.db"] = loop["insert"] / theirs["db_insert"]
        named["bytes / raw arrays"] = loop["bytes"] / raw_bytes
    if "bytes" in ours:
        named["bytes of an import / raw arrays"] = ours["bytes"] / raw_bytes
    return named


def tell(found: dict[str, dict[str, float]], named: dict[str, float]) -> None:
    """Print what was measured, then the targets."""
    for place, values in found.items():
        for name, value in values.items():
            print(f"{place:8s} {name:18s} {value:14,.1f}")
    print()
    for name, value in named.items():
        target = TARGETS.get(name)
        verdict = ""
        if target is not None:
            is_met = value <= target if name in AT_MOST else value >= target
            sign = "<=" if name in AT_MOST else ">="
            verdict = f"{sign} {target:,g}  {'met' if is_met else 'MISSED'}"
        print(f"{name:34s} {value:14,.2f}  {verdict}")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--structures", type=arguments.count, default=50_000)
    parser.add_argument(
        "--rows", type=arguments.or_none, default=1_000_000, help="0: no status query"
    )
    parser.add_argument(
        "--ase", type=arguments.count, default=2000, help="structures given to ASE"
    )
    parser.add_argument(
        "--json", type=arguments.result_file, help="where to write the numbers"
    )
    parser.add_argument("--db", help="an empty database: default is a new SQLite file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    load = os.getloadavg()
    sample = make_sample(options.structures)
    raw_bytes = sample.raw_bytes / options.structures
    with tempfile.TemporaryDirectory(prefix="alflow-benchmark-") as name:
        folder = Path(name)
        database = options.db or str(folder / "store.db")
        images = atoms_of(sample, options.ase)
        found = {
            "ase": measure_ase(images, folder),
            "alflow": measure_store(sample, database, folder),
            "inserts": {}
            if options.db
            else measure_inserts(options.structures, images, folder),
            "loop": {} if options.db else measure_loop(options.structures, folder),
            "status": measure_status(options.rows, folder) if options.rows else {},
        }
    named = ratios(found, raw_bytes)
    tell(found, named)
    about = {
        "structures": options.structures,
        "structures_for_ase": len(images),
        "rows": options.rows,
        "raw_bytes_per_structure": raw_bytes,
        "load_before": load,
        "load_after": os.getloadavg(),
        "versions": {
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
            "ase": ase.__version__,
            "numpy": np.__version__,
            "torch": torch.__version__,
        },
    }
    print(f"\n{json.dumps(about)}", file=sys.stderr)
    if options.json:
        text = json.dumps({"about": about, "found": found, "ratios": named}, indent=1)
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
