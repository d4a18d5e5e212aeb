"""What cannot be trained on, or looks wrong: data, and weights of a parent generation."""

import json
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from alflow.core.datasets import Dataset
from alflow.core.elements import SYMBOLS
from alflow.core.errors import SettingsError
from alflow.models.ani.ensemble import AniEnsemble
from alflow.training.settings import StackedSettings

MIN_STRUCTURES = 2
"""With fewer, nothing can be held out."""

_NOTHING = "Nothing was trained."


def check_data(data: Dataset, settings: StackedSettings) -> None:
    """Refuse data that no ensemble can be trained on.

    Args:
        data: Labelled structures.
        settings: What counts in the loss.

    Raises:
        SettingsError: If there are too few structures, a label is not finite, or there is
            nothing in the labels that counts.
    """
    if len(data) < MIN_STRUCTURES:
        raise SettingsError(
            f"the snapshot has {len(data)} labelled structure{'' if len(data) == 1 else 's'}; "
            f"training needs at least {MIN_STRUCTURES}, so that each member can hold something out",
            code="AL140",
            consequence=_NOTHING,
            next_step="raise loop.bootstrap or acquire.per_iteration, or import labels",
        )
    is_bad = np.repeat(data.has_forces, data.n_atoms) & ~np.isfinite(data.forces).all(1)
    is_wrong = ~np.isfinite(data.energy)
    is_wrong |= data.has_stress & ~np.isfinite(data.stress).all(1)
    is_wrong[np.repeat(np.arange(len(data)), data.n_atoms)[is_bad]] = True
    for k in np.flatnonzero(is_wrong).tolist():
        number = data[k].label_id or k
        raise SettingsError(
            f"label {number} ({data.structure(k).formula}) is not finite; "
            f"so are {int(is_wrong.sum())} of {len(data)} in all",
            code="AL110",
            consequence=_NOTHING,
            next_step=f"alflow quarantine l-{number} --reason 'not finite'",
        )
    counted = {
        "forces": (settings.force_weight, data.has_forces),
        "stresses": (settings.stress_weight, has_whole_stress(data)),
    }
    named = [name for name, (weight, _) in counted.items() if weight]
    if not settings.energy_weight and not any(counted[name][1].any() for name in named):
        raise SettingsError(
            f"train.energy_weight is 0 and no label has {' or '.join(named)}: nothing to train on",
            code="AL140",
            consequence=_NOTHING,
            next_step="set train.energy_weight above 0, or label at a level that has them",
        )


def has_whole_stress(data: Dataset) -> Bool[np.ndarray, " structures"]:
    """Which labels have a stress that can be trained on: of structures periodic all around."""
    return data.has_stress & data.pbc.all(1)


def within_cap(data: Dataset, max_force: float | None) -> Dataset:
    """The structures in which no force is larger than this [eV/Å]; those without forces stay.

    Raises:
        SettingsError: If too few are left to train on.
    """
    if max_force is None or not len(data):
        return data
    squares = np.square(np.nan_to_num(data.forces)).sum(1)
    largest = np.sqrt(np.maximum.reduceat(squares, data.starts))
    kept = np.flatnonzero(largest <= max_force)
    if len(kept) == len(data):
        return data
    if len(kept) < MIN_STRUCTURES:
        raise SettingsError(
            f"{len(data) - len(kept)} of {len(data)} labelled structures have a force beyond "
            f"train.max_force_eV_per_A ({max_force:g} eV/Å): too few are left to train on",
            code="AL140",
            consequence=_NOTHING,
            next_step="raise train.max_force_eV_per_A, or build structures whose atoms are "
            "farther apart",
        )
    return data.take(kept)


def beyond_cap(n_left_out: int, max_force: float | None) -> str | None:
    """A sentence about structures that are not trained on; None if there are none."""
    if not n_left_out:
        return None
    return (
        f"{n_left_out} labelled structures have a force beyond train.max_force_eV_per_A "
        f"({max_force:g} eV/Å) and are not trained on"
    )


def unused_stresses(data: Dataset, stress_weight: float) -> str | None:
    """A sentence about a weight of stresses that weighs nothing; None if all is well."""
    if not stress_weight or has_whole_stress(data).any():
        return None
    return (
        f"train.stress_weight is {stress_weight:g}, but no label of a structure that is periodic "
        "in all directions has a stress: it has no effect"
    )


def members_of(parent: AniEnsemble) -> tuple[int, ...]:
    """Which members of its generation an ensemble has: all, unless some could not be trained."""
    n_members = parent.networks.n_members
    try:
        named = json.loads(parent.metadata["members"])
    except (KeyError, ValueError):
        named = None
    is_sound = isinstance(named, list) and all(isinstance(m, int) and m >= 0 for m in named)
    if not is_sound or len(named) != n_members or sorted(set(named)) != named:
        return tuple(range(n_members))
    return tuple(named)


def _name(one: AniEnsemble) -> str | None:
    return None if one.repulsion is None else one.repulsion.name


def check_parent(
    parent: AniEnsemble,
    members: tuple[int, ...],
    fresh: AniEnsemble,
    elements: Sequence[int],
) -> None:
    """Refuse to start from weights that do not fit.

    Args:
        parent: The ensemble of the parent generation.
        members: Which members of it there are.
        fresh: What the model settings ask for, for the elements of the parent.
        elements: Atomic numbers in the data.

    Raises:
        SettingsError: If their shapes differ, or there is an element that the parent does not know.
    """
    shapes = [
        [tuple(parameter.shape[1:]) for parameter in one.networks.parameters()]
        for one in (parent, fresh)
    ]
    n_members = fresh.networks.n_members
    is_whole = len(members) == n_members or "members" in parent.metadata
    if (
        parent.descriptor.constants != fresh.descriptor.constants
        or _name(parent) != _name(fresh)
        or shapes[0] != shapes[1]
        or not is_whole
        or max(members) >= n_members
    ):
        raise SettingsError(
            "the weights of the parent generation do not fit the model settings",
            code="AL140",
            consequence=_NOTHING,
            next_step="set train.warm_start to false to start from random weights",
        )
    known = parent.descriptor.elements
    unknown = sorted(set(elements) - set(known))
    if unknown:
        names = [", ".join(SYMBOLS[z] for z in some) for some in (unknown, known)]
        raise SettingsError(
            f"there are labels with {names[0]}, but the weights of the parent generation know "
            f"only {names[1]}",
            code="AL140",
            consequence=_NOTHING,
            next_step="set train.warm_start to false to start from random weights of all elements",
        )
