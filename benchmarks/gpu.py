"""What `ensemble.py` and `md.py` measure with `--device cuda`; not a program of its own.

Times are wall-clock times between two moments at which the card is idle, medians over the rounds,
after one round that compiles and does not count. The card's rates are measured in the same run: a
matrix product in float32 (no TF32), and the addition of two long vectors.
"""

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

IN_FLIGHT = (1_000, 10_000, 100_000)
"""Atoms in one batch."""
KINDS = ("members", "mean")
"""Forces of every member, and mean forces; energies of all members with either."""


def is_at_hand(device: str) -> bool:
    """Whether to measure on a GPU; says in one line why not."""
    if not torch.cuda.is_available():
        print("no GPU here: nothing was measured on one")
        return False
    if device != "cuda":
        print("nothing was measured on the GPU: that takes --device cuda")
        return False
    print(f"GPU: {torch.cuda.get_device_name()}")
    return True


def wait(device: str) -> None:
    """Until the card has done all it was asked."""
    if device == "cuda":
        torch.cuda.synchronize()


def seconds(call: Callable[[], Any], rounds: int, device: str) -> float:
    """Median time of a call."""
    taken = []
    for _ in range(rounds + 1):
        wait(device)
        begun = time.perf_counter()
        call()
        wait(device)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken[1:])


def rates(device: str, size: int = 4096) -> dict[str, float]:
    """Operations a second of a matrix product, and numbers a second of an addition."""
    a = torch.rand(size, size, device=device)
    product = seconds(lambda: a @ a, 11, device)
    addition = seconds(lambda: a + a, 11, device)
    return {
        "gpu_sgemm_tflops": 2 * size**3 / product / 1e12,
        "gpu_elementwise_gnumbers": size**2 / addition / 1e9,
    }


def floor_seconds(
    case: Any, operations: float, pulled: int, found: Mapping[str, float]
) -> float:
    """Time of the operations at the rate of a matrix product, and of the traffic at that of sums.

    Traffic: features and their gradients written and read; what pulls at each neighbour of the list
    written once and read twice. A sum of two vectors moves three numbers for each of its own.
    """
    features = case.batch.n_atoms * case.ensemble.descriptor.n_features
    moved = 2 * features * (1 + pulled) + 9 * pulled * len(case.pairs.i)
    traffic = moved / (3e9 * found["gpu_elementwise_gnumbers"])
    return operations / (1e12 * found["gpu_sgemm_tflops"]) + traffic


def measure_ensemble(
    case_of: Callable[[int], Any],
    operations: Callable[[Any, int], float],
    torchani: Callable[[Any, str], Any],
    rounds: int,
    device: str = "cuda",
) -> dict[str, float]:
    """Energies and forces of the ensemble at several numbers of atoms in flight.

    Args:
        case_of: Both sides for about so many atoms, on the CPU; torchani's for one system.
        operations: Of a case, for so many members pulled.
        torchani: Forces of a case, of "members" or the "mean".
        rounds: How often to measure.
        device: Where.
    """
    found = rates(device)
    for n_atoms in IN_FLIGHT:
        case = case_of(n_atoms)
        for which, taken in times(case, rounds, device).items():
            pulled = case.ensemble.n_members if which == "members" else 1
            name = f"gpu_{which}_{n_atoms // 1000}k"
            floor = floor_seconds(case, operations(case, pulled), pulled, found)
            found[f"{name}_us_per_atom"] = 1e6 * taken / case.batch.n_atoms
            found[f"{name}_floor_share"] = floor / taken
    alone = case_of(1)
    moved_to(alone, device)
    for which in KINDS:
        taken = seconds(functools.partial(torchani, alone, which), rounds, device)
        theirs = 1e6 * taken / alone.batch.n_atoms
        found[f"gpu_torchani_{which}_us_per_atom"] = theirs
        best = found[f"gpu_{which}_{IN_FLIGHT[-1] // 1000}k_us_per_atom"]
        found[f"gpu_{which}_vs_torchani"] = theirs / best
    return found


def times(case: Any, rounds: int, device: str) -> dict[str, float]:
    """Time of energies and forces, of all members and of their mean [s]."""
    batch, pairs = on_device(case.batch, device), on_device(case.pairs, device)
    ensemble = case.ensemble.to(device)
    return {
        which: seconds(
            functools.partial(ensemble.evaluate, batch, pairs, forces=which), rounds, device
        )
        for which in KINDS
    }


def on_device(record: Any, device: str) -> Any:
    """A record of tensors with all of them on a device."""
    names = [field.name for field in dataclasses.fields(record)]
    return type(record)(**{name: getattr(record, name).to(device) for name in names})


def moved_to(case: Any, device: str) -> None:
    """Put torchani's side of a case on a device."""
    case.aev.to(device)
    case.networks.to(device)
    neighbours = type(case.neighbours)(*(part.to(device) for part in case.neighbours))
    for name, value in (
        ("species", case.species.to(device)),
        ("positions", case.positions.to(device)),
        ("neighbours", neighbours),
    ):
        object.__setattr__(case, name, value)


def measure_md(
    run: Callable[[int], tuple[float, int]], peer: Callable[[], float]
) -> dict[str, float]:
    """Dynamics at several numbers of atoms in flight, and those of ASE on the same card.

    Args:
        run: Runs about so many atoms; the time [s], and how many atom-steps it took.
        peer: Time of ASE with torchani per atom and step [µs].
    """
    found = {}
    for n_atoms in IN_FLIGHT:
        taken, n_atom_steps = run(n_atoms)
        name = f"gpu_md_{n_atoms // 1000}k_us_per_atom_step"
        found[name] = 1e6 * taken / n_atom_steps
    found["gpu_ase_torchani_us"] = peer()
    found["gpu_md_vs_ase_torchani"] = found["gpu_ase_torchani_us"] / found[name]
    return found
