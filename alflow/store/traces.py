"""How a few trajectories went, point by point: read-only."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from sqlalchemy import Connection, func, select

from alflow.core.sampling import StopReason
from alflow.store.codec import from_json_text
from alflow.store.schema import iteration, trajectory

FEWEST = 3
"""Points that make a curve."""

_FIRST = (StopReason.FLAGGED, StopReason.FINISHED)
"""Ends that are shown if there are any; then the most frequent of the others."""


class Trace(NamedTuple):
    """A trajectory, at the steps at which the spread was looked at.

    Attributes:
        trajectory: Id of the trajectory.
        stop_reason: Why it ended.
        lasted_fs: When it ended [fs].
        time_fs: When [fs], (points,).
        temperature_K: Kinetic temperature then [K], (points,); NaN where that means nothing.
        force_spread: Largest force spread of an atom then [eV/Å], (points,); NaN if not finite.
    """

    trajectory: int
    stop_reason: str
    lasted_fs: float
    time_fs: Float[np.ndarray, " points"]
    temperature_K: Float[np.ndarray, " points"]
    force_spread: Float[np.ndarray, " points"]


def examples(connection: Connection, number: int, most: int) -> list[Trace]:
    """Of each way to end in an iteration, the trajectory of median length.

    Ways whose trajectory has fewer than `FEWEST` points are left out: it is no curve.

    Args:
        connection: A connection to the store.
        number: Number of the iteration.
        most: Largest number of trajectories.
    """
    of_iteration = trajectory.c.iteration_id.in_(
        select(iteration.c.id).where(iteration.c.number == number)
    )
    ends = connection.execute(
        select(trajectory.c.stop_reason, func.count().label("n"))
        .where(of_iteration)
        .group_by(trajectory.c.stop_reason)
    ).all()
    found = []
    for end in sorted(ends, key=lambda row: (_place(row.stop_reason), -row.n)):
        row = connection.execute(
            select(trajectory.c.id, trajectory.c.time_fs, trajectory.c.trace_json)
            .where(of_iteration, trajectory.c.stop_reason == end.stop_reason)
            .order_by(trajectory.c.time_fs, trajectory.c.id)
            .offset(end.n // 2)
            .limit(1)
        ).one()
        points = from_json_text(row.trace_json)
        columns = [
            np.array(points.get(name, []), np.float64)
            for name in ("time_fs", "temperature_K", "force_spread_max")
        ]
        # Trajectories that are no dynamics have no times.
        if all(len(column) == len(columns[1]) >= FEWEST for column in columns):
            found.append(Trace(row.id, end.stop_reason, row.time_fs, *columns))
    return found[:most]


def _place(stop_reason: str) -> int:
    return _FIRST.index(StopReason(stop_reason)) if stop_reason in _FIRST else len(_FIRST)
