"""What every task costs several times: statements that are put together once.

SQLAlchemy needs longer to write one of these than SQLite to carry it out. States stand in them as
words, not as parameters: SQLite uses an index of the open rows only then.
"""

from typing import Any

from sqlalchemy import ColumnElement, bindparam, literal_column, select

from alflow.core.tasks import TaskState
from alflow.store.rows import AttemptState, ItemState
from alflow.store.schema import (
    attempt,
    environment,
    iteration,
    label_item,
    level_of_theory,
    task,
)
from alflow.store.statement import Statement


def tasks(condition: ColumnElement[bool]) -> Any:
    """Tasks with what a `TaskRow` needs: iteration, level and the last attempt."""
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


def _literal(state: str) -> Any:
    """A state that stands in the statement itself: SQLite uses an index of some rows only then."""
    return literal_column(f"'{state}'")


QUEUED = Statement(
    tasks(
        (task.c.state == _literal(TaskState.QUEUED))
        & (task.c.kind == bindparam("of"))
        & (task.c.not_before.is_(None) | (task.c.not_before <= bindparam("now")))
    )
    .order_by(task.c.priority.desc(), task.c.id)
    .limit(bindparam("most"))
)
OPEN_ONES = tasks(attempt.c.state == _literal(AttemptState.OPEN)).add_columns(
    attempt.c.epoch, attempt.c.started
)
OPEN = Statement(OPEN_ONES.order_by(attempt.c.id))
OPEN_NAMED = Statement(OPEN_ONES.where(attempt.c.token == bindparam("of")))
TO_START = Statement(
    select(
        task.c.id, task.c.state, task.c.attempts, task.c.kind, task.c.iteration_id
    ).where(task.c.id == bindparam("of"))
)
NEW_ATTEMPT = Statement(
    attempt.insert(),
    ("id", "task_id", "no", "token", "epoch", "fence", "state", "charged", "started"),
)
LEASE = Statement(
    task.update().where(task.c.id == bindparam("of")),
    ("state", "attempts", "fence", "owner"),
)
CURRENT = Statement(
    select(attempt.c.id).where(
        attempt.c.task_id == bindparam("of"),
        attempt.c.no == bindparam("number"),
        attempt.c.token == bindparam("token"),
        attempt.c.state == _literal(AttemptState.OPEN),
    )
)
ANY_PENDING = Statement(
    select(label_item.c.id)
    .where(
        label_item.c.task_id == bindparam("of"),
        label_item.c.state == _literal(ItemState.PENDING),
    )
    .limit(1)
)
ATTEMPT_DONE = Statement(
    attempt.update().where(attempt.c.token == bindparam("of")),
    ("ended", "state", "wall_s", "host", "env_id"),
)
END_TASK = Statement(
    task.update().where(task.c.id == bindparam("of")), ("state", "ended", "outcome_json")
)
ENVIRONMENT = Statement(
    select(environment.c.id).where(environment.c.sha == bindparam("of"))
)
