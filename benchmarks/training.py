"""What an epoch of training costs: all members of an ensemble, on energies and forces.

    python benchmarks/training.py [--structures 1000] [--rounds 3] [--json FILE]

Needs torchani (`pip install alflow[bench]`). Periodic aluminium, 32 atoms a structure, cells of
different size and shape; networks 96-96-96-64-1 on the descriptor of ANI-Al, 8 members, float32,
Adam, 16 structures a step, one thread. In turns, in one process:

    cached      alflow with the derivatives of all descriptors in memory
    uncached    alflow without room for any: they are computed again at every step
    soap        cached, by alflow's default optimiser instead of Adam
    torchani    its recipe for one member, times 8: neighbour list, descriptor, networks, forces
                with `create_graph`, loss, `backward`, Adam. Structures of different cells go one
                by one, since torchani has one cell for a batch; a part of the epoch is run and
                scaled up.

All fit the same numbers with the same loss. Times are CPU times of the process; memory is
the peak of a process of its own for each of the first two, less what it had before the data came.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any, Literal

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ["TORCHANI_NO_WARN_EXTENSIONS"] = "1"

import arguments
import numpy as np
import torch

from alflow.core.datasets import LabelledStructure
from alflow.core.labels import Label
from alflow.core.structures import Structure
from alflow.models.ani.ensemble import AniEnsemble, fresh_ensemble
from alflow.models.ani.settings import AniSettings
from alflow.training.dataset import TrainingSet
from alflow.training.epochs import EpochLoop, Plan
from alflow.training.fit import standardisation
from alflow.training.settings import StackedSettings

MEMBERS = 8
BATCH = 16
N_ATOMS = 32
TARGETS = {"cached_vs_torchani": 50.0, "uncached_vs_torchani": 25.0}
"""What must be reached."""
BUDGET_MB = 4096.0


def structures(count: int) -> list[LabelledStructure]:
    """Strained and shaken fcc cells with labels that are no more than numbers."""
    corners = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    grid = np.stack(np.meshgrid(*[np.arange(2)] * 3), -1).reshape(-1, 1, 3)
    fractions = (grid + corners).reshape(-1, 3) / 2
    rng = np.random.default_rng(0)
    found = []
    for k in range(count):
        cell = 8.1 * (np.eye(3) + rng.uniform(-0.05, 0.05, (3, 3)))
        positions = fractions @ cell + rng.normal(0, 0.2, (N_ATOMS, 3))
        numbers = np.full(N_ATOMS, 13, np.uint8)
        structure = Structure(numbers, positions, cell, np.ones(3, bool))
        forces = rng.normal(0, 0.5, (N_ATOMS, 3))
        found.append(
            LabelledStructure(structure, Label(rng.normal(0, 3), forces), k + 1, str(k))
        )
    return found


def ensemble() -> AniEnsemble:
    """Fresh members in the shape of the published ensemble of aluminium."""
    settings = AniSettings(
        preset="ani-al", hidden=(96, 96, 64), activation="celu", members=MEMBERS
    )
    return fresh_ensemble(settings, [13], 1)


class Ours:
    """The stacked trainer, an epoch at a time."""

    def __init__(
        self,
        data: list[LabelledStructure],
        budget_MB: float,
        optimizer: Literal["soap", "adam"] = "adam",
    ) -> None:
        """Prepare the data."""
        model = ensemble()
        prepared = TrainingSet(data, model.descriptor, torch.float32, budget_MB)
        prepared.subtract([0.0])
        model.networks.standardise(*standardisation(prepared, model))
        settings = StackedSettings(optimizer=optimizer)
        held_out = np.zeros((MEMBERS, len(data)), bool)
        self.loop = EpochLoop(settings, prepared, model.networks, held_out)
        self.n_cached = prepared.n_cached
        self._epoch = 0

    def epoch(self) -> float:
        """CPU time of one epoch [s]."""
        begun = time.process_time()
        plan = Plan(1000, BATCH, 1e-3, 0)
        self.loop.epoch(plan, self._epoch)
        self._epoch += 1
        return time.process_time() - begun


class Torchani:
    """One member by torchani's recipe."""

    def __init__(self, data: list[LabelledStructure]) -> None:
        """Copy constants and the weights of the first member."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from torchani.aev import AEVComputer, ANIAngular, ANIRadial
            from torchani.neighbors import AllPairs
            from torchani.nn import ANINetworks, AtomicNetwork
        model = ensemble()
        c = model.descriptor.constants
        radial = ANIRadial(c.radial_eta, c.radial_shifts, c.radial_cutoff_A)
        angular = ANIAngular(
            c.angular_eta, c.zeta, c.angular_shifts, c.angular_sections, c.angular_cutoff_A
        )
        self._cutoff_A = c.radial_cutoff_A
        self._list = AllPairs()
        self._aev = AEVComputer(radial, angular, num_species=1)
        widths = [c.n_features(1), 96, 96, 64, 1]
        network = AtomicNetwork(widths, activation=torch.nn.CELU(0.1), bias=True)
        with torch.no_grad():
            for layer in range(4):
                network[layer].weight.copy_(model.networks.weights[layer][0].T)
        self._networks = ANINetworks({"Al": network})
        self._adam = torch.optim.Adam(self._networks.parameters(), lr=1e-3)
        self._data = data

    def step(self, items: list[LabelledStructure]) -> None:
        """One optimiser step."""
        loss = torch.zeros(())
        for item in items:
            species = torch.zeros(1, N_ATOMS, dtype=torch.long)
            positions = torch.tensor(item.structure.positions[None], dtype=torch.float32)
            positions.requires_grad_(requires_grad=True)
            cell = torch.tensor(item.structure.cell, dtype=torch.float32)
            near = self._list(
                self._cutoff_A, species, positions, cell, torch.ones(3).bool()
            )
            aev = self._aev.compute_from_neighbors(species, positions, near)
            energy = self._networks(species, aev)
            force = -torch.autograd.grad(energy.sum(), positions, create_graph=True)[0]
            wanted = torch.tensor(item.label.forces, dtype=torch.float32)
            error = (energy - item.label.energy) / N_ATOMS / 0.1
            loss = loss + error.square().sum() + (force[0] - wanted).square().mean()
        self._adam.zero_grad()
        (loss / len(items)).backward()
        self._adam.step()

    def epoch(self, n_steps: int, whole: int) -> float:
        """CPU time of an epoch of `whole` structures for all members, from a part of it [s]."""
        begun = time.process_time()
        for n in range(n_steps):
            self.step([self._data[(n * BATCH + k) % len(self._data)] for k in range(BATCH)])
        spent = time.process_time() - begun
        return spent * whole / (n_steps * BATCH) * MEMBERS


def peak_memory_MB(budget_MB: float, count: int) -> dict[str, float]:
    """Peak memory of a process that trains one epoch, above that of the imports [MB]."""
    command = [sys.executable, __file__, "--memory", str(budget_MB)]
    command += ["--structures", str(count)]
    found: dict[str, float] = json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout
    )
    return found


def report_memory(options: argparse.Namespace) -> None:
    """What `peak_memory_MB` asks a process of its own."""
    torch.set_num_threads(1)
    data = structures(options.structures)
    Ours(data[:BATCH], options.memory).epoch()
    before = _peak_MB()
    ours = Ours(data, options.memory)
    ours.epoch()
    print(json.dumps({"MB": _peak_MB() - before, "n_cached": ours.n_cached}))


def _peak_MB() -> float:
    """Largest resident size of this process so far; `getrusage` would tell its parent's."""
    (line,) = [
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    ]
    return float(line.split()[1]) * 1024 / 1e6


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All in turns, then memory."""
    torch.set_num_threads(1)
    data = structures(options.structures)
    ours = {
        "cached": Ours(data, BUDGET_MB),
        "uncached": Ours(data, 0.0),
        "soap": Ours(data, BUDGET_MB, "soap"),
    }
    peer = Torchani(data)
    peer.step(data[:BATCH])
    times: dict[str, list[float]] = {name: [] for name in (*ours, "torchani")}
    for number in range(options.rounds):
        for name, one in ours.items():
            times[name].append(one.epoch())
        times["torchani"].append(peer.epoch(options.torchani_steps, len(data)))
        told = ", ".join(f"{name} {each[-1]:.1f} s" for name, each in times.items())
        print(f"round {number}: {told}", file=sys.stderr)
    found: dict[str, Any] = {
        f"{name}_epoch_s": statistics.median(each) for name, each in times.items()
    }
    for name in ours:
        pairs = zip(times["torchani"], times[name], strict=True)
        found[f"{name}_vs_torchani"] = statistics.median(a / b for a, b in pairs)
    if options.rounds and not options.no_memory:
        whole = peak_memory_MB(BUDGET_MB, options.structures)
        none = peak_memory_MB(0.0, options.structures)
        found["peak_memory_MB"] = whole["MB"]
        found["peak_memory_uncached_MB"] = none["MB"]
        found["budget_MB"] = BUDGET_MB
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--structures", type=arguments.count, default=1000)
    parser.add_argument(
        "--torchani-steps", type=arguments.count, default=4, help="of 16 structures"
    )
    parser.add_argument("--rounds", type=arguments.count, default=3)
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--memory", type=float, help=argparse.SUPPRESS)
    parser.add_argument(
        "--json", type=arguments.result_file, help="where to write the numbers"
    )
    options = parser.parse_args()
    if options.memory is not None:
        report_memory(options)
        return
    load = os.getloadavg()
    found = measure(options)
    for name, value in found.items():
        print(f"{name:32s}{value:12.4g}")
    print()
    for name, target in TARGETS.items():
        verdict = "met" if found[name] >= target else "MISSED"
        print(f"{name:32s}{found[name]:12.4g}   >= {target:g}  {verdict}")
    about = {
        "structures": options.structures,
        "rounds": options.rounds,
        "cores": len(os.sched_getaffinity(0)),
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
