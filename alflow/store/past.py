"""What earlier iterations taught about the spread: labels beside what was said of them before."""

from itertools import groupby

import numpy as np
from jaxtyping import Float
from sqlalchemy import Connection, select

from alflow.core.past import Checked, PastIteration
from alflow.core.sampling import Gate
from alflow.store.codec import AnyRow, from_json_text, nan_if_none
from alflow.store.rows import Quality
from alflow.store.schema import (
    candidate,
    ensemble,
    iteration,
    iteration_stat,
    label,
    label_item,
    prediction,
    task,
)
from alflow.store.store import Store

N_TRAJECTORIES, N_FLAGGED, N_PLACES = "n_trajectories", "n_flagged", "n_places"
"""Statistics of an iteration."""


def past_iterations(store: Store, window: int | None = None) -> list[PastIteration]:
    """Iterations that sampled and have ended, in order.

    Args:
        store: The store.
        window: Number of the last ones whose labels are read; None reads all. Labels put aside do
            not count.
    """
    with store.read() as connection:
        statistics = _statistics(connection)
        numbers = sorted(statistics)
        wanted = numbers if window is None else numbers[-window:]
        checked = _checked(connection, wanted) if wanted else {}
    return [
        PastIteration(
            number,
            int(statistics[number][N_TRAJECTORIES]),
            int(statistics[number][N_FLAGGED]),
            int(statistics[number].get(N_PLACES, 0)),
            checked.get(number, Checked.none()),
        )
        for number in numbers
    ]


def gate_of(connection: Connection, number: int) -> Gate | None:
    """The gate that an iteration sampled with; None if it did not sample."""
    query = (
        select(task.c.spec_json)
        .join(iteration, iteration.c.id == task.c.iteration_id)
        .where(iteration.c.number == number, task.c.kind == "sample")
        .order_by(task.c.id)
        .limit(1)
    )
    content = connection.scalar(query)
    if content is None:
        return None
    return Gate.from_json(from_json_text(content)["settings"]["gate"])


def _statistics(connection: Connection) -> dict[int, dict[str, float]]:
    """The counts of each iteration that ran trajectories."""
    query = (
        select(iteration.c.number, iteration_stat.c.name, iteration_stat.c.value)
        .join(iteration, iteration.c.id == iteration_stat.c.iteration_id)
        .where(iteration_stat.c.name.in_([N_TRAJECTORIES, N_FLAGGED, N_PLACES]))
    )
    found: dict[int, dict[str, float]] = {}
    for number, name, value in connection.execute(query):
        found.setdefault(number, {})[name] = value
    return {
        k: counts
        for k, counts in found.items()
        if {N_TRAJECTORIES, N_FLAGGED} <= set(counts)
    }


def _checked(connection: Connection, numbers: list[int]) -> dict[int, Checked]:
    """Labels that an iteration asked for, and what the ensemble that sampled said about them."""
    chosen = (
        (candidate.c.iteration_id == iteration.c.id)
        & (candidate.c.structure_id == label.c.structure_id)
        & (candidate.c.ensemble_id == ensemble.c.id)
    )
    joined = (
        prediction.join(ensemble, ensemble.c.id == prediction.c.ensemble_id)
        .join(label, label.c.id == prediction.c.label_id)
        .join(label_item, label_item.c.id == label.c.id)
        .join(task, task.c.id == label_item.c.task_id)
        .join(iteration, iteration.c.id == task.c.iteration_id)
        .join(candidate, chosen)
    )
    query = (
        select(
            iteration.c.number,
            label.c.id,
            label.c.n_atoms,
            label.c.energy,
            label.c.forces,
            prediction.c.energy.label("predicted"),
            prediction.c.forces.label("forces_predicted"),
            prediction.c.energy_spread,
            prediction.c.force_spread_mean,
            prediction.c.force_scale,
            candidate.c.reason,
        )
        .select_from(joined)
        .where(label.c.quality == Quality.OK, iteration.c.number.in_(numbers))
        .order_by(iteration.c.number, label.c.id)
    )
    rows = {(row.number, row.id): row for row in connection.execute(query)}
    return {
        number: _of(list(group))
        for number, group in groupby(rows.values(), lambda row: int(row.number))
    }


def _of(rows: list[AnyRow]) -> Checked:
    root = np.sqrt(np.array([row.n_atoms for row in rows], np.float64))
    errors = np.array([nan_if_none(row.predicted) - row.energy for row in rows])
    return Checked(
        np.abs(errors) / root,
        np.array([nan_if_none(row.energy_spread) for row in rows]),
        np.array([_force_error(row) for row in rows]),
        np.array([nan_if_none(row.force_spread_mean) for row in rows]),
        np.array([nan_if_none(row.force_scale) for row in rows]),
        np.array([row.reason == "audit" for row in rows]),
    )


def _force_error(row: AnyRow) -> float:
    """Mean over atoms of the norm of the error [eV/Å]; NaN without forces."""
    if row.forces is None or row.forces_predicted is None:
        return float("nan")
    labelled, predicted = (
        np.frombuffer(content, "<f8").reshape(-1, 3)
        for content in (row.forces, row.forces_predicted)
    )
    norms: Float[np.ndarray, " atoms"] = np.linalg.norm(predicted - labelled, axis=1)
    return float(norms.mean())
