"""How accurate training gets in minutes: acetylacetone, beside torchani's recipe.

    python benchmarks/acac.py --data DIR [--epochs 200] [--threads 2] [--adam] [--json FILE]

DIR holds the acac files of BOTNet-datasets (Batatia et al., arXiv 2205.06643; PBE + D3, def2-SVP):
450 structures of `train_300K.xyz` train, the other 50 are left out. Tests are the published sets:
MD at 300 K and at 600 K, a scan of a dihedral angle and the path of a hydrogen transfer; the last
two have energies only and lie outside of the training data. Both programs have the same descriptor,
networks (64-48 SiLU, 8 members), loss, batch size and cores:

    alflow     the stacked trainer as a campaign has it
    adam       with `--adam`: the same with `train.optimizer: adam`, and twice as many epochs
    torchani   its recipe, member after member: descriptor, networks and forces by autograd with
               `create_graph`, Adam, learning rate 1e-3 on a half cosine; in the time of alflow

Energies are compared as they are, except for the two scans, which are compared relative to their
lowest point. Needs the extra `bench` (torchani).
"""

import argparse
import json
import math
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ["TORCHANI_NO_WARN_EXTENSIONS"] = "1"

import arguments
import numpy as np
import torch
from ase.io import read

from alflow.core.datasets import LabelledStructure
from alflow.core.elements import SYMBOLS
from alflow.core.labels import Label
from alflow.core.metrics import rmse
from alflow.core.structures import Structure
from alflow.models.ani.settings import AniSettings
from alflow.models.loading import load_potential
from alflow.training.evaluate import predict
from alflow.training.settings import StackedSettings

TESTS = {
    "300K": "test_MD_300K.xyz",
    "600K": "test_MD_600K.xyz",
    "dihedral": "test_dihedral.xyz",
    "H_transfer": "test_H_transfer.xyz",
}
SCANS = ("dihedral", "H_transfer")
N_TRAIN = 450
TARGETS = {"force_300K": 38.0, "force_600K": 100.0, "seconds": 600.0}
"""Largest force RMSE that must be reached [meV/Å]."""
TORCHANI_RATE = 1e-3
Predict = Callable[[Sequence[Structure]], list[tuple[float, np.ndarray]]]


def structures(path: Path) -> list[LabelledStructure]:
    """Labelled molecules of an extxyz file."""
    found = []
    for k, atoms in enumerate(read(path, ":")):
        forces = atoms.calc.results.get("forces")
        label = Label(float(atoms.get_potential_energy()), forces)
        structure = Structure(atoms.numbers.astype(np.uint8), atoms.positions)
        found.append(LabelledStructure(structure, label, k + 1, f"{path.stem}/{k}"))
    return found


def errors(data: Path, say: Predict) -> dict[str, float]:
    """RMSE of energies [meV] and of force components [meV/Å] on all tests."""
    found = {}
    for name, file in TESTS.items():
        items = structures(data / file)
        said = say([item.structure for item in items])
        labels = np.array([item.label.energy for item in items])
        energies = np.array([energy for energy, _ in said])
        if name in SCANS:
            lowest = int(labels.argmin())
            labels, energies = labels - labels[lowest], energies - energies[lowest]
        found[f"energy_{name}"] = 1e3 * rmse(energies - labels)
        if items[0].label.forces is not None:
            wrong = [
                forces - item.label.forces
                for (_, forces), item in zip(said, items, strict=True)
                if item.label.forces is not None
            ]
            found[f"force_{name}"] = 1e3 * rmse(np.concatenate(wrong))
    return found


def train_alflow(
    data: list[LabelledStructure], model: AniSettings, settings: StackedSettings, seed: int
) -> tuple[Predict, float]:
    """The stacked trainer; also the wall-clock time it took [s]."""
    begun = time.perf_counter()

    def tell(metrics: Mapping[str, float]) -> None:
        if metrics["epoch"] % 50 == 0:
            told = f"{metrics['holdout_force_rmse_meV_per_A']:.1f} meV/Å held out"
            print(f"  epoch {metrics['epoch']:.0f}: {told}", file=sys.stderr)

    result = settings.create(model).train(data, seed, None, tell)
    taken = time.perf_counter() - begun
    if not hasattr(result, "weights"):
        raise SystemExit(f"training failed: {result}")
    potential = load_potential(result.weights)

    def say(molecules: Sequence[Structure]) -> list[tuple[float, np.ndarray]]:
        return [(one.energy, one.forces) for one in predict(potential, molecules)]

    return say, taken


class Torchani:
    """One member by torchani's recipe."""

    def __init__(
        self, data: list[LabelledStructure], model: AniSettings, seed: int
    ) -> None:
        """Set up descriptor, networks and data, all molecules as one tensor."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from torchani.aev import AEVComputer, ANIAngular, ANIRadial
            from torchani.nn import ANINetworks, AtomicNetwork
        torch.manual_seed(seed)
        c = model.constants()
        radial = ANIRadial(c.radial_eta, c.radial_shifts, c.radial_cutoff_A)
        angular = ANIAngular(
            c.angular_eta, c.zeta, c.angular_shifts, c.angular_sections, c.angular_cutoff_A
        )
        numbers = data[0].structure.numbers
        elements = sorted({int(z) for z in numbers})
        self._aev = AEVComputer(radial, angular, num_species=len(elements))
        widths = [c.n_features(len(elements)), *model.hidden, 1]
        self._networks = ANINetworks(
            {
                SYMBOLS[z]: AtomicNetwork(widths, activation=torch.nn.SiLU(), bias=True)
                for z in elements
            }
        )
        self._species = torch.tensor([[elements.index(int(z)) for z in numbers]])
        labels = np.array([item.label.energy for item in data])
        self._shift = float(labels.mean())
        self._positions = torch.tensor(
            np.stack([item.structure.positions for item in data]), dtype=torch.float32
        )
        self._energies = torch.tensor(labels - self._shift, dtype=torch.float32)
        self._forces = torch.tensor(
            np.stack([np.asarray(item.label.forces) for item in data]), dtype=torch.float32
        )

    def train(self, seconds: float, batch: int) -> int:
        """Train for so long; the number of epochs."""
        adam = torch.optim.Adam(self._networks.parameters(), lr=TORCHANI_RATE)
        begun, n_epochs = time.perf_counter(), 0
        while (done := (time.perf_counter() - begun) / seconds) < 1:
            adam.param_groups[0]["lr"] = (
                TORCHANI_RATE * 0.5 * (1 + math.cos(math.pi * done))
            )
            for rows in torch.randperm(len(self._energies)).split(batch):
                energies, forces = self._evaluate(self._positions[rows], training=True)
                per_atom = (energies - self._energies[rows]) / self._species.shape[1]
                wrong = (forces - self._forces[rows]).square().mean()
                adam.zero_grad()
                ((per_atom / 0.1).square().mean() + wrong).backward()
                adam.step()
            n_epochs += 1
        return n_epochs

    def say(self, molecules: Sequence[Structure]) -> tuple[np.ndarray, np.ndarray]:
        """Energies [eV] and forces [eV/Å]."""
        parts = []
        for start in range(0, len(molecules), 64):
            chunk = [one.positions for one in molecules[start : start + 64]]
            positions = torch.tensor(np.stack(chunk), dtype=torch.float32)
            energies, forces = self._evaluate(positions, training=False)
            parts.append((energies.double().detach().numpy(), forces.detach().numpy()))
        energies, forces = (np.concatenate(column) for column in zip(*parts, strict=True))
        return energies + self._shift, forces

    def _evaluate(self, positions: Any, *, training: bool) -> tuple[Any, Any]:
        positions = positions.clone().requires_grad_()
        species = self._species.repeat(len(positions), 1)
        energies = self._networks(species, self._aev(species, positions))
        (slope,) = torch.autograd.grad(energies.sum(), positions, create_graph=training)
        return energies, -slope


def train_torchani(
    data: list[LabelledStructure], model: AniSettings, seconds: float, seed: int
) -> tuple[Predict, float]:
    """All members, one after the other, in so much time; also epochs of each on average."""
    batch = StackedSettings().structures_per_step(data[0].structure.n_atoms)
    members, n_epochs = [], []
    Torchani(data, model, seed).train(1.0, batch)  # what is imported at the first step
    for m in range(model.members):
        members.append(Torchani(data, model, seed + m))
        n_epochs.append(members[-1].train(seconds / model.members, batch))
        print(f"  torchani: member {m}, {n_epochs[-1]} epochs", file=sys.stderr)

    def say(molecules: Sequence[Structure]) -> list[tuple[float, np.ndarray]]:
        said = [member.say(molecules) for member in members]
        energies, forces = (np.mean(column, 0) for column in zip(*said, strict=True))
        return list(zip(energies.tolist(), forces, strict=True))

    return say, float(np.mean(n_epochs))


def show(found: Mapping[str, Mapping[str, float]]) -> None:
    """Print the errors of each program side by side, and what they took."""
    unit = {"energy": "meV", "force": "meV/Å"}
    heads = "".join(f"{name:>12s}" for name in found)
    print(f"{'RMSE of the ensemble':24s}{heads}{'target':>10s}")
    for name in found["alflow"]:
        kind, _, test = name.partition("_")
        target = f"{TARGETS[name]:.0f}" if name in TARGETS else ""
        what = f"{test} {kind} [{unit[kind]}]" if kind in unit else name
        numbers = "".join(f"{one[name]:12.1f}" for one in found.values())
        print(f"{what:24s}{numbers}{target:>10s}")


def main() -> None:
    """Train, test, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--data",
        type=arguments.data_folder("train_300K.xyz", "test_MD_300K.xyz"),
        required=True,
        help="folder of the acac files",
    )
    parser.add_argument("--epochs", type=arguments.count, default=200)
    parser.add_argument("--threads", type=arguments.count, default=2)
    parser.add_argument("--seed", type=arguments.or_none, default=1)
    parser.add_argument("--adam", action="store_true", help="also train by Adam")
    parser.add_argument("--no-torchani", action="store_true")
    parser.add_argument(
        "--json", type=arguments.result_file, help="where to write the numbers"
    )
    options = parser.parse_args()
    for name in TESTS.values():
        if not (options.data / name).exists():
            parser.error(f"--data {options.data} has no {name}")
    torch.set_num_threads(options.threads)
    os.environ["NUMBA_NUM_THREADS"] = str(options.threads)
    load = os.getloadavg()
    data, model = structures(options.data / "train_300K.xyz")[:N_TRAIN], AniSettings()
    found: dict[str, dict[str, float]] = {}
    ways = {"alflow": StackedSettings(epochs=options.epochs, minimum_steps=0)}
    if options.adam:
        change = {"optimizer": "adam", "epochs": 2 * options.epochs}
        ways["adam"] = ways["alflow"].model_copy(update=change)
    for name, settings in ways.items():
        say, taken = train_alflow(data, model, settings, options.seed)
        found[name] = errors(options.data, say) | {
            "seconds": taken,
            "epochs": settings.epochs,
        }
    taken = found["alflow"]["seconds"]
    if not options.no_torchani:
        say, n_epochs = train_torchani(data, model, taken, options.seed)
        found["torchani"] = errors(options.data, say) | {
            "seconds": taken,
            "epochs": n_epochs,
        }
    show(found)
    about = {
        "threads": options.threads,
        "load_before": load,
        "load_after": os.getloadavg(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    print(f"\n{json.dumps(about)}", file=sys.stderr)
    if options.json:
        written = {**found, "seconds": taken, "about": about}
        options.json.write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main()
