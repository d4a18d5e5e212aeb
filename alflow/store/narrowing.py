"""How a listing can be narrowed down: by a value, by age, by what its rows belong to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Select, or_, select

from alflow.core.errors import SettingsError
from alflow.core.naming import WORDS, ObjectName
from alflow.store.schema import (
    attempt,
    campaign_structure,
    candidate,
    ensemble,
    iteration,
    label,
    label_item,
    level_of_theory,
    sighting,
    snapshot,
    snapshot_interval,
    structure,
    task,
    trajectory,
)


@dataclass(frozen=True, slots=True)
class Filters:
    """Which rows are wanted; None leaves a filter out.

    Attributes:
        iteration: Number of the iteration.
        generation: Number of the generation that they belong to.
        kind: Kind of task or failure, level of a label, reason of a candidate, sampler.
        state: State of the task, attempt, label or generation; why a trajectory ended.
        source: Builder, sampler or file that the structure comes from.
        failure: Kind of failure.
        split: train, val or test.
        formula: Chemical formula.
        since: Not older than this moment [s since 1970, UTC].
        of: What they belong to, such as a task or a structure.
        limit: At most so many rows.
    """

    iteration: int | None = None
    kind: str | None = None
    state: str | None = None
    limit: int | None = None
    generation: int | None = None
    source: str | None = None
    failure: str | None = None
    split: str | None = None
    formula: str | None = None
    since: float | None = None
    of: ObjectName | None = None


Condition = Callable[[int], ColumnElement[bool]]


@dataclass(frozen=True, slots=True)
class Narrowing:
    """What a listing can be narrowed down to.

    Attributes:
        values: Column that must have the value of a filter, by name of the filter.
        since: Column with the moment that counts; None if there is none.
        of: From the number of what the rows belong to, to a condition, by its letter.
    """

    values: Mapping[str, ColumnElement[Any]] = field(default_factory=dict)
    since: ColumnElement[Any] | None = None
    of: Mapping[str, Condition] = field(default_factory=dict)


_NAMES = ("kind", "state", "source", "failure", "split", "formula")


def narrow(query: Select[Any], what: str, filters: Filters) -> Select[Any]:
    """The rows of a listing that are wanted.

    Raises:
        SettingsError: If it cannot be narrowed down like that.
    """
    known = NARROWINGS[what]
    for name in _NAMES:
        value = getattr(filters, name)
        if value is not None:
            column = known.values.get(name)
            query = query.where(_must(column, what, name, known.values) == value)
    if filters.since is not None:
        query = query.where(_must(known.since, what, "since", ()) >= filters.since)
    for one in _belongings(filters):
        condition = known.of.get(one.letter) if one.attempt is None else None
        query = query.where(_must(condition, what, one.word, known.of)(one.number))
    return query.limit(filters.limit)


def _belongings(filters: Filters) -> list[ObjectName]:
    numbers = {"i": filters.iteration, "g": filters.generation}
    found = [ObjectName(letter, n) for letter, n in numbers.items() if n is not None]
    return found if filters.of is None else [*found, filters.of]


def _must(found: Any, what: str, name: str, known: Any) -> Any:
    if found is None:
        words = sorted(WORDS.get(one, one) for one in known)
        hint = f"by these they can: {', '.join(words)}" if words else ""
        raise SettingsError(f"{what} cannot be filtered by {name}", next_step=hint)
    return found


def _in(column: ColumnElement[Any], query: Select[Any]) -> ColumnElement[bool]:
    return column.in_(query)


def _generation(column: ColumnElement[Any]) -> Condition:
    """Ids of ensembles that are of a generation."""
    return lambda n: _in(column, select(ensemble.c.id).where(ensemble.c.generation == n))


def _sampled(column: ColumnElement[Any], by: ColumnElement[Any]) -> Condition:
    """Ids of structures that trajectories came upon."""
    seen = sighting.c.trajectory_id == trajectory.c.id
    return lambda n: _in(
        column,
        select(sighting.c.structure_id).join(trajectory, seen).where(by == n),
    )


def _found_with(column: ColumnElement[Any]) -> Condition:
    """Ids of structures that trajectories came upon which a generation drove."""
    return lambda n: _in(
        column,
        select(sighting.c.structure_id)
        .join(trajectory, sighting.c.trajectory_id == trajectory.c.id)
        .join(ensemble, ensemble.c.id == trajectory.c.ensemble_id)
        .where(ensemble.c.generation == n),
    )


def _holds(seq: ColumnElement[int]) -> ColumnElement[bool]:
    """An interval of a label that a snapshot is in."""
    span = snapshot_interval.c
    return (span.from_seq <= seq) & (span.to_seq.is_(None) | (span.to_seq > seq))


def _in_snapshot(column: ColumnElement[Any]) -> Condition:
    """Ids of labels that are in a snapshot."""
    held = select(snapshot_interval.c.label_id).join(snapshot, _holds(snapshot.c.seq))
    return lambda n: _in(column, held.where(snapshot.c.seq == n))


def _trained_on(column: ColumnElement[Any]) -> Condition:
    """Ids of labels that a generation was trained on."""
    return lambda n: _in(
        column,
        select(snapshot_interval.c.label_id)
        .join(snapshot, _holds(snapshot.c.seq))
        .join(ensemble, ensemble.c.snapshot_id == snapshot.c.id)
        .where(ensemble.c.generation == n),
    )


def _with_label(number: int) -> ColumnElement[bool]:
    """Snapshots that hold a label."""
    span = snapshot_interval.c
    return (
        select(span.label_id)
        .where(span.label_id == number, _holds(snapshot.c.seq))
        .exists()
    )


def _asked(column: ColumnElement[Any], by: ColumnElement[Any]) -> Condition:
    """Ids of tasks that were asked for labels."""
    return lambda n: _in(column, select(label_item.c.task_id).where(by == n))


def _of_task_or_its_trajectories(number: int) -> ColumnElement[bool]:
    labelled = select(label_item.c.structure_id).where(label_item.c.task_id == number)
    return or_(
        _in(structure.c.id, labelled),
        _sampled(structure.c.id, trajectory.c.task_id)(number),
    )


def _is(column: ColumnElement[Any]) -> Condition:
    return lambda n: column == n


_ITERATION = _is(iteration.c.number)
_KIND = {"kind": task.c.kind, "failure": attempt.c.failure_class}
_TASKS = {
    "i": _ITERATION,
    "t": _is(task.c.id),
    "g": _generation(task.c.ensemble_id),
    "s": _asked(task.c.id, label_item.c.structure_id),
    "l": _asked(task.c.id, label_item.c.id),
}

NARROWINGS: Mapping[str, Narrowing] = {
    "tasks": Narrowing({**_KIND, "state": task.c.state}, task.c.published, _TASKS),
    "quarantine": Narrowing(_KIND, task.c.published, _TASKS),
    "attempts": Narrowing({**_KIND, "state": attempt.c.state}, attempt.c.started, _TASKS),
    "structures": Narrowing(
        {
            "state": label_item.c.state,
            "source": campaign_structure.c.source,
            "failure": label_item.c.failure_kind,
            "split": campaign_structure.c.split,
            "formula": structure.c.formula,
        },
        structure.c.created,
        {
            "i": _is(campaign_structure.c.added_iter),
            "t": _of_task_or_its_trajectories,
            "p": _sampled(structure.c.id, trajectory.c.id),
            "g": _found_with(structure.c.id),
            "d": _in_snapshot(label_item.c.id),
        },
    ),
    "labels": Narrowing(
        {
            "kind": level_of_theory.c.name,
            "state": label.c.quality,
            "source": campaign_structure.c.source,
            "split": campaign_structure.c.split,
            "formula": structure.c.formula,
        },
        label.c.created,
        {
            "i": _ITERATION,
            "t": _is(label_item.c.task_id),
            "s": _is(label.c.structure_id),
            "d": _in_snapshot(label.c.id),
            "g": _trained_on(label.c.id),
        },
    ),
    "failures": Narrowing(
        {
            "kind": label_item.c.failure_kind,
            "failure": label_item.c.failure_kind,
            "formula": structure.c.formula,
        },
        task.c.published,
        {
            "i": _ITERATION,
            "t": _is(label_item.c.task_id),
            "s": _is(label_item.c.structure_id),
        },
    ),
    "generations": Narrowing(
        {"state": ensemble.c.state},
        ensemble.c.created,
        {
            "i": _is(ensemble.c.iteration),
            "g": _generation(ensemble.c.parent_id),
            "d": _is(snapshot.c.seq),
            "l": _with_label,
        },
    ),
    "iterations": Narrowing(
        {},
        iteration.c.started,
        {"i": _ITERATION, "g": _generation(iteration.c.ensemble_id)},
    ),
    "candidates": Narrowing(
        {
            "kind": candidate.c.reason,
            "state": candidate.c.decision,
            "formula": structure.c.formula,
            "source": trajectory.c.sampler,
        },
        None,
        {
            "i": _ITERATION,
            "g": _generation(candidate.c.ensemble_id),
            "p": _is(candidate.c.trajectory_id),
            "s": _is(candidate.c.structure_id),
            "t": _is(trajectory.c.task_id),
        },
    ),
    "trajectories": Narrowing(
        {
            "kind": trajectory.c.sampler,
            "source": trajectory.c.sampler,
            "state": trajectory.c.stop_reason,
            "formula": structure.c.formula,
        },
        task.c.ended,
        {
            "i": _ITERATION,
            "g": _generation(trajectory.c.ensemble_id),
            "t": _is(trajectory.c.task_id),
            "s": _is(trajectory.c.start_structure_id),
        },
    ),
}
"""By name of the listing. The listings' queries join the tables that the columns are of."""
