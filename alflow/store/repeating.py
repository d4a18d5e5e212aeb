"""What is needed to do a task once more, and to compare."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from alflow.core.errors import StoreError
from alflow.core.tasks import TaskState
from alflow.store import frequent
from alflow.store.codec import from_json_text
from alflow.store.generations import TRAIN
from alflow.store.rows import TaskRow
from alflow.store.schema import (
    attempt,
    ensemble,
    environment,
    label,
    label_item,
    structure,
    task,
)
from alflow.store.store import Store
from alflow.store.work import task_row


def task_of(store: Store, number: int) -> TaskRow:
    """One task, whatever its state.

    Raises:
        StoreError: If there is no such task.
    """
    with store.read() as connection:
        query = frequent.tasks(task.c.id == number)
        row = connection.execute(query).one_or_none()
    if row is None:
        raise StoreError(f"there is no task t-{number}")
    return task_row(row)


def training_task(store: Store, generation: int) -> int:
    """Number of the task that trained a generation.

    Raises:
        StoreError: If there is no such generation, or it is not trained.
    """
    query = (
        select(task.c.id)
        .join(ensemble, ensemble.c.id == task.c.ensemble_id)
        .where(
            ensemble.c.generation == generation,
            ensemble.c.role == "committee",
            task.c.kind == TRAIN,
            task.c.state == TaskState.DONE,
        )
        .order_by(task.c.id.desc())
        .limit(1)
    )
    with store.read() as connection:
        number: int | None = connection.scalar(query)
    if number is None:
        raise StoreError(f"no task of this campaign has trained g{generation}")
    return number


def label_digests(store: Store, task_id: int) -> dict[str, str | None]:
    """Checksum of the label of each structure of a task, by its hash; None for a failure."""
    query = (
        select(structure.c.hash, label.c.content_sha)
        .select_from(
            label_item.join(
                structure, structure.c.id == label_item.c.structure_id
            ).outerjoin(label, label.c.id == label_item.c.id)
        )
        .where(label_item.c.task_id == task_id)
    )
    with store.read() as connection:
        return {row.hash: row.content_sha for row in connection.execute(query)}


def environment_of(store: Store, task_id: int) -> Mapping[str, Any]:
    """What the last attempt of a task that told it ran with; else empty."""
    query = (
        select(environment.c.packages_json)
        .join(attempt, attempt.c.env_id == environment.c.id)
        .where(attempt.c.task_id == task_id)
        .order_by(attempt.c.no.desc())
        .limit(1)
    )
    with store.read() as connection:
        return dict(from_json_text(connection.scalar(query)) or {})
