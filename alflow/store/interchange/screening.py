"""What is wrong with single frames: numbers, cells, distances, forces, electrons."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from alflow.builders.plausible import CLOSEST, contact_ratios, impossible_spin, overlap
from alflow.core.elements import SYMBOLS
from alflow.store.interchange.frames import ImportedFrame

FINITE, SHAPE, ENERGY, ELEMENT, CELL = "finite", "shape", "no-energy", "element", "cell"
DISTANCE, FORCE, NET_FORCE, STRESS = "distance", "force-cap", "net-force", "stress"
PARITY = "parity"

LARGEST_STRESS_EV_PER_A3 = 10.0
"""1600 GPa: beyond it a stress is in other units, or multiplied by the volume."""
SMALLEST_VOLUME_A3 = 1e-3


@dataclass(frozen=True, slots=True)
class Limits:
    """What a frame may be like.

    Attributes:
        elements: Symbols of the campaign's elements; None allows all.
        closest: Smallest distance of two atoms, in sums of their covalent radii.
        max_force_eV_per_A: Largest force on an atom [eV/Å].
        net_force_eV_per_A: Largest net force on a molecule, over the square root of the number of
            atoms [eV/Å].
        energy_window_eV: How far from usual an energy may be [eV/atom].
        skipped: Names of checks that are left out.
    """

    elements: frozenset[str] | None = None
    closest: float = CLOSEST
    max_force_eV_per_A: float = 100.0
    net_force_eV_per_A: float = 0.1
    energy_window_eV: float = 5.0
    skipped: frozenset[str] = frozenset()


class Fault(NamedTuple):
    """What is wrong with a frame: name of the check, and a sentence."""

    check: str
    message: str


def fault_of(frame: ImportedFrame, limits: Limits) -> Fault | None:
    """The first thing that is wrong with a frame, or None."""
    for name, check in _CHECKS:
        if name in limits.skipped and name not in INDISPENSABLE:
            continue
        message = check(frame, limits)
        if message:
            return Fault(name, message)
    return None


def spacing(frames: Sequence[ImportedFrame]) -> float:
    """Typical distance to the nearest neighbour, in sums of covalent radii; NaN without one."""
    nearest = []
    for frame in frames:
        if frame.n_atoms > 1:
            ratios = contact_ratios(frame.numbers, frame.positions, frame.cell, frame.pbc)
            nearest.append(float(np.median(ratios.min(axis=0))))
    return float(np.median(nearest)) if nearest else float("nan")


def _shape(frame: ImportedFrame, _limits: Limits) -> str:
    n_atoms = len(frame.numbers)
    wanted = {
        "positions": (frame.positions, (n_atoms, 3)),
        "forces": (frame.forces, (n_atoms, 3)),
        "stress": (frame.stress, (6,)),
        "cell": (frame.cell, (3, 3)),
        "pbc": (frame.pbc, (3,)),
    }
    if n_atoms == 0:
        return "it has no atoms"
    for name, (array, shape) in wanted.items():
        if array is not None and array.shape != shape:
            return f"{name} of shape {array.shape} instead of {shape}"
    return ""


def _finite(frame: ImportedFrame, _limits: Limits) -> str:
    for name in ("positions", "cell", "energy", "forces", "stress"):
        value = getattr(frame, name)
        if value is not None and not np.isfinite(value).all():
            return f"{name} that are not finite" if name != "energy" else f"energy {value}"
    return ""


def _energy(frame: ImportedFrame, _limits: Limits) -> str:
    return "it has no energy" if frame.energy is None else ""


def _element(frame: ImportedFrame, limits: Limits) -> str:
    if frame.numbers.min() < 1 or frame.numbers.max() >= len(SYMBOLS):
        return "an atom that is no element"
    found = {SYMBOLS[z] for z in np.unique(frame.numbers)}
    foreign = sorted(found - limits.elements) if limits.elements is not None else []
    return f"{', '.join(foreign)} is not among the campaign's elements" if foreign else ""


def _cell(frame: ImportedFrame, _limits: Limits) -> str:
    if not frame.pbc.any():
        return ""
    if frame.cell is None:
        return "it is periodic but has no cell"
    if (np.linalg.norm(frame.cell, axis=1)[frame.pbc] < SMALLEST_VOLUME_A3).any():
        return "a periodic cell vector of no length"
    volume = float(np.linalg.det(frame.cell)) if frame.pbc.all() else 1.0
    if abs(volume) < SMALLEST_VOLUME_A3:
        return "a cell of no volume"
    return "a left-handed cell" if volume < 0 else ""


def _distance(frame: ImportedFrame, limits: Limits) -> str:
    return overlap(frame.numbers, frame.positions, frame.cell, frame.pbc, limits.closest)


def _force(frame: ImportedFrame, limits: Limits) -> str:
    if frame.forces is None:
        return ""
    largest = float(np.linalg.norm(frame.forces, axis=1).max())
    if largest <= limits.max_force_eV_per_A:
        return ""
    return f"a force of {largest:.4g} eV/Å (limit {limits.max_force_eV_per_A:g} eV/Å)"


def _net_force(frame: ImportedFrame, limits: Limits) -> str:
    if frame.forces is None or frame.pbc.any() or frame.n_atoms == 1:
        return ""
    net = float(np.linalg.norm(frame.forces.sum(axis=0)))
    limit = limits.net_force_eV_per_A * frame.n_atoms**0.5
    if net <= limit:
        return ""
    return f"forces on a molecule add up to {net:.3g} eV/Å (limit {limit:.2g} eV/Å)"


def _stress(frame: ImportedFrame, _limits: Limits) -> str:
    if frame.stress is None:
        return ""
    largest = float(np.abs(frame.stress).max())
    if largest <= LARGEST_STRESS_EV_PER_A3:
        return ""
    return f"a stress of {largest:.4g} eV/Å³ (limit {LARGEST_STRESS_EV_PER_A3:g} eV/Å³)"


def _parity(frame: ImportedFrame, _limits: Limits) -> str:
    if frame.multiplicity is None:
        return ""
    return impossible_spin(frame.numbers, frame.charge, frame.multiplicity)


_CHECKS: tuple[tuple[str, Callable[[ImportedFrame, Limits], str]], ...] = (
    (SHAPE, _shape),
    (FINITE, _finite),
    (ENERGY, _energy),
    (ELEMENT, _element),
    (CELL, _cell),
    (PARITY, _parity),
    (DISTANCE, _distance),
    (FORCE, _force),
    (NET_FORCE, _net_force),
    (STRESS, _stress),
)
"""Checks in their order: each may rely on those before it."""

INDISPENSABLE = frozenset({SHAPE, FINITE, ENERGY, ELEMENT, CELL})
"""Checks that cannot be left out: without them nothing can be stored."""
