"""What sampling costs: molecular dynamics of many replicas with the spread of an ensemble.

    python benchmarks/md.py [--steps 60] [--rounds 3] [--starts 512] [--device cuda] [--json FILE]

The ensemble has the shape of the published one of aluminium (96 features at 7.0/5.0 Å, networks
96-96-64-1 with CELU, 8 members) and random weights. Two programs run the same dynamics, in turns
in one process and on one thread:

    alflow    the sampler `nemd`: 16 replicas of 108 Al at 300 K, Langevin, steps of 1 fs
    ase       one replica of them: `ase.md.Langevin`, and torchani with the same weights

Both have the energies of all members at every step and the forces of all members at every tenth.
Random weights hold no crystal together for long: some hundred steps are the most that can be run.
Times are CPU times of the process from the first evaluation to the last, per atom and step, the
median over the rounds; neighbour lists, integrator and noise are included. Needs the extra `bench`
(torchani).

The slots are measured with lone atoms whose survival is drawn from a mix as campaigns have it:
some are flagged soon, some late, some never, and a few end between two checks because they make no
sense any more. A static batch starts as many replicas as there are slots and waits for the last.

With `--device cuda` both programs also run on a GPU, alflow with as many replicas as make 1000,
10 000 and 100 000 atoms: see `gpu.py`. Those times are wall-clock times.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ["TORCHANI_NO_WARN_EXTENSIONS"] = "1"

import arguments
import gpu
import numpy as np
import torch

from alflow.core.sampling import Gate, Limit
from alflow.core.seeds import child_seed
from alflow.core.structures import Structure
from alflow.md.engine import Engine, Motion
from alflow.md.neighbours import VerletList
from alflow.models.ani.ensemble import fresh_ensemble
from alflow.models.ani.settings import AniSettings
from alflow.models.loading import load_potential
from alflow.models.potential import Evaluation, Potential
from alflow.samplers.nemd import NemdSettings
from alflow.samplers.replicas import Replica
from alflow.samplers.slots import Slots

REPLICAS = 16
CELLS = 3
"""Cubic cells of fcc along each edge: 108 atoms."""
CHECK_EVERY = 10
SLOTS_CHECK_EVERY = 4
"""Few, because lone atoms cost as much time as crystals do without a potential."""
TARGETS = {
    "us_per_atom_step": ("<=", 50.0),
    "vs_ase_torchani": (">=", 30.0),
    "list_and_integrator_percent": ("<=", 5.0),
    "slots_busy": (">=", 0.95),
}
"""What must be reached."""
NEVER = Gate()


def crystal(seed: int) -> Structure:
    """108 atoms of aluminium, disturbed by 0.15 Å."""
    corner = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    grid = np.stack(np.meshgrid(*[np.arange(CELLS)] * 3, indexing="ij"), -1)
    positions = (corner + grid.reshape(-1, 1, 3)).reshape(-1, 3) * 4.05
    positions = positions + 0.15 * np.random.default_rng(seed).standard_normal(
        positions.shape
    )
    numbers = np.full(len(positions), 13, np.uint8)
    return Structure(numbers, positions, np.eye(3) * 4.05 * CELLS, np.ones(3, bool))


def ensemble(seed: int = 1, device: str = "cpu") -> Potential:
    """Random weights in the shape of the ensemble of aluminium, as a worker reads them."""
    settings = AniSettings(
        preset="ani-al", hidden=(96, 96, 64), activation="celu", members=8
    )
    return load_potential(fresh_ensemble(settings, [13], seed).to_bytes(), device)


@dataclass
class Clock:
    """Time in some part of a run [s].

    Attributes:
        now: Tells the time; that of the CPU unless told otherwise.
        spent: In all.
        first: When the first call ended.
        last: When the last call ended.
        n_calls: How many there were after the first.
    """

    now: Callable[[], float] = time.process_time
    spent: float = 0.0
    first: float | None = None
    last: float = 0.0
    n_calls: int = 0

    def call(self, function: Any, *args: Any, **options: Any) -> Any:
        """Call and count, unless it is the first time."""
        begun = self.now()
        found = function(*args, **options)
        self.last = self.now()
        if self.first is None:
            self.first = self.last
        else:
            self.spent += self.last - begun
            self.n_calls += 1
        return found


class Timed:
    """A potential under a clock."""

    def __init__(self, potential: Potential) -> None:
        """Wrap it."""
        self._potential = potential
        self.clock = Clock()

    def __getattr__(self, name: str) -> Any:
        """What is not timed."""
        return getattr(self._potential, name)

    def evaluate(self, *args: Any, **options: Any) -> Evaluation:
        """The potential's own, timed."""
        return self.clock.call(self._potential.evaluate, *args, **options)

    def fingerprint(self, *args: Any, **options: Any) -> torch.Tensor:
        """The potential's own, which is no work of list or integrator either."""
        begun = time.process_time()
        found = self._potential.fingerprint(*args, **options)
        self.clock.spent += time.process_time() - begun
        return found


def run_alflow(potential: Potential, n_steps: int, seed: int) -> dict[str, float]:
    """Times of 16 replicas."""
    settings = NemdSettings(
        timestep_fs=1.0,
        duration_ps=n_steps / 1000,
        temperature_K={"start": 300, "end": 300},
        check_every=CHECK_EVERY,
        slots=REPLICAS,
    )
    replicas = [
        Replica.draw(crystal(k), child_seed(seed, k), settings) for k in range(REPLICAS)
    ]
    timed, lists = Timed(potential), Clock(first=0.0)
    engine = Engine(timed, Motion(1.0, settings.friction_per_ps / 1000, settings.skin_A))
    slots = Slots(settings, timed, NEVER, engine, replicas)
    whole = {name: getattr(VerletList, name) for name in ("update", "contacts")}
    for name, method in whole.items():
        setattr(VerletList, name, _timed(lists, method))
    try:
        slots.run()
    finally:
        for name, method in whole.items():
            setattr(VerletList, name, method)
    clock = timed.clock
    if slots.n_steps != n_steps or slots.busy < 1:
        reasons = sorted({str(replica.stop_reason) for replica in replicas})
        raise SystemExit(f"replicas ended early: {', '.join(reasons)}")
    total, n = clock.last - (clock.first or 0.0), clock.n_calls
    to_us = 1e6 / (n * 4 * CELLS**3 * REPLICAS)
    return {
        "us_per_atom_step": total * to_us,
        "potential_us": clock.spent * to_us,
        "list_us": lists.spent * to_us,
        "integrator_us": (total - clock.spent - lists.spent) * to_us,
        "list_and_integrator_percent": 100 * (1 - clock.spent / total),
    }


class Marked:
    """A potential that notes when its first evaluation was over."""

    def __init__(self, potential: Potential) -> None:
        """Wrap it."""
        self._potential = potential
        self.begun = 0.0

    def __getattr__(self, name: str) -> Any:
        """What is not marked."""
        return getattr(self._potential, name)

    def evaluate(self, *args: Any, **options: Any) -> Evaluation:
        """The potential's own."""
        found = self._potential.evaluate(*args, **options)
        if not self.begun:
            gpu.wait(self._potential.device.type)
            self.begun = time.perf_counter()
        return found


def run_in_flight(potential: Potential, n_atoms: int, n_steps: int) -> tuple[float, int]:
    """Time of so many steps of about so many atoms [s], and how many atom-steps they were."""
    settings = NemdSettings(
        timestep_fs=1.0,
        duration_ps=n_steps / 1000,
        temperature_K={"start": 300, "end": 300},
        check_every=CHECK_EVERY,
        slots=max(1, n_atoms // (4 * CELLS**3)),
    )
    replicas = [
        Replica.draw(crystal(k), child_seed(0, k), settings) for k in range(settings.slots)
    ]
    marked = Marked(potential)
    engine = Engine(marked, Motion(1.0, settings.friction_per_ps / 1000, settings.skin_A))
    slots = Slots(settings, marked, NEVER, engine, replicas)
    slots.run()
    gpu.wait(potential.device.type)
    taken = time.perf_counter() - marked.begun
    return taken, slots.n_replica_steps * 4 * CELLS**3


def measure_gpu(options: argparse.Namespace, device: str = "cuda") -> dict[str, float]:
    """Both programs on a GPU."""
    potential = ensemble(device=device)
    run_in_flight(potential, 1, 2)
    peer = TorchaniEnsemble(ensemble(), device)
    run_ase(peer, 1, 0, time.perf_counter)
    return gpu.measure_md(
        lambda n_atoms: run_in_flight(potential, n_atoms, options.steps),
        lambda: run_ase(peer, options.ase_steps, 0, time.perf_counter),
    )


def _timed(clock: Clock, method: Any) -> Any:
    return lambda *args, **options: clock.call(method, *args, **options)


class TorchaniEnsemble:
    """The same ensemble in torchani: energies of all members, mean forces, members' forces."""

    def __init__(self, potential: Any, device: str = "cpu") -> None:
        """Copy constants and weights."""
        self._device = device
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from torchani.aev import AEVComputer, ANIAngular, ANIRadial
            from torchani.neighbors import AllPairs
            from torchani.nn import ANINetworks, AtomicNetwork, Ensemble
        constants, networks = potential.descriptor.constants, potential.networks
        self._cutoff_A = constants.radial_cutoff_A
        self._list = AllPairs()
        radial = ANIRadial(
            constants.radial_eta, constants.radial_shifts, constants.radial_cutoff_A
        )
        angular = ANIAngular(
            constants.angular_eta,
            constants.zeta,
            constants.angular_shifts,
            constants.angular_sections,
            constants.angular_cutoff_A,
        )
        self._descriptor = AEVComputer(radial, angular, num_species=1)
        widths = [networks.n_features, *(w.shape[2] for w in networks.weights)]
        members = []
        for member in range(networks.n_members):
            network = AtomicNetwork(widths, activation=torch.nn.CELU(0.1), bias=True)
            with torch.no_grad():
                for layer in range(networks.n_layers):
                    network[layer].weight.copy_(networks.weights[layer][member].T)
                    network[layer].bias.copy_(networks.biases[layer][member])
            members.append(ANINetworks({"Al": network}))
        self._networks = Ensemble(members).requires_grad_(requires_grad=False).to(device)
        self._descriptor.to(device)

    def evaluate(self, atoms: Any, *, members: bool) -> tuple[np.ndarray, np.ndarray]:
        """Energies of all members [eV], and forces [eV/Å]: of each member, or their mean."""
        at = {"device": self._device}
        species = torch.zeros(1, len(atoms), dtype=torch.long, **at)
        positions = torch.tensor(atoms.positions[None], dtype=torch.float32, **at)
        positions.requires_grad_(requires_grad=True)
        cell = torch.tensor(atoms.cell.array, dtype=torch.float32, **at)
        pbc = torch.ones(3, dtype=torch.bool, **at)
        found = self._list(self._cutoff_A, species, positions, cell, pbc)
        features = self._descriptor.compute_from_neighbors(species, positions, found)
        energies = self._networks(species, features, ensemble_values=True)
        wanted = energies.flatten() if members else energies.mean(0)
        forces = [
            -torch.autograd.grad(energy, positions, retain_graph=members)[0][0]
            .cpu()
            .numpy()
            for energy in wanted
        ]
        return energies.detach().flatten().cpu().numpy(), np.array(forces)


def run_ase(
    peer: TorchaniEnsemble,
    n_steps: int,
    seed: int,
    now: Callable[[], float] = time.process_time,
) -> float:
    """Time per atom and step of one replica [µs], that of the CPU unless told otherwise."""
    from ase import Atoms, units
    from ase.calculators.calculator import Calculator, all_changes
    from ase.md.langevin import Langevin
    from ase.md.velocitydistribution import thermalize_momenta

    clock = Clock(now)

    class WithSpread(Calculator):  # type: ignore[misc, unused-ignore]
        implemented_properties = ("energy", "forces")

        def calculate(
            self,
            atoms: Any = None,
            properties: Sequence[str] = ("energy",),
            system_changes: Sequence[str] = tuple(all_changes),
        ) -> None:
            super().calculate(atoms, properties, system_changes)
            is_check = clock.n_calls % CHECK_EVERY == CHECK_EVERY - 1
            energies, forces = clock.call(peer.evaluate, atoms, members=is_check)
            self.results = {
                "energy": float(energies.mean()),
                "forces": forces.mean(0),
                "energy_spread": float(energies.std()),
                "force_spread": forces.std(0),
            }

    start = crystal(seed % REPLICAS)
    atoms = Atoms(start.numbers, start.positions, cell=start.cell, pbc=True)
    rng = np.random.default_rng(seed)
    thermalize_momenta(atoms, temperature_K=300, rng=rng)
    atoms.calc = WithSpread()
    dynamics = Langevin(
        atoms,
        units.fs,
        temperature_K=300,
        friction=0.002 / units.fs,
        fixcm=False,
        rng=rng,
    )
    dynamics.run(n_steps)
    total = clock.last - (clock.first or 0.0)
    return 1e6 * total / (clock.n_calls * len(atoms))


def disagreement(potential: Potential, peer: TorchaniEnsemble) -> float:
    """Largest difference of a member's force between the two programs [eV/Å]."""
    from ase import Atoms

    from alflow.md.state import State

    start = crystal(0)
    atoms = Atoms(start.numbers, start.positions, cell=start.cell, pbc=True)
    state = State.from_structures([start])
    pairs = VerletList(state, potential.cutoff_A, dtype=potential.dtype).pairs
    found = potential.evaluate(state.batch(potential.dtype), pairs, forces="members")
    _, theirs = peer.evaluate(atoms, members=True)
    if found.member_forces is None:
        raise SystemExit("no forces of the members")
    return float(np.abs(found.member_forces.numpy() - theirs).max())


@dataclass
class Timetable:
    """A potential of lone atoms that tells each when to end, as the length of its cell says.

    Attributes:
        ends: Step at which each atom ends; negative: because its energy is not a number.
        steps: Evaluations of each atom so far.
    """

    ends: Sequence[int]
    steps: dict[int, int] = field(default_factory=dict)
    n_members: int = 2
    cutoff_A: float = 3.0
    elements: tuple[int, ...] = (13,)
    dtype: torch.dtype = torch.float64
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def evaluate(self, batch: Any, pairs: Any, *, forces: str = "mean") -> Evaluation:
        """No forces; the members disagree from the step on at which the atom is to end."""
        del pairs
        energies = torch.zeros(2, batch.n_systems, dtype=torch.float64)
        for system, length_A in enumerate(batch.cells[:, 0, 0].tolist()):
            number = round(length_A) - 1000
            step = self.steps.get(number, 0)
            self.steps[number] = step + 1
            end = self.ends[number]
            if step >= abs(end):
                energies[1, system] = 2.0 if end > 0 else float("nan")
        none = torch.zeros(2, batch.n_atoms, 3, dtype=torch.float64)
        if forces == "members":
            return Evaluation(energies, None, none)
        return Evaluation(energies, none[0])

    def fingerprint(self, batch: Any, pairs: Any) -> torch.Tensor:
        """Nothing."""
        del pairs
        return torch.zeros(batch.n_systems, 1, dtype=torch.float64)


def survival(n: int, last: int, seed: int) -> list[int]:
    """Steps after which replicas end, a mix as in the middle of a campaign.

    A third would run beyond the end, five in a hundred make no sense at some time (negative), and
    the others are flagged after an exponentially distributed time, a fifth of the duration on
    average.
    """
    rng = np.random.default_rng(seed)
    flagged = 1 + np.floor(rng.exponential(0.2 * last, n)).astype(int)
    kind = rng.random(n)
    flagged[kind < 1 / 3] = 2 * last
    flagged[kind > 0.95] = -rng.integers(1, last, int((kind > 0.95).sum()))
    return [int(steps) for steps in flagged]


def busy(ends: Sequence[int], n_slots: int, last: int, *, is_static: bool) -> float:
    """Share of the slots that were busy, from the first step to the last."""
    settings = NemdSettings(
        timestep_fs=1.0,
        duration_ps=last / 1000,
        temperature_K={"start": 300, "end": 300},
        check_every=SLOTS_CHECK_EVERY,
        slots=n_slots,
    )
    size = n_slots if is_static else len(ends)
    used = available = 0
    for first in range(0, len(ends), size):
        part = ends[first : first + size]
        starts = [
            Structure(
                np.array([13], np.uint8),
                np.zeros((1, 3)),
                np.eye(3) * (1000 + number),
                np.ones(3, bool),
            )
            for number in range(len(part))
        ]
        replicas = [Replica.draw(start, k, settings) for k, start in enumerate(starts)]
        potential = Timetable(part)
        gate = Gate(energy=Limit(0.5))
        running = Slots(settings, potential, gate, Engine(potential, Motion(1.0)), replicas)
        running.run()
        used += running.n_replica_steps
        available += running.n_steps * n_slots
    return used / available


def measure_md(options: argparse.Namespace) -> dict[str, float]:
    """Both programs in turns."""
    torch.set_num_threads(1)
    potential = ensemble()
    peer = TorchaniEnsemble(potential)
    differ = disagreement(potential, peer)
    run_alflow(potential, 2, 0)
    run_ase(peer, 1, 0)
    ours, theirs = [], []
    for number in range(options.rounds):
        ours.append(run_alflow(potential, options.steps, number))
        theirs.append(run_ase(peer, options.ase_steps, number))
        print(
            f"round {number}: {ours[-1]['us_per_atom_step']:.1f} and {theirs[-1]:.1f} µs",
            file=sys.stderr,
        )
    found = {
        name: statistics.median(one[name] for one in ours)
        for name in ("us_per_atom_step", "potential_us", "list_us", "integrator_us")
    }
    found["list_and_integrator_percent"] = statistics.median(
        one["list_and_integrator_percent"] for one in ours
    )
    found["ase_torchani_us"] = statistics.median(theirs)
    found["vs_ase_torchani"] = statistics.median(
        one / other["us_per_atom_step"] for one, other in zip(theirs, ours, strict=True)
    )
    found["largest_force_difference_eV_per_A"] = differ
    return found


def measure_slots(options: argparse.Namespace) -> dict[str, float]:
    """Refill beside static batches, for many starts and for those of a default task."""
    last = 25 * SLOTS_CHECK_EVERY
    many = survival(options.starts, last, 1)
    few = survival(NemdSettings.model_fields["replicas"].default, last, 2)
    return {
        "slots_busy": busy(many, options.slots, last, is_static=False),
        "slots_busy_static": busy(many, options.slots, last, is_static=True),
        "slots_busy_default_task": busy(few, options.slots, last, is_static=False),
        "slots_busy_default_task_static": busy(few, options.slots, last, is_static=True),
    }


def tell(found: dict[str, float]) -> None:
    """Print what was measured, then the targets."""
    for name, value in found.items():
        print(f"{name:38s}{value:12.4g}")
    print()
    for name, (sense, target) in TARGETS.items():
        if name not in found:
            continue
        value = found[name]
        is_met = value <= target if sense == "<=" else value >= target
        verdict = "met" if is_met else "MISSED"
        print(f"{name:38s}{value:12.4g}   {sense} {target:g}  {verdict}")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--steps",
        type=arguments.or_none,
        default=60,
        help="of 16 replicas; 0: leave out",
    )
    parser.add_argument(
        "--ase-steps", type=arguments.count, default=20, help="of one replica"
    )
    parser.add_argument("--rounds", type=arguments.count, default=3)
    parser.add_argument(
        "--starts",
        type=arguments.or_none,
        default=512,
        help="for slots; 0: leave out",
    )
    parser.add_argument("--slots", type=arguments.count, default=16)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--json", type=arguments.result_file, help="where to write the numbers"
    )
    options = parser.parse_args()
    load = os.getloadavg()
    found: dict[str, float] = {}
    if options.steps:
        found |= measure_md(options)
    if options.starts:
        found |= measure_slots(options)
    if gpu.is_at_hand(options.device):
        found |= measure_gpu(options)
    tell(found)
    about = {
        "steps": options.steps,
        "rounds": options.rounds,
        "starts": options.starts,
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
