"""Which stored structures deserve a label at a better level of theory: pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from alflow.acquisition.diversity import standardised
from alflow.core.seeds import generator


@dataclass(frozen=True, eq=False, slots=True)
class Stored:
    """A stored structure, as the choice sees it.

    Attributes:
        id: Hash of the structure.
        spread: Energy spread divided by the square root of the number of atoms [eV].
        fingerprint: Descriptor of the whole structure, (features,).
        is_known: Whether a label at that level exists or was asked for.
    """

    id: str
    spread: float
    fingerprint: Float[np.ndarray, " features"]
    is_known: bool = False


@dataclass(frozen=True, slots=True)
class Promoted:
    """A structure that was chosen.

    Attributes:
        id: Hash of the structure.
        spread: Its spread [eV].
        distance: Distance of its fingerprint to the nearest one chosen before it or known;
            infinite for the first.
    """

    id: str
    spread: float
    distance: float


def choose(stored: Sequence[Stored], count: int) -> list[Promoted]:
    """Choose structures that the committee disagrees about, and that are unlike each other.

    Always the one next for which spread times distance to the nearest known or chosen one is
    largest; the first one, with nothing to compare with, by its spread. A product, because what
    the committee is sure about teaches nothing however new it is, nor does the copy of a chosen
    structure however uncertain it is; and because it needs no weight between two units. The
    spread is size-consistent; distances are those of `standardised` fingerprints. The outcome
    does not depend on the order of the structures; those with numbers that are not finite are never
    chosen.

    Args:
        stored: All structures, known ones too.
        count: Largest number to choose.
    """
    usable = [one for one in sorted(stored, key=lambda one: one.id) if _is_finite(one)]
    if not usable:
        return []
    points = standardised(np.stack([one.fingerprint for one in usable]).astype(np.float64))
    spreads = np.array([one.spread for one in usable])
    distances = np.full(len(usable), np.inf)
    is_open = np.array([not one.is_known for one in usable])
    for known in np.flatnonzero(~is_open).tolist():
        distances = np.minimum(distances, _distances(points, known))
    chosen: list[Promoted] = []
    while len(chosen) < count and is_open.any():
        is_first = np.isinf(distances[is_open]).all()
        score = spreads if is_first else spreads * distances
        pick = int(np.argmax(np.where(is_open, score, -1.0)))
        one = usable[pick]
        chosen.append(Promoted(one.id, one.spread, float(distances[pick])))
        is_open[pick] = False
        distances = np.minimum(distances, _distances(points, pick))
    return chosen


def held_out(ids: Sequence[str], fraction: float, seed: int) -> frozenset[str]:
    """Ids drawn at random to test on: the fraction, rounded, and at least one of each kind."""
    if len(ids) < 2:  # noqa: PLR2004
        return frozenset()
    count = min(max(1, round(fraction * len(ids))), len(ids) - 1)
    drawn = generator(seed, "held-out").permutation(len(ids))[:count]
    return frozenset(sorted(ids)[place] for place in drawn.tolist())


def _is_finite(one: Stored) -> bool:
    return bool(np.isfinite(one.spread) and np.isfinite(one.fingerprint).all())


def _distances(points: np.ndarray, place: int) -> np.ndarray:
    distances: np.ndarray = np.sqrt(np.square(points - points[place]).sum(axis=1))
    return distances
