"""What a person asks to be tried again: tasks and labels that failed.

A request is written by anybody and taken up by whoever holds the lease: a manager that runs in its
next turn, else the next one at its start. A task is queued again as it is (`faults.release`); a
label whose task is done moves to a new task for the labels alone that failed there, because the
files of the old one hold its answer for good. The new task computes as the settings of then say, so
that more cycles, time or memory reach it; the level of theory cannot have changed.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, null, select, true

from alflow.core.batches import pack_structures
from alflow.core.canonical import sha256_hex
from alflow.core.errors import SettingsError
from alflow.core.failpoints import failpoint
from alflow.core.labels import AUDIT, RETRYABLE
from alflow.core.naming import ObjectName, parse_name, unknown
from alflow.core.tasks import TaskSpec, TaskState
from alflow.store import counting, faults, structures
from alflow.store.codec import AnyRow, from_json_text, hashes_bytes, json_text
from alflow.store.database import insert_new, next_id
from alflow.store.publishing import LABEL
from alflow.store.rows import ItemState
from alflow.store.schema import (
    attempt,
    campaign,
    campaign_structure,
    label_item,
    level_of_theory,
    store_meta,
    structure,
    task,
)
from alflow.store.statement import Statement
from alflow.store.transaction import Transaction

AGAIN = "+"
"""In the key of a task that labels again what failed in another one, before its own number."""

_REQUEST = "retry/"
"""Begins the keys in `store_meta` that are requests; the name of the task or label follows."""


@dataclass(frozen=True, slots=True)
class Retries:
    """What is to be tried again.

    Attributes:
        tasks: Numbers of tasks that failed.
        labels: Numbers of labels that failed and whose task is none of these.
    """

    tasks: tuple[int, ...] = ()
    labels: tuple[int, ...] = ()

    @property
    def names(self) -> list[str]:
        """What a user calls them."""
        return [f"t-{one}" for one in self.tasks] + [f"l-{one}" for one in self.labels]


@dataclass(frozen=True, slots=True)
class TakenUp:
    """What became of requests.

    Attributes:
        queued: Numbers of tasks that are queued, new ones for labels among them.
        labels: Number of labels that are asked for again in new tasks.
        withdrawn: Numbers of generations that are planned anew.
    """

    queued: tuple[int, ...] = ()
    labels: int = 0
    withdrawn: tuple[int, ...] = ()


def all_failed(connection: Connection, kind: str | None = None) -> Retries:
    """Everything that failed, or failed with one kind of failure; no audits of labels."""
    of_kind = true() if kind is None else attempt.c.failure_class == kind
    failed_tasks = _last_attempts().where(task.c.state == TaskState.FAILED, of_kind)
    tasks = {row.id for row in connection.execute(failed_tasks)}
    is_one = ~level_of_theory.c.name.endswith(AUDIT)
    if kind is not None:
        is_one &= label_item.c.failure_kind == kind
    return _with_labels(tasks, connection.execute(_failed_labels().where(is_one)))


def by_name(connection: Connection, names: Sequence[ObjectName]) -> Retries:
    """The tasks and labels that are meant.

    Raises:
        SettingsError: If one of them is not there, or has not failed.
    """
    tasks: set[int] = set()
    labels: list[AnyRow] = []
    for name in names:
        if name.letter == "t":
            row = connection.execute(
                _last_attempts().where(task.c.id == name.number)
            ).one_or_none()
            if row is not None and row.state == TaskState.FAILED:
                tasks.add(name.number)
                continue
        found = connection.execute(_failed_labels().where(_meant(name))).all()
        if not found:
            raise _refused(connection, name)
        labels += found
    return _with_labels(tasks, labels)


def _meant(name: ObjectName) -> ColumnElement[bool]:
    """Which labels a name stands for."""
    columns = {
        "l": label_item.c.id,
        "s": label_item.c.structure_id,
        "t": label_item.c.task_id,
    }
    if name.letter not in columns:
        raise SettingsError(
            f"{name} is a {name.word}: only tasks and labels are tried again",
            next_step="tasks: t-88, labels: l-12, all labels of a structure: s-12",
        )
    return columns[name.letter] == name.number


def _refused(connection: Connection, name: ObjectName) -> SettingsError:
    """Why a thing is not tried again."""
    tables = {"l": label_item, "s": structure, "t": task}
    found = tables[name.letter].c
    state = found.state if name.letter != "s" else null()
    row = connection.execute(
        select(found.id, state.label("state")).where(found.id == name.number)
    ).one_or_none()
    if row is None:
        return unknown(name)
    how = "none of its labels has failed" if row.state is None else f"it is {row.state}"
    return SettingsError(
        f"{name} cannot be tried again: {how}",
        consequence="Nothing was changed.",
        next_step="what failed: alflow retry --failed --dry-run",
    )


def _with_labels(tasks: set[int], labels: Iterable[AnyRow]) -> Retries:
    """Labels that go with their task are tried again by it."""
    alone = []
    for row in labels:
        if _goes_with_task(row):
            tasks.add(row.task_id)
        elif row.task_id is not None:
            alone.append(row.id)
    return Retries(tuple(sorted(tasks)), tuple(sorted(set(alone))))


def _goes_with_task(row: AnyRow) -> bool:
    """Whether to release the task of a failed label (`faults.release`) releases the label."""
    if row.task_state != TaskState.FAILED:
        return False
    return row.failure_class not in RETRYABLE or row.failure_kind in RETRYABLE


def _last_attempts() -> Select[tuple[int, str, str]]:
    last = (attempt.c.task_id == task.c.id) & (attempt.c.no == task.c.attempts)
    return (
        select(task.c.id, task.c.state, attempt.c.failure_class)
        .select_from(task.outerjoin(attempt, last))
        .order_by(task.c.id)
    )


def _failed_labels() -> Select[tuple[int, int, str, str, str]]:
    last = (attempt.c.task_id == task.c.id) & (attempt.c.no == task.c.attempts)
    return (
        select(
            label_item.c.id,
            label_item.c.task_id,
            label_item.c.failure_kind,
            task.c.state.label("task_state"),
            attempt.c.failure_class,
        )
        .select_from(label_item)
        .join(level_of_theory, level_of_theory.c.id == label_item.c.lot_id)
        .join(task, task.c.id == label_item.c.task_id)
        .outerjoin(attempt, last)
        .where(label_item.c.state == ItemState.FAILED)
        .order_by(label_item.c.id)
    )


_KEYS = select(store_meta.c.key).where(
    store_meta.c.key > _REQUEST, store_meta.c.key < _REQUEST + "~"
)
_ANY = Statement(_KEYS.limit(1))


def request(tx: Transaction, wanted: Retries) -> None:
    """Write down that these are to be tried again; asking twice is asking once."""
    rows = [{"key": _REQUEST + name, "value": str(tx.now)} for name in wanted.names]
    if rows:
        tx.connection.execute(insert_new(tx.connection, store_meta), rows)
        data = {"tasks": len(wanted.tasks), "labels": len(wanted.labels)}
        tx.event("retry-requested", wanted.names[0], data)


def is_requested(connection: Connection) -> bool:
    """Whether a request has not been taken up."""
    return _ANY.value(connection) is not None


def take_up(tx: Transaction) -> TakenUp:
    """Do what was requested, as far as it still makes sense; the requests are gone then."""
    keys = list(tx.connection.scalars(_KEYS))
    names = [parse_name(key.removeprefix(_REQUEST)) for key in keys]
    tasks = sorted(one.number for one in names if one.letter == "t")
    labels = sorted(one.number for one in names if one.letter == "l")
    queued: list[int] = []
    withdrawn: list[int] = []
    # Labels first: those that would go with a task by now are left to it.
    again, n_labels = _label_again(tx, labels)
    failpoint("store.take-up-retries.inside")
    is_failed = task.c.state == TaskState.FAILED
    failed = set(tx.connection.scalars(select(task.c.id).where(is_failed)))
    for number in tasks:
        if number in failed:
            generation = faults.release(tx, number)
            queued += [number] if generation is None else []
            withdrawn += [] if generation is None else [generation]
    tx.connection.execute(store_meta.delete().where(store_meta.c.key.in_(keys)))
    return TakenUp((*queued, *again), n_labels, tuple(withdrawn))


def _label_again(tx: Transaction, labels: Sequence[int]) -> tuple[list[int], int]:
    """Ask for labels again in new tasks; their numbers, and how many labels that is."""
    found = tx.connection.execute(_failed_labels()).all()
    wanted = set(labels)
    by_task: dict[int, list[int]] = {}
    for row in found:
        if row.id in wanted and not _goes_with_task(row):
            by_task.setdefault(row.task_id, []).append(row.id)
    new = [_move(tx, task_id, moved) for task_id, moved in sorted(by_task.items())]
    if new:
        faults.go_on(tx)
    return new, sum(map(len, by_task.values()))


def _move(tx: Transaction, task_id: int, labels: Sequence[int]) -> int:
    """Move failed labels of a task to a new one of the same kind; its number."""
    connection = tx.connection
    old = connection.execute(select(task).where(task.c.id == task_id)).one()
    hashes = list(
        connection.scalars(
            select(structure.c.hash)
            .join(label_item, label_item.c.structure_id == structure.c.id)
            .where(label_item.c.id.in_(labels))
            .order_by(label_item.c.id)
        )
    )
    number = next_id(connection, task)
    spec = _spec(connection, old, hashes, number)
    values = {
        **{name: getattr(old, name) for name in ("campaign_id", "iteration_id", "kind")},
        **{name: getattr(old, name) for name in ("lot_id", "priority")},
        "id": number,
        "key": spec.key,
        "state": TaskState.QUEUED,
        "spec_json": json_text(replace(spec, items=()).to_json()),
        "item_hashes": hashes_bytes(hashes),
        "attempts": 0,
        "charged": 0,
        "published": tx.now,
    }
    connection.execute(task.insert(), values)
    counting.add_tasks(tx, {(old.iteration_id, LABEL, TaskState.QUEUED): 1})
    _count_pending(tx, (old.iteration_id, old.lot_id), labels)
    for position, label_id in enumerate(labels):
        connection.execute(
            label_item.update().where(label_item.c.id == label_id),
            {"task_id": number, "position": position, **faults.PENDING_ITEM},
        )
    data = {"task": f"t-{number}", "labels": len(labels)}
    tx.event("labels-released", f"t-{task_id}", data)
    return number


def _spec(
    connection: Connection, old: AnyRow, hashes: Sequence[str], number: int
) -> TaskSpec:
    """The same calculation for some of the structures; the manager makes the input file."""
    spec = TaskSpec.from_json(from_json_text(old.spec_json))
    batch = pack_structures(structures.load(connection, hashes))
    level = select(level_of_theory.c.name).where(level_of_theory.c.id == old.lot_id)
    config = from_json_text(
        connection.scalar(
            select(campaign.c.config_json).where(campaign.c.id == old.campaign_id)
        )
    )
    return replace(
        spec,
        key=f"{spec.key.partition(AGAIN)[0]}{AGAIN}{number}",
        inputs={**spec.inputs, "structures": sha256_hex(batch)},
        items=tuple(hashes),
        settings=_as_of_today(
            spec.settings, config.get("label", {}), connection.scalar(level)
        ),
    )


def _as_of_today(
    settings: Mapping[str, Any], label: Mapping[str, Any], level: str | None
) -> dict[str, Any]:
    """Settings of a label task, with what the campaign says about that level by now."""
    now = dict(settings)
    labeler = label.get("levels", {}).get(level)
    if labeler is not None:
        now["labeler"] = labeler
    limits = {
        name: label[name]
        for name in ("timeout_s", "memory_MB")
        # what alflow found out by itself stays
        if isinstance(label.get(name), int | float)
    }
    return {**now, "limits": {**settings.get("limits", {}), **limits}} if limits else now


def _count_pending(tx: Transaction, place: tuple[int, int], labels: Sequence[int]) -> None:
    query = (
        select(campaign_structure.c.split, func.count())
        .join(label_item, label_item.c.structure_id == campaign_structure.c.structure_id)
        .where(label_item.c.id.in_(labels))
        .group_by(campaign_structure.c.split)
    )
    changes: Counter[tuple[int, int, str, ItemState]] = Counter()
    for split, n in tx.connection.execute(query):
        changes[(*place, split, ItemState.FAILED)] -= n
        changes[(*place, split, ItemState.PENDING)] += n
    counting.add_labels(tx, changes)
