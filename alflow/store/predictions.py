"""How sure generations were and how wrong: read-only queries behind the curves of a report.

Like `alflow.store.history`: on the connection of a read transaction, in an order that depends on
the content alone, NaN for a number that was not finite.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from sqlalchemy import Connection, FromClause, Select, func, select

from alflow.store import bulk
from alflow.store.codec import array, nan_if_none
from alflow.store.rows import Quality, Split
from alflow.store.schema import (
    campaign_structure,
    candidate,
    ensemble,
    iteration,
    label,
    label_item,
    model,
    prediction,
    snapshot,
    task,
    trajectory,
)


class CandidateSpread(NamedTuple):
    """Spread of a candidate over the generation that sampled it.

    `energy` [eV] is by the root of the number of atoms; `force_mean` and `force_max` [eV/Å] are
    over its atoms, `force_scale` [eV/Å] the mean norm of their mean forces; NaN where not finite.
    `task` is the number of the task that sampled it.
    """

    generation: int
    energy: float
    force_mean: float
    force_max: float
    force_scale: float
    reason: str
    task: int


class Generation(NamedTuple):
    """A generation, its snapshot and weights."""

    number: int
    state: str
    n_train: int
    digest: str
    weights_sha: str | None
    seeds: tuple[int, ...]


class ErrorOnTest(NamedTuple):
    """Mean square errors of a generation on the test set; None if there is no number.

    Forces per component [eV²/Å²], energies [eV²/atom²].
    """

    generation: int
    n_labels: int
    force: float | None
    energy: float | None


class ErrorOnLabel(NamedTuple):
    """How wrong a generation is about one test structure.

    Errors are NaN where the prediction is not finite: `force_rmse` per component [eV/Å], NaN also
    without force labels; `energy_error` [eV/atom].
    """

    n_atoms: int
    has_forces: bool
    force_rmse: float
    energy_error: float


class NewLabelPrediction(NamedTuple):
    """What a generation said about a label of the iteration that it sampled for.

    Energies [eV], `energy_spread` by the root of the atoms; forces [eV/Å].
    """

    iteration: int
    generation: int
    n_atoms: int
    energy_error: float
    energy_spread: float
    force_rmse: float
    force_spread_mean: float
    reason: str


class PredictionOnTest(NamedTuple):
    """Label and prediction of a test structure: energies [eV], forces [eV/Å]."""

    n_atoms: int
    energy: float
    energy_predicted: float
    forces: Float[np.ndarray, "atoms 3"] | None
    forces_predicted: Float[np.ndarray, "atoms 3"] | None


def candidate_spreads(connection: Connection, number: int) -> list[CandidateSpread]:
    """Spreads of all candidates of one iteration."""
    query = (
        select(
            ensemble.c.generation,
            candidate.c.energy_spread,
            candidate.c.force_spread_mean,
            candidate.c.force_spread_max,
            candidate.c.force_scale,
            candidate.c.reason,
            trajectory.c.task_id,
        )
        .select_from(
            candidate.join(iteration, iteration.c.id == candidate.c.iteration_id)
            .join(ensemble, ensemble.c.id == candidate.c.ensemble_id)
            .join(trajectory, trajectory.c.id == candidate.c.trajectory_id)
        )
        .where(iteration.c.number == number)
        .order_by(candidate.c.id)
    )
    return [
        CandidateSpread(
            row.generation,
            nan_if_none(row.energy_spread),
            nan_if_none(row.force_spread_mean),
            nan_if_none(row.force_spread_max),
            nan_if_none(row.force_scale),
            row.reason,
            row.task_id,
        )
        for row in connection.execute(query)
    ]


def generations(connection: Connection) -> list[Generation]:
    """All generations, first to last."""
    seeds: dict[int, list[int]] = {}
    members = select(model.c.ensemble_id, model.c.seed).order_by(
        model.c.ensemble_id, model.c.member
    )
    for row in connection.execute(members):
        seeds.setdefault(row.ensemble_id, []).append(-1 if row.seed is None else row.seed)
    query = (
        select(
            ensemble.c.id,
            ensemble.c.generation,
            ensemble.c.state,
            snapshot.c.n_train,
            snapshot.c.digest,
            ensemble.c.weights_sha,
        )
        .join(snapshot, snapshot.c.id == ensemble.c.snapshot_id)
        .where(ensemble.c.role == "committee")
        .order_by(ensemble.c.generation)
    )
    return [
        Generation(*row[1:], seeds=tuple(seeds.get(row.id, ())))
        for row in connection.execute(query)
    ]


def errors_on_test(connection: Connection) -> list[ErrorOnTest]:
    """Errors on the test set by generation; None where a prediction is not finite."""
    atoms = label.c.n_atoms
    squares = prediction.c.force_rmse * prediction.c.force_rmse
    off = (prediction.c.energy - label.c.energy) / atoms
    has_forces = label.c.forces.is_not(None)
    query = (
        _test_labels(
            ensemble.c.generation,
            func.count().label("n"),
            func.count(prediction.c.energy).label("n_energy"),
            func.sum(off * off).label("energy"),
            func.count().filter(has_forces).label("n_forces"),
            func.count(prediction.c.force_rmse).label("n_known"),
            func.sum(squares * atoms).label("force"),
            func.sum(atoms).filter(prediction.c.force_rmse.is_not(None)).label("n_atoms"),
        )
        .group_by(ensemble.c.generation)
        .order_by(ensemble.c.generation)
    )
    return [
        ErrorOnTest(
            row.generation,
            row.n,
            row.force / float(row.n_atoms)  # PostgreSQL adds up whole numbers as decimals
            if row.n_forces and row.n_known == row.n_forces
            else None,
            row.energy / row.n if row.n_energy == row.n else None,
        )
        for row in connection.execute(query)
    ]


def errors_by_label(connection: Connection, generation: int) -> dict[int, ErrorOnLabel]:
    """Errors of a generation on test structures by label, accepted labels of its level only."""
    query = _test_labels(
        label.c.id,
        label.c.n_atoms,
        label.c.forces.is_not(None).label("has_forces"),
        prediction.c.force_rmse,
        ((prediction.c.energy - label.c.energy) / label.c.n_atoms).label("energy_error"),
    ).where(
        ensemble.c.generation == generation,
        label.c.lot_id == ensemble.c.lot_id,
        label.c.superseded_by.is_(None),
    )
    return {
        row.id: ErrorOnLabel(
            row.n_atoms,
            bool(row.has_forces),
            nan_if_none(row.force_rmse),
            nan_if_none(row.energy_error),
        )
        for row in connection.execute(query)
    }


def predictions_on_test(connection: Connection, generation: int) -> list[PredictionOnTest]:
    """Labels of the test set and what a generation says about them, by label."""
    query = (
        _test_labels(
            label.c.n_atoms,
            label.c.energy,
            prediction.c.energy.label("predicted"),
            label.c.forces,
            prediction.c.forces.label("forces_predicted"),
        )
        .where(ensemble.c.generation == generation)
        .order_by(label.c.id)
    )
    return [
        PredictionOnTest(
            row.n_atoms,
            row.energy,
            nan_if_none(row.predicted),
            array(row.forces, row.n_atoms, 3),
            array(row.forces_predicted, row.n_atoms, 3),
        )
        for row in connection.execute(query)
    ]


def _test_labels(*columns: Any) -> Select[Any]:
    return (
        select(*columns)
        .select_from(
            prediction.join(ensemble, ensemble.c.id == prediction.c.ensemble_id)
            .join(label, label.c.id == prediction.c.label_id)
            .join(
                campaign_structure,
                campaign_structure.c.structure_id == label.c.structure_id,
            )
        )
        .where(
            campaign_structure.c.split == Split.TEST,
            ensemble.c.role == "committee",
            label.c.quality == Quality.OK,
        )
    )


def new_labels() -> FromClause:
    """Labels that iterations asked for, as candidates, and what the ensemble said that asked."""
    chosen = (
        (candidate.c.iteration_id == iteration.c.id)
        & (candidate.c.structure_id == label.c.structure_id)
        & (candidate.c.ensemble_id == ensemble.c.id)
    )
    return (
        prediction.join(ensemble, ensemble.c.id == prediction.c.ensemble_id)
        .join(label, label.c.id == prediction.c.label_id)
        .join(label_item, label_item.c.id == label.c.id)
        .join(task, task.c.id == label_item.c.task_id)
        .join(iteration, iteration.c.id == task.c.iteration_id)
        .join(candidate, chosen)
    )


def iterations_with_predictions(connection: Connection) -> list[int]:
    """Iterations whose new labels have been predicted by the generation that chose them."""
    query = (
        select(iteration.c.number)
        .select_from(new_labels())
        .where(label.c.quality == Quality.OK)
        .distinct()
        .order_by(iteration.c.number)
    )
    return list(connection.scalars(query))


def new_label_predictions(connection: Connection) -> list[NewLabelPrediction]:
    """Each generation on the labels that were chosen with it, by iteration and label."""
    query = (
        select(
            iteration.c.number,
            ensemble.c.generation,
            label.c.n_atoms,
            (prediction.c.energy - label.c.energy).label("energy_error"),
            prediction.c.energy_spread,
            prediction.c.force_rmse,
            prediction.c.force_spread_mean,
            candidate.c.reason,
        )
        .select_from(new_labels())
        .where(label.c.quality == Quality.OK)
        .order_by(iteration.c.number, label.c.id)
    )
    prepared = bulk.prepared(connection.dialect, query)
    found: list[NewLabelPrediction] = []
    for *named, n_atoms, energy, spread, force, force_spread, reason in bulk.columns(
        connection, prepared
    ):
        # As arrays, because NULL becomes NaN on the way.
        numbers = np.array([energy, spread, force, force_spread], np.float64).tolist()
        found += map(NewLabelPrediction, *named, n_atoms, *numbers, reason)
    return found
