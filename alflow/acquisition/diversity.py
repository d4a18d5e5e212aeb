"""Farthest-point selection in the space of fingerprints."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


def standardised(
    fingerprints: Float[np.ndarray, "points features"],
) -> Float[np.ndarray, "points kept"]:
    """Scale each feature to unit spread over the points; features that do not vary are dropped.

    Divided by the square root of their number, so that the distance of two points is the root
    mean square over features, whatever the length of the fingerprint.
    """
    centred = fingerprints - fingerprints.mean(axis=0)
    width = centred.std(axis=0)
    varies = width > 1e-9 * (1e-9 + np.abs(fingerprints).max(axis=0, initial=0.0))
    scaled = centred[:, varies] / width[varies]
    return np.asarray(scaled / np.sqrt(max(1, scaled.shape[1])))


@dataclass(frozen=True, slots=True)
class FarthestPoints:
    """The outcome of a selection.

    Attributes:
        order: Indices of the chosen points, in the order of their choice, (chosen,).
        distances: Distance of every point to the nearest point chosen before it (chosen points)
            or to the nearest of all chosen (others); infinite for the first, (points,).
        nearest: The chosen point that this distance is to, -1 for the first, (points,).
    """

    order: Int[np.ndarray, " chosen"]
    distances: Float[np.ndarray, " points"]
    nearest: Int[np.ndarray, " points"]


def farthest_points(
    points: Float[np.ndarray, "points features"],
    count: int,
    min_distance: float = 0.0,
    weights: Float[np.ndarray, " points"] | None = None,
) -> FarthestPoints:
    """Choose points that are far from each other, greedily (k-centre).

    The first point is chosen first; then always the one farthest from all chosen ones, the
    earlier one of two that are equally far.

    Args:
        points: Coordinates in the order of preference, (points, features).
        count: Largest number of points to choose.
        min_distance: Points closer than this to a chosen one are not chosen.
        weights: Positive numbers that multiply distances when they are compared, (points,).
    """
    n_points = len(points)
    weights = np.ones(n_points) if weights is None else weights
    distances = np.full(n_points, np.inf)
    nearest = np.full(n_points, -1)
    is_open = np.ones(n_points, bool)
    order: list[int] = []
    while len(order) < count:
        is_far = is_open & (distances >= min_distance)
        if not is_far.any():
            break
        pick = int(np.argmax(np.where(is_far, distances * weights, -1.0)))
        order.append(pick)
        is_open[pick] = False
        to_pick = np.sqrt(np.square(points - points[pick]).sum(axis=1))
        closer = is_open & (to_pick < distances)
        distances[closer] = to_pick[closer]
        nearest[closer] = pick
    return FarthestPoints(np.array(order, int), distances, nearest)
