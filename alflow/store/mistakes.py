"""How wrong a generation is: by where structures come from, by atom, and about which labels most.

Two sets of labels are told apart: the test set, and the new labels of an iteration as the
generation that chose them predicted them. Both had not been trained on. Like
`alflow.store.history`.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from sqlalchemy import Connection, Select, func, select

from alflow.store.codec import array, chunks, nan_if_none
from alflow.store.predictions import new_labels
from alflow.store.rows import Quality, Split
from alflow.store.schema import (
    campaign_structure,
    candidate,
    ensemble,
    iteration,
    label,
    prediction,
    structure,
    trajectory,
)

TEST, NEW = "test", "new"
"""Names of the two sets of labels."""


class Sets(NamedTuple):
    """Which labels to look at; None leaves a set out.

    `generation` is asked about the test set, and `iteration` is the one whose new labels count.
    """

    generation: int | None
    iteration: int | None


class OriginError(NamedTuple):
    """Mean square errors about structures of one origin; None if there is no number.

    Forces per component [eV²/Å²], energies [eV²/atom²]. `origin` is the builder of a test structure
    and the sampler of a new one.
    """

    which: str
    origin: str
    n_labels: int
    force: float | None
    energy: float | None


class LabelError(NamedTuple):
    """How wrong a generation is about one label.

    `force_rmse` per component and `force_spread` [eV/Å], `energy_error` [eV/atom]; NaN where there
    is no number.
    """

    which: str
    label_id: int
    structure_id: int
    formula: str
    origin: str
    force_rmse: float
    force_spread: float
    energy_error: float


class AtomErrors(NamedTuple):
    """Errors of the forces on the atoms of one structure [eV/Å]."""

    which: str
    numbers: UInt8[np.ndarray, " atoms"]
    errors: Float[np.ndarray, "atoms 3"]


_ENERGY = (prediction.c.energy - label.c.energy) / label.c.n_atoms


def errors_by_origin(connection: Connection, sets: Sets) -> list[OriginError]:
    """Errors by builder or sampler, most labels first."""
    squares = prediction.c.force_rmse * prediction.c.force_rmse
    known = prediction.c.force_rmse.is_not(None)
    found = []
    for which, origin, query in _queries(sets):
        totals = query.with_only_columns(
            origin.label("origin"),
            func.count().label("n"),
            func.sum(squares * label.c.n_atoms).label("force"),
            func.sum(label.c.n_atoms).filter(known).label("n_atoms"),
            func.avg(_ENERGY * _ENERGY).label("energy"),
        ).group_by(origin)
        found += [
            OriginError(
                which,
                row.origin,
                row.n,
                row.force / float(row.n_atoms) if row.n_atoms else None,
                row.energy,
            )
            for row in connection.execute(totals)
        ]
    return sorted(found, key=lambda one: (one.which, -one.n_labels, one.origin))


def worst_labels(connection: Connection, sets: Sets, limit: int) -> list[LabelError]:
    """The labels with the largest errors of the forces, or of the energy where all lack forces."""
    found = []
    for which, origin, query in _queries(sets):
        rows = query.with_only_columns(
            label.c.id,
            label.c.structure_id,
            structure.c.formula,
            origin.label("origin"),
            prediction.c.force_rmse,
            prediction.c.force_spread_mean,
            _ENERGY.label("energy_error"),
        ).order_by(
            func.coalesce(prediction.c.force_rmse, 0.0).desc(),
            func.abs(_ENERGY).desc(),
            label.c.id,
        )
        found += [
            LabelError(which, *row[:4], *(nan_if_none(value) for value in row[4:]))
            for row in connection.execute(rows.limit(limit))
        ]

    def size(one: LabelError) -> tuple[float, float]:
        return np.nan_to_num(one.force_rmse), np.nan_to_num(abs(one.energy_error))

    return sorted(found, key=size, reverse=True)[:limit]


def atom_errors(connection: Connection, sets: Sets, limit: int) -> Iterator[AtomErrors]:
    """Errors on atoms, of at most so many labels of each set, evenly chosen."""
    for which, _, query in _queries(sets):
        has_both = label.c.forces.is_not(None) & prediction.c.forces.is_not(None)
        ids = query.with_only_columns(label.c.id).where(has_both).order_by(label.c.id)
        known = connection.scalars(ids).all()
        step = max(1, -(-len(known) // limit))
        rows = query.with_only_columns(
            label.c.n_atoms,
            structure.c.numbers,
            label.c.forces,
            prediction.c.forces.label("predicted"),
        ).order_by(label.c.id)
        yield from _atoms(connection, which, rows, known[::step])


def _atoms(
    connection: Connection, which: str, query: Select[Any], ids: Sequence[int]
) -> Iterator[AtomErrors]:
    for part in chunks(ids):
        for row in connection.execute(query.where(label.c.id.in_(part))):
            labelled = array(row.forces, row.n_atoms, 3)
            predicted = array(row.predicted, row.n_atoms, 3)
            if labelled is not None and predicted is not None:
                numbers = np.frombuffer(row.numbers, np.uint8)
                yield AtomErrors(which, numbers, predicted - labelled)


def _queries(sets: Sets) -> Iterator[tuple[str, Any, Select[Any]]]:
    """Name, column of origin and rows of each set."""
    ok = label.c.quality == Quality.OK
    if sets.generation is not None:
        rows = (
            prediction.join(ensemble, ensemble.c.id == prediction.c.ensemble_id)
            .join(label, label.c.id == prediction.c.label_id)
            .join(structure, structure.c.id == label.c.structure_id)
            .join(campaign_structure, campaign_structure.c.structure_id == structure.c.id)
        )
        query = select(label.c.id).select_from(rows)
        yield (
            TEST,
            campaign_structure.c.source,
            query.where(
                ensemble.c.role == "committee",
                ensemble.c.generation == sets.generation,
                campaign_structure.c.split == Split.TEST,
                ok,
            ),
        )
    if sets.iteration is not None:
        rows = (
            new_labels()
            .join(structure, structure.c.id == label.c.structure_id)
            .join(trajectory, trajectory.c.id == candidate.c.trajectory_id)
        )
        query = select(label.c.id).select_from(rows)
        yield (
            NEW,
            trajectory.c.sampler,
            query.where(iteration.c.number == sets.iteration, ok),
        )
