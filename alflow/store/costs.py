"""What labels cost, as far as they tell: the time that each took is part of what it tells."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from sqlalchemy import ColumnElement, Connection, func, select

from alflow.core.cost import Measured
from alflow.core.tasks import TaskState
from alflow.store import lease
from alflow.store.rows import ItemState
from alflow.store.schema import (
    attempt,
    environment,
    iteration,
    label,
    label_count,
    label_item,
    level_of_theory,
    manager_lease,
    structure,
    task,
    task_count,
)

MOST = 2000
"""Latest labels of a level that are looked at: enough for any model of what they cost."""

LATEST = 20
"""Iterations whose pace is looked at."""

LABEL = "label"
"""The kind of task that labels."""


@dataclass(frozen=True, eq=False, slots=True)
class MeasuredLabel:
    """A label that says how long it took.

    Attributes:
        measured: What it was, and its time.
        iteration: Number of the iteration that asked for it.
        created: When it was taken in [s since 1970, UTC].
    """

    measured: Measured
    iteration: int
    created: float


def measured_labels(connection: Connection, level: str) -> list[MeasuredLabel]:
    """The latest labels of a level that were made here and tell their time, by id."""
    newest = _newest_iterations(connection, level)
    query = (
        select(
            label.c.extras_json, structure.c.numbers, iteration.c.number, label.c.created
        )
        .join(level_of_theory, level_of_theory.c.id == label.c.lot_id)
        .join(structure, structure.c.id == label.c.structure_id)
        .join(label_item, label_item.c.id == label.c.id)
        .join(task, task.c.id == label_item.c.task_id)
        .join(iteration, iteration.c.id == task.c.iteration_id)
        .where(
            level_of_theory.c.name == level,
            label.c.attempt_id.is_not(None),
            task.c.iteration_id.in_(newest),
        )
        # Not by the id alone: SQLite would read labels of other levels until it has enough.
        .order_by((label.c.id + 0).desc())
        .limit(MOST)
    )
    found = []
    for extras, numbers, number, created in connection.execute(query):
        told = json.loads(extras or "{}")
        if isinstance(told.get("wall_s"), int | float):
            cores = int(told.get("cores", 1))
            one = Measured(np.frombuffer(numbers, np.uint8), float(told["wall_s"]), cores)
            found.append(MeasuredLabel(one, number, created))
    return found[::-1]


def _newest_iterations(connection: Connection, level: str) -> list[int]:
    """Ids of the iterations that asked for the latest labels of a level."""
    query = (
        select(label_count.c.iteration_id, func.sum(label_count.c.n))
        .join(level_of_theory, level_of_theory.c.id == label_count.c.lot_id)
        .where(level_of_theory.c.name == level, label_count.c.state == ItemState.OK)
        .group_by(label_count.c.iteration_id)
        .order_by(label_count.c.iteration_id.desc())
    )
    found, n = [], 0
    for iteration_id, here in connection.execute(query):
        if n < MOST:
            found.append(iteration_id)
        n += int(here)
    return found


@dataclass(frozen=True, slots=True)
class Spent:
    """What a campaign has cost so far.

    Attributes:
        core_hours: Time that workers computed, failed attempts included, times their threads [h].
        wall_hours: Time from the start of the first attempt to the end of the last [h].
    """

    core_hours: float = 0.0
    wall_hours: float = 0.0


def spent(connection: Connection, until: float | None = None) -> Spent:
    """What all attempts so far have cost, or those that had ended at a moment [s since 1970]."""
    ended: ColumnElement[bool] = attempt.c.wall_s.is_not(None)
    times = select(func.min(attempt.c.started), func.max(attempt.c.ended))
    if until is not None:
        ended &= attempt.c.ended <= until
        times = times.where(attempt.c.ended <= until)
    by_surroundings = (
        select(attempt.c.env_id, func.sum(attempt.c.wall_s))
        .where(ended)
        .group_by(attempt.c.env_id)
    )
    threads = _threads(connection)
    seconds = sum(
        wall_s * threads.get(env_id, 1)
        for env_id, wall_s in connection.execute(by_surroundings)
    )
    first, last = connection.execute(times).one()
    wall_s = 0.0 if first is None or last is None else max(0.0, last - first)
    return Spent(seconds / 3600, wall_s / 3600)


def core_seconds(connection: Connection) -> dict[str, float]:
    """What all attempts have cost so far by kind of task [core-seconds]."""
    query = (
        select(task.c.kind, attempt.c.env_id, func.sum(attempt.c.wall_s))
        .join(task, task.c.id == attempt.c.task_id)
        .where(attempt.c.wall_s.is_not(None))
        .group_by(task.c.kind, attempt.c.env_id)
        .order_by(task.c.kind)
    )
    threads = _threads(connection)
    found: dict[str, float] = defaultdict(float)
    for kind, env_id, wall_s in connection.execute(query):
        found[kind] += wall_s * threads.get(env_id, 1)
    return dict(found)


def _threads(connection: Connection) -> dict[int | None, int]:
    """Threads that attempts used, by what they ran with."""
    found: dict[int | None, int] = {}
    query = select(environment.c.id, environment.c.packages_json)
    for number, content in connection.execute(query):
        told = str(json.loads(content).get("threads", ""))
        found[number] = int(told) if told.isdecimal() and int(told) else 1
    return found


def level_names(connection: Connection) -> list[str]:
    """Names of all levels of theory, in the order in which they came."""
    query = select(level_of_theory.c.name).order_by(level_of_theory.c.id)
    return [*connection.scalars(query)]


def measured(connection: Connection, level: str) -> list[Measured]:
    """Times of the latest labels of a level, by id."""
    return [one.measured for one in measured_labels(connection, level)]


def pending(connection: Connection) -> Mapping[str, Sequence[UInt8[np.ndarray, " atoms"]]]:
    """Atomic numbers of the structures that wait for a label, by level."""
    is_open = task_count.c.state.in_([TaskState.QUEUED, TaskState.LEASED])
    asking = select(task_count.c.iteration_id).where(is_open, task_count.c.n > 0)
    query = (
        select(level_of_theory.c.name, structure.c.numbers)
        .join(label_item, label_item.c.lot_id == level_of_theory.c.id)
        .join(structure, structure.c.id == label_item.c.structure_id)
        .join(task, task.c.id == label_item.c.task_id)
        .where(
            label_item.c.state == ItemState.PENDING,
            task.c.iteration_id.in_(asking),
            task.c.kind == LABEL,
        )
        .order_by(label_item.c.id + 0)
    )
    found = defaultdict(list)
    for name, numbers in connection.execute(query):
        found[name].append(np.frombuffer(numbers, np.uint8))
    return dict(found)


@dataclass(frozen=True, slots=True)
class LabelStage:
    """When an iteration was labelled.

    Attributes:
        iteration: Its number.
        began: When the iteration began [s since 1970, UTC].
        ended: When it ended; None while it runs.
        first: When the first of its label attempts began.
        last: When the last of them ended, as far as they have.
        since: When the first of those began that the last manager handed out.
    """

    iteration: int
    began: float
    ended: float | None
    first: float
    last: float | None
    since: float | None


def label_stages(connection: Connection, level: str) -> list[LabelStage]:
    """When the latest iterations were labelled at a level, those that were, by number."""
    newest = select(func.max(manager_lease.c.epoch)).scalar_subquery()
    latest = select(iteration.c.id).order_by(iteration.c.number.desc()).limit(LATEST)
    handed_out = func.min(attempt.c.started).filter(attempt.c.epoch == newest)
    query = (
        select(
            iteration.c.number,
            iteration.c.started,
            iteration.c.ended,
            func.min(attempt.c.started),
            func.max(attempt.c.ended),
            handed_out,
        )
        .join(task, task.c.iteration_id == iteration.c.id)
        .join(attempt, attempt.c.task_id == task.c.id)
        .join(level_of_theory, level_of_theory.c.id == task.c.lot_id)
        .where(
            task.c.kind == LABEL,
            level_of_theory.c.name == level,
            iteration.c.id.in_(latest),
        )
        .group_by(iteration.c.id, iteration.c.number)
        .order_by(iteration.c.number)
    )
    return [LabelStage(*row) for row in connection.execute(query)]


def has_manager(connection: Connection) -> bool:
    """Whether somebody runs the campaign."""
    now = lease.clock(connection)
    rows = connection.execute(select(manager_lease)).all()
    return any(row.holder is not None and lease.is_alive(row, now) for row in rows)
