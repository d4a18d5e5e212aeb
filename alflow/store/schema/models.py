"""Snapshots of the data, and the generations of ensembles trained on them."""

from sqlalchemy import Column, ForeignKey, Index, UniqueConstraint, text

from alflow.store.rows import EnsembleState, Split
from alflow.store.schema.base import (
    BYTES,
    FLOAT,
    INT,
    TEXT,
    finite,
    link,
    number,
    one_of,
    optional,
    required,
    rule,
    table,
)

blob = table(
    "blob",
    Column("sha256", TEXT, primary_key=True),
    required("size", INT),
    required("media_type", TEXT),
    required("storage", TEXT),
    optional("data", BYTES),
    optional("relpath", TEXT),
    one_of("storage", ("inline", "file")),
    rule("inline", "(storage = 'inline') = (data IS NOT NULL)"),
    rule("file", "(storage = 'file') = (relpath IS NOT NULL)"),
    rule("size", "data IS NULL OR length(data) = size"),
)
"""Content by its checksum: in the row, or in a file beside the database."""

snapshot = table(
    "snapshot",
    number(),
    link("campaign_id", "campaign.id"),
    required("seq", INT),
    required("n_train", INT),
    required("n_val", INT),
    required("digest", TEXT),
    required("rule_json", TEXT),
    required("created", FLOAT),
    UniqueConstraint("campaign_id", "seq"),
)

snapshot_interval = table(
    "snapshot_interval",
    Column(
        "campaign_id", INT, ForeignKey("campaign.id"), primary_key=True, autoincrement=False
    ),
    Column("label_id", INT, ForeignKey("label.id"), primary_key=True, autoincrement=False),
    required("role", TEXT),
    Column("from_seq", INT, primary_key=True, autoincrement=False),
    optional("to_seq", INT),
    one_of("role", Split),
    rule("interval", "to_seq IS NULL OR to_seq > from_seq"),
    Index(
        "ix_snapshot_interval_open",
        "campaign_id",
        "label_id",
        sqlite_where=text("to_seq IS NULL"),
        postgresql_where=text("to_seq IS NULL"),
    ),
)
"""A label is in snapshot s if from_seq <= s and (to_seq is NULL or to_seq > s)."""

ensemble = table(
    "ensemble",
    number(),
    link("campaign_id", "campaign.id"),
    required("generation", INT),
    required("iteration", INT),
    required("role", TEXT),
    link("snapshot_id", "snapshot.id"),
    link("lot_id", "level_of_theory.id"),
    link("parent_id", "ensemble.id", nullable=True),
    required("relation", TEXT),
    required("arch_json", TEXT),
    required("arch_sha", TEXT),
    required("state", TEXT),
    Column("weights_sha", TEXT, ForeignKey("blob.sha256"), nullable=True),
    required("created", FLOAT),
    optional("trained", FLOAT),
    UniqueConstraint("campaign_id", "generation", "role"),
    one_of("role", ("committee", "student", "baseline")),
    one_of("relation", ("fresh", "warm_start", "transfer", "distill", "fine_tune")),
    one_of("state", EnsembleState),
    rule("weights", "state != 'ready' OR weights_sha IS NOT NULL"),
)

ensemble_metric = table(
    "ensemble_metric",
    Column(
        "ensemble_id", INT, ForeignKey("ensemble.id"), primary_key=True, autoincrement=False
    ),
    Column("split", TEXT, primary_key=True),
    Column("name", TEXT, primary_key=True),
    optional("value", FLOAT),
    *finite("value"),
)
"""Numbers about a whole ensemble. NULL: the number is not finite."""

model = table(
    "model",
    number(),
    link("ensemble_id", "ensemble.id"),
    required("member", INT),
    optional("seed", INT),
    optional("fold", INT),
    link("parent_model_id", "model.id", nullable=True),
    required("state", TEXT),
    optional("best_epoch", INT),
    UniqueConstraint("ensemble_id", "member"),
    one_of("state", EnsembleState),
)
"""One member of an ensemble. The weights of all members are one file, the ensemble's."""

metric = table(
    "metric",
    Column("model_id", INT, ForeignKey("model.id"), primary_key=True, autoincrement=False),
    Column("split", TEXT, primary_key=True),
    Column("name", TEXT, primary_key=True),
    optional("value", FLOAT),
    optional("n", INT),
    *finite("value"),
)
"""Numbers about one member. NULL: the number is not finite."""

metric_epoch = table(
    "metric_epoch",
    Column(
        "ensemble_id", INT, ForeignKey("ensemble.id"), primary_key=True, autoincrement=False
    ),
    Column("epoch", INT, primary_key=True, autoincrement=False),
    Column("name", TEXT, primary_key=True),
    optional("value", FLOAT),
    *finite("value"),
)
"""The course of training. NULL: the number was not finite in that epoch."""

material_property = table(
    "property",
    Column("task_id", INT, ForeignKey("task.id"), primary_key=True, autoincrement=False),
    Column("name", TEXT, primary_key=True),
    link("ensemble_id", "ensemble.id", nullable=True),
    link("lot_id", "level_of_theory.id", nullable=True),
    required("suite", TEXT),
    optional("value", FLOAT),
    required("unit", TEXT),
    optional("members_json", TEXT),
    *finite("value"),
    rule("owner", "(ensemble_id IS NULL) != (lot_id IS NULL)"),
)
"""What a validation suite found of a generation or of a level of theory, its reference. NULL: the
value is not finite. The settings of the suite, curves and notes are with the task."""

prediction = table(
    "prediction",
    Column(
        "ensemble_id", INT, ForeignKey("ensemble.id"), primary_key=True, autoincrement=False
    ),
    Column("label_id", INT, ForeignKey("label.id"), primary_key=True, autoincrement=False),
    optional("energy", FLOAT),
    optional("energy_spread", FLOAT),
    optional("force_rmse", FLOAT),
    optional("force_spread_mean", FLOAT),
    optional("force_spread_max", FLOAT),
    optional("force_scale", FLOAT),
    optional("forces", BYTES),
    *finite(
        "energy",
        "energy_spread",
        "force_rmse",
        "force_spread_mean",
        "force_spread_max",
        "force_scale",
    ),
)
"""What a generation says about a labelled structure. NULL: not finite, or (force_rmse) the level
has no forces."""
