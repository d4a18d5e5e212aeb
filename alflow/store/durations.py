"""How long tasks took and what they brought in: what a simulation of a campaign is made from."""

import json
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from sqlalchemy import Connection, func, select

from alflow.store.codec import from_json_text
from alflow.store.rows import AttemptState, ItemState
from alflow.store.schema import (
    attempt,
    ensemble,
    iteration,
    label,
    label_item,
    level_of_theory,
    snapshot,
    structure,
    task,
)

SAMPLE = "sample"
"""The kind of task that finds flagged frames."""


class Duration(NamedTuple):
    """An attempt of a task that has ended; its time [s], None where it did not tell."""

    task_id: int
    kind: str
    iteration: int
    level: str | None
    wall_s: float | None
    is_done: bool
    n_flagged: int


class LabelDuration(NamedTuple):
    """A label, and the time that it took [s]."""

    task_id: int
    iteration: int
    numbers: UInt8[np.ndarray, " atoms"]
    wall_s: float
    cores: int


class TrainingDuration(NamedTuple):
    """A training: how it began, how many labels it learnt from, and the time that it took [s]."""

    generation: int
    relation: str
    n_train: int
    wall_s: float


def durations(connection: Connection) -> list[Duration]:
    """All attempts that have ended, by id."""
    query = (
        select(
            task.c.id,
            task.c.kind,
            iteration.c.number,
            level_of_theory.c.name,
            attempt.c.wall_s,
            attempt.c.state,
            task.c.outcome_json,
        )
        .select_from(attempt.join(task, task.c.id == attempt.c.task_id))
        .join(iteration, iteration.c.id == task.c.iteration_id)
        .outerjoin(level_of_theory, level_of_theory.c.id == task.c.lot_id)
        .where(attempt.c.ended.is_not(None))
        .order_by(attempt.c.id)
    )
    found = []
    for row in connection.execute(query):
        values = (from_json_text(row.outcome_json) or {}).get("values", {})
        n_flagged = int(values.get("n_flagged", 0)) if row.kind == SAMPLE else 0
        is_done = row.state == AttemptState.DONE
        found.append(
            Duration(row.id, row.kind, row.number, row.name, row.wall_s, is_done, n_flagged)
        )
    return found


def label_durations(connection: Connection, level: str) -> list[LabelDuration]:
    """All labels of a level that campaign tasks made and that tell their time, by id."""
    query = (
        select(label_item.c.task_id, iteration.c.number, structure.c.numbers)
        .add_columns(label.c.extras_json)
        .select_from(label.join(label_item, label_item.c.id == label.c.id))
        .join(level_of_theory, level_of_theory.c.id == label.c.lot_id)
        .join(structure, structure.c.id == label.c.structure_id)
        .join(task, task.c.id == label_item.c.task_id)
        .join(iteration, iteration.c.id == task.c.iteration_id)
        .where(level_of_theory.c.name == level, label.c.attempt_id.is_not(None))
        .order_by(label.c.id)
    )
    found = []
    for task_id, number, numbers, extras in connection.execute(query):
        told = json.loads(extras or "{}")
        wall_s = told.get("wall_s")
        if isinstance(wall_s, int | float):
            kinds = np.frombuffer(numbers, np.uint8)
            cores = int(told.get("cores", 1))
            found.append(LabelDuration(task_id, number, kinds, float(wall_s), cores))
    return found


def training_durations(connection: Connection) -> list[TrainingDuration]:
    """All trainings that were done, by generation."""
    query = (
        select(
            ensemble.c.generation,
            ensemble.c.relation,
            snapshot.c.n_train,
            attempt.c.wall_s,
        )
        .join(snapshot, snapshot.c.id == ensemble.c.snapshot_id)
        .join(task, task.c.ensemble_id == ensemble.c.id)
        .join(attempt, attempt.c.task_id == task.c.id)
        .where(attempt.c.state == AttemptState.DONE, attempt.c.wall_s.is_not(None))
        .order_by(ensemble.c.generation)
    )
    return [TrainingDuration(*row) for row in connection.execute(query)]


def failed_labels(connection: Connection, level: str) -> tuple[int, int]:
    """Number of labels of a level that failed, and of all that were decided."""
    query = (
        select(label_item.c.state, func.count().label("n"))
        .join(level_of_theory, level_of_theory.c.id == label_item.c.lot_id)
        .where(level_of_theory.c.name == level, label_item.c.state != ItemState.PENDING)
        .group_by(label_item.c.state)
    )
    counts = {row.state: int(row.n) for row in connection.execute(query)}
    return counts.get(ItemState.FAILED, 0), sum(counts.values())
