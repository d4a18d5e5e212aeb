"""Tasks and attempts: hand out, finish, give up."""

import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from alflow.core.canonical import sha256_hex
from alflow.core.errors import StoreError
from alflow.core.labels import Failure, FailureKind
from alflow.core.tasks import AttemptRef, Outcome, TaskSpec, TaskState
from alflow.store import counting, frequent
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
    task,
)
from alflow.store.transaction import Transaction


def queued(
    connection: Connection, now: float, limit_by_kind: Mapping[str, int]
) -> list[TaskRow]:
    """Tasks that may start, the most urgent first."""
    rows: list[TaskRow] = []
    for kind, limit in limit_by_kind.items():
        if limit > 0:
            rows += map(
                task_row, frequent.QUEUED.rows(connection, of=kind, now=now, most=limit)
            )
    return sorted(rows, key=lambda row: (-row.priority, row.id))


def tasks(
    connection: Connection, number: int, kind: str, state: TaskState | None
) -> list[TaskRow]:
    """Tasks of one kind in one iteration, by id."""
    condition = (iteration.c.number == number) & (task.c.kind == kind)
    if state is not None:
        condition &= task.c.state == state
    query = frequent.tasks(condition).order_by(task.c.id)
    return [task_row(row) for row in connection.execute(query)]


def start_attempts(
    tx: Transaction, task_ids: Sequence[int], owner: str
) -> list[AttemptRef]:
    """Lease queued tasks to new attempts, in order."""
    rows = {
        row.id: row
        for one in task_ids
        for row in frequent.TO_START.rows(tx.connection, of=one)
    }
    for task_id in task_ids:
        state = rows[task_id].state if task_id in rows else "unknown"
        if state != TaskState.QUEUED:
            raise StoreError(f"task t-{task_id} cannot be started: it is {state}")
    refs = [
        AttemptRef(one, rows[one].attempts + 1, secrets.token_hex(8), rows[one].kind)
        for one in task_ids
    ]
    first = next_id(tx.connection, attempt)
    new = [
        {
            "id": number,
            "task_id": ref.task_id,
            "no": ref.number,
            "token": ref.token,
            "epoch": tx.epoch,
            "fence": tx.epoch,
            "state": AttemptState.OPEN,
            "charged": 0,
            "started": tx.now,
        }
        for number, ref in enumerate(refs, first)
    ]
    frequent.NEW_ATTEMPT.run(tx.connection, new)
    leased = {"state": TaskState.LEASED, "fence": tx.epoch, "owner": owner}
    changed = [{"of": ref.task_id, "attempts": ref.number, **leased} for ref in refs]
    frequent.LEASE.run(tx.connection, changed)
    moved: Counter[tuple[int, str, TaskState]] = Counter()
    for ref in refs:
        iteration_id = rows[ref.task_id].iteration_id
        moved[iteration_id, ref.kind, TaskState.QUEUED] -= 1
        moved[iteration_id, ref.kind, TaskState.LEASED] += 1
    counting.add_tasks(tx, moved)
    return refs


def open_attempts(connection: Connection, tokens: Sequence[str] | None) -> list[AttemptRow]:
    """Attempts that have not ended, the oldest first; only those with these tokens if given."""
    if tokens is None:
        found = frequent.OPEN.rows(connection)
    else:
        named = dict.fromkeys(tokens)
        found = [
            row for one in named for row in frequent.OPEN_NAMED.rows(connection, of=one)
        ]
    return [AttemptRow(_ref(row), task_row(row), row.epoch, row.started) for row in found]


def finish(tx: Transaction, ref: AttemptRef, outcome: Outcome) -> bool:
    """End a task with a result; False if the task is no longer leased by this attempt."""
    if outcome.failure is not None:
        raise StoreError(f"task t-{ref.task_id} cannot be done: its outcome is a failure")
    if not is_current(tx, ref):
        return False
    ended = {
        "of": ref.token,
        "ended": tx.now,
        "state": AttemptState.DONE,
        "wall_s": outcome.wall_s,
        "host": outcome.environment.get("host"),
        "env_id": _environment_id(tx, outcome.environment),
    }
    frequent.ATTEMPT_DONE.run(tx.connection, [ended])
    _end_task(tx, ref, TaskState.DONE, _outcome_text(outcome))
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
    host: str | None = None,
) -> bool:
    """End an attempt and put its task back into the queue."""
    if not _fail_attempt(tx, ref, failure, charged=charged, host=host):
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


def fail(
    tx: Transaction, ref: AttemptRef, failure: Failure, host: str | None = None
) -> bool:
    """End a task without a result; its pending labels fail with it.

    A task that another attempt might have finished is quarantined: `faults.release` undoes that.
    """
    charged = failure.kind is not FailureKind.LOST
    if not _fail_attempt(tx, ref, failure, charged=charged, host=host):
        return False
    if charged:
        tx.connection.execute(
            task.update().where(task.c.id == ref.task_id).values(charged=task.c.charged + 1)
        )
    _end_task(tx, ref, TaskState.FAILED, None)
    fail_pending(tx, ref.task_id, failure)
    data = {"attempt": ref.number, "failure": str(failure.kind), "message": failure.message}
    kind = "task-quarantined" if failure.is_retryable else "task-failed"
    tx.event(kind, f"t-{ref.task_id}", data, Severity.ERROR)
    return True


def is_current(tx: Transaction, ref: AttemptRef) -> bool:
    """Whether the task is leased by this attempt; if not, the late result is noted."""
    named = {"of": ref.task_id, "number": ref.number, "token": ref.token}
    if frequent.CURRENT.value(tx.connection, **named) is not None:
        return True
    tx.event("late-result", f"t-{ref.task_id}", {"attempt": ref.number}, Severity.WARNING)
    return False


def fail_pending(tx: Transaction, task_id: int, failure: Failure) -> None:
    """Labels that were asked of a task and have not come will not come."""
    if frequent.ANY_PENDING.value(tx.connection, of=task_id) is None:
        return
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
    tx: Transaction,
    ref: AttemptRef,
    failure: Failure,
    *,
    charged: bool,
    host: str | None,
) -> bool:
    if not is_current(tx, ref):
        return False
    values = {
        "state": AttemptState.FAILED,
        "charged": int(charged),
        "host": host,
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
    ended = {"state": state, "ended": tx.now, "outcome_json": outcome}
    frequent.END_TASK.run(tx.connection, [{"of": ref.task_id, **ended}])
    counting.move_task(tx, ref.task_id, TaskState.LEASED, state)


def _outcome_text(outcome: Outcome) -> str:
    """An outcome without the long part of its environment, to which the attempt refers."""
    short = {
        name: value
        for name, value in outcome.environment.items()
        if name not in ("command", "executable", "variables")
    }
    return lossy_json_text({**outcome.to_json(), "environment": short})


def _environment_id(tx: Transaction, values: Mapping[str, Any]) -> int | None:
    if not values:
        return None
    text = lossy_json_text(dict(values))
    sha = sha256_hex(text.encode())
    found: int | None = frequent.ENVIRONMENT.value(tx.connection, of=sha)
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


def task_row(row: AnyRow) -> TaskRow:
    """The task in a row of `frequent.tasks`."""
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
