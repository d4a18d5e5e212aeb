"""Tasks and attempts: hand out, finish, give up."""

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from alflow.core.canonical import sha256_hex
from alflow.core.errors import StoreError
from alflow.core.labels import Failure, FailureKind
from alflow.core.tasks import AttemptRef, Outcome, TaskSpec, TaskState
from alflow.store import counting
from alflow.store.codec import AnyRow, from_json_text, hashes_from, lossy_json_text
from alflow.store.database import next_id
from alflow.store.rows import (
    AttemptRow,
    AttemptState,
    ItemState,
    Severity,
    TaskRow,
)
from alflow.store.schema import (
    attempt,
    campaign_structure,
    environment,
    iteration,
    label_item,
    level_of_theory,
    task,
)
from alflow.store.transaction import Transaction


def queued(
    connection: Connection, now: float, limit_by_kind: Mapping[str, int]
) -> list[TaskRow]:
    """Tasks that may start, the most urgent first."""
    rows: list[TaskRow] = []
    for kind, limit in limit_by_kind.items():
        if limit <= 0:
            continue
        condition = (
            (task.c.state == TaskState.QUEUED)
            & (task.c.kind == kind)
            & (task.c.not_before.is_(None) | (task.c.not_before <= now))
        )
        query = _tasks(condition).order_by(task.c.priority.desc(), task.c.id).limit(limit)
        rows += [_task_row(row) for row in connection.execute(query)]
    return sorted(rows, key=lambda row: (-row.priority, row.id))


def tasks(
    connection: Connection, number: int, kind: str, state: TaskState | None
) -> list[TaskRow]:
    """Tasks of one kind in one iteration, by id."""
    condition = (iteration.c.number == number) & (task.c.kind == kind)
    if state is not None:
        condition &= task.c.state == state
    query = _tasks(condition).order_by(task.c.id)
    return [_task_row(row) for row in connection.execute(query)]


def start_attempt(tx: Transaction, task_id: int, owner: str) -> AttemptRef:
    """Lease a queued task to a new attempt."""
    row = tx.connection.execute(select(task).where(task.c.id == task_id)).one_or_none()
    if row is None or row.state != TaskState.QUEUED:
        state = "unknown" if row is None else row.state
        raise StoreError(f"task t-{task_id} cannot be started: it is {state}")
    ref = AttemptRef(task_id, row.attempts + 1, secrets.token_hex(8), row.kind)
    values = {
        "id": next_id(tx.connection, attempt),
        "task_id": task_id,
        "no": ref.number,
        "token": ref.token,
        "epoch": tx.epoch,
        "fence": tx.epoch,
        "state": AttemptState.OPEN,
        "charged": 0,
        "started": tx.now,
    }
    tx.connection.execute(attempt.insert(), values)
    leased = {
        "state": TaskState.LEASED,
        "attempts": ref.number,
        "fence": tx.epoch,
        "owner": owner,
    }
    tx.connection.execute(task.update().where(task.c.id == task_id), leased)
    counting.move_task(tx, task_id, TaskState.QUEUED, TaskState.LEASED)
    return ref


def open_attempts(connection: Connection) -> list[AttemptRow]:
    """Attempts that have not ended, the oldest first."""
    query = (
        _tasks(attempt.c.state == AttemptState.OPEN)
        .add_columns(attempt.c.epoch, attempt.c.started)
        .order_by(attempt.c.id)
    )
    return [
        AttemptRow(_ref(row), _task_row(row), row.epoch, row.started)
        for row in connection.execute(query)
    ]


def finish(tx: Transaction, ref: AttemptRef, outcome: Outcome) -> bool:
    """End a task with a result; False if the task is no longer leased by this attempt."""
    if outcome.failure is not None:
        raise StoreError(f"task t-{ref.task_id} cannot be done: its outcome is a failure")
    if not is_current(tx, ref):
        return False
    _end_attempt(
        tx,
        ref,
        {
            "state": AttemptState.DONE,
            "wall_s": outcome.wall_s,
            "host": outcome.environment.get("host"),
            "env_id": _environment_id(tx, outcome.environment),
        },
    )
    _end_task(tx, ref, TaskState.DONE, lossy_json_text(outcome.to_json()))
    lost = Failure(FailureKind.BUG, "the task ended without a result for this structure")
    fail_pending(tx, ref.task_id, lost)
    return True


def requeue(
    tx: Transaction,
    ref: AttemptRef,
    failure: Failure,
    *,
    charged: bool,
    not_before: float | None,
) -> bool:
    """End an attempt and put its task back into the queue."""
    if not _fail_attempt(tx, ref, failure, charged=charged):
        return False
    values: dict[str, Any] = {
        "state": TaskState.QUEUED,
        "not_before": not_before,
        "owner": None,
        "fence": None,
    }
    if charged:
        values["charged"] = task.c.charged + 1
    tx.connection.execute(task.update().where(task.c.id == ref.task_id).values(values))
    counting.move_task(tx, ref.task_id, TaskState.LEASED, TaskState.QUEUED)
    subject, data = (
        f"t-{ref.task_id}",
        {"attempt": ref.number, "failure": str(failure.kind)},
    )
    tx.event(
        "task-requeued", subject, {**data, "message": failure.message}, Severity.WARNING
    )
    return True


def fail(tx: Transaction, ref: AttemptRef, failure: Failure) -> bool:
    """End a task without a result; its pending labels fail with it."""
    if not _fail_attempt(tx, ref, failure, charged=True):
        return False
    tx.connection.execute(
        task.update().where(task.c.id == ref.task_id).values(charged=task.c.charged + 1)
    )
    _end_task(tx, ref, TaskState.FAILED, None)
    fail_pending(tx, ref.task_id, failure)
    data = {"attempt": ref.number, "failure": str(failure.kind), "message": failure.message}
    tx.event("task-failed", f"t-{ref.task_id}", data, Severity.ERROR)
    return True


def is_current(tx: Transaction, ref: AttemptRef) -> bool:
    """Whether the task is leased by this attempt; if not, the late result is noted."""
    query = select(attempt.c.id).where(
        attempt.c.task_id == ref.task_id,
        attempt.c.no == ref.number,
        attempt.c.token == ref.token,
        attempt.c.state == AttemptState.OPEN,
    )
    if tx.connection.scalar(query) is not None:
        return True
    tx.event("late-result", f"t-{ref.task_id}", {"attempt": ref.number}, Severity.WARNING)
    return False


def fail_pending(tx: Transaction, task_id: int, failure: Failure) -> None:
    """Labels that were asked of a task and have not come will not come."""
    is_pending = (label_item.c.task_id == task_id) & (
        label_item.c.state == ItemState.PENDING
    )
    _count_failed(tx, is_pending)
    tx.connection.execute(
        label_item.update().where(is_pending),
        {
            "state": ItemState.FAILED,
            "failure_kind": failure.kind,
            "message": failure.message,
            "details_json": lossy_json_text(dict(failure.details)),
        },
    )


def _count_failed(tx: Transaction, is_pending: ColumnElement[bool]) -> None:
    columns = (task.c.iteration_id, label_item.c.lot_id, campaign_structure.c.split)
    query = (
        select(*columns, func.count())
        .select_from(
            label_item.join(task, task.c.id == label_item.c.task_id).join(
                campaign_structure,
                campaign_structure.c.structure_id == label_item.c.structure_id,
            )
        )
        .where(is_pending)
        .group_by(*columns)
    )
    for iteration_id, lot_id, split, n in tx.connection.execute(query).all():
        ended = {(split, ItemState.FAILED): n}
        counting.move_labels(tx, (iteration_id, lot_id), ended)


def _fail_attempt(
    tx: Transaction, ref: AttemptRef, failure: Failure, *, charged: bool
) -> bool:
    if not is_current(tx, ref):
        return False
    values = {
        "state": AttemptState.FAILED,
        "charged": int(charged),
        "failure_class": failure.kind,
        "message": failure.message,
        "details_json": lossy_json_text(dict(failure.details)),
    }
    _end_attempt(tx, ref, values)
    return True


def _end_attempt(tx: Transaction, ref: AttemptRef, values: Mapping[str, Any]) -> None:
    tx.connection.execute(
        attempt.update().where(attempt.c.token == ref.token), {"ended": tx.now, **values}
    )


def _end_task(
    tx: Transaction, ref: AttemptRef, state: TaskState, outcome: str | None
) -> None:
    tx.connection.execute(
        task.update().where(task.c.id == ref.task_id),
        {"state": state, "ended": tx.now, "outcome_json": outcome},
    )
    counting.move_task(tx, ref.task_id, TaskState.LEASED, state)


def _environment_id(tx: Transaction, values: Mapping[str, Any]) -> int | None:
    if not values:
        return None
    text = lossy_json_text(dict(values))
    sha = sha256_hex(text.encode())
    found: int | None = tx.connection.scalar(
        select(environment.c.id).where(environment.c.sha == sha)
    )
    if found is not None:
        return found
    new = next_id(tx.connection, environment)

    def word(name: str) -> str | None:
        return None if values.get(name) is None else str(values[name])

    row = {
        "id": new,
        "sha": sha,
        "alflow_version": word("alflow"),
        "python": word("python"),
        "packages_json": text,
        "hostname": word("host"),
        "device": word("device"),
    }
    tx.connection.execute(environment.insert(), row)
    return new


def _tasks(condition: ColumnElement[bool]) -> Any:
    """Tasks with what `_task_row` needs: iteration, level and the last attempt."""
    last = (attempt.c.task_id == task.c.id) & (attempt.c.no == task.c.attempts)
    joined = (
        task.join(iteration, iteration.c.id == task.c.iteration_id)
        .outerjoin(level_of_theory, level_of_theory.c.id == task.c.lot_id)
        .outerjoin(attempt, last)
    )
    return (
        select(
            task,
            iteration.c.number.label("iteration_number"),
            level_of_theory.c.name.label("lot"),
            attempt.c.no,
            attempt.c.token,
        )
        .select_from(joined)
        .where(condition)
    )


def _task_row(row: AnyRow) -> TaskRow:
    spec = TaskSpec.from_json(from_json_text(row.spec_json))
    outcome = from_json_text(row.outcome_json)
    return TaskRow(
        row.id,
        replace(spec, items=hashes_from(row.item_hashes)),
        row.iteration_number,
        TaskState(row.state),
        row.priority,
        row.attempts,
        row.charged,
        row.lot,
        None if outcome is None else Outcome.from_json(outcome),
        None if row.no is None else _ref(row),
    )


def _ref(row: AnyRow) -> AttemptRef:
    return AttemptRef(row.id, row.no, row.token, row.kind)
