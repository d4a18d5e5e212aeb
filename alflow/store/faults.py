"""What went wrong with tasks, and where: what retries, quarantine and host exclusion go by.

Nothing here is kept besides the attempts and events themselves, so that a manager that resumes
judges exactly as the one that died.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from alflow.core.errors import StoreError
from alflow.core.labels import RETRYABLE, FailureKind
from alflow.core.tasks import TaskState
from alflow.store import counting, generations
from alflow.store.codec import AnyRow, from_json_text
from alflow.store.rows import AttemptState, CampaignState, ItemState, Severity
from alflow.store.schema import (
    attempt,
    campaign,
    campaign_structure,
    event,
    label_item,
    task,
)
from alflow.store.transaction import Transaction

RELEASED = "task-released"
"""Kind of the event that ends what is counted against a task."""

MOST_HOST_FAULTS = 3
"""Faults of different tasks in a row, without a success, after which a host is left out."""

EPISODE_S = 15.0
"""Faults on one host within this time are one event [s]: the end of a block ends all that ran."""

EXCLUDED_S = 12 * 3600.0
"""Time for which a host is left out after its last fault [s]."""

_N_RECENT = 5000
"""Attempts that are looked at for a verdict on hosts."""
_HOST_KINDS = (FailureKind.LOST, FailureKind.RESOURCE)


@dataclass(frozen=True, slots=True)
class Fault:
    """A failed attempt.

    Attributes:
        number: Which try it was.
        kind: Why it failed.
        message: Why, a sentence.
        host: Where it ran; None if no worker ever took it.
        is_transient: Whether the worker said that the trouble passes.
        is_yield: Whether the worker gave it back because its time was up.
    """

    number: int
    kind: FailureKind
    message: str
    host: str | None
    is_transient: bool = False
    is_yield: bool = False


@dataclass(frozen=True, slots=True)
class ExcludedHost:
    """A host that is given no more work.

    Attributes:
        host: Its name.
        tasks: The tasks that failed there, in order.
        until: When it is tried again [s since 1970, UTC].
        message: Why the last of them failed.
    """

    host: str
    tasks: tuple[int, ...]
    until: float
    message: str


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A task that used its tries up, with nothing known against its input.

    Attributes:
        id: Its number.
        key: Its key.
        attempts: How often it was tried.
        failure: Why the last attempt failed, a word.
        message: The same, a sentence.
    """

    id: int
    key: str
    attempts: int
    failure: str
    message: str


@dataclass(frozen=True, slots=True)
class Troubles:
    """What stands in the way of a campaign right now.

    Attributes:
        n_lost: Attempts that were lost with their workers.
        n_waiting: Tasks that wait before they are tried again.
        next_try: When the first of these may start [s since 1970, UTC]; None if there is none.
        quarantined: Tasks in quarantine.
        excluded: Hosts that are given no more work.
        pools: Pool that gets no workers to the reason.
    """

    n_lost: int = 0
    n_waiting: int = 0
    next_try: float | None = None
    quarantined: Sequence[Quarantined] = ()
    excluded: Sequence[ExcludedHost] = ()
    pools: Mapping[str, str] = field(default_factory=dict)


POOL_CLOSED = "pool-closed"
"""Kind of the event that a pool gets no workers; its subject is `pool NAME`."""
POOL_OPEN = "pool-open"
"""Kind of the event that a pool gets workers again."""


def history(connection: Connection, task_id: int) -> tuple[Fault, ...]:
    """Failed attempts of a task since it was last released, the oldest first."""
    released = connection.scalar(
        select(event.c.data_json)
        .where(event.c.kind == RELEASED, event.c.subject == f"t-{task_id}")
        .order_by(event.c.id.desc())
        .limit(1)
    )
    first = (from_json_text(released) or {}).get("attempts", 0)
    query = (
        select(attempt)
        .where(
            attempt.c.task_id == task_id,
            attempt.c.state == AttemptState.FAILED,
            attempt.c.no > first,
        )
        .order_by(attempt.c.no)
    )
    return tuple(_fault(row) for row in connection.execute(query))


def excluded_hosts(connection: Connection, now: float) -> tuple[ExcludedHost, ...]:
    """Hosts on which several tasks failed in a row, by name."""
    last = connection.scalar(select(func.max(attempt.c.id))) or 0
    columns = (
        attempt.c.host,
        attempt.c.task_id,
        attempt.c.state,
        attempt.c.failure_class,
        attempt.c.ended,
        attempt.c.message,
        attempt.c.details_json,
    )
    query = (
        select(*columns)
        .where(
            attempt.c.id > last - _N_RECENT,
            attempt.c.host.is_not(None),
            attempt.c.ended.is_not(None),
        )
        .order_by(attempt.c.ended, attempt.c.id)
    )
    rows: dict[str, list[AnyRow]] = {}
    for row in connection.execute(query):
        rows.setdefault(row.host, []).append(row)
    found = (_excluded(host, ends, now) for host, ends in sorted(rows.items()))
    return tuple(one for one in found if one is not None)


def troubles(connection: Connection, now: float) -> Troubles:
    """What stands in the way right now."""
    waits = (task.c.state == TaskState.QUEUED) & (task.c.not_before > now)
    n_waiting, next_try = connection.execute(
        select(func.count(), func.min(task.c.not_before)).where(waits)
    ).one()
    is_lost = (attempt.c.failure_class == FailureKind.LOST) & attempt.c.host.is_not(None)
    return Troubles(
        n_lost=connection.scalar(select(func.count()).where(is_lost)) or 0,
        n_waiting=n_waiting,
        next_try=next_try,
        quarantined=_quarantined(connection),
        excluded=excluded_hosts(connection, now),
        pools=closed_pools(connection),
    )


def is_quarantined() -> ColumnElement[bool]:
    """Condition on a task joined with its last attempt."""
    return (task.c.state == TaskState.FAILED) & attempt.c.failure_class.in_(
        sorted(RETRYABLE)
    )


def failed_trainings(connection: Connection) -> list[int]:
    """Numbers of the train tasks that failed and whose generation waits for them."""
    query = select(task.c.id).where(
        task.c.kind == generations.TRAIN,
        task.c.state == TaskState.FAILED,
        task.c.ensemble_id.is_not(None),
    )
    return list(connection.scalars(query))


def release(tx: Transaction, task_id: int) -> int | None:
    """Queue a failed task again, with its labels, as if it had never been tried.

    Of a training the generation is withdrawn instead, and will be planned anew.

    Returns:
        Number of the generation that was withdrawn; None if the task is queued.

    Raises:
        StoreError: If there is no such task, or it has not failed.
    """
    row = tx.connection.execute(select(task).where(task.c.id == task_id)).one_or_none()
    if row is None or row.state != TaskState.FAILED:
        state = "not in this campaign" if row is None else row.state
        raise StoreError(
            f"task t-{task_id} cannot be tried again: it is {state}",
            next_step="failed ones: alflow ls tasks --state failed",
        )
    withdrawn = None
    if row.kind == generations.TRAIN and row.ensemble_id is not None:
        withdrawn = generations.withdraw(tx, task_id)
    else:
        _queue_again(tx, task_id)
    go_on(tx)
    tx.event(RELEASED, f"t-{task_id}", {"attempts": row.attempts}, Severity.INFO)
    return withdrawn


def go_on(tx: Transaction) -> None:
    """What a failure ended goes on; a campaign that ended well stays as it is."""
    tx.connection.execute(
        campaign.update().where(
            campaign.c.id == tx.campaign_id, campaign.c.state == CampaignState.FAILED
        ),
        {"state": CampaignState.RUNNING, "verdict": ""},
    )


def _queue_again(tx: Transaction, task_id: int) -> None:
    tx.connection.execute(
        task.update().where(task.c.id == task_id),
        {
            "state": TaskState.QUEUED,
            "charged": 0,
            "not_before": None,
            "ended": None,
            "owner": None,
            "fence": None,
        },
    )
    counting.move_task(tx, task_id, TaskState.FAILED, TaskState.QUEUED)
    _release_labels(tx, task_id)


PENDING_ITEM = {
    "state": ItemState.PENDING,
    "failure_kind": None,
    "message": None,
    "details_json": None,
}
"""Columns of a label that is asked for again."""


def _release_labels(tx: Transaction, task_id: int) -> None:
    """Labels that failed with the task. An answer of its own stays: its files hold it for good."""
    last = tx.connection.scalar(
        select(attempt.c.failure_class)
        .where(attempt.c.task_id == task_id)
        .order_by(attempt.c.no.desc())
        .limit(1)
    )
    is_failed = (label_item.c.task_id == task_id) & (label_item.c.state == ItemState.FAILED)
    if last in RETRYABLE:
        is_failed &= label_item.c.failure_kind.in_(sorted(RETRYABLE))
    columns = (task.c.iteration_id, label_item.c.lot_id, campaign_structure.c.split)
    query = (
        select(*columns, func.count())
        .select_from(
            label_item.join(task, task.c.id == label_item.c.task_id).join(
                campaign_structure,
                campaign_structure.c.structure_id == label_item.c.structure_id,
            )
        )
        .where(is_failed)
        .group_by(*columns)
    )
    changes: dict[tuple[int, int, str, ItemState], int] = {}
    for *place, n in tx.connection.execute(query).all():
        iteration_id, lot_id, split = place
        changes[iteration_id, lot_id, split, ItemState.FAILED] = -n
        changes[iteration_id, lot_id, split, ItemState.PENDING] = n
    counting.add_labels(tx, changes)
    tx.connection.execute(label_item.update().where(is_failed), PENDING_ITEM)


def _fault(row: AnyRow) -> Fault:
    details = from_json_text(row.details_json) or {}
    return Fault(
        row.no,
        FailureKind(row.failure_class),
        row.message or "",
        row.host,
        details.get("transient") is True,
        details.get("yielded") is True,
    )


def _excluded(host: str, ends: Sequence[AnyRow], now: float) -> ExcludedHost | None:
    """The verdict on one host, from all that ended there, in order of time."""
    series = list(_last_series(ends))
    episodes: list[AnyRow] = []
    for row in series:
        is_new_task = all(row.task_id != one.task_id for one in episodes)
        if is_new_task and (not episodes or row.ended - episodes[-1].ended > EPISODE_S):
            episodes.append(row)
    if len(episodes) < MOST_HOST_FAULTS:
        return None
    until = series[-1].ended + EXCLUDED_S
    if until <= now:
        return None
    tasks = tuple(row.task_id for row in episodes)
    return ExcludedHost(host, tasks, until, series[-1].message or "")


def _last_series(ends: Sequence[AnyRow]) -> Iterable[AnyRow]:
    """The faults of a host since anything else ended there, in order of time.

    That a block ended, or one calculation reached a limit of its own, is not the host's fault.
    """
    series: list[AnyRow] = []
    for row in ends:
        is_fault = (
            row.state == AttemptState.FAILED
            and FailureKind(row.failure_class) in _HOST_KINDS
        )
        details = from_json_text(row.details_json) or {} if is_fault else {}
        if not is_fault:
            series.clear()
        elif not (details.get("yielded") or details.get("own_limit")):
            series.append(row)
    return series


def _quarantined(connection: Connection) -> tuple[Quarantined, ...]:
    last = (attempt.c.task_id == task.c.id) & (attempt.c.no == task.c.attempts)
    query = (
        select(
            task.c.id,
            task.c.key,
            task.c.attempts,
            attempt.c.failure_class,
            func.coalesce(attempt.c.message, ""),
        )
        .select_from(task.join(attempt, last))
        .where(is_quarantined())
        .order_by(task.c.id)
    )
    return tuple(Quarantined(*row) for row in connection.execute(query))


def closed_pools(connection: Connection) -> dict[str, str]:
    """Pools that get no workers, each with the reason."""
    kinds = (POOL_CLOSED, POOL_OPEN)
    newest = (
        select(func.max(event.c.id))
        .where(event.c.kind.in_(kinds))
        .group_by(event.c.subject)
        .scalar_subquery()
    )
    query = select(event).where(event.c.id.in_(newest)).order_by(event.c.subject)
    closed: dict[str, str] = {}
    for row in connection.execute(query):
        data: dict[str, Any] = from_json_text(row.data_json) or {}
        if row.kind == POOL_CLOSED:
            closed[row.subject.removeprefix("pool ")] = str(data.get("message", ""))
    return closed
