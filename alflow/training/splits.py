"""Which member may train on which structure.

Folds are a hash of the split seed and the group alone, so that they stay as they are when data
is added: with warm starts a member's hold-out has then never been trained on by its ancestors.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from alflow.core.datasets import Dataset, LabelledStructure
from alflow.core.seeds import child_seed


def holdout_masks(
    data: Sequence[LabelledStructure], n_members: int, folds: int, split_seed: int
) -> Bool[np.ndarray, "members structures"]:
    """Mark the structures that each member must not train on.

    Member m holds out fold `m % folds`, by whole groups, so that neighbouring frames of a
    trajectory never stand on both sides. Structures without a group stand for themselves, and
    so does every structure of a group that is more than half of the data. A member whose fold
    is empty or everything holds out the one group that its turn falls on; with one structure
    nothing is held out.

    Args:
        data: Labelled structures.
        n_members: Number of members.
        folds: Number of folds; 0 to hold nothing out.
        split_seed: Seed of the folds.

    Returns:
        True where a member must not train, (members, structures).
    """
    masks = np.zeros((n_members, len(data)), bool)
    names = np.array(_group_names(Dataset.of(data)))
    order = sorted(
        set(names), key=lambda name: (child_seed(split_seed, "order", name), name)
    )
    if folds == 0 or len(order) < 2:  # noqa: PLR2004
        return masks
    fold = {name: child_seed(split_seed, "fold", name) % folds for name in order}
    fold_of = np.array([fold[name] for name in names])
    for member in range(n_members):
        held = fold_of == member % folds
        if not held.any() or held.all():
            held = names == order[member % len(order)]
        masks[member] = held
    return masks


def _group_names(data: Dataset) -> list[str]:
    groups = data.group_names()
    sizes = Counter(groups)
    return [
        group
        if group and 2 * sizes[group] <= len(data)
        else f"{group}/{data.structure(k).hash}"
        for k, group in enumerate(groups)
    ]
