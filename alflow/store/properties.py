"""What validation suites found of generations and of levels of theory."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from alflow.core.properties import Curve, Property
from alflow.core.tasks import AttemptRef, Outcome, TaskState
from alflow.store import work
from alflow.store.codec import finite_or_none, from_json_text, json_text, nan_if_none
from alflow.store.generations import ensemble_of
from alflow.store.publishing import level_id
from alflow.store.schema import material_property, task
from alflow.store.transaction import Transaction

PROPERTY = "property"
"""The kind of task that runs a suite."""


class Found(NamedTuple):
    """What a property task that is done found.

    Attributes:
        task_id: The task.
        key: Its key.
        generation: Whose properties they are; None for those of a level of theory.
        level: Name of the level of theory; empty for those of a generation.
        suite: Kind of the suite.
        properties: Numbers, by name.
        curves: Functions.
        notes: Sentences on what could not be computed.
    """

    task_id: int
    key: str
    generation: int | None
    level: str
    suite: str
    properties: tuple[Property, ...]
    curves: tuple[Curve, ...]
    notes: tuple[str, ...]


class Asked(NamedTuple):
    """A property task: where it stands.

    Attributes:
        task_id: The task.
        key: Its key.
        state: Its state.
    """

    task_id: int
    key: str
    state: TaskState


def add(
    tx: Transaction, ref: AttemptRef, outcome: Outcome, found: Sequence[Property]
) -> bool:
    """Take in what a suite found; False if the result is late."""
    if not work.finish(tx, ref, outcome):
        return False
    text = tx.connection.scalar(select(task.c.spec_json).where(task.c.id == ref.task_id))
    settings = from_json_text(text)["settings"]
    generation, level = settings.get("generation"), settings.get("level")
    is_model = generation is not None
    shared = {
        "task_id": ref.task_id,
        "ensemble_id": ensemble_of(tx.connection, generation) if is_model else None,
        "lot_id": None if is_model else level_id(tx.connection, level),
        "suite": settings["suite"]["kind"],
    }
    rows = [
        {
            **shared,
            "name": one.name,
            "value": finite_or_none(one.value),
            "unit": one.unit,
            "members_json": None
            if one.members is None
            else json_text([finite_or_none(member) for member in one.members]),
        }
        for one in found
    ]
    if rows:
        tx.connection.execute(material_property.insert(), rows)
    return True


def asked(connection: Connection) -> dict[str, Asked]:
    """All property tasks, by key."""
    query = select(task.c.id, task.c.key, task.c.state).where(task.c.kind == PROPERTY)
    return {
        row.key: Asked(row.id, row.key, TaskState(row.state))
        for row in connection.execute(query.order_by(task.c.id))
    }


def found(connection: Connection) -> list[Found]:
    """What all property tasks that are done found, in their order."""
    numbers: dict[int, list[Property]] = {}
    query = select(material_property).order_by(
        material_property.c.task_id, material_property.c.name
    )
    for row in connection.execute(query):
        members = from_json_text(row.members_json)
        numbers.setdefault(row.task_id, []).append(
            Property(
                row.name,
                nan_if_none(row.value),
                row.unit,
                None if members is None else tuple(nan_if_none(one) for one in members),
            )
        )
    done = (task.c.kind == PROPERTY) & (task.c.state == TaskState.DONE)
    columns = (task.c.id, task.c.key, task.c.spec_json, task.c.outcome_json)
    tasks = connection.execute(select(*columns).where(done).order_by(task.c.id))
    answer = []
    for row in tasks:
        settings = from_json_text(row.spec_json)["settings"]
        values = from_json_text(row.outcome_json)["values"]
        answer.append(
            Found(
                row.id,
                row.key,
                settings.get("generation"),
                settings.get("level") or "",
                settings["suite"]["kind"],
                _in_order(numbers.get(row.id, ()), values),
                tuple(Curve.from_json(one) for one in values.get("curves", ())),
                tuple(values.get("notes", ())),
            )
        )
    return answer


def _in_order(
    properties: Sequence[Property], values: Mapping[str, Any]
) -> tuple[Property, ...]:
    """The order that the suite gave them, which rows do not have."""
    places = {one["name"]: k for k, one in enumerate(values.get("properties", ()))}
    return tuple(sorted(properties, key=lambda one: places.get(one.name, len(places))))
