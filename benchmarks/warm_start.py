"""Warm starts against training from scratch, and what old data are good for: acetylacetone.

    python benchmarks/warm_start.py --data DIR [--structures 150] [--epochs 120] [--json FILE]

DIR holds the acac files of BOTNet-datasets. An ensemble is trained on structures of MD at 300 K;
then as many at 600 K arrive, as they would in the next iteration of a campaign:

    parent        before they arrived
    warm          from the parent's weights, on all data, half as many epochs (what a campaign does)
    scratch       from random weights, on all data
    new only      from the parent's weights, on the new data alone: what forgetting looks like

Errors are force RMSE of the ensemble [meV/Å] on the published test sets at both temperatures and on
the early labels; times are CPU times.
"""

import argparse
import json
import os
import platform
import sys
import time

import arguments
import numpy as np
import torch
from acac import structures

from alflow.core.datasets import LabelledStructure
from alflow.core.metrics import rmse
from alflow.models.ani.settings import AniSettings
from alflow.models.loading import load_potential
from alflow.training.evaluate import predict
from alflow.training.settings import StackedSettings


def trained(
    data: list[LabelledStructure], epochs: int, initial: bytes | None = None
) -> tuple[bytes, float]:
    """Weights, and CPU time [s]."""
    begun = time.process_time()
    settings = StackedSettings(
        epochs=epochs, warm_epochs=max(1, epochs // 2), minimum_steps=0
    )
    result = settings.create(AniSettings()).train(data, 1, initial, lambda _: None)
    if not hasattr(result, "weights"):
        raise SystemExit(f"training failed: {result}")
    return bytes(result.weights), time.process_time() - begun


def force_rmse(weights: bytes, items: list[LabelledStructure]) -> float:
    """Force RMSE of the ensemble [meV/Å]."""
    said = predict(load_potential(weights), [item.structure for item in items])
    wrong = [
        one.forces - np.asarray(item.label.forces)
        for one, item in zip(said, items, strict=True)
    ]
    return 1e3 * rmse(np.concatenate(wrong))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--data",
        type=arguments.data_folder("train_300K.xyz", "train_600K.xyz"),
        required=True,
        help="folder of the acac files",
    )
    parser.add_argument(
        "--structures", type=arguments.count, default=150, help="of each kind"
    )
    parser.add_argument("--epochs", type=arguments.count, default=120)
    parser.add_argument(
        "--json", type=arguments.result_file, help="where to write the numbers"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    load = os.getloadavg()
    old = structures(options.data / "train_300K.xyz")[: options.structures]
    new = structures(options.data / "train_600K.xyz")[: options.structures]
    both, epochs = [*old, *new], options.epochs
    tests = {
        "300K": structures(options.data / "test_MD_300K.xyz")[::4],
        "600K": structures(options.data / "test_MD_600K.xyz")[::4],
        "early labels": old,
    }
    made = {"parent": trained(old, epochs)}
    parent = made["parent"][0]
    made["warm"] = trained(both, epochs, parent)
    made["scratch"] = trained(both, epochs)
    made["new only"] = trained(new, epochs, parent)
    found = {
        name: {test: force_rmse(weights, items) for test, items in tests.items()}
        | {"cpu_s": cpu_s}
        for name, (weights, cpu_s) in made.items()
    }
    print(
        f"{'force RMSE [meV/Å]':20s}"
        + "".join(f"{test:>14s}" for test in [*tests, "CPU [s]"])
    )
    for name, row in found.items():
        print(f"{name:20s}" + "".join(f"{value:14.1f}" for value in row.values()))
    about = {
        "load_before": load,
        "load_after": os.getloadavg(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    print(f"\n{json.dumps(about)}", file=sys.stderr)
    if options.json:
        options.json.write_text(json.dumps({**found, "about": about}, indent=1) + "\n")


if __name__ == "__main__":
    main()
