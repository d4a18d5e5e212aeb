"""What transfer learning is worth: ethane from DFT to CASPT2 with a hundred energies.

    python benchmarks/transfer.py --data DIR [--labels 100] [--seeds 3] [--json FILE]

DIR holds the alkane set (doi 10.26434/chemrxiv-2023-13cv6): folders DFT (wB97X/6-31G*) and CASPT2,
with frames of molecular dynamics, normal modes and a bond that breaks. An ensemble of 8 members
(three hidden layers, as ANI-1ccx) is trained on DFT energies; then, on as many CASPT2 energies,

    transfer         from these weights, layers 0 and 2 frozen (Smith et al. 2019)
    nothing frozen   from these weights, all layers free
    delta            a fresh ensemble for the difference between CASPT2 and what the DFT one says
    scratch          a fresh ensemble
    DFT only         the DFT ensemble as it is; its zero of energy fitted to the labels

The error is that of all CASPT2 points that nobody was trained on, the median over seeds; a seed
draws the labels and all initial weights.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import arguments
import h5py
import numpy as np
import torch

from alflow.core.datasets import LabelledStructure
from alflow.core.elements import atomic_number
from alflow.core.labels import Label
from alflow.core.metrics import rmse
from alflow.core.structures import Structure
from alflow.core.units import EV_PER_HARTREE
from alflow.models.ani.settings import AniSettings
from alflow.models.loading import load_potential
from alflow.models.weights import read_tensors
from alflow.training.evaluate import predict
from alflow.training.settings import StackedSettings

LOW = (
    "DFT/NMS/C2H6_DFT+Force_NMS.h5",
    "DFT/aseMD/C2H6_DFT_aseMD.h5",
    "DFT/MEP/C2H6_DFT_MEP.h5",
)
HIGH = (
    "CASPT2/NMS/C2H6_CAS_NMS.h5",
    "CASPT2/aseMD/C2H6_CAS_aseMD.h5",
    "CASPT2/MEP/C2H6_CAS_MEP.h5",
)
N_LOW = 3000
"""DFT energies to train on, drawn from those there are."""
FROZEN = (0, 2)
MODEL = AniSettings(hidden=(64, 48, 32))
COMMON: dict[str, Any] = {"force_weight": 0.0, "batch_size": 16}
WAYS = ("transfer", "nothing frozen", "delta", "scratch", "DFT only")


def points(data: Path, names: Sequence[str]) -> list[LabelledStructure]:
    """Ethane with energies; equal geometries once."""
    found: dict[str, LabelledStructure] = {}
    for name in names:
        with h5py.File(data / name) as file:
            for key, group in _groups(file):
                numbers = np.array(
                    [atomic_number(s.decode()) for s in group["species"][:]], np.uint8
                )
                columns = zip(group["coordinates"][:], group["energies"][:], strict=True)
                for k, (positions, energy) in enumerate(columns):
                    structure = Structure(numbers, positions.astype(np.float64))
                    label = Label(float(energy) * EV_PER_HARTREE, None)
                    item = LabelledStructure(structure, label, len(found) + 1, f"{key}/{k}")
                    found.setdefault(structure.hash, item)
    return list(found.values())


def _groups(file: Any) -> list[tuple[str, Any]]:
    groups: list[tuple[str, Any]] = []

    def look(name: str, one: Any) -> None:
        if isinstance(one, h5py.Group) and "coordinates" in one:
            groups.append((name, one))

    file.visititems(look)
    return groups


def drawn(items: list[LabelledStructure], count: int, seed: int) -> list[LabelledStructure]:
    """All of them in random order, the first `count` to be trained on."""
    order = np.random.default_rng(seed).permutation(len(items))
    return [items[k] for k in order[:count]] + [items[k] for k in order[count:]]


def trained(
    data: list[LabelledStructure], seed: int, initial: bytes | None = None, **options: Any
) -> bytes:
    """Weights of an ensemble."""
    settings = StackedSettings(**{**COMMON, **options})
    result = settings.create(MODEL).train(data, seed, initial, lambda _: None)
    if not hasattr(result, "weights"):
        raise SystemExit(f"training failed: {result}")
    return bytes(result.weights)


def energies(weights: bytes, items: Sequence[LabelledStructure]) -> np.ndarray:
    """What an ensemble says [eV]."""
    said = predict(load_potential(weights), [item.structure for item in items])
    return np.array([one.energy for one in said])


def labels(items: Sequence[LabelledStructure]) -> np.ndarray:
    """Energies [eV]."""
    return np.array([item.label.energy for item in items])


def one_seed(
    low: list[LabelledStructure], high: list[LabelledStructure], n_labels: int, seed: int
) -> dict[str, float]:
    """RMSE of each way [meV], and whether the frozen tensors are what they were."""
    few = drawn(high, n_labels, seed)
    few, rest = few[:n_labels], few[n_labels:]
    base = trained(drawn(low, N_LOW, seed)[:N_LOW], seed, epochs=60)
    # Restarted at the rate of a fresh training, as published.
    again: dict[str, Any] = {"warm_epochs": 200, "epochs": 200, "warm_learning_rate": 2e-3}
    moved = trained(few, seed, base, frozen_layers=FROZEN, **again)
    free = trained(few, seed, base, **again)
    fresh = trained(few, seed, epochs=200)
    said = energies(base, few), energies(base, rest)
    rows = [
        LabelledStructure(
            item.structure,
            Label(item.label.energy - float(one), None),
            item.label_id,
            item.group,
        )
        for item, one in zip(few, said[0], strict=True)
    ]
    delta = trained(rows, seed, epochs=200)
    shift = float((labels(few) - said[0]).mean())
    predictions = {
        "transfer": energies(moved, rest),
        "nothing frozen": energies(free, rest),
        "delta": said[1] + energies(delta, rest),
        "scratch": energies(fresh, rest),
        "DFT only": said[1] + shift,
    }
    found = {way: 1e3 * rmse(predictions[way] - labels(rest)) for way in WAYS}
    found["frozen_bit_identical"] = float(_same(base, moved))
    return found


def _same(base: bytes, moved: bytes) -> bool:
    """Whether exactly the frozen layers are bit-identical."""
    before, after = read_tensors(base), read_tensors(moved)
    layers = [name for name in before if name.count(".") == 2]
    return all(
        torch.equal(before[name], after[name]) == (int(name.split(".")[1]) in FROZEN)
        for name in layers
    )


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--data",
        type=arguments.data_folder(*LOW, *HIGH),
        required=True,
        help="folder of the alkane set",
    )
    parser.add_argument("--labels", type=arguments.count, default=100)
    parser.add_argument("--seeds", type=arguments.count, default=3)
    parser.add_argument(
        "--json", type=arguments.result_file, help="where to write the numbers"
    )
    options = parser.parse_args()
    for name in (*LOW, *HIGH):
        if not (options.data / name).exists():
            parser.error(f"--data {options.data} has no {name}")
    torch.set_num_threads(1)
    load, begun = os.getloadavg(), time.perf_counter()
    low, high = points(options.data, LOW), points(options.data, HIGH)
    runs = []
    for seed in range(options.seeds):
        runs.append(one_seed(low, high, options.labels, seed))
        told = ", ".join(f"{name} {value:.0f}" for name, value in runs[-1].items())
        print(f"seed {seed}: {told}", file=sys.stderr)
    found = {name: statistics.median(run[name] for run in runs) for name in WAYS}
    n_test = len(high) - options.labels
    print(
        f"{options.labels} CASPT2 energies, {n_test} held out, median of {options.seeds} seeds"
    )
    for name, value in found.items():
        print(f"{name:24s}{value:10.1f} meV")
    is_same = all(run["frozen_bit_identical"] for run in runs)
    is_best = found["transfer"] < min(found["scratch"], found["DFT only"])
    print(f"frozen tensors bit-identical, all others changed: {'yes' if is_same else 'NO'}")
    print(f"transfer beats scratch and DFT only: {'yes' if is_best else 'NO'}")
    about = {
        "seconds": time.perf_counter() - begun,
        "load_before": load,
        "load_after": os.getloadavg(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    print(f"\n{json.dumps(about)}", file=sys.stderr)
    if options.json:
        content = {"median_meV": found, "seeds": runs, "about": about}
        options.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
