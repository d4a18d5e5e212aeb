"""What somebody who watches a campaign asks every few seconds: cheap, however large it is.

One short read transaction. Nothing is counted here that is not kept as a number (`counting`), and
of attempts and events only the newest are looked at.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, func, literal_column, select

from alflow.core.tasks import AttemptRef, TaskState
from alflow.store import campaigns, faults, history
from alflow.store.codec import AnyRow, from_json_text
from alflow.store.costs import LABEL
from alflow.store.rows import AttemptState, EnsembleState, ItemState, Severity, Workers
from alflow.store.schema import (
    attempt,
    ensemble,
    event,
    iteration,
    iteration_stat,
    label_item,
    task,
    task_count,
)
from alflow.store.statement import Statement
from alflow.store.views import ManagerStatus, manager_status

MOST_OPEN = 5000
"""Open attempts that are looked at."""
MOST_TIMES = 200
"""Latest times of a kind of task that are looked at."""
ENOUGH_TIMES = 3
"""So many times of one iteration are not mixed with those of earlier ones."""
OLDEST = 10
"""Iterations whose tasks' times are looked at."""
RECENT_EVENTS = 1000
"""Latest events among which warnings and errors are looked for."""
MOST_NEWS = 20
"""Warnings and errors that are told."""

CURVES = (
    "test_force_rmse_eV_per_A",
    "test_energy_rmse_eV_per_atom",
    "new_force_rmse_eV_per_A",
    "n_flagged",
    "n_trajectories",
)
"""Statistics of an iteration that are told."""

Counts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class StageCounts:
    """A kind of task in the iterations that are under way.

    Attributes:
        kind: The kind.
        n_done: Tasks that were done, or that failed for good; of labels, labels.
        n_failed: Those of them that failed.
        n_open: Tasks, or labels, that wait or run.
        times_s: How long the latest ones took [s]; each label's share of its task.
    """

    kind: str
    n_done: int
    n_failed: int
    n_open: int
    times_s: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class OpenAttempt:
    """An attempt that was handed out.

    Attributes:
        ref: Which.
        key: Key of its task.
        n_parts: Labels that its task is about; 1 for any other task.
        started: When it was handed out [s since 1970, UTC].
    """

    ref: AttemptRef
    key: str
    n_parts: int
    started: float


@dataclass(frozen=True, slots=True)
class Trouble:
    """A warning or an error.

    Attributes:
        id: Number of its event; 0 where there is none.
        ts: When [s since 1970, UTC].
        kind: What happened, a word.
        severity: warning or error.
        subject: What it is about, for example t-88.
        text: Why, a sentence.
    """

    id: int
    ts: float
    kind: str
    severity: str
    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a campaign stands at one moment.

    Attributes:
        campaign: Its name.
        config: Its settings, resolved.
        state: Where it stands.
        verdict: Why, a sentence; empty while it runs.
        stop_requested: None, drain or now.
        iteration: Number of the last iteration; None before the first.
        phase: What that iteration waits for.
        under_way: Phases of all iterations that are under way, by number.
        began: When the last iteration began [s since 1970, UTC].
        generation: Number of the last generation that is ready.
        stages: Tasks by kind, of the iterations under way, else of the last.
        labels: Number of requested labels of all iterations by state.
        curves: Statistics by name, each by number of iteration.
        attempts: What is handed out, the oldest first.
        manager: Who runs it.
        workers: What the manager may hand work to, by pool.
        closed: Pools that get no workers, with the reason.
        troubles: The latest warnings and errors, newest first.
        failed_label: A label of the iterations under way that failed, the newest; None if none did.
    """

    campaign: str
    config: Mapping[str, Any]
    state: str
    verdict: str
    stop_requested: str | None
    iteration: int | None
    phase: str
    under_way: Mapping[int, str]
    began: float | None
    generation: int | None
    stages: Sequence[StageCounts]
    labels: Counts
    curves: Mapping[str, Mapping[int, float]]
    attempts: Sequence[OpenAttempt]
    manager: ManagerStatus
    workers: Mapping[str, Workers] = field(default_factory=dict)
    closed: Mapping[str, str] = field(default_factory=dict)
    troubles: Sequence[Trouble] = ()
    failed_label: Trouble | None = None


def standing(connection: Connection) -> Standing:
    """Where the campaign stands, as of this transaction.

    Raises:
        StoreError: If there is no campaign yet.
    """
    row = campaigns.load(connection)
    iterations = connection.execute(_ITERATIONS).all()
    last = iterations[-1] if iterations else None
    shown = [one for one in iterations if one.ended is None] or iterations[-1:]
    labels = history.label_counts(connection)
    attempts = _open_attempts(connection)
    stages = _stages(connection, shown, iterations, labels)
    states: Counter[str] = Counter()
    for count in labels:
        states[count.state] += count.n
    return Standing(
        campaign=row.name,
        config=row.config,
        state=str(row.state),
        verdict=row.verdict,
        stop_requested=campaigns.stop_requested(connection),
        iteration=None if last is None else last.number,
        phase="" if last is None else last.phase,
        under_way={one.number: one.phase for one in shown if one.ended is None},
        began=None if last is None else last.started,
        generation=_generation(connection),
        stages=stages,
        labels={str(state): states[state] for state in ItemState},
        curves=_curves(connection),
        attempts=attempts,
        manager=manager_status(connection),
        workers=campaigns.workers(connection),
        closed=faults.closed_pools(connection),
        troubles=_troubles(connection),
        failed_label=_failed_label(connection, shown, stages),
    )


_ITERATIONS = select(
    iteration.c.id,
    iteration.c.number,
    iteration.c.phase,
    iteration.c.started,
    iteration.c.ended,
).order_by(iteration.c.number)


def _stages(
    connection: Connection,
    shown: Sequence[AnyRow],
    iterations: Sequence[AnyRow],
    labels: Sequence[history.LabelCount],
) -> list[StageCounts]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    query = select(task_count.c.kind, task_count.c.state, task_count.c.n).where(
        task_count.c.n > 0, task_count.c.iteration_id.in_([one.id for one in shown])
    )
    for kind, state, n in connection.execute(query):
        counts[kind][state] += n
    numbers = {one.number for one in shown}
    wanted = [count for count in labels if count.iteration in numbers]
    if LABEL in counts and wanted:
        counts[LABEL] = _as_tasks(wanted)
    newest = [one.id for one in iterations[-OLDEST:]][::-1]
    return [
        StageCounts(
            kind,
            found[TaskState.DONE] + found[TaskState.FAILED],
            found[TaskState.FAILED],
            found[TaskState.QUEUED] + found[TaskState.LEASED],
            _times(connection, kind, newest),
        )
        for kind, found in counts.items()
    ]


def _as_tasks(labels: Sequence[history.LabelCount]) -> Counter[str]:
    """Numbers of labels, by the words for tasks."""
    words = {
        ItemState.OK: TaskState.DONE,
        ItemState.FAILED: TaskState.FAILED,
        ItemState.PENDING: TaskState.QUEUED,
    }
    found: Counter[str] = Counter()
    for count in labels:
        found[words[ItemState(count.state)]] += count.n
    return found


def _times(connection: Connection, kind: str, newest: Sequence[int]) -> tuple[float, ...]:
    """Times of tasks of a kind [s]: of the newest iteration, of earlier ones where it has few."""
    times: list[float] = []
    for iteration_id in newest:
        query = (
            select(attempt.c.wall_s, func.length(task.c.item_hashes))
            .join(task, task.c.id == attempt.c.task_id)
            .where(
                task.c.iteration_id == iteration_id,
                task.c.kind == kind,
                task.c.state == TaskState.DONE,
                attempt.c.state == AttemptState.DONE,
                attempt.c.wall_s.is_not(None),
            )
            .order_by(task.c.id.desc())
            .limit(MOST_TIMES)
        )
        rows = connection.execute(query).all()
        times += [wall_s / _n_parts(kind, n_bytes) for wall_s, n_bytes in rows]
        if len(times) >= ENOUGH_TIMES:
            break
    return tuple(times)


def _n_parts(kind: str, n_bytes: int | None) -> int:
    """Labels that a task is about, whose structures have hashes of 32 bytes; else 1."""
    return max(1, (n_bytes or 0) // 32) if kind == LABEL else 1


# The state stands in the statement itself: SQLite uses the index of open attempts only then.
_OPEN = Statement(
    select(
        attempt.c.task_id,
        attempt.c.no,
        attempt.c.token,
        attempt.c.started,
        task.c.kind,
        task.c.key,
        func.length(task.c.item_hashes).label("n_bytes"),
    )
    .join(task, task.c.id == attempt.c.task_id)
    .where(attempt.c.state == literal_column(f"'{AttemptState.OPEN}'"))
    .order_by(attempt.c.id)
    .limit(MOST_OPEN)
)


def _open_attempts(connection: Connection) -> list[OpenAttempt]:
    return [
        OpenAttempt(
            AttemptRef(row.task_id, row.no, row.token, row.kind),
            row.key,
            _n_parts(row.kind, row.n_bytes),
            row.started,
        )
        for row in _OPEN.rows(connection)
    ]


def _curves(connection: Connection) -> dict[str, dict[int, float]]:
    curves: dict[str, dict[int, float]] = {name: {} for name in CURVES}
    query = (
        select(iteration_stat.c.name, iteration.c.number, iteration_stat.c.value)
        .join(iteration, iteration.c.id == iteration_stat.c.iteration_id)
        .where(iteration_stat.c.name.in_(CURVES))
        .order_by(iteration.c.number)
    )
    for name, number, value in connection.execute(query):
        curves[name][number] = value
    return curves


def _generation(connection: Connection) -> int | None:
    query = select(func.max(ensemble.c.generation)).where(
        ensemble.c.state == EnsembleState.READY
    )
    found: int | None = connection.scalar(query)
    return found


def _troubles(connection: Connection) -> list[Trouble]:
    newest = connection.scalar(select(func.max(event.c.id))) or 0
    query = (
        select(event)
        .where(event.c.id > newest - RECENT_EVENTS, event.c.severity != Severity.INFO)
        .order_by(event.c.id.desc())
        .limit(MOST_NEWS)
    )
    found = []
    for row in connection.execute(query):
        values = from_json_text(row.data_json) or {}
        text = str(values.get("message", values.get("verdict", "")))
        found.append(Trouble(row.id, row.ts, row.kind, row.severity, row.subject, text))
    return found


def _failed_label(
    connection: Connection, shown: Sequence[AnyRow], stages: Sequence[StageCounts]
) -> Trouble | None:
    if not any(stage.kind == LABEL and stage.n_failed for stage in stages):
        return None
    query = (
        select(
            label_item.c.structure_id,
            label_item.c.failure_kind,
            func.coalesce(label_item.c.message, "").label("message"),
            func.coalesce(task.c.ended, task.c.published).label("ts"),
        )
        .join(task, task.c.id == label_item.c.task_id)
        .where(
            task.c.iteration_id.in_([one.id for one in shown]),
            task.c.kind == LABEL,
            label_item.c.state == ItemState.FAILED,
        )
        .order_by(task.c.id.desc(), label_item.c.position.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    subject = f"s-{row.structure_id}"
    return Trouble(0, row.ts, row.failure_kind, Severity.WARNING, subject, row.message)
