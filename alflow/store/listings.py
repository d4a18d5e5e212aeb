"""Rows for `alflow ls`: plain dicts, JSON-like, newest knowledge, no arrays."""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import (
    Boolean,
    Connection,
    Select,
    case,
    false,
    func,
    select,
    type_coerce,
)

from alflow.core.errors import SettingsError, closest
from alflow.store.faults import is_quarantined
from alflow.store.narrowing import Filters, narrow
from alflow.store.rows import ItemState
from alflow.store.schema import (
    attempt,
    campaign_structure,
    candidate,
    ensemble,
    ensemble_metric,
    iteration,
    label,
    label_item,
    level_of_theory,
    snapshot,
    structure,
    task,
    trajectory,
)
from alflow.store.store import Store


def listing(
    store: Store, what: str, filters: Filters | None = None
) -> list[dict[str, Any]]:
    """Rows of one kind of thing, by number.

    Args:
        store: The store.
        what: One of `LISTINGS`.
        filters: Which rows; all of them by default.

    Raises:
        SettingsError: If there is no such listing, or it has no such filter.
    """
    if what not in LISTINGS:
        hint = closest(what, LISTINGS)
        raise SettingsError(
            f"there is no list of {what!r}" + (f"; did you mean {hint!r}?" if hint else ""),
            next_step=f"lists: {', '.join(LISTINGS)}",
        )
    query = narrow(LISTINGS[what](), what, filters or Filters())
    with store.read() as connection:
        found = [dict(row) for row in connection.execute(query).mappings()]
        return _with_metrics(connection, found) if what == "generations" else found


_LAST = (attempt.c.task_id == task.c.id) & (attempt.c.no == task.c.attempts)


def _tasks() -> Select[Any]:
    return (
        select(
            task.c.id,
            task.c.kind,
            task.c.key,
            task.c.state,
            iteration.c.number.label("iteration"),
            level_of_theory.c.name.label("level"),
            task.c.priority,
            task.c.attempts,
            task.c.charged,
            attempt.c.failure_class.label("failure"),
            type_coerce(func.coalesce(is_quarantined(), false()), Boolean).label(
                "quarantined"
            ),
            task.c.not_before,
            task.c.published,
            task.c.ended,
        )
        .join(iteration, iteration.c.id == task.c.iteration_id)
        .outerjoin(level_of_theory, level_of_theory.c.id == task.c.lot_id)
        .outerjoin(attempt, _LAST)
        .order_by(task.c.id)
    )


def _quarantine() -> Select[Any]:
    """Tasks whose tries are used up, with nothing known against their input."""
    return (
        select(
            task.c.id,
            task.c.kind,
            task.c.key,
            iteration.c.number.label("iteration"),
            task.c.attempts,
            attempt.c.failure_class.label("failure"),
            attempt.c.host,
            attempt.c.message,
        )
        .join(iteration, iteration.c.id == task.c.iteration_id)
        .join(attempt, _LAST)
        .where(is_quarantined())
        .order_by(task.c.id)
    )


def _attempts() -> Select[Any]:
    return (
        select(
            attempt.c.id,
            attempt.c.task_id.label("task"),
            attempt.c.no.label("number"),
            task.c.kind,
            task.c.key,
            attempt.c.token,
            attempt.c.state,
            iteration.c.number.label("iteration"),
            attempt.c.host,
            attempt.c.started,
            attempt.c.ended,
            attempt.c.wall_s,
            attempt.c.failure_class.label("failure"),
            attempt.c.message,
        )
        .join(task, task.c.id == attempt.c.task_id)
        .join(iteration, iteration.c.id == task.c.iteration_id)
        .order_by(attempt.c.id)
    )


def _structures() -> Select[Any]:
    return (
        select(
            structure.c.id,
            structure.c.formula,
            structure.c.n_atoms,
            structure.c.pbc,
            campaign_structure.c.split,
            campaign_structure.c.source,
            campaign_structure.c.group_key.label("group"),
            campaign_structure.c.added_iter.label("iteration"),
            level_of_theory.c.name.label("level"),
            label_item.c.id.label("label"),
            label_item.c.state,
            structure.c.hash,
        )
        .outerjoin(campaign_structure, campaign_structure.c.structure_id == structure.c.id)
        .outerjoin(label_item, label_item.c.structure_id == structure.c.id)
        .outerjoin(level_of_theory, level_of_theory.c.id == label_item.c.lot_id)
        .order_by(structure.c.id, label_item.c.id)
    )


def _labels() -> Select[Any]:
    """Labels that are there, those that are put aside included."""
    return (
        select(
            label.c.id,
            label.c.structure_id.label("structure"),
            structure.c.formula,
            label.c.n_atoms,
            level_of_theory.c.name.label("level"),
            campaign_structure.c.split,
            label.c.quality,
            label.c.energy,
            label.c.fmax,
            label.c.superseded_by,
            label.c.program_version.label("program"),
            label_item.c.task_id.label("task"),
            iteration.c.number.label("iteration"),
        )
        .join(structure, structure.c.id == label.c.structure_id)
        .join(level_of_theory, level_of_theory.c.id == label.c.lot_id)
        .join(label_item, label_item.c.id == label.c.id)
        .outerjoin(campaign_structure, campaign_structure.c.structure_id == structure.c.id)
        .outerjoin(task, task.c.id == label_item.c.task_id)
        .outerjoin(iteration, iteration.c.id == task.c.iteration_id)
        .order_by(label.c.id)
    )


def _failures() -> Select[Any]:
    """Labels that failed."""
    return (
        select(
            label_item.c.id.label("label"),
            label_item.c.structure_id.label("structure"),
            structure.c.formula,
            level_of_theory.c.name.label("level"),
            label_item.c.failure_kind.label("failure"),
            label_item.c.message,
            label_item.c.task_id.label("task"),
            iteration.c.number.label("iteration"),
        )
        .join(structure, structure.c.id == label_item.c.structure_id)
        .join(level_of_theory, level_of_theory.c.id == label_item.c.lot_id)
        .join(task, task.c.id == label_item.c.task_id)
        .join(iteration, iteration.c.id == task.c.iteration_id)
        .where(label_item.c.state == ItemState.FAILED)
        .order_by(label_item.c.id)
    )


def _generations() -> Select[Any]:
    return (
        select(
            ensemble.c.generation,
            ensemble.c.state,
            ensemble.c.iteration,
            snapshot.c.n_train,
            snapshot.c.seq.label("snapshot"),
            ensemble.c.relation,
            ensemble.c.weights_sha.label("weights"),
            ensemble.c.trained,
        )
        .join(snapshot, snapshot.c.id == ensemble.c.snapshot_id)
        .order_by(ensemble.c.generation)
    )


def _iterations() -> Select[Any]:
    return select(
        iteration.c.number,
        case((iteration.c.ended.is_not(None), "done"), else_=iteration.c.phase).label(
            "phase"
        ),
        iteration.c.n_flagged,
        iteration.c.n_candidates,
        iteration.c.n_selected,
        iteration.c.started,
        iteration.c.ended,
    ).order_by(iteration.c.number)


def _candidates() -> Select[Any]:
    return (
        select(
            candidate.c.id,
            iteration.c.number.label("iteration"),
            candidate.c.structure_id.label("structure"),
            structure.c.formula,
            candidate.c.trajectory_id.label("trajectory"),
            candidate.c.step,
            candidate.c.time_fs,
            candidate.c.temperature_K,
            candidate.c.reason,
            candidate.c.measure,
            candidate.c.energy_spread,
            candidate.c.force_spread_mean,
            candidate.c.force_spread_max,
            candidate.c.decision,
            candidate.c.decision_reason,
            candidate.c.rank,
            candidate.c.cost_core_s,
        )
        .join(iteration, iteration.c.id == candidate.c.iteration_id)
        .join(structure, structure.c.id == candidate.c.structure_id)
        .join(trajectory, trajectory.c.id == candidate.c.trajectory_id)
        .order_by(candidate.c.id)
    )


def _trajectories() -> Select[Any]:
    of_one = candidate.c.trajectory_id == trajectory.c.id
    n_candidates = select(func.count()).where(of_one).scalar_subquery()
    return (
        select(
            trajectory.c.id,
            iteration.c.number.label("iteration"),
            ensemble.c.generation,
            trajectory.c.task_id.label("task"),
            trajectory.c.sampler,
            trajectory.c.start_structure_id.label("start"),
            structure.c.formula,
            trajectory.c.n_steps,
            trajectory.c.time_fs,
            trajectory.c.stop_reason,
            n_candidates.label("candidates"),
        )
        .join(iteration, iteration.c.id == trajectory.c.iteration_id)
        .join(ensemble, ensemble.c.id == trajectory.c.ensemble_id)
        .join(structure, structure.c.id == trajectory.c.start_structure_id)
        .join(task, task.c.id == trajectory.c.task_id)
        .order_by(trajectory.c.id)
    )


LISTINGS: Mapping[str, Callable[[], Select[Any]]] = {
    "tasks": _tasks,
    "quarantine": _quarantine,
    "attempts": _attempts,
    "structures": _structures,
    "labels": _labels,
    "failures": _failures,
    "generations": _generations,
    "iterations": _iterations,
    "candidates": _candidates,
    "trajectories": _trajectories,
}
"""What can be listed, and the query; `alflow.store.narrowing` has the filters of each."""


def _with_metrics(
    connection: Connection, rows: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Add the test metrics of each generation."""
    query = (
        select(ensemble.c.generation, ensemble_metric.c.name, ensemble_metric.c.value)
        .join(ensemble, ensemble.c.id == ensemble_metric.c.ensemble_id)
        .where(ensemble_metric.c.split == "test")
    )
    by_number = {row["generation"]: row for row in rows}
    for row in connection.execute(query):
        if row.generation in by_number:
            by_number[row.generation][f"test_{row.name}"] = row.value
    return rows
