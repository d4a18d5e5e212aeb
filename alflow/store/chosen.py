"""Candidates that were chosen for a label, with their geometry and what became of them."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from sqlalchemy import Connection, func, select

from alflow.core.labels import AUDIT
from alflow.core.sampling import Decision
from alflow.core.structures import Structure
from alflow.store.codec import array, structure_from
from alflow.store.rows import ItemState, SightingKind
from alflow.store.schema import (
    candidate,
    ensemble,
    iteration,
    label,
    label_item,
    level_of_theory,
    prediction,
    sighting,
    structure,
    trajectory,
)
from alflow.store.structures import COLUMNS


class Chosen(NamedTuple):
    """A candidate chosen for a label: where it comes from, why it was chosen, its label.

    `energy_spread` [eV] is by the root of the atoms, `force_spread_max` [eV/Å]; both None where
    not finite. `source` is the builder of the start of its trajectory.
    """

    structure_id: int
    structure: Structure
    formula: str
    sampler: str
    source: str
    generation: int
    time_fs: float
    reason: str
    measure: str
    energy_spread: float | None
    force_spread_max: float | None
    decision_reason: str
    label_state: str


def chosen(connection: Connection, number: int, limit: int) -> list[Chosen]:
    """Candidates of an iteration that were chosen for a label, largest force spread first."""
    audits = select(level_of_theory.c.id).where(level_of_theory.c.name.endswith(AUDIT))
    state = (
        select(func.max(label_item.c.state))
        .where(
            label_item.c.structure_id == structure.c.id, label_item.c.lot_id.not_in(audits)
        )
        .scalar_subquery()
    )
    is_start = (
        (sighting.c.trajectory_id == trajectory.c.id)
        & (sighting.c.step == 0)
        & (sighting.c.kind == SightingKind.START)
    )
    spread = candidate.c.force_spread_max
    query = (
        select(
            *COLUMNS,
            structure.c.formula,
            trajectory.c.sampler,
            func.coalesce(sighting.c.source, "").label("source"),
            ensemble.c.generation,
            candidate.c.time_fs,
            candidate.c.reason,
            candidate.c.measure,
            candidate.c.energy_spread,
            spread,
            candidate.c.decision_reason,
            func.coalesce(state, ItemState.PENDING).label("label_state"),
        )
        .select_from(
            candidate.join(iteration, iteration.c.id == candidate.c.iteration_id)
            .join(structure, structure.c.id == candidate.c.structure_id)
            .join(trajectory, trajectory.c.id == candidate.c.trajectory_id)
            .join(ensemble, ensemble.c.id == candidate.c.ensemble_id)
            .outerjoin(sighting, is_start)
        )
        .where(iteration.c.number == number, candidate.c.decision == Decision.SELECTED)
        .order_by(spread.is_not(None), spread.desc(), candidate.c.rank)
        .limit(limit)
    )
    return [
        Chosen(
            row.id,
            structure_from(row),
            *(getattr(row, name) for name in Chosen._fields[2:]),
        )
        for row in connection.execute(query)
    ]


class ForcePair(NamedTuple):
    """Forces on a structure [eV/Å]: of its label, and by the generation that chose it."""

    labelled: Float[np.ndarray, "atoms 3"]
    predicted: Float[np.ndarray, "atoms 3"]


def force_pairs(
    connection: Connection, number: int, structure_ids: list[int]
) -> Mapping[int, ForcePair]:
    """Forces on chosen structures of an iteration by structure, of those where both are kept."""
    asked = (prediction.c.label_id == label.c.id) & (
        prediction.c.ensemble_id == candidate.c.ensemble_id
    )
    query = (
        select(
            label.c.structure_id,
            label.c.n_atoms,
            label.c.forces,
            prediction.c.forces.label("predicted"),
        )
        .select_from(
            candidate.join(iteration, iteration.c.id == candidate.c.iteration_id)
            .join(label, label.c.structure_id == candidate.c.structure_id)
            .join(prediction, asked)
        )
        .where(
            iteration.c.number == number,
            candidate.c.structure_id.in_(structure_ids),
            label.c.forces.is_not(None),
            prediction.c.forces.is_not(None),
        )
        .order_by(label.c.id)
    )
    found = {}
    for row in connection.execute(query):
        labelled = array(row.forces, row.n_atoms, 3)
        predicted = array(row.predicted, row.n_atoms, 3)
        if labelled is not None and predicted is not None:
            found[row.structure_id] = ForcePair(labelled, predicted)
    return found
