"""How labels were computed: outcomes, time, and what it took to converge them. Pure."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from alflow.store.told import Told


@dataclass(frozen=True, slots=True)
class Rung:
    """Labels that one method of convergence gave in the end.

    Attributes:
        level: Name of their level of theory.
        name: Name of the method.
        n_labels: How many.
        cycles: Cycles of the median label, None if none tells.
        wall_s: Time of the median label [s], None if none tells.
    """

    level: str
    name: str
    n_labels: int
    cycles: float | None
    wall_s: float | None


@dataclass(frozen=True, eq=False, slots=True)
class Labeling:
    """What labels tell of how they were computed.

    Attributes:
        n_labels: Labels that were looked at; of very many an even selection.
        wall_s: How long each took that says so [s], (labels,).
        rungs: What converged them, by level; empty if they do not tell.
    """

    n_labels: int = 0
    wall_s: Float[np.ndarray, " labels"] = field(default_factory=lambda: np.zeros(0))
    rungs: tuple[Rung, ...] = ()


def labeling(found: Sequence[Told]) -> Labeling:
    """Taken together; the most frequent methods first."""
    wall_s = np.array([one.wall_s for one in found], np.float64)
    alike: dict[tuple[str, str], list[Told]] = defaultdict(list)
    for one in found:
        if one.rung:
            alike[one.level, one.rung].append(one)
    rungs = [
        Rung(
            level,
            name,
            len(rows),
            _median([float(one.cycles) for one in rows if one.cycles is not None]),
            _median([one.wall_s for one in rows if np.isfinite(one.wall_s)]),
        )
        for (level, name), rows in alike.items()
    ]
    rungs.sort(key=lambda one: (one.level, -one.n_labels, one.name))
    return Labeling(len(found), wall_s[np.isfinite(wall_s)], tuple(rungs))


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None


def time_edges(wall_s: Float[np.ndarray, " labels"]) -> Float[np.ndarray, " edges"]:
    """Edges of bins of time [s], equal on a log axis, from the shortest to the longest."""
    low, high = (max(float(limit), 1e-6) for limit in (wall_s.min(), wall_s.max()))
    if high < 1.2 * low:
        low, high = low / 1.2, high * 1.2
    # The ends are a little further out, so that rounding leaves no label outside.
    return np.geomspace(low * (1 - 1e-9), high * (1 + 1e-9), 25)
