"""Whether the energies of a training set look like those of two levels of theory.

Two levels differ by tenths of an electronvolt per atom, as soon as one has another functional or
basis, and by more with other pseudopotentials or other electrons frozen. Two signs are looked for:

- What the compositions leave of the energies falls into two groups, much narrower than what
  lies between them: for data where geometries matter little beside the levels.
- What a linear potential (one coefficient for each principal component of the mean features)
  leaves of them falls into two groups, whatever the geometries do: for levels that were mixed over
  like geometries. Groups and coefficients are fitted in turns.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from alflow.core.datasets import Dataset
from alflow.models.self_energies import fit_self_energies
from alflow.training.dataset import TrainingSet

Vector = Float[np.ndarray, " structures"]

MIN_STRUCTURES = 2
"""Fewest structures in a group that a gap is looked for beside."""
GAP_EV_PER_ATOM = 1.0
"""Gap between two groups of energies that makes two levels of theory likely."""
GAP_FACTOR = 10.0
"""How many times wider than both groups that gap is at least."""

MIN_GROUP = 8
"""Fewest structures in a group of residuals: a few odd ones are no level of theory."""
MIN_STRUCTURES_FITTED = 40
"""Fewest structures that a linear potential is fitted to."""
MIN_SHARE = 0.02
"""Smallest share of the structures in such a group."""
MIN_SHIFT_EV_PER_ATOM = 0.03
"""Smallest shift between the groups: below it, it may be what a linear potential cannot say."""
MIN_RATIO = 8.0
"""How many standard deviations of what is left the shift is at least. What one level leaves reaches
2 to 4 on ethane, acetylacetone, the dimers of S66x8 and silicon, halves of ethane at DFT and CASPT2
15 to 20."""
MIN_RATIO_EACH = 4.5
"""The same for each group by itself: odd energies are no narrow group."""
MOST_BETWEEN = 0.3
"""Most structures in the middle third between the groups, as a share of the smaller group."""
MOST_STRUCTURES = 1000
"""So many are looked at, evenly spread."""
STRUCTURES_PER_COMPONENT, MOST_COMPONENTS = 8, 40
"""How many principal components a linear potential has for so many structures."""
SMALLEST = 1e-6
"""Smallest singular value that counts, as a share of the norm of everything."""
MOST_NAMES = 200
"""So many labels of a group are named."""
TURNS = 20
"""Most turns between groups and coefficients; they settle in fewer than ten."""


def level_gap(data: Dataset, training_set: TrainingSet, elements: Sequence[int]) -> str:
    """A sentence about energies that look like two levels of theory; empty if they do not.

    Args:
        data: Labelled structures.
        training_set: The same, with their features.
        elements: Atomic numbers, in the order of its compositions.
    """
    compositions = training_set.compositions
    own = fit_self_energies(elements, compositions, data.energy)
    rest = (
        data.energy - compositions @ np.array([own[z] for z in elements])
    ) / data.n_atoms
    looked_at = np.arange(len(data))
    found, where = groups_by_gap(rest), ""
    if found is None:
        looked_at = _spread(len(data))
        described = mean_features(training_set, looked_at)
        found = groups_by_residuals(
            rest[looked_at],
            described,
            compositions[looked_at] / data.n_atoms[looked_at, None],
        )
        where = " where geometries are alike"
    if found is None:
        return ""
    is_high, gap = found
    smaller = is_high if is_high.sum() <= (~is_high).sum() else ~is_high
    names = [f"l-{data.label_id[looked_at[k]]}" for k in np.flatnonzero(smaller)]
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    if len(looked_at) < len(data):
        more += f" (of {len(looked_at)} that were looked at; there are {len(data)})"
    return (
        f"energies of the labels fall into two groups, {int((~is_high).sum())} and "
        f"{int(is_high.sum())} structures, {gap:.3g} eV per atom apart{where}. In the smaller "
        f"one: {' '.join(names[:MOST_NAMES])}{more}. If two levels of theory were mixed, take one "
        "out: alflow quarantine l-N ..."
    )


def groups_by_gap(energies: Vector) -> tuple[Bool[np.ndarray, " structures"], float] | None:
    """Which energies are in the higher of two narrow groups, and the gap between; None if none is.

    Args:
        energies: What the compositions leave [eV/atom].
    """
    order = np.argsort(energies)
    steps = np.diff(energies[order])
    cut = int(np.argmax(steps)) + 1 if len(steps) else 0
    low, high = energies[order[:cut]], energies[order[cut:]]
    if min(len(low), len(high)) < MIN_STRUCTURES:
        return None
    gap, width = float(steps[cut - 1]), max(float(np.ptp(low)), float(np.ptp(high)))
    if gap < GAP_EV_PER_ATOM or gap < GAP_FACTOR * width:
        return None
    return energies >= high[0], gap


def groups_by_residuals(
    energies: Vector,
    features: Float[np.ndarray, "structures features"],
    fractions: Float[np.ndarray, "structures elements"],
) -> tuple[Bool[np.ndarray, " structures"], float] | None:
    """Which energies are in the higher of two groups about one linear potential, and the shift.

    Args:
        energies: Energies [eV/atom].
        features: What they depend on linearly, up to the shift.
        fractions: Share of each element in the atoms; it may explain energies and features.

    Returns:
        For each structure whether it is in the higher group, and the shift [eV/atom]; None if one
        group explains all.
    """
    n = len(energies)
    least = max(MIN_GROUP, MIN_SHARE * n)
    if n < max(2 * least, MIN_STRUCTURES_FITTED):
        return None
    shares = _span(fractions, float(np.linalg.norm(fractions)))
    varied = features - shares @ (shares.T @ features)
    n_components = min(n // STRUCTURES_PER_COMPONENT, MOST_COMPONENTS)
    basis = np.column_stack(
        [shares, _span(varied, float(np.linalg.norm(features)))[:, :n_components]]
    )
    residuals = _left_out(basis, energies)
    is_high = _halves(residuals)
    for _ in range(TURNS):
        both = np.column_stack([basis, is_high - is_high.mean()])
        shift = np.linalg.lstsq(both, energies)[0][-1]
        residuals = _left_out(both, energies) + shift * is_high
        again = _halves(residuals)
        if (again == is_high).all():
            break
        is_high = again
    low, high = residuals[~is_high], residuals[is_high]
    shift = float(np.median(high) - np.median(low))
    place = (residuals - np.median(low)) / (shift or 1.0)
    n_between = int(((place > 1 / 3) & (place < 2 / 3)).sum())
    smaller = min(len(low), len(high))
    rest = np.concatenate([low - np.median(low), high - np.median(high)])
    is_clear = (
        smaller >= least
        and shift >= MIN_SHIFT_EV_PER_ATOM
        and shift >= MIN_RATIO * _deviation(rest)
        and shift >= MIN_RATIO_EACH * max(_deviation(low), _deviation(high))
        and n_between <= MOST_BETWEEN * smaller
    )
    return (is_high, shift) if is_clear else None


def mean_features(
    data: TrainingSet, structures: np.ndarray
) -> Float[np.ndarray, "structures features"]:
    """Features of the atoms of each element, summed over a structure, over its number of atoms.

    Args:
        data: Structures with their features.
        structures: Which ones, ascending.
    """
    n_atoms = data.n_atoms.numpy()
    starts = np.cumsum(n_atoms) - n_atoms
    rows = np.concatenate(
        [np.arange(starts[k], starts[k] + n_atoms[k]) for k in structures]
    )
    owners = np.repeat(np.arange(len(structures)), n_atoms[structures])
    features = data.features[rows].double().numpy()
    species = data.species_idx[rows].numpy()
    n_elements = data.compositions.shape[1]
    found = np.zeros((len(structures), n_elements, features.shape[1]))
    np.add.at(found, (owners, species), features)
    return np.asarray(found.reshape(len(structures), -1) / n_atoms[structures, None])


def _spread(n: int) -> np.ndarray:
    return np.linspace(0, n - 1, min(n, MOST_STRUCTURES)).round().astype(int)


def _span(columns: np.ndarray, scale: float) -> np.ndarray:
    """Orthonormal columns that span the same space, the most important first."""
    left, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(left[:, sizes > SMALLEST * scale])


def _left_out(basis: np.ndarray, energies: Vector) -> Vector:
    """Residual of each structure of the fit to all others."""
    orthogonal = np.linalg.qr(basis)[0]
    leverage = (orthogonal**2).sum(1).clip(max=0.99)
    found: np.ndarray = (energies - orthogonal @ (orthogonal.T @ energies)) / (1 - leverage)
    return found


def _halves(values: Vector) -> Bool[np.ndarray, " structures"]:
    """Which values are in the upper of the two groups with the least variance inside (Otsu)."""
    order = np.argsort(values)
    below = np.arange(1, len(values))
    sums = np.cumsum(values[order])
    means = sums[:-1] / below, (sums[-1] - sums[:-1]) / (len(values) - below)
    between = below * (len(values) - below) * (means[1] - means[0]) ** 2
    found = np.zeros(len(values), bool)
    found[order[int(np.argmax(between)) + 1 :]] = True
    return found


def _deviation(values: np.ndarray) -> float:
    """Standard deviation that single odd values do not move: 1.4826 median absolute deviations."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))
