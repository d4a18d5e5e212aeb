"""How long trajectories lasted, and why they ended: like `alflow.store.history`, of very many."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from sqlalchemy import Connection, case, func, select

from alflow.core.sampling import StopReason
from alflow.store import bulk
from alflow.store.schema import ensemble, iteration, trajectory


class PathCount(NamedTuple):
    """Number of trajectories of an iteration that ended in one way, and their time [fs]."""

    iteration: int
    stop_reason: str
    n: int
    time_fs: float


class Lifetimes(NamedTuple):
    """How long each trajectory of a generation lasted [fs], and whether it ended before its end."""

    time_fs: Float[np.ndarray, " trajectories"]
    has_ended: Bool[np.ndarray, " trajectories"]


def path_counts(connection: Connection) -> list[PathCount]:
    """Trajectories by iteration and why they ended."""
    columns = (iteration.c.number, trajectory.c.stop_reason)
    query = (
        select(*columns, func.count(), func.sum(trajectory.c.time_fs))
        .join(iteration, iteration.c.id == trajectory.c.iteration_id)
        .group_by(*columns)
        .order_by(*columns)
    )
    return [PathCount(*row) for row in connection.execute(query)]


def lifetimes(connection: Connection, last: int | None = None) -> dict[int, Lifetimes]:
    """How long trajectories lasted, by generation; there may be very many.

    With `last` those of iterations up to this one only.
    """
    query = select(
        ensemble.c.generation,
        trajectory.c.time_fs,
        case((trajectory.c.stop_reason == StopReason.FINISHED, 0), else_=1),
    ).join(ensemble, ensemble.c.id == trajectory.c.ensemble_id)
    if last is not None:
        numbers = select(iteration.c.id).where(iteration.c.number <= last)
        query = query.where(trajectory.c.iteration_id.in_(numbers))
    prepared = bulk.prepared(connection.dialect, query)
    parts = [np.array(part, np.float64) for part in bulk.columns(connection, prepared)]
    generation, time_fs, ended = np.concatenate([np.zeros((3, 0)), *parts], axis=1)
    return {
        int(one): Lifetimes(time_fs[generation == one], ended[generation == one] > 0)
        for one in np.unique(generation)
    }
