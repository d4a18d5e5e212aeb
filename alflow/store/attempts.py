"""Attempts by name, and the task behind any object: what `alflow logs` asks."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, func, null, select

from alflow.core.errors import SettingsError
from alflow.core.naming import ObjectName, unknown
from alflow.core.tasks import AttemptRef
from alflow.store.codec import AnyRow, from_json_text
from alflow.store.generations import TRAIN
from alflow.store.rows import AttemptState
from alflow.store.schema import (
    attempt,
    candidate,
    ensemble,
    label,
    label_item,
    sighting,
    snapshot,
    task,
    trajectory,
)
from alflow.store.store import Store


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One attempt, as the database knows it.

    Attributes:
        ref: Which one.
        key: Key of its task.
        n_attempts: Number of attempts that its task has had.
        state: open, done, failed or released.
        host: Where it ran; None if that is not known.
        started: When it was handed out [s since 1970, UTC].
        ended: When it ended, None while it is open.
        failure: Kind of its failure, None without one.
        message: Why it failed, a sentence.
        traceback: Where it failed; empty if the failure came without.
    """

    ref: AttemptRef
    key: str
    n_attempts: int
    state: str
    host: str | None
    started: float
    ended: float | None
    failure: str | None
    message: str
    traceback: str

    @property
    def name(self) -> ObjectName:
        """As a user types it."""
        return ObjectName("t", self.ref.task_id, self.ref.number)

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.state == AttemptState.OPEN


def attempt_behind(store: Store, name: ObjectName) -> AttemptRecord:
    """The attempt that is meant, or the one that made an object; of a task the last one.

    Raises:
        SettingsError: If there is no such object, no task of the campaign made it, or the task
            has not been handed out yet.
    """
    with store.read() as connection:
        task_id, number = _place(connection, name)
        if number is None:
            last = select(func.max(attempt.c.no)).where(attempt.c.task_id == task_id)
            number = connection.scalar(last)
        query = _RECORDS.where(attempt.c.task_id == task_id, attempt.c.no == number)
        row = connection.execute(query).one_or_none()
    if row is None and name.attempt is None:
        raise SettingsError(
            f"t-{task_id} has not been tried yet: nobody has written anything",
            next_step=f"how it stands: alflow show t-{task_id}",
        )
    if row is None:
        raise SettingsError(
            f"there is no attempt {name}", next_step=f"attempts: alflow show t-{task_id}"
        )
    return _record(row)


_RECORDS = (
    select(attempt, task.c.kind, task.c.key, task.c.attempts)
    .select_from(attempt)
    .join(task, task.c.id == attempt.c.task_id)
)


def _record(row: AnyRow) -> AttemptRecord:
    details = from_json_text(row.details_json) or {}
    return AttemptRecord(
        AttemptRef(row.task_id, row.no, row.token, row.kind),
        row.key,
        row.attempts,
        row.state,
        row.host,
        row.started,
        row.ended,
        row.failure_class,
        row.message or "",
        str(details.get("traceback", "")),
    )


def _place(connection: Connection, name: ObjectName) -> tuple[int, int | None]:
    """Number of the task and of the attempt; None for the last one."""
    if name.letter == "i":
        raise SettingsError(
            f"an iteration has many tasks: which one of {name}?",
            next_step=f"alflow ls tasks --iteration {name.number}",
        )
    row = connection.execute(_MAKERS[name.letter](name.number)).first()
    if row is None:
        raise unknown(name)
    if row.task_id is None:
        raise SettingsError(
            f"no one task made {name}: it is from the builders, or imported",
            next_step=f"where it is from: alflow show {name}; builders: alflow ls tasks "
            "--kind build",
        )
    return row.task_id, row.no if name.attempt is None else name.attempt


_NO = attempt.c.no
_LAST = null().label("no")
"""Which attempt it was is not said: the last one."""


def _of_structure(number: int) -> Select[Any]:
    """The first attempt that came upon it: a builder, or a sampler."""
    attempt_id = func.coalesce(sighting.c.attempt_id, trajectory.c.attempt_id)
    task_id = func.coalesce(attempt.c.task_id, trajectory.c.task_id)
    return (
        select(task_id.label("task_id"), _NO)
        .select_from(sighting)
        .outerjoin(trajectory, trajectory.c.id == sighting.c.trajectory_id)
        .outerjoin(attempt, attempt.c.id == attempt_id)
        .where(sighting.c.structure_id == number)
        .order_by(task_id.is_(None), task_id)
    )


def _of_label(number: int) -> Select[Any]:
    return (
        select(label_item.c.task_id, _NO)
        .outerjoin(label, label.c.id == label_item.c.id)
        .outerjoin(attempt, attempt.c.id == label.c.attempt_id)
        .where(label_item.c.id == number)
    )


def _of_trajectory(number: int) -> Select[Any]:
    return (
        select(trajectory.c.task_id, _NO)
        .outerjoin(attempt, attempt.c.id == trajectory.c.attempt_id)
        .where(trajectory.c.id == number)
    )


def _of_candidate(number: int) -> Select[Any]:
    return (
        select(trajectory.c.task_id, _NO)
        .select_from(candidate)
        .join(trajectory, trajectory.c.id == candidate.c.trajectory_id)
        .outerjoin(attempt, attempt.c.id == trajectory.c.attempt_id)
        .where(candidate.c.id == number)
    )


def _of_task(number: int) -> Select[Any]:
    return select(task.c.id.label("task_id"), _LAST).where(task.c.id == number)


def _of_generation(number: int) -> Select[Any]:
    """Its training, the one that ended well if there are more."""
    return _training().where(ensemble.c.generation == number)


def _of_snapshot(number: int) -> Select[Any]:
    return _training().where(snapshot.c.seq == number)


def _training() -> Select[Any]:
    is_train = (task.c.ensemble_id == ensemble.c.id) & (task.c.kind == TRAIN)
    return (
        select(task.c.id.label("task_id"), _LAST)
        .select_from(ensemble)
        .join(snapshot, snapshot.c.id == ensemble.c.snapshot_id)
        .outerjoin(task, is_train)
        .order_by(task.c.id.desc())
    )


_MAKERS = {
    "s": _of_structure,
    "l": _of_label,
    "p": _of_trajectory,
    "c": _of_candidate,
    "t": _of_task,
    "g": _of_generation,
    "d": _of_snapshot,
}
"""From the number of an object to a query for the task and the attempt that made it."""
