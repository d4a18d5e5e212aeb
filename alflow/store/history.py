"""What a report asks of a store: read-only queries over the whole campaign.

Each function is one query (or a few) on the connection of one read transaction, so that a report
made while a campaign runs shows one moment of it. Rows come in an order that depends on the
content alone. A number that was not finite is NaN.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, func, select, true

from alflow.core.labels import AUDIT
from alflow.core.tasks import TaskState
from alflow.store.codec import from_json_text
from alflow.store.rows import AttemptState, ItemState
from alflow.store.schema import (
    attempt,
    campaign,
    candidate,
    environment,
    event,
    iteration,
    label,
    label_count,
    label_item,
    level_of_theory,
    store_meta,
    task,
)


class Queued(NamedTuple):
    """A task that waits to be handed out, and since when [s]."""

    kind: str
    since: float


class Replaced(NamedTuple):
    """Settings that were replaced by others, and when [s]."""

    ts: float
    settings: Mapping[str, Any]


class Manager(NamedTuple):
    """Who began to run the campaign, and when [s]."""

    ts: float
    name: str


class Note(NamedTuple):
    """What a task or an iteration found worth a warning."""

    subject: str
    message: str


class Overview(NamedTuple):
    """The campaign, and the time of the last thing that was recorded [s]."""

    name: str
    config: Mapping[str, Any]
    config_sha: str
    seed: int
    state: str
    verdict: str
    created: float
    as_of: float
    alflow_version: str
    store_uuid: str


class IterationPhase(NamedTuple):
    """An iteration and where it stands; times in seconds."""

    number: int
    phase: str
    started: float
    ended: float | None


class LabelCount(NamedTuple):
    """Number of requested labels of an iteration, for one use and in one state."""

    iteration: int
    split: str
    state: str
    n: int


class CandidateCount(NamedTuple):
    """Number of candidates of an iteration with one origin and one decision."""

    iteration: int
    reason: str
    decision: str
    n: int


class LabelFailure(NamedTuple):
    """A structure that could not be labelled."""

    kind: str
    structure_id: int
    task_id: int | None
    message: str


class Try(NamedTuple):
    """An attempt of a task: when [s], where, how long its body ran [s], how it ended.

    `published` is when the task began to wait for its first attempt.
    """

    task_id: int
    task_state: str
    number: int
    kind: str
    host: str | None
    started: float
    ended: float | None
    wall_s: float | None
    state: str
    failure: str | None
    message: str
    iteration: int
    published: float


def overview(connection: Connection) -> Overview | None:
    """The campaign, or None if none has been created yet."""
    row = connection.execute(
        select(campaign).order_by(campaign.c.id).limit(1)
    ).one_or_none()
    if row is None:
        return None
    meta = {
        one.key: one.value for one in connection.execute(select(store_meta).order_by("key"))
    }
    latest = [
        connection.scalar(select(func.max(column)))
        for column in (event.c.ts, attempt.c.started, attempt.c.ended, label.c.created)
    ]
    return Overview(
        row.name,
        from_json_text(row.config_json),
        row.config_sha,
        row.seed,
        row.state,
        row.verdict,
        row.created,
        max([row.created, *(moment for moment in latest if moment is not None)]),
        meta.get("created_by", ""),
        row.uuid,
    )


def level_words(connection: Connection, name: str) -> tuple[str, ...]:
    """Program, method and basis of a level of theory, those that are known."""
    columns = (level_of_theory.c.program, level_of_theory.c.method, level_of_theory.c.basis)
    row = connection.execute(
        select(*columns).where(level_of_theory.c.name == name)
    ).one_or_none()
    return () if row is None else tuple(word for word in row if word)


def iterations(connection: Connection) -> list[IterationPhase]:
    """All iterations, first to last."""
    query = select(
        iteration.c.number, iteration.c.phase, iteration.c.started, iteration.c.ended
    ).order_by(iteration.c.number)
    return [IterationPhase(*row) for row in connection.execute(query)]


def label_counts(connection: Connection) -> list[LabelCount]:
    """Requested labels by iteration, split and state, without audits.

    Imported ones are of iteration 0.
    """
    number = func.coalesce(iteration.c.number, 0)
    columns = (number, label_count.c.split, label_count.c.state)
    total = func.sum(label_count.c.n)
    query = (
        select(*columns, total)
        .select_from(
            label_count.join(
                level_of_theory, level_of_theory.c.id == label_count.c.lot_id
            ).outerjoin(iteration, iteration.c.id == label_count.c.iteration_id)
        )
        .where(~level_of_theory.c.name.endswith(AUDIT))
        .group_by(*columns)
        .having(total > 0)
        .order_by(*columns)
    )
    return [LabelCount(*row[:-1], int(row[-1])) for row in connection.execute(query)]


def candidate_counts(connection: Connection) -> list[CandidateCount]:
    """Candidates by iteration, origin and decision."""
    columns = (iteration.c.number, candidate.c.reason, candidate.c.decision)
    query = (
        select(*columns, func.count())
        .select_from(candidate.join(iteration, iteration.c.id == candidate.c.iteration_id))
        .group_by(*columns)
        .order_by(*columns)
    )
    return [CandidateCount(*row) for row in connection.execute(query)]


def _is_no_audit() -> ColumnElement[bool]:
    audits = select(level_of_theory.c.id).where(level_of_theory.c.name.endswith(AUDIT))
    return label_item.c.lot_id.not_in(audits)


def _is_asked_by(last: int | None) -> ColumnElement[bool]:
    """Labels that were asked for up to an iteration; None for all."""
    if last is None:
        return true()
    later = (
        select(task.c.id)
        .join(iteration, iteration.c.id == task.c.iteration_id)
        .where(iteration.c.number > last)
    )
    return label_item.c.task_id.is_(None) | label_item.c.task_id.not_in(later)


def label_failure_counts(connection: Connection, last: int | None = None) -> dict[str, int]:
    """Number of failed labels by kind, the most frequent first; without audits.

    With `last` only those that were asked for up to that iteration.
    """
    number = func.count()
    query = (
        select(label_item.c.failure_kind, number)
        .where(label_item.c.state == ItemState.FAILED, _is_no_audit(), _is_asked_by(last))
        .group_by(label_item.c.failure_kind)
        .order_by(number.desc(), label_item.c.failure_kind)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def label_failures(
    connection: Connection, kind: str, limit: int, last: int | None = None
) -> list[LabelFailure]:
    """The latest labels that failed in one way, newest first.

    With `last` only those that were asked for up to that iteration.
    """
    query = (
        select(
            label_item.c.failure_kind,
            label_item.c.structure_id,
            label_item.c.task_id,
            func.coalesce(label_item.c.message, ""),
        )
        .where(
            label_item.c.state == ItemState.FAILED,
            label_item.c.failure_kind == kind,
            _is_no_audit(),
            _is_asked_by(last),
        )
        .order_by(label_item.c.id.desc())
        .limit(limit)
    )
    return [LabelFailure(*row) for row in connection.execute(query)]


def attempts(connection: Connection) -> list[Try]:
    """All attempts, in the order in which they were handed out."""
    return _attempts(connection, _TRIES.order_by(attempt.c.id))


def queued(connection: Connection) -> list[Queued]:
    """Tasks that wait to be handed out now, by kind and since when."""
    query = (
        select(task.c.kind, task.c.published, func.max(attempt.c.ended))
        .select_from(task.outerjoin(attempt, attempt.c.task_id == task.c.id))
        .where(task.c.state == TaskState.QUEUED)
        .group_by(task.c.id, task.c.kind, task.c.published)
        .order_by(task.c.id)
    )
    return [
        Queued(kind, published if ended is None else max(published, ended))
        for kind, published, ended in connection.execute(query)
    ]


def failed_attempts(
    connection: Connection, limit: int, before: float | None = None
) -> list[Try]:
    """The latest attempts without a result, newest first; those that ended a task first.

    With `before` only those that had ended by then [s since 1970, UTC].
    """
    is_final = task.c.state == "failed"
    query = (
        _TRIES.where(_has_failed(before))
        .order_by(is_final.desc(), attempt.c.id.desc())
        .limit(limit)
    )
    return _attempts(connection, query)


def n_failed_attempts(connection: Connection, before: float | None = None) -> int:
    """Number of attempts without a result; of those that had ended by then, with `before` [s]."""
    query = select(func.count()).where(_has_failed(before))
    return connection.scalar(query) or 0


def _has_failed(before: float | None) -> ColumnElement[bool]:
    is_in_time = true() if before is None else attempt.c.ended <= before
    return (attempt.c.state == AttemptState.FAILED) & is_in_time


def settings_before(connection: Connection, moment: float) -> Mapping[str, Any] | None:
    """The settings before they were first changed after a moment [s]; None if they were not."""
    query = (
        select(event.c.data_json)
        .where(event.c.kind == "config-changed", event.c.ts > moment)
        .order_by(event.c.id)
        .limit(1)
    )
    found = from_json_text(connection.scalar(query))
    return None if found is None else dict(found["old"])


_TRIES = select(
    task.c.id,
    task.c.state,
    attempt.c.no,
    task.c.kind,
    attempt.c.host,
    attempt.c.started,
    attempt.c.ended,
    attempt.c.wall_s,
    attempt.c.state,
    attempt.c.failure_class,
    func.coalesce(attempt.c.message, ""),
    iteration.c.number,
    task.c.published,
).select_from(
    attempt.join(task, task.c.id == attempt.c.task_id).join(
        iteration, iteration.c.id == task.c.iteration_id
    )
)


def _attempts(connection: Connection, query: Select[Any]) -> list[Try]:
    return [Try(*row) for row in connection.execute(query)]


def notes(connection: Connection, generation: int | None, number: int) -> list[Note]:
    """Warnings of the training of a generation, and about the spread in an iteration."""
    query = (
        select(event.c.kind, event.c.subject, event.c.data_json)
        .where(event.c.kind.in_(("note", "spread-drifts")))
        .order_by(event.c.id.desc())
        .limit(_MOST_NOTES)
    )
    found = []
    for kind, subject, text in connection.execute(query):
        data = from_json_text(text)
        is_training = kind == "note" and data.get("task") == f"train/g{generation}"
        if is_training or (kind == "spread-drifts" and subject == f"i{number}"):
            found.append(Note(subject, data["message"]))
    return found[::-1]


_MOST_NOTES = 200
"""Latest notes that are looked at."""


def replaced_settings(connection: Connection) -> list[Replaced]:
    """All settings that the campaign had before those of today, oldest first."""
    query = (
        select(event.c.ts, event.c.data_json)
        .where(event.c.kind == "config-changed")
        .order_by(event.c.id)
    )
    return [
        Replaced(ts, from_json_text(data)["old"]) for ts, data in connection.execute(query)
    ]


def managers(connection: Connection) -> list[Manager]:
    """Who has run the campaign, first to last."""
    query = (
        select(event.c.ts, event.c.subject)
        .where(event.c.kind == "lease-acquired")
        .order_by(event.c.id)
    )
    return [Manager(*row) for row in connection.execute(query)]


def environments(connection: Connection) -> list[Mapping[str, Any]]:
    """What attempts ran with, in the order in which it was first seen."""
    query = select(environment.c.packages_json).order_by(environment.c.id)
    return [from_json_text(text) for text in connection.scalars(query)]
