"""What total energies say about their unit, and which of them stand out."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from alflow.core.units import EV_PER_HARTREE
from alflow.store.interchange.frames import ImportedFrame
from alflow.store.interchange.units import ENERGY_UNITS

# fmt: off
ATOM_HARTREE = (
    0.0, -0.5, -2.862, -7.433, -14.573, -24.529, -37.689, -54.401, -74.809, -99.409,
    -128.547, -161.859, -199.615, -241.877, -288.854, -340.719, -397.505, -459.482,
    -526.818, -599.165, -676.758, -759.736, -848.406, -942.884, -1043.356, -1149.866,
    -1262.444, -1381.415, -1506.871, -1638.964, -1777.848, -1923.261, -2075.360,
    -2234.239, -2399.868, -2572.442, -2752.055,
)
# fmt: on
"""Energies of free atoms with all their electrons, H to Kr, in the Hartree-Fock limit (Froese
Fischer 1977). Any all-electron method gives total energies within a few per cent of their sum."""

_ALL_ELECTRON = (0.985, 1.04)
"""Range of (total energy) / (sum over atoms) of molecules and solids."""
_LIKE = math.log(1.3)
"""Energies of one formula differ by less, whatever the geometries; units differ by more."""
_TRIMMING_ROUNDS = 3
_SMALL_GROUP = 5


def all_electron_ratio(frames: Sequence[ImportedFrame]) -> float | None:
    """Median of energy over the sum of all-electron atomic energies; None if it says nothing.

    It says nothing for hydrogen and helium alone, whose bonds are a large part of the energy, and
    beyond krypton.
    """
    table = np.array(ATOM_HARTREE) * EV_PER_HARTREE
    ratios = [
        frame.energy / table[frame.numbers].sum()
        for frame in frames
        if frame.energy is not None and 2 < frame.numbers.max() < len(table)  # noqa: PLR2004
    ]
    return float(np.median(ratios)) if ratios else None


def recognised_unit(ratio: float | None, declared: str) -> str | None:
    """The unit of all-electron total energies, from `all_electron_ratio`; None if they are none.

    Args:
        ratio: The ratio.
        declared: Unit that the energies were read with, a key of `ENERGY_UNITS`.
    """
    if ratio is None:
        return None
    low, high = _ALL_ELECTRON
    for name in sorted(ENERGY_UNITS, key=lambda unit: unit != declared):
        if low < ratio * ENERGY_UNITS[name] / ENERGY_UNITS[declared] < high:
            return name
    return None


def unit_beside(
    stored: Mapping[str, float], brought: Mapping[str, float], declared: str
) -> str | None:
    """The unit in which new energies are like stored ones; None if they are, or none helps.

    Args:
        stored: Typical energy of each formula at one level of theory [eV].
        brought: The same of what is new, read in the unit `declared`.
        declared: Unit that the new energies were read with, a key of `ENERGY_UNITS`.
    """
    ratios = [
        brought[formula] / energy
        for formula, energy in stored.items()
        if energy and formula in brought
    ]
    ratio = float(np.median(ratios)) if ratios else 1.0
    if ratio <= 0 or abs(math.log(ratio)) < _LIKE:
        return None
    for unit, size in ENERGY_UNITS.items():
        if abs(math.log(ratio * size / ENERGY_UNITS[declared])) < _LIKE:
            return unit
    return None


def energy_outliers(frames: Sequence[ImportedFrame], window_eV: float) -> dict[int, float]:
    """Frames whose energy stands out, with the difference to what is usual [eV/atom].

    Energies are compared after a linear fit of one energy per element, which ignores the worst
    compositions; where a composition has several frames, with their median. Single atoms are
    left out: they have no bonds.

    Args:
        frames: Frames with energies.
        window_eV: How far from usual an energy may be [eV/atom].

    Returns:
        The differences by position in `frames`.
    """
    places = [k for k, f in enumerate(frames) if f.energy is not None and f.n_atoms > 1]
    if len(places) < 3:  # noqa: PLR2004
        return {}
    compositions, group_of = _compositions([frames[k] for k in places])
    energies = np.array([frames[k].energy for k in places], float)
    medians = _medians(energies, group_of)
    n_atoms = compositions.sum(axis=1)
    # A composition with few frames has no "usual" of its own: the fit over all stands for it.
    is_known = np.bincount(group_of)[group_of] >= _SMALL_GROUP
    usual = np.where(is_known, medians[group_of], _fitted(compositions, medians)[group_of])
    deviations = (energies - usual) / n_atoms[group_of]
    return {
        place: float(value)
        for place, value in zip(places, deviations, strict=True)
        if abs(value) > window_eV
    }


def _compositions(
    frames: Sequence[ImportedFrame],
) -> tuple[Float[np.ndarray, "groups elements"], np.ndarray]:
    """Counts of each element in each distinct composition, and that of each frame."""
    elements = np.unique(np.concatenate([frame.numbers for frame in frames]))
    known: dict[tuple[int, ...], int] = {}
    group_of = []
    for frame in frames:
        counts = tuple(int((frame.numbers == z).sum()) for z in elements)
        group_of.append(known.setdefault(counts, len(known)))
    return np.array(list(known), float), np.array(group_of)


def _medians(
    energies: Float[np.ndarray, " frames"], group_of: np.ndarray
) -> Float[np.ndarray, " groups"]:
    members: dict[int, list[float]] = defaultdict(list)
    for group, energy in zip(group_of, energies, strict=True):
        members[int(group)].append(float(energy))
    return np.array([np.median(members[group]) for group in range(len(members))])


def _fitted(
    compositions: Float[np.ndarray, "groups elements"],
    medians: Float[np.ndarray, " groups"],
) -> Float[np.ndarray, " groups"]:
    """One energy per element, fitted without the tenth of compositions that fits worst."""
    n_atoms = compositions.sum(axis=1)
    kept = np.ones(len(medians), bool)
    solution = np.zeros(compositions.shape[1])
    for _ in range(_TRIMMING_ROUNDS):
        weights = 1 / n_atoms[kept]
        solution = np.linalg.lstsq(
            compositions[kept] * weights[:, None], medians[kept] * weights, rcond=None
        )[0]
        residuals = np.abs(medians - compositions @ solution) / n_atoms
        if len(medians) > 3 * compositions.shape[1]:
            kept = residuals <= np.quantile(residuals, 0.9)
    return np.asarray(compositions @ solution)
