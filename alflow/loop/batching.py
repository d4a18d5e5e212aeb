"""Label tasks by what their labels cost: which comes first, how many go together, for how long.

Costs are measured, and differ from run to run of the same campaign. Nothing that is found out may
depend on them: label ids follow the structures, and no labeler sees its batch (`store.publishing`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from jaxtyping import Float

from alflow.core.cost import CostModel, compositions
from alflow.core.structures import Structure

UNMEASURED = 4
"""Structures in a task while nothing is known about their cost."""

LARGEST = 1000
"""Most structures in a task, however short their labels: what one worker can lose at once."""

TASKS_FOR_EACH_WORKER = 4
"""Least number of tasks for each worker that are made where there is enough to do: the last tasks
of a stage end at about the same time."""

DAY_S = 86400.0
"""Time for one structure while too little is known about its cost [s], and the longest one."""
LEAST_S = 600.0
"""Shortest time for one structure that follows from costs [s]."""
ENOUGH = 10
"""Measured labels from which on deadlines follow from costs."""
PATIENCE, NEARLY_ALL = 50.0, 0.99
"""A label may take so many times longer than this share of the labels like it: rescues take ten
times as long, and a machine may be slow."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known before labels of one level are asked for.

    Attributes:
        cost: What they cost; None if nothing was measured.
        workers: Number of workers for them; 0 if that is not known.
    """

    cost: CostModel | None = None
    workers: int = 0


NOTHING = Known()


def in_batches(
    structures: Sequence[Structure], size: int | None, batch_s: float, known: Known
) -> list[list[Structure]]:
    """What goes into each task, what takes longest first: it must not start last.

    Without measured costs the structures with most electrons come first.

    Args:
        structures: What is to be labelled, each once.
        size: Structures in a task; None: as many as their costs suggest.
        batch_s: Time that a task should take then [s].
        known: What is known about costs and workers.
    """
    seconds = _seconds(structures, known.cost)
    rank = [one.n_electrons for one in structures] if seconds is None else seconds
    order = sorted(
        range(len(structures)),
        key=lambda k: (-rank[k], -structures[k].n_electrons, structures[k].hash),
    )
    ranked = None if seconds is None else seconds[order]
    groups = in_groups(len(order), size, batch_s, ranked, known.workers)
    return [[structures[order[k]] for k in group] for group in groups]


def in_groups(
    n: int,
    size: int | None,
    batch_s: float,
    seconds: Float[np.ndarray, " structures"] | None,
    workers: int,
) -> list[range]:
    """Which of `n` structures go into each task, what takes longest first.

    Args:
        n: Number of structures.
        size: Structures in a task; None: as many as their costs suggest.
        batch_s: Time that a task should take then [s].
        seconds: Time that each takes, the longest first; None if that is not known.
        workers: Number of workers for them; 0 if that is not known.
    """
    most, share = size or UNMEASURED, np.zeros(n)
    if size is None:
        n_tasks = TASKS_FOR_EACH_WORKER * workers
        if seconds is None:
            most = min(most, -(-n // max(1, n_tasks)) if n_tasks else most)
        else:
            longest = min(batch_s, seconds.sum() / n_tasks) if n_tasks else batch_s
            most, share = LARGEST, seconds / longest
    starts: list[int] = []
    left = 0.0
    for k in range(n):
        if not starts or k - starts[-1] >= most or share[k] > left:
            starts.append(k)
            left = 1.0
        left -= share[k]
    return [range(*pair) for pair in pairwise([*starts, n])]


def timeout_s(
    structures: Sequence[Structure],
    given: float | Literal["auto"] | None,
    cost: CostModel | None,
) -> float | None:
    """Time that one of the structures of a task may take [s]; None: any.

    Args:
        structures: Structures of the task.
        given: What the settings say.
        cost: What such labels cost, if any were measured.
    """
    if given != "auto":
        return given
    if cost is None or cost.n_measured < ENOUGH:
        return DAY_S
    counts = compositions(one.numbers for one in structures)
    slow = float(cost.upper_core_s(counts, NEARLY_ALL).max()) / cost.cores
    return float(np.clip(np.ceil(PATIENCE * slow), LEAST_S, DAY_S))


def _seconds(
    structures: Sequence[Structure], cost: CostModel | None
) -> Float[np.ndarray, " structures"] | None:
    """Time that the label of each structure takes a worker [s]."""
    if cost is None:
        return None
    counts = compositions(one.numbers for one in structures)
    # Not the mean: the first label of a task pays for the start of its process, the others do not.
    return cost.median_core_s(counts) / cost.cores
