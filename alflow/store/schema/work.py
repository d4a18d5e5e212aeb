"""Tasks, and the attempts to do them."""

from sqlalchemy import Column, ForeignKey, Index, UniqueConstraint, desc, text

from alflow.core.labels import FailureKind
from alflow.core.tasks import TaskState
from alflow.store.rows import AttemptState
from alflow.store.schema.base import (
    BYTES,
    FLOAT,
    INT,
    TEXT,
    link,
    number,
    one_of,
    optional,
    required,
    rule,
    table,
)

task = table(
    "task",
    number(),
    link("campaign_id", "campaign.id"),
    link("iteration_id", "iteration.id"),
    required("kind", TEXT),
    required("key", TEXT),
    link("lot_id", "level_of_theory.id", nullable=True),
    link("ensemble_id", "ensemble.id", nullable=True),
    required("state", TEXT),
    required("priority", INT),
    optional("not_before", FLOAT),
    required("spec_json", TEXT),
    optional("item_hashes", BYTES),
    optional("outcome_json", TEXT),
    required("attempts", INT),
    required("charged", INT),
    optional("fence", INT),
    optional("owner", TEXT),
    optional("lease_until", FLOAT),
    required("published", FLOAT),
    optional("ended", FLOAT),
    UniqueConstraint("campaign_id", "key"),
    Index(None, "iteration_id", "kind", "state"),
    one_of("state", TaskState),
    rule("key", "length(key) > 0"),
    rule("item_hashes", "length(item_hashes) % 32 = 0"),
    rule("attempts", "attempts >= charged AND charged >= 0"),
)
"""A unit of work. `item_hashes`: hashes of the structures it is about, 32 bytes each.
`ensemble_id`: the ensemble that a train task makes."""

Index(
    "ix_task_queue",
    task.c.kind,
    desc(task.c.priority),
    task.c.id,
    sqlite_where=text("state = 'queued'"),
    postgresql_where=text("state = 'queued'"),
)

task_count = table(
    "task_count",
    Column(
        "iteration_id",
        INT,
        ForeignKey("iteration.id"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("kind", TEXT, primary_key=True),
    Column("state", TEXT, primary_key=True),
    required("n", INT),
    one_of("state", TaskState),
)
"""Number of tasks, kept in the transactions that change them (`alflow.store.counting`)."""

task_dep = table(
    "task_dep",
    Column("task_id", INT, ForeignKey("task.id"), primary_key=True, autoincrement=False),
    Column("needs_id", INT, ForeignKey("task.id"), primary_key=True, autoincrement=False),
)

attempt = table(
    "attempt",
    number(),
    link("task_id", "task.id"),
    required("no", INT),
    required("token", TEXT, unique=True),
    required("epoch", INT),
    required("fence", INT),
    optional("host", TEXT),
    link("env_id", "environment.id", nullable=True),
    optional("backend_job_id", TEXT),
    required("state", TEXT),
    required("charged", INT),
    required("started", FLOAT),
    optional("ended", FLOAT),
    optional("wall_s", FLOAT),
    optional("exit_code", INT),
    optional("failure_class", TEXT),
    optional("message", TEXT),
    optional("details_json", TEXT),
    optional("log_sha", TEXT),
    UniqueConstraint("task_id", "no"),
    Index(
        "ix_attempt_open",
        "id",
        sqlite_where=text("state = 'open'"),
        postgresql_where=text("state = 'open'"),
    ),
    one_of("state", AttemptState),
    one_of("failure_class", FailureKind),
    rule("charged", "charged IN (0, 1)"),
    rule("failure", "(state = 'failed') = (failure_class IS NOT NULL)"),
)

submission = table(
    "submission",
    number(),
    link("attempt_id", "attempt.id"),
    required("submit_key", TEXT, unique=True),
    required("backend", TEXT),
    required("state", TEXT),
    optional("external_id", TEXT),
    one_of("state", ("intent", "submitted", "adopted", "gone")),
)
"""What was handed to a batch system: the intent is written before the hand-over."""
