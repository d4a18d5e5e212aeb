"""Promotion: what a campaign learnt is carried over to a better level of theory. Pure functions.

When it would end well, one more iteration follows, a transaction each:

    promote ─→ relabel ─→ transfer ─→ compare ─→ ended

The generation that serves predicts all structures it may learn from; some are labelled at the
better level; a generation is trained from it on those labels alone, and tested on held-out ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum

import numpy as np
from jaxtyping import Float

from alflow.config.campaign import CampaignSettings
from alflow.core.datasets import LabelledStructure
from alflow.core.metrics import rmse
from alflow.models.self_energies import fit_self_energies
from alflow.store.views import IterationProgress, Progress

BUDGET = "promote_budget"
"""Statistic of a promotion: how many labels it was allowed, those of earlier ones included."""

Predicted = Mapping[str, tuple[float, Float[np.ndarray, "atoms 3"]]]
"""Energy [eV] and forces [eV/Å] by hash of the structure."""

_ENERGY, _FORCE = "energy_rmse_eV_per_atom", "force_rmse_eV_per_A"


class Phase(StrEnum):
    """What a promotion is waiting for."""

    PROMOTE = "promote"
    """Predictions for all structures that may be chosen."""
    RELABEL = "relabel"
    """Labels at the better level."""
    TRANSFER = "transfer"
    """Training on them."""
    COMPARE = "compare"
    """Predictions for the held-out ones."""


def is_promotion(iteration: IterationProgress) -> bool:
    """Whether an iteration promotes, instead of looking for new structures."""
    return iteration.phase in set(Phase)


def ordinary(progress: Progress) -> Progress:
    """The campaign without its promotions, by which it is decided how it goes on."""
    kept = tuple(one for one in progress.iterations if not is_promotion(one))
    return replace(progress, iterations=kept)


def is_due(progress: Progress, settings: CampaignSettings) -> bool:
    """Whether a campaign that would end is to be promoted first.

    It is not if it was, since its last ordinary iteration, with as many labels as are allowed.
    """
    if settings.promote is None:
        return False
    for iteration in reversed(progress.iterations):
        if not is_promotion(iteration):
            return True
        if iteration.stats.get(BUDGET, 0) >= settings.promote.labels:
            return False
    return True


def parent_errors(
    train: Sequence[LabelledStructure],
    test: Sequence[LabelledStructure],
    predicted: Predicted,
) -> dict[str, float]:
    """Errors at the better level of the generation that was there before, its best foot forward.

    Energies of two levels differ by a constant for each element, which says nothing about a
    model: it is fitted to the labels that the new generation was trained on.

    Args:
        train: Labels at the better level that the new generation was trained on.
        test: Held-out labels at that level.
        predicted: What the old generation says about the structures.
    """
    train = [one for one in train if one.structure.hash in predicted]
    test = [one for one in test if one.structure.hash in predicted]
    if not train or not test:
        return {}
    elements = sorted({int(z) for one in [*train, *test] for z in one.structure.numbers})
    fitted = fit_self_energies(
        elements, _counts(train, elements), _missing(train, predicted)
    )
    shifts = _counts(test, elements) @ np.array([fitted[z] for z in elements])
    sizes = np.array([one.structure.n_atoms for one in test])
    errors = {f"parent_{_ENERGY}": rmse((_missing(test, predicted) - shifts) / sizes)}
    forces = [
        predicted[one.structure.hash][1] - one.label.forces
        for one in test
        if one.label.forces is not None
    ]
    if forces:
        errors[f"parent_{_FORCE}"] = rmse(np.concatenate(forces))
    return errors


def outcome(iteration: IterationProgress, level: str) -> str:
    """What came of a promotion, with its numbers."""
    stats = iteration.stats
    n_labels = int(stats.get("transfer_n_train", 0))
    what = (
        f"generation {iteration.number} carries it over to level {level!r} with {n_labels} "
        "labels"
    )
    parts = [
        text
        for name, unit, noun in (
            (_FORCE, "meV/Å", "force"),
            (_ENERGY, "meV/atom", "energy"),
        )
        if (text := _error(stats, name, unit, noun))
    ]
    if not parts:
        return f"{what}, untested"
    n_test = int(stats.get("test_n_structures", 0))
    return f"{what}; on {n_test} held-out ones {', '.join(parts)}"


def _error(stats: Mapping[str, float], name: str, unit: str, noun: str) -> str:
    value = stats.get(f"test_{name}")
    if value is None:
        return ""
    text = f"the {noun} error is {1e3 * value:.1f} {unit}"
    old = stats.get(f"parent_{name}")
    return text if old is None else f"{text} ({1e3 * old:.1f} before)"


def _counts(items: Sequence[LabelledStructure], elements: Sequence[int]) -> np.ndarray:
    return np.array(
        [[float((one.structure.numbers == z).sum()) for z in elements] for one in items]
    )


def _missing(items: Sequence[LabelledStructure], predicted: Predicted) -> np.ndarray:
    """Label minus prediction [eV]."""
    return np.array([one.label.energy - predicted[one.structure.hash][0] for one in items])
