"""An ensemble of ANI networks beside torchani: energies and forces of all members, on one core.

    python benchmarks/ensemble.py [--atoms 500] [--molecules 32] [--rounds 7] [--device cuda]
                                  [--json FILE]

Needs torchani (`pip install alflow[bench]`). Both sides have the same random weights, eight
members, float32, one thread, and a neighbour list that is made beforehand and not counted.

    aluminium   periodic Al, networks 96-96-96-64-1 on the descriptor of ANI-Al
        all     energies and forces of every member; torchani: one descriptor, a backward pass for
                each member (what its `members_forces` does)
        mean    energies of every member and mean forces; torchani: its `Ensemble`
    molecules   H, C, N and O, networks of the shape of ANI-1x on its descriptor: forces of every
                member; torchani: the better of two ways in one padded batch (a backward pass for
                each member, members one by one), and one molecule after the other

Variants take turns in one run; ratios are of medians of process CPU time. The fraction of the
floor is the time that the floating-point operations of the step would take at the rate of a
matrix product on this core, over the time that it takes: see `operations`.

With `--device cuda` aluminium is measured on a GPU as well, with 1000, 10 000 and 100 000 atoms in
flight: see `gpu.py`.
"""

import argparse
import ctypes
import dataclasses
import json
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"
import arguments
import gpu
import numpy as np
import torch

from alflow.core.structures import Structure
from alflow.models.ani.constants import AniConstants
from alflow.models.ani.ensemble import AniEnsemble
from alflow.models.ani.settings import AniSettings
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch, Pairs

MEMBERS = 8
ANI_1X_HIDDEN = {1: (160, 128, 96), 6: (144, 112, 96), 7: (128, 112, 96), 8: (128, 112, 96)}
NAMES = (
    "CH3CH2OH",
    "C6H6",
    "C5H5N",
    "isobutane",
    "CH3COOH",
    "CH3CONH2",
    "trans-butane",
    "C4H4NH",
    "C4H4O",
    "CH3COCH3",
    "CH3CH2NH2",
    "isobutene",
    "2-butyne",
    "cyclobutane",
    "H2CCHCN",
    "CH3OCH3",
)
"""Molecules, by the names that ASE has for them."""
TARGETS = {
    "all_forces_vs_torchani": 30.0,
    "mean_force_vs_torchani": 10.0,
    "molecules_vs_torchani_batched": 3.0,
    "molecules_vs_torchani_single": 10.0,
    "flop_fraction": 0.6,
}
"""What must be reached with AVX-512."""
EXPONENTIAL = 13.0
"""Operations of an exponential in float32: five coefficients, and taking the number apart."""
POWER = 32.0
"""Operations of a power: a logarithm of nine coefficients, then an exponential."""
NARROW_SHARE = 2 / 3
"""With AVX2 two thirds of a ratio are asked for; vectors are half as wide, caches are not."""


@dataclass(frozen=True)
class Case:
    """One system with our ensemble and torchani's modules of the same weights."""

    ensemble: AniEnsemble
    batch: Batch
    pairs: Pairs
    aev: Any
    networks: Any
    species: torch.Tensor
    positions: torch.Tensor
    neighbours: Any


def aluminium(n_atoms: int) -> Structure:
    """A face-centred cubic cell with displaced atoms."""
    n = round((n_atoms / 4) ** (1 / 3))
    corners = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    grid = np.stack(np.meshgrid(*[np.arange(n)] * 3), -1).reshape(-1, 1, 3)
    positions = (grid + corners).reshape(-1, 3) * 4.05
    positions += np.random.default_rng(0).normal(0, 0.15, positions.shape)
    numbers = np.full(len(positions), 13, np.uint8)
    return Structure(numbers, positions, np.eye(3) * 4.05 * n, np.ones(3, bool))


def molecules(count: int) -> list[Structure]:
    """Small molecules with displaced atoms."""
    from ase.build import molecule

    rng = np.random.default_rng(1)
    found = []
    for k in range(count):
        atoms = molecule(NAMES[k % len(NAMES)])
        moved = atoms.positions + rng.normal(0, 0.05, atoms.positions.shape)
        found.append(Structure(atoms.numbers.astype(np.uint8), moved))
    return found


def torchani_modules(ensemble: AniEnsemble) -> tuple[Any, Any]:
    """Descriptor and networks of torchani with the weights of an ensemble."""
    from torchani.aev import AEVComputer, ANIAngular, ANIRadial
    from torchani.nn import ANINetworks, AtomicNetwork, Ensemble, TightCELU

    from alflow.core.elements import SYMBOLS

    c: AniConstants = ensemble.descriptor.constants
    symbols = tuple(SYMBOLS[z] for z in ensemble.elements)
    aev = AEVComputer(
        radial=ANIRadial(
            eta=c.radial_eta, shifts=c.radial_shifts, cutoff=c.radial_cutoff_A
        ),
        angular=ANIAngular(
            eta=c.angular_eta,
            zeta=c.zeta,
            shifts=c.angular_shifts,
            sections=c.angular_sections,
            cutoff=c.angular_cutoff_A,
        ),
        num_species=len(symbols),
    )
    members = []
    ours = ensemble.networks
    for member in range(ours.n_members):
        atomics = {}
        for element, symbol in enumerate(symbols):
            layers = range(element * ours.n_layers, (element + 1) * ours.n_layers)
            widths = [ours.weights[layers[0]].shape[1]]
            widths += [ours.weights[n].shape[2] for n in layers]
            network = AtomicNetwork(widths, activation=TightCELU(), bias=True)
            linear = [*network.layers, network.final_layer]
            with torch.no_grad():
                for n, layer in zip(layers, linear, strict=True):
                    layer.weight.copy_(ours.weights[n][member].T)
                    layer.bias.copy_(ours.biases[n][member])
            atomics[symbol] = network
        members.append(ANINetworks(atomics))
    networks = Ensemble(members)
    networks.requires_grad_(requires_grad=False)
    return aev, networks


def case_of(ensemble: AniEnsemble, structures: list[Structure]) -> Case:
    """Prepare both sides; torchani gets a padded batch, or one periodic system."""
    from torchani.neighbors import AllPairs

    batch = Batch.from_structures(structures, dtype=torch.float32)
    reach = ensemble.cutoff_A
    longest = max(s.n_atoms for s in structures)
    species = torch.full((len(structures), longest), -1)
    positions = torch.zeros(len(structures), longest, 3)
    index = ensemble.descriptor.species(batch.numbers)
    first = 0
    for row, structure in enumerate(structures):
        n = structure.n_atoms
        species[row, :n] = index[first : first + n]
        positions[row, :n] = batch.positions[first : first + n]
        first += n
    cell = None if structures[0].cell is None else batch.cells[0]
    pbc = None if cell is None else batch.pbc[0]
    aev, networks = torchani_modules(ensemble)
    neighbours = AllPairs()(reach, species, positions, cell, pbc)
    return Case(
        ensemble,
        batch,
        neighbour_pairs(batch, reach),
        aev,
        networks,
        species,
        positions,
        neighbours,
    )


def torchani_forces(case: Case, which: str) -> torch.Tensor:
    """Forces by torchani, differentiated through the vectors of its neighbour list.

    The list is not made again, but the vectors are taken from the positions, as they would be.
    """
    from torchani.neighbors import Neighbors

    positions = case.positions.clone().requires_grad_()
    flat = positions.flatten(0, 1)
    pairs = case.neighbours.indices
    at = flat.detach()
    offset = case.neighbours.diff_vectors - (at[pairs[0]] - at[pairs[1]])
    vectors = flat[pairs[0]] - flat[pairs[1]] + offset
    listed = Neighbors(pairs, vectors.norm(2, -1), vectors)

    def slope(energy: torch.Tensor, *, keep: bool = False) -> torch.Tensor:
        return -torch.autograd.grad(energy.sum(), positions, retain_graph=keep)[0]

    if which == "separate":
        found = []
        for member in case.networks.members:
            described = case.aev.compute_from_neighbors(case.species, positions, listed)
            found.append(slope(member(case.species, described), keep=True))
        return torch.stack(found)
    described = case.aev.compute_from_neighbors(case.species, positions, listed)
    if which == "mean":
        return slope(case.networks(case.species, described))
    energies = case.networks(case.species, described, ensemble_values=True)
    last = len(energies) - 1
    return torch.stack([slope(e, keep=n < last) for n, e in enumerate(energies)])


def keep_memory() -> None:
    """Have freed memory used again.

    By default each large tensor is a mapping of its own, and its pages are faulted in anew at every
    step. torchani, which makes many, would look up to twice as slow as it is.
    """
    if sys.platform.startswith("linux"):
        libc = ctypes.CDLL(None)
        for option, value in ((-3, 1 << 30), (-1, 2**31 - 1)):  # mmap and trim thresholds
            libc.mallopt(option, value)


def in_turns(variants: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median CPU time of each [s], one call of each after the other."""
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, call in variants.items():
            begun = time.process_time()
            call()
            # The first round compiles, fills caches and does not count.
            if number:
                taken[name].append(time.process_time() - begun)
    return {name: statistics.median(times) for name, times in taken.items()}


def sgemm_rate(size: int = 512) -> float:
    """Operations a second of a matrix product in float32 on this core."""
    a = torch.rand(size, size)
    taken = in_turns({"product": lambda: a @ a}, 41)["product"]
    return 2 * size**3 / taken


def operations(case: Case, members_pulled: int) -> float:
    """Floating-point operations that a step cannot do without.

    Networks: a multiplication and an addition for each weight and member, forward and backward.
    Angular part: one for each shell, section and triple forward; for the gradient two for each
    member, in the weight and in the angle, and as many more in the mean distance as shells.
    Radial part: one for each shift and pair forward, and one for each member. Exponentials and
    powers count as their shortest polynomials and once, although the gradient evaluates them
    again. What distances, cutoff functions and sums over neighbours take is not counted.
    """
    c = case.ensemble.descriptor.constants
    distance = case.pairs.vectors(case.batch).norm(dim=1)
    inner = torch.bincount(case.pairs.i[distance < c.angular_cutoff_A]).double()
    triples = float((inner * (inner - 1) / 2).sum())
    pairs = float((distance < c.radial_cutoff_A).sum())
    shells, angles = len(c.angular_shifts), len(c.angular_sections)
    angular = triples * (
        shells * angles + members_pulled * (2 * shells * angles + 3 * shells)
    )
    radial = pairs * len(c.radial_shifts) * (1 + members_pulled)
    species = case.ensemble.descriptor.species(case.batch.numbers)
    networks = case.ensemble.networks
    weights = 0.0
    for element in range(networks.n_elements):
        first = element * networks.n_layers
        own = sum(networks.weights[first + n].numel() for n in range(networks.n_layers))
        weights += own * float((species == element).sum())
    smooth = triples * (angles * POWER + EXPONENTIAL)
    smooth += pairs * len(c.radial_shifts) * EXPONENTIAL
    return 2 * (angular + radial + 2 * weights) + smooth


def check(name: str, ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Stop where the two do not compute the same."""
    error = float((ours - theirs).abs().max() / theirs.abs().max())
    if not error < 1e-4:
        raise SystemExit(f"{name}: forces differ by {error:.1e} of the largest")


def measure_aluminium(options: argparse.Namespace) -> dict[str, float]:
    """Periodic aluminium."""
    settings = AniSettings(
        members=MEMBERS, hidden=(96, 96, 64), activation="celu", preset="ani-al"
    )
    case = case_of(settings.create((13,), 1), [aluminium(options.atoms)])
    ensemble, batch, pairs = case.ensemble, case.batch, case.pairs
    check(
        "aluminium",
        ensemble.evaluate(batch, pairs, forces="members").member_forces,
        torchani_forces(case, "members")[:, 0],
    )
    seconds = in_turns(
        {
            "alflow_all": lambda: ensemble.evaluate(batch, pairs, forces="members"),
            "torchani_all": lambda: torchani_forces(case, "members"),
            "alflow_mean": lambda: ensemble.evaluate(batch, pairs, forces="mean"),
            "torchani_mean": lambda: torchani_forces(case, "mean"),
        },
        options.rounds,
    )
    rate = sgemm_rate()
    found = {f"al_{k}_us_per_atom": 1e6 * v / batch.n_atoms for k, v in seconds.items()}
    found["sgemm_gflops"] = rate / 1e9
    for which, pulled in (("all", MEMBERS), ("mean", 1)):
        floor = operations(case, pulled) / rate
        found[f"al_floor_{which}_us_per_atom"] = 1e6 * floor / batch.n_atoms
        found[f"flop_fraction_{which}"] = floor / seconds[f"alflow_{which}"]
    found["flop_fraction"] = found["flop_fraction_all"]
    found["all_forces_vs_torchani"] = seconds["torchani_all"] / seconds["alflow_all"]
    found["mean_force_vs_torchani"] = seconds["torchani_mean"] / seconds["alflow_mean"]
    return found


def in_flight(n_atoms: int) -> Case:
    """Crystals of 500 atoms; torchani, which takes one periodic system, has the first alone."""
    settings = AniSettings(
        members=MEMBERS, hidden=(96, 96, 64), activation="celu", preset="ani-al"
    )
    crystal = aluminium(500)
    one = case_of(settings.create((13,), 1), [crystal])
    batch = Batch.from_structures(
        [crystal] * max(1, n_atoms // crystal.n_atoms), dtype=torch.float32
    )
    pairs = neighbour_pairs(batch, one.ensemble.cutoff_A)
    return dataclasses.replace(one, batch=batch, pairs=pairs)


def measure_molecules(options: argparse.Namespace) -> dict[str, float]:
    """Molecules on a descriptor of the shape of ANI-1x."""
    structures = molecules(options.molecules)
    ensemble = ani_1x_shaped()
    case = case_of(ensemble, structures)
    alone = [case_of(ensemble, [s]) for s in structures]
    real = case.species >= 0
    check(
        "molecules",
        ensemble.evaluate(case.batch, case.pairs, forces="members").member_forces,
        torchani_forces(case, "members")[:, real],
    )
    seconds = in_turns(
        {
            "alflow": lambda: ensemble.evaluate(case.batch, case.pairs, forces="members"),
            "torchani_members": lambda: torchani_forces(case, "members"),
            "torchani_separate": lambda: torchani_forces(case, "separate"),
            "torchani_single": lambda: [torchani_forces(one, "members") for one in alone],
        },
        options.rounds,
    )
    found = {
        f"molecules_{k}_us_per_atom": 1e6 * v / case.batch.n_atoms
        for k, v in seconds.items()
    }
    batched = min(seconds["torchani_members"], seconds["torchani_separate"])
    found["molecules_vs_torchani_batched"] = batched / seconds["alflow"]
    found["molecules_vs_torchani_single"] = seconds["torchani_single"] / seconds["alflow"]
    return found


def ani_1x_shaped() -> AniEnsemble:
    """An ensemble with random weights and the widths of ANI-1x, which depend on the element."""
    from alflow.models.ani.constants import ANI_1X
    from alflow.models.ani.descriptor import AniDescriptor
    from alflow.models.ani.network import StackedNetworks

    descriptor = AniDescriptor(ANI_1X, tuple(ANI_1X_HIDDEN))
    weights, biases = [], []
    for hidden in ANI_1X_HIDDEN.values():
        one = StackedNetworks.initialise(
            (descriptor.n_features, *hidden),
            1,
            list(range(MEMBERS)),
            activation="celu",
            dtype=torch.float32,
        )
        weights += [w.detach() for w in one.weights]
        biases += [b.detach() for b in one.biases]
    networks = StackedNetworks(weights, biases, len(ANI_1X_HIDDEN), "celu")
    return AniEnsemble(descriptor, networks, {})


def tell(found: dict[str, float]) -> None:
    """Print what was measured, then the targets."""
    from alflow.models.ani.lanes import native_width

    narrow = native_width() < 16
    for name, value in found.items():
        if name not in TARGETS:
            print(f"{name:40s}{value:12,.2f}")
    print()
    for name, target in TARGETS.items():
        if name in found:
            wanted = target * NARROW_SHARE if narrow and target > 1 else target
            verdict = "met" if found[name] >= wanted else "MISSED"
            print(f"{name:40s}{found[name]:12.2f}   >= {wanted:.3g}  {verdict}")
    if narrow:
        print("targets of ratios are two thirds of those for AVX-512, which is not here")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--atoms", type=arguments.or_none, default=500, help="0: leave aluminium out"
    )
    parser.add_argument(
        "--molecules", type=arguments.or_none, default=32, help="0: leave them out"
    )
    parser.add_argument("--rounds", type=arguments.count, default=7)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--json", type=arguments.result_file, help="where to write the numbers"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    warnings.filterwarnings("ignore", module="torchani")
    load = os.getloadavg()
    found: dict[str, float] = {}
    if options.atoms:
        found |= measure_aluminium(options)
    if options.molecules:
        found |= measure_molecules(options)
    if gpu.is_at_hand(options.device):
        found |= gpu.measure_ensemble(
            in_flight, operations, torchani_forces, options.rounds
        )
    tell(found)
    print(
        f"{platform.processor() or platform.machine()}, torch {torch.__version__}, Python "
        f"{sys.version.split()[0]}, load {load[0]:.1f} before, {os.getloadavg()[0]:.1f} after"
    )
    if options.json:
        options.json.write_text(json.dumps({**found, "load": load[0]}, indent=1), "utf-8")


if __name__ == "__main__":
    main()
