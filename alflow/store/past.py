"""What earlier iterations taught about the spread: labels beside what was said of them before."""

import math
from itertools import groupby

import numpy as np
from jaxtyping import Float
from sqlalchemy import Connection, select

from alflow.core.past import Checked, PastIteration
from alflow.core.sampling import Gate, Spread
from alflow.store.codec import AnyRow, from_json_text, nan_if_none
from alflow.store.predictions import new_labels
from alflow.store.rows import Quality
from alflow.store.schema import (
    candidate,
    event,
    iteration,
    iteration_stat,
    label,
    prediction,
    task,
    trajectory,
)
from alflow.store.store import Store

N_TRAJECTORIES, N_FLAGGED, N_PLACES = "n_trajectories", "n_flagged", "n_places"
N_LABELLED = "n_labelled"
COVERAGE_FORCE, COVERAGE_ENERGY = "coverage_force", "coverage_energy"
"""Statistics of an iteration."""
TAUGHT = (N_TRAJECTORIES, N_FLAGGED, N_PLACES, N_LABELLED, COVERAGE_FORCE, COVERAGE_ENERGY)
"""Those that say what an iteration taught."""

COVERAGE = (
    "coverage_nominal",
    *(COVERAGE_FORCE, COVERAGE_ENERGY, "coverage_force_audit", "coverage_energy_audit"),
    *("error_per_spread_force", "error_per_calibrated_spread_force"),
    *("error_per_spread_energy", "error_per_calibrated_spread_energy"),
)
"""Statistics about how right the spread was: see `alflow.loop.calibration`."""


def past_iterations(
    store: Store, window: int | None = None, before: int | None = None
) -> list[PastIteration]:
    """Iterations that sampled and have ended, in order.

    Args:
        store: The store.
        window: Number of the last ones whose labels are read; None reads all. Labels put aside do
            not count.
        before: Number of an iteration: those that had ended when it began, if it has.
    """
    with store.read() as connection:
        statistics = _statistics(connection)
        numbers = sorted(statistics)
        if before is not None and (known := ended_before(connection, before)) is not None:
            numbers = [number for number in numbers if number in known]
        wanted = numbers if window is None else numbers[-window:]
        checked = checked_frames(connection, wanted) if wanted else {}
        excess = _excess(connection, numbers)
    return [
        PastIteration(
            number,
            int(statistics[number][N_TRAJECTORIES]),
            int(statistics[number][N_FLAGGED]),
            int(statistics[number].get(N_PLACES, 0)),
            np.array(excess.get(number, []), np.float64),
            checked.get(number, Checked.none()),
            int(statistics[number].get(N_LABELLED, 0)),
            statistics[number].get(COVERAGE_FORCE, math.nan),
            statistics[number].get(COVERAGE_ENERGY, math.nan),
        )
        for number in numbers
    ]


def ended_before(connection: Connection, number: int) -> set[int] | None:
    """Numbers of the iterations that had ended when this one began; None if it has not begun."""
    began = connection.scalar(
        select(event.c.id).where(
            event.c.kind == "iteration-started", event.c.subject == f"i{number}"
        )
    )
    if began is None:
        return None
    query = select(event.c.subject).where(
        event.c.kind == "iteration-ended", event.c.id < began
    )
    return {int(subject.removeprefix("i")) for subject in connection.scalars(query)}


def gates_of(connection: Connection, number: int) -> dict[int, Gate]:
    """The gate of each task of sampling that has one, by number of the task."""
    query = (
        select(task.c.id, task.c.spec_json)
        .join(iteration, iteration.c.id == task.c.iteration_id)
        .where(iteration.c.number == number, task.c.kind == "sample")
    )
    told = {
        task_id: from_json_text(content)["settings"].get("gate")
        for task_id, content in connection.execute(query)
    }
    return {task_id: Gate.from_json(gate) for task_id, gate in told.items() if gate}


def coverages(connection: Connection) -> dict[int, dict[str, float]]:
    """How right the spread was in each iteration, from its statistics, by iteration and name."""
    query = (
        select(iteration.c.number, iteration_stat.c.name, iteration_stat.c.value)
        .join(iteration, iteration.c.id == iteration_stat.c.iteration_id)
        .where(iteration_stat.c.name.in_(COVERAGE))
        .order_by(iteration.c.number)
    )
    found: dict[int, dict[str, float]] = {}
    for number, name, value in connection.execute(query):
        found.setdefault(number, {})[name] = value
    return {number: named for number, named in found.items() if set(named) - {COVERAGE[0]}}


def _statistics(connection: Connection) -> dict[int, dict[str, float]]:
    """What each iteration that ran trajectories taught."""
    query = (
        select(iteration.c.number, iteration_stat.c.name, iteration_stat.c.value)
        .join(iteration, iteration.c.id == iteration_stat.c.iteration_id)
        .where(iteration_stat.c.name.in_(TAUGHT))
    )
    found: dict[int, dict[str, float]] = {}
    for number, name, value in connection.execute(query):
        found.setdefault(number, {})[name] = value
    return {
        k: counts
        for k, counts in found.items()
        if {N_TRAJECTORIES, N_FLAGGED} <= set(counts)
    }


def _excess(connection: Connection, numbers: list[int]) -> dict[int, list[float]]:
    """By how many times its limit the spread of each flagged frame was too large.

    The limits are those of the first round, to which the factor on them refers. Frames that waited
    and are within the limits of their own round by now are left out.
    """
    query = (
        select(
            iteration.c.number,
            trajectory.c.task_id,
            candidate.c.energy_spread,
            candidate.c.force_spread_mean,
            candidate.c.force_spread_max,
            candidate.c.force_scale,
        )
        .join(iteration, iteration.c.id == candidate.c.iteration_id)
        .join(trajectory, trajectory.c.id == candidate.c.trajectory_id)
        .where(candidate.c.reason == "flagged", iteration.c.number.in_(numbers))
        .order_by(iteration.c.number, candidate.c.id)
    )
    gates = {number: gates_of(connection, number) for number in numbers}
    found: dict[int, list[float]] = {}
    for row in connection.execute(query):
        spread = Spread(
            nan_if_none(row.energy_spread),
            nan_if_none(row.force_spread_mean),
            nan_if_none(row.force_spread_max),
            nan_if_none(row.force_scale),
        )
        own = gates[row.number].get(row.task_id)
        if own is not None and own.exceeded(spread) is not None:
            first = gates[row.number][min(gates[row.number])]
            found.setdefault(row.number, []).append(first.worst(spread)[1])
    return found


def checked_frames(connection: Connection, numbers: list[int]) -> dict[int, Checked]:
    """Labels that an iteration asked for, and what the ensemble that sampled said about them."""
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
        .select_from(new_labels())
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
