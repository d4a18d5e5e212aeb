"""Frames that were sampled, some of very many, with all that is known about each."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from sqlalchemy import Connection, func, select

from alflow.core.sampling import Decision
from alflow.core.structures import Structure
from alflow.store.codec import chunks, nan_if_none, structure_from
from alflow.store.schema import (
    candidate,
    ensemble,
    iteration,
    label,
    level_of_theory,
    prediction,
    structure,
    trajectory,
)
from alflow.store.structures import COLUMNS

_FLOAT64 = "<f8"


class Explored(NamedTuple):
    """A frame, why it was kept, and how wrong the generation that sampled it is about its label.

    Spreads and `force_error` [eV/Å], the latter per component; `energy` and `energy_error`
    [eV/atom]. NaN where there is no number; `fingerprint` is empty where none is stored.
    """

    structure_id: int
    structure: Structure
    iteration: int
    generation: int
    sampler: str
    reason: str
    decision: str
    force_spread: float
    energy: float
    energy_error: float
    force_error: float
    fingerprint: Float[np.ndarray, " features"]


def explored(connection: Connection, level: int | None, limit: int) -> list[Explored]:
    """At most so many frames by id: half of them chosen for a label, half not, each evenly.

    Args:
        connection: Connection of a read transaction.
        level: Number of the level of theory whose labels count; None for no labels.
        limit: How many at most.
    """
    half = max(1, limit // 2)
    ids = sorted(
        [
            *_even(connection, half, is_chosen=True),
            *_even(connection, half, is_chosen=False),
        ]
    )
    is_label = (
        (label.c.structure_id == candidate.c.structure_id)
        & (label.c.lot_id == level)
        & label.c.superseded_by.is_(None)
    )
    is_asked = (prediction.c.label_id == label.c.id) & (
        prediction.c.ensemble_id == candidate.c.ensemble_id
    )
    query = (
        select(
            *COLUMNS,
            iteration.c.number.label("iteration"),
            ensemble.c.generation,
            trajectory.c.sampler,
            candidate.c.reason,
            candidate.c.decision,
            candidate.c.force_spread_max.label("force_spread"),
            (label.c.energy / label.c.n_atoms).label("energy"),
            ((prediction.c.energy - label.c.energy) / label.c.n_atoms).label(
                "energy_error"
            ),
            prediction.c.force_rmse.label("force_error"),
            candidate.c.fingerprint,
        )
        .select_from(
            candidate.join(structure, structure.c.id == candidate.c.structure_id)
            .join(iteration, iteration.c.id == candidate.c.iteration_id)
            .join(ensemble, ensemble.c.id == candidate.c.ensemble_id)
            .join(trajectory, trajectory.c.id == candidate.c.trajectory_id)
            .outerjoin(label, is_label)
            .outerjoin(prediction, is_asked)
        )
        .order_by(candidate.c.id)
    )
    return [
        Explored(
            row.id,
            structure_from(row),
            row.iteration,
            row.generation,
            row.sampler,
            row.reason,
            row.decision,
            nan_if_none(row.force_spread),
            nan_if_none(row.energy),
            nan_if_none(row.energy_error),
            nan_if_none(row.force_error),
            np.frombuffer(row.fingerprint or b"", _FLOAT64),
        )
        for part in chunks(ids)
        for row in connection.execute(query.where(candidate.c.id.in_(part)))
    ]


def _even(connection: Connection, limit: int, *, is_chosen: bool) -> list[int]:
    """Ids of some candidates with or without that decision, evenly chosen."""
    selected = candidate.c.decision == Decision.SELECTED
    wanted = selected if is_chosen else ~selected
    n = connection.scalar(select(func.count()).where(wanted)) or 0
    place = (func.row_number().over(order_by=candidate.c.id) - 1).label("place")
    numbered = select(candidate.c.id, place).where(wanted).subquery()
    query = (
        select(numbered.c.id)
        .where(numbered.c.place % max(1, -(-n // limit)) == 0)
        .order_by(numbered.c.id)
    )
    return list(connection.scalars(query))


def level_number(connection: Connection, name: str) -> int | None:
    """Number of the level of theory of that name, None if there is none."""
    query = select(level_of_theory.c.id).where(level_of_theory.c.name == name)
    number: int | None = connection.scalar(query)
    return number
