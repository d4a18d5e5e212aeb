"""The first schema.

Revision: 0001, the first.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
FLOAT = sa.Double().with_variant(sa.REAL(), "sqlite")

ARRAYS = (
    ("blob", "data"),
    ("label", "forces"),
    ("label", "charges"),
    ("label_extra", "data"),
    ("prediction", "forces"),
    ("structure", "positions"),
    ("structure", "magmoms"),
)


def upgrade() -> None:
    op.create_table(
        "blob",
        sa.Column("sha256", TEXT, nullable=False),
        sa.Column("size", INT, nullable=False),
        sa.Column("media_type", TEXT, nullable=False),
        sa.Column("storage", TEXT, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=True),
        sa.Column("relpath", TEXT, nullable=True),
        sa.CheckConstraint(
            "(storage = 'file') = (relpath IS NOT NULL)", name=op.f("ck_blob_file")
        ),
        sa.CheckConstraint(
            "(storage = 'inline') = (data IS NOT NULL)", name=op.f("ck_blob_inline")
        ),
        sa.CheckConstraint(
            "storage = 'inline' OR storage = 'file'", name=op.f("ck_blob_storage")
        ),
        sa.CheckConstraint(
            "data IS NULL OR length(data) = size", name=op.f("ck_blob_size")
        ),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_blob")),
        sqlite_strict=True,
    )
    op.create_table(
        "campaign",
        sa.Column("id", INT, autoincrement=False, nullable=False),
        sa.Column("uuid", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("config_json", TEXT, nullable=False),
        sa.Column("config_sha", TEXT, nullable=False),
        sa.Column("seed", INT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("verdict", TEXT, nullable=False),
        sa.Column("stop_mode", TEXT, nullable=True),
        sa.Column("stop_requested", FLOAT, nullable=True),
        sa.Column("created", FLOAT, nullable=False),
        sa.CheckConstraint(
            "state = 'running' OR state = 'converged' OR state = 'finished' OR state = 'stopped' OR state = 'failed'",
            name=op.f("ck_campaign_state"),
        ),
        sa.CheckConstraint(
            "stop_mode = 'drain' OR stop_mode = 'now'", name=op.f("ck_campaign_stop_mode")
        ),
        sa.CheckConstraint("length(name) > 0", name=op.f("ck_campaign_name")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaign")),
        sa.UniqueConstraint("name", name=op.f("uq_campaign_name")),
        sa.UniqueConstraint("uuid", name=op.f("uq_campaign_uuid")),
        sqlite_strict=True,
    )
    op.create_table(
        "environment",
        sa.Column("id", INT, autoincrement=False, nullable=False),
        sa.Column("sha", TEXT, nullable=False),
        sa.Column("alflow_version", TEXT, nullable=True),
        sa.Column("python", TEXT, nullable=True),
        sa.Column("packages_json", TEXT, nullable=False),
        sa.Column("hostname", TEXT, nullable=True),
        sa.Column("device", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_environment")),
        sa.UniqueConstraint("sha", name=op.f("uq_environment_sha")),
        sqlite_strict=True,
    )
    op.create_table(
        "level_of_theory",
        sa.Column("id", INT, autoincrement=False, nullable=False),
        sa.Column("spec_hash", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("tier", TEXT, nullable=True),
        sa.Column("program", TEXT, nullable=True),
        sa.Column("method", TEXT, nullable=True),
        sa.Column("basis", TEXT, nullable=True),
        sa.Column("settings_json", TEXT, nullable=False),
        sa.Column("charge_model", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_level_of_theory")),
        sa.UniqueConstraint("name", name=op.f("uq_level_of_theory_name")),
        sa.UniqueConstraint("spec_hash", name=op.f("uq_level_of_theory_spec_hash")),
        sqlite_strict=True,
    )
    op.create_table(
        "store_meta",
        sa.Column("key", TEXT, nullable=False),
        sa.Column("value", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_store_meta")),
        sqlite_strict=True,
    )
    op.create_table(
        "source_file",
        sa.Column("id", INT, autoincrement=False, nullable=False),
        sa.Column("sha256", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_source_file")),
        sa.UniqueConstraint("sha256", name=op.f("uq_source_file_sha256")),
        sqlite_strict=True,
    )
    op.create_table(
        "structure",
        sa.Column("id", INT, autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("n_atoms", INT, nullable=False),
        sa.Column("formula", TEXT, nullable=False),
        sa.Column("numbers", sa.LargeBinary(), nullable=False),
        sa.Column("positions", sa.LargeBinary(), nullable=False),
        sa.Column("cell", sa.LargeBinary(), nullable=True),
        sa.Column("pbc", INT, nullable=False),
        sa.Column("charge", INT, nullable=False),
        sa.Column("multiplicity", INT, nullable=False),
        sa.Column("magmoms", sa.LargeBinary(), nullable=True),
        sa.Column("extra", TEXT, nullable=True),
        sa.Column("created", FLOAT, nullable=False),
        sa.CheckConstraint("length(cell) = 72", name=op.f("ck_structure_cell_size")),
        sa.CheckConstraint("length(hash) = 32", name=op.f("ck_structure_hash_size")),
        sa.CheckConstraint(
            "length(magmoms) = 24 * n_atoms", name=op.f("ck_structure_magmoms_size")
        ),
        sa.CheckConstraint(
            "length(numbers) = n_atoms", name=op.f("ck_structure_numbers_size")
        ),
        sa.CheckConstraint(
            "length(positions) = 24 * n_atoms", name=op.f("ck_structure_positions_size")
        ),
        sa.CheckConstraint("multiplicity > 0", name=op.f("ck_structure_multiplicity")),
        sa.CheckConstraint("n_atoms > 0", name=op.f("ck_structure_n_atoms")),
        sa.CheckConstraint(
            "pbc = 0 OR cell IS NOT NULL", name=op.f("ck_structure_periodic_cell")
        ),
        sa.CheckConstraint("pbc >= 0 AND pbc <= 7", name=op.f("ck_structure_pbc")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_structure")),
        sa.UniqueConstraint("hash", name=op.f("uq_structure_hash")),
        sqlite_strict=True,
    )
    op.create_table(
        "campaign_structure",
        sa.Column("structure_id", INT, autoincrement=False, nullable=False),
        sa.Column("campaign_id", INT, autoincrement=False, nullable=False),
        sa.Column("group_key", TEXT, nullable=False),
        sa.Column("split", TEXT, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("added_iter", INT, nullable=False),
        sa.CheckConstraint(
            "split = 'train' OR split = 'val' OR split = 'test'",
            name=op.f("ck_campaign_structure_split"),
        ),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaign.id"], name=op.f("fk_campaign_structure_campaign_id")
        ),
        sa.ForeignKeyConstraint(
            ["structure_id"],
            ["structure.id"],
            name=op.f("fk_campaign_structure_structure_id"),
        ),
        sa.PrimaryKeyConstraint(
            "structure_id", "campaign_id", name=op.f("pk_campaign_structure")
        ),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "event",
        sa.Column("id", INT, nullable=False),
        sa.Column("campaign_id", INT, nullable=False),
        sa.Column("ts", FLOAT, nullable=False),
        sa.Column("epoch", INT, nullable=True),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("severity", TEXT, nullable=False),
        sa.Column("subject", TEXT, nullable=False),
        sa.Column("data_json", TEXT, nullable=False),
        sa.CheckConstraint(
            "severity = 'info' OR severity = 'warning' OR severity = 'error'",
            name=op.f("ck_event_severity"),
        ),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaign.id"], name=op.f("fk_event_campaign_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event")),
        sqlite_strict=True,
    )
    op.create_index(
        op.f("ix_event_campaign_id_id"), "event", ["campaign_id", "id"], unique=False
    )
    op.create_table(
        "lot_reference",
        sa.Column("lot_id", INT, autoincrement=False, nullable=False),
        sa.Column("z", INT, autoincrement=False, nullable=False),
        sa.Column("energy", FLOAT, nullable=False),
        sa.CheckConstraint(
            "energy > -1e300 AND energy < 1e300",
            name=op.f("ck_lot_reference_energy_finite"),
        ),
        sa.ForeignKeyConstraint(
            ["lot_id"], ["level_of_theory.id"], name=op.f("fk_lot_reference_lot_id")
        ),
        sa.PrimaryKeyConstraint("lot_id", "z", name=op.f("pk_lot_reference")),
        sqlite_strict=True,
    )
    op.create_table(
        "manager_lease",
        sa.Column("campaign_id", INT, autoincrement=False, nullable=False),
        sa.Column("epoch", INT, nullable=False),
        sa.Column("holder", TEXT, nullable=True),
        sa.Column("host", TEXT, nullable=True),
        sa.Column("boot_id", TEXT, nullable=True),
        sa.Column("pid", INT, nullable=True),
        sa.Column("renewed", FLOAT, nullable=False),
        sa.Column("expires", FLOAT, nullable=False),
        sa.CheckConstraint("epoch >= 0", name=op.f("ck_manager_lease_epoch")),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaign.id"], name=op.f("fk_manager_lease_campaign_id")
        ),
        sa.PrimaryKeyConstraint("campaign_id", name=op.f("pk_manager_lease")),
        sqlite_strict=True,
    )
    op.create_table(
        "snapshot",
        sa.Column("id", INT, autoincrement=False, nullable=False),
        sa.Column("campaign_id", INT, nullable=False),
        sa.Column("seq", INT, nullable=False),
        sa.Column("n_train", INT, nullable=False),
        sa.Column("n_val", INT, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("rule_json", TEXT, nullable=False),
        sa.Column("created", FLOAT, nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaign.id"], name=op.f("fk_snapshot_campaign_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_snapshot")),
        sa.UniqueConstraint("campaign_id", "seq", name=op.f("uq_snapshot_campaign_id_seq")),
        sqlite_strict=True,
    )
    op.create_table(
        "ensemble",
        sa.Column("id", INT, autoincrement=False, nullable=False),
        sa.Column("campaign_id", INT, nullable=False),
        sa.Column("generation", INT, nullable=False),
        sa.Column("iteration", INT, nullable=False),
        sa.Column("role", TEXT, nullable=False),
        sa.Column("snapshot_id", INT, nullable=False),
        sa.Column("lot_id", INT, nullable=False),
        sa.Column("parent_id", INT, nullable=True),
        sa.Column("relation", TEXT, nullable=False),
        sa.Column("arch_json", TEXT, nullable=False),
        sa.Column("arch_sha", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("weights_sha", TEXT, nullable=True),
        sa.Column("created", FLOAT, nullable=False),
        sa.Column("trained", FLOAT, nullable=True),
        sa.CheckConstraint(
            "relation = 'fresh' OR relation = 'warm_start' OR relation = 'transfer' OR relation = 'distill' OR relation = 'fine_tune'",
            name=op.f("ck_ensemble_relation"),
        ),
        sa.CheckConstraint(
            "role = 'committee' OR role = 'student' OR role = 'baseline'",
            name=op.f("ck_ensemble_role"),
        ),
        sa.CheckConstraint(
            "state != 'ready' OR weights_sha IS NOT NULL", name=op.f("ck_ensemble_weights")
        ),
        sa.CheckConstraint(
            "state = 'planned' OR state = 'training' OR state = 'ready' OR state = 'rejected' OR state = 'retired'",
            name=op.f("ck_ensemble_state"),
        ),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaign.id"], name=op.f("fk_ensemble_campaign_id")
        ),
        sa.ForeignKeyConstraint(
            ["lot_id"], ["level_of_theory.id"], name=op.f("fk_ensemble_lot_id")
        ),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["ensemble.id"], name=op.f("fk_ensemble_parent_id")
        ),
        sa.ForeignKeyConstraint(
            ["snapshot_id"], ["snapshot.id"], name=op.f("fk_ensemble_snapshot_id")
        ),
        sa.ForeignKeyConstraint(
            ["weights_sha"], ["blob.sha256"], name=op.f("fk_ensemble_weights_sha")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ensemble")),
        sa.UniqueConstraint(
            "campaign_id",
            "generation",
            "role",
            name=op.f("uq_ensemble_campaign_id_generation_role"),
        ),
        sqlite_strict=True,
    )
    op.create_table(
        "ensemble_metric",
        sa.Column("ensemble_id", INT, autoincrement=False, nullable=False),
        sa.Column("split", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("value", FLOAT, nullable=True),
        sa.CheckConstraint(
            "value > -1e300 AND value < 1e300", name=op.f("ck_ensemble_metric_value_finite")
        ),
        sa.ForeignKeyConstraint(
            ["ensemble_id"], ["ensemble.id"], name=op.f("fk_ensemble_metric_ensemble_id")
        ),
        sa.PrimaryKeyConstraint(
            "ensemble_id", "split", "name", name=op.f("pk_ensemble_metric")
        ),
        sqlite_strict=True,
    )
    op.create_table(
        "iteration",
        sa.Column("id", INT, autoincrement=False, nullable=False),
        sa.Column("campaign_id", INT, nullable=False),
        sa.Column("number", INT, nullable=False),
        sa.Column("phase", TEXT, nullable=False),
        sa.Column("ensemble_id", INT, nullable=True),
        sa.Column("n_flagged", INT, nullable=True),
        sa.Column("n_candidates", INT, nullable=True),
        sa.Column("n_selected", INT, nullable=True),
        sa.Column("started", FLOAT, nullable=False),
        sa.Column("ended", FLOAT, nullable=True),
        sa.CheckConstraint("length(phase) > 0", name=op.f("ck_iteration_phase")),
        sa.CheckConstraint("number >= 0", name=op.f("ck_iteration_number")),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaign.id"], name=op.f("fk_iteration_campaign_id")
        ),
        sa.ForeignKeyConstraint(
            ["ensemble_id"], ["ensemble.id"], name=op.f("fk_iteration_ensemble_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_iteration")),
        sa.UniqueConstraint(
            "campaign_id", "number", name=op.f("uq_iteration_campaign_id_number")
        ),
        sqlite_strict=True,
    )
    op.create_table(
        "metric_epoch",
        sa.Column("ensemble_id", INT, autoincrement=False, nullable=False),
        sa.Column("epoch", INT, autoincrement=False, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("value", FLOAT, nullable=True),
        sa.CheckConstraint(
            "value > -1e300 AND value < 1e300", name=op.f("ck_metric_epoch_value_finite")
        ),
        sa.ForeignKeyConstraint(
            ["ensemble_id"], ["ensemble.id"], name=op.f("fk_metric_epoch_ensemble_id")
        ),
        sa.PrimaryKeyConstraint(
            "ensemble_id", "epoch", "name", name=op.f("pk_metric_epoch")
        ),
        sqlite_strict=True,
    )
    op.create_table(
        "model",
        sa.Column("id", INT, autoincrement=False, nullable=False),
        sa.Column("ensemble_id", INT, nullable=False),
        sa.Column("member", INT, nullable=False),
        sa.Column("seed", INT, nullable=True),
        sa.Column("fold", INT, nullable=True),
        sa.Column("parent_model_id", INT, nullable=True),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("best_epoch", INT, nullable=True),
        sa.CheckConstraint(
            "state = 'planned' OR state = 'training' OR state = 'ready' OR state = 'rejected' OR state = 'retired'",
            name=op.f("ck_model_state"),
        ),
        sa.ForeignKeyConstraint(
            ["ensemble_id"], ["ensemble.id"], name=op.f("fk_model_ensemble_id")
        ),
        sa.ForeignKeyConstraint(
            ["parent_model_id"], ["model.id"], name=op.f("fk_model_parent_model_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model")),
        sa.UniqueConstraint(
            "ensemble_id", "member", name=op.f("uq_model_ensemble_id_member")
        ),
        sqlite_strict=True,
    )
    op.create_table(
        "iteration_stat",
        sa.Column("iteration_id", INT, autoincrement=False, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("value", FLOAT, nullable=False),
        sa.CheckConstraint(
            "value > -1e300 AND value < 1e300", name=op.f("ck_iteration_stat_value_finite")
        ),
        sa.ForeignKeyConstraint(
            ["iteration_id"], ["iteration.id"], name=op.f("fk_iteration_stat_iteration_id")
        ),
        sa.PrimaryKeyConstraint("iteration_id", "name", name=op.f("pk_iteration_stat")),
        sqlite_strict=True,
    )
    op.create_table(
        "metric",
        sa.Column("model_id", INT, autoincrement=False, nullable=False),
        sa.Column("split", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("value", FLOAT, nullable=True),
        sa.Column("n", INT, nullable=True),
        sa.CheckConstraint(
            "value > -1e300 AND value < 1e300", name=op.f("ck_metric_value_finite")
        ),
        sa.ForeignKeyConstraint(
            ["model_id"], ["model.id"], name=op.f("fk_metric_model_id")
        ),
        sa.PrimaryKeyConstraint("model_id", "split", "name", name=op.f("pk_metric")),
        sqlite_strict=True,
    )
    op.create_table(
        "task",
        sa.Column("id", INT, autoincrement=False, nullable=False),
        sa.Column("campaign_id", INT, nullable=False),
        sa.Column("iteration_id", INT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("lot_id", INT, nullable=True),
        sa.Column("ensemble_id", INT, nullable=True),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("priority", INT, nullable=False),
        sa.Column("not_before", FLOAT, nullable=True),
        sa.Column("spec_json", TEXT, nullable=False),
        sa.Column("item_hashes", sa.LargeBinary(), nullable=True),
        sa.Column("outcome_json", TEXT, nullable=True),
        sa.Column("attempts", INT, nullable=False),
        sa.Column("charged", INT, nullable=False),
        sa.Column("fence", INT, nullable=True),
        sa.Column("owner", TEXT, nullable=True),
        sa.Column("lease_until", FLOAT, nullable=True),
        sa.Column("published", FLOAT, nullable=False),
        sa.Column("ended", FLOAT, nullable=True),
        sa.CheckConstraint(
            "state = 'queued' OR state = 'leased' OR state = 'done' OR state = 'failed' OR state = 'cancelled'",
            name=op.f("ck_task_state"),
        ),
        sa.CheckConstraint(
            "attempts >= charged AND charged >= 0", name=op.f("ck_task_attempts")
        ),
        sa.CheckConstraint(
            "length(item_hashes) % 32 = 0", name=op.f("ck_task_item_hashes")
        ),
        sa.CheckConstraint("length(key) > 0", name=op.f("ck_task_key")),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaign.id"], name=op.f("fk_task_campaign_id")
        ),
        sa.ForeignKeyConstraint(
            ["ensemble_id"], ["ensemble.id"], name=op.f("fk_task_ensemble_id")
        ),
        sa.ForeignKeyConstraint(
            ["iteration_id"], ["iteration.id"], name=op.f("fk_task_iteration_id")
        ),
        sa.ForeignKeyConstraint(
            ["lot_id"], ["level_of_theory.id"], name=op.f("fk_task_lot_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task")),
        sa.UniqueConstraint("campaign_id", "key", name=op.f("uq_task_campaign_id_key")),
        sqlite_strict=True,
    )
    op.create_index(
        op.f("ix_task_iteration_id_kind_state"),
        "task",
        ["iteration_id", "kind", "state"],
        unique=False,
    )
    op.create_index(
        "ix_task_queue",
        "task",
        ["kind", sa.literal_column("priority DESC"), "id"],
        unique=False,
        sqlite_where=sa.text("state = 'queued'"),
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_table(
        "attempt",
        sa.Column("id", INT, autoincrement=False, nullable=False),
        sa.Column("task_id", INT, nullable=False),
        sa.Column("no", INT, nullable=False),
        sa.Column("token", TEXT, nullable=False),
        sa.Column("epoch", INT, nullable=False),
        sa.Column("fence", INT, nullable=False),
        sa.Column("host", TEXT, nullable=True),
        sa.Column("env_id", INT, nullable=True),
        sa.Column("backend_job_id", TEXT, nullable=True),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("charged", INT, nullable=False),
        sa.Column("started", FLOAT, nullable=False),
        sa.Column("ended", FLOAT, nullable=True),
        sa.Column("wall_s", FLOAT, nullable=True),
        sa.Column("exit_code", INT, nullable=True),
        sa.Column("failure_class", TEXT, nullable=True),
        sa.Column("message", TEXT, nullable=True),
        sa.Column("details_json", TEXT, nullable=True),
        sa.Column("log_sha", TEXT, nullable=True),
        sa.CheckConstraint(
            "(state = 'failed') = (failure_class IS NOT NULL)",
            name=op.f("ck_attempt_failure"),
        ),
        sa.CheckConstraint(
            "failure_class = 'invalid-input' OR failure_class = 'bad-geometry' OR failure_class = 'not-converged' OR failure_class = 'suspicious-label' OR failure_class = 'resource' OR failure_class = 'crash' OR failure_class = 'lost' OR failure_class = 'diverged' OR failure_class = 'bug'",
            name=op.f("ck_attempt_failure_class"),
        ),
        sa.CheckConstraint(
            "state = 'open' OR state = 'done' OR state = 'failed'",
            name=op.f("ck_attempt_state"),
        ),
        sa.CheckConstraint("charged IN (0, 1)", name=op.f("ck_attempt_charged")),
        sa.ForeignKeyConstraint(
            ["env_id"], ["environment.id"], name=op.f("fk_attempt_env_id")
        ),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_attempt_task_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempt")),
        sa.UniqueConstraint("task_id", "no", name=op.f("uq_attempt_task_id_no")),
        sa.UniqueConstraint("token", name=op.f("uq_attempt_token")),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_attempt_open",
        "attempt",
        ["id"],
        unique=False,
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "label_item",
        sa.Column("id", INT, autoincrement=False, nullable=False),
        sa.Column("task_id", INT, nullable=True),
        sa.Column("position", INT, nullable=True),
        sa.Column("structure_id", INT, nullable=False),
        sa.Column("lot_id", INT, nullable=False),
        sa.Column("rev", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("failure_kind", TEXT, nullable=True),
        sa.Column("message", TEXT, nullable=True),
        sa.Column("details_json", TEXT, nullable=True),
        sa.CheckConstraint(
            "(state = 'failed') = (failure_kind IS NOT NULL)",
            name=op.f("ck_label_item_failure"),
        ),
        sa.CheckConstraint(
            "failure_kind = 'invalid-input' OR failure_kind = 'bad-geometry' OR failure_kind = 'not-converged' OR failure_kind = 'suspicious-label' OR failure_kind = 'resource' OR failure_kind = 'crash' OR failure_kind = 'lost' OR failure_kind = 'diverged' OR failure_kind = 'bug'",
            name=op.f("ck_label_item_failure_kind"),
        ),
        sa.CheckConstraint(
            "state = 'pending' OR state = 'ok' OR state = 'failed'",
            name=op.f("ck_label_item_state"),
        ),
        sa.ForeignKeyConstraint(
            ["lot_id"], ["level_of_theory.id"], name=op.f("fk_label_item_lot_id")
        ),
        sa.ForeignKeyConstraint(
            ["structure_id"], ["structure.id"], name=op.f("fk_label_item_structure_id")
        ),
        sa.ForeignKeyConstraint(
            ["task_id"], ["task.id"], name=op.f("fk_label_item_task_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label_item")),
        sa.UniqueConstraint(
            "structure_id",
            "lot_id",
            "rev",
            name=op.f("uq_label_item_structure_id_lot_id_rev"),
        ),
        sa.UniqueConstraint(
            "task_id", "position", name=op.f("uq_label_item_task_id_position")
        ),
        sqlite_strict=True,
    )
    op.create_table(
        "label_count",
        sa.Column("iteration_id", INT, autoincrement=False, nullable=False),
        sa.Column("lot_id", INT, autoincrement=False, nullable=False),
        sa.Column("split", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("n", INT, nullable=False),
        sa.CheckConstraint(
            "split = 'train' OR split = 'val' OR split = 'test'",
            name=op.f("ck_label_count_split"),
        ),
        sa.CheckConstraint(
            "state = 'pending' OR state = 'ok' OR state = 'failed'",
            name=op.f("ck_label_count_state"),
        ),
        sa.ForeignKeyConstraint(
            ["lot_id"], ["level_of_theory.id"], name=op.f("fk_label_count_lot_id")
        ),
        sa.PrimaryKeyConstraint(
            "iteration_id", "lot_id", "split", "state", name=op.f("pk_label_count")
        ),
        sqlite_strict=True,
    )
    op.create_table(
        "task_count",
        sa.Column("iteration_id", INT, autoincrement=False, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("n", INT, nullable=False),
        sa.CheckConstraint(
            "state = 'queued' OR state = 'leased' OR state = 'done' OR state = 'failed' OR state = 'cancelled'",
            name=op.f("ck_task_count_state"),
        ),
        sa.ForeignKeyConstraint(
            ["iteration_id"], ["iteration.id"], name=op.f("fk_task_count_iteration_id")
        ),
        sa.PrimaryKeyConstraint(
            "iteration_id", "kind", "state", name=op.f("pk_task_count")
        ),
        sqlite_strict=True,
    )
    op.create_table(
        "task_dep",
        sa.Column("task_id", INT, autoincrement=False, nullable=False),
        sa.Column("needs_id", INT, autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(
            ["needs_id"], ["task.id"], name=op.f("fk_task_dep_needs_id")
        ),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_task_dep_task_id")),
        sa.PrimaryKeyConstraint("task_id", "needs_id", name=op.f("pk_task_dep")),
        sqlite_strict=True,
    )
    op.create_table(
        "label",
        sa.Column("id", INT, autoincrement=False, nullable=False),
        sa.Column("structure_id", INT, nullable=False),
        sa.Column("lot_id", INT, nullable=False),
        sa.Column("rev", INT, server_default=sa.text("0"), nullable=False),
        sa.Column("superseded_by", INT, nullable=True),
        sa.Column("n_atoms", INT, nullable=False),
        sa.Column("energy", FLOAT, nullable=False),
        sa.Column("forces", sa.LargeBinary(), nullable=True),
        sa.Column("stress", sa.LargeBinary(), nullable=True),
        sa.Column("dipole", sa.LargeBinary(), nullable=True),
        sa.Column("charges", sa.LargeBinary(), nullable=True),
        sa.Column("fmax", FLOAT, nullable=True),
        sa.Column("quality", TEXT, nullable=False),
        sa.Column("content_sha", sa.LargeBinary(), nullable=False),
        sa.Column("extras_json", TEXT, nullable=True),
        sa.Column("attempt_id", INT, nullable=True),
        sa.Column("program_version", TEXT, nullable=False),
        sa.Column("created", FLOAT, nullable=False),
        sa.CheckConstraint(
            "quality = 'ok' OR quality = 'suspect' OR quality = 'rejected'",
            name=op.f("ck_label_quality"),
        ),
        sa.CheckConstraint(
            "energy > -1e300 AND energy < 1e300", name=op.f("ck_label_energy_finite")
        ),
        sa.CheckConstraint(
            "fmax > -1e300 AND fmax < 1e300", name=op.f("ck_label_fmax_finite")
        ),
        sa.CheckConstraint(
            "length(charges) = 8 * n_atoms", name=op.f("ck_label_charges_size")
        ),
        sa.CheckConstraint("length(dipole) = 24", name=op.f("ck_label_dipole_size")),
        sa.CheckConstraint(
            "length(forces) = 24 * n_atoms", name=op.f("ck_label_forces_size")
        ),
        sa.CheckConstraint("length(stress) = 48", name=op.f("ck_label_stress_size")),
        sa.CheckConstraint(
            "length(content_sha) = 32", name=op.f("ck_label_content_sha_size")
        ),
        sa.CheckConstraint("n_atoms > 0", name=op.f("ck_label_n_atoms")),
        sa.ForeignKeyConstraint(
            ["attempt_id"], ["attempt.id"], name=op.f("fk_label_attempt_id")
        ),
        sa.ForeignKeyConstraint(["id"], ["label_item.id"], name=op.f("fk_label_id")),
        sa.ForeignKeyConstraint(
            ["lot_id"], ["level_of_theory.id"], name=op.f("fk_label_lot_id")
        ),
        sa.ForeignKeyConstraint(
            ["structure_id"], ["structure.id"], name=op.f("fk_label_structure_id")
        ),
        sa.ForeignKeyConstraint(
            ["superseded_by"], ["label.id"], name=op.f("fk_label_superseded_by")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label")),
        sqlite_strict=True,
    )
    op.create_index(
        "uq_label_current",
        "label",
        ["structure_id", "lot_id"],
        unique=True,
        sqlite_where=sa.text("superseded_by IS NULL"),
        postgresql_where=sa.text("superseded_by IS NULL"),
    )
    op.create_index(
        "ix_label_put_aside",
        "label",
        ["id"],
        sqlite_where=sa.text("quality <> 'ok'"),
        postgresql_where=sa.text("quality <> 'ok'"),
    )
    op.create_table(
        "submission",
        sa.Column("id", INT, autoincrement=False, nullable=False),
        sa.Column("attempt_id", INT, nullable=False),
        sa.Column("submit_key", TEXT, nullable=False),
        sa.Column("backend", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("external_id", TEXT, nullable=True),
        sa.CheckConstraint(
            "state = 'intent' OR state = 'submitted' OR state = 'adopted' OR state = 'gone'",
            name=op.f("ck_submission_state"),
        ),
        sa.ForeignKeyConstraint(
            ["attempt_id"], ["attempt.id"], name=op.f("fk_submission_attempt_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_submission")),
        sa.UniqueConstraint("submit_key", name=op.f("uq_submission_submit_key")),
        sqlite_strict=True,
    )
    op.create_table(
        "trajectory",
        sa.Column("id", INT, autoincrement=False, nullable=False),
        sa.Column("campaign_id", INT, nullable=False),
        sa.Column("iteration_id", INT, nullable=False),
        sa.Column("ensemble_id", INT, nullable=False),
        sa.Column("task_id", INT, nullable=False),
        sa.Column("position", INT, nullable=False),
        sa.Column("attempt_id", INT, nullable=True),
        sa.Column("sampler", TEXT, nullable=False),
        sa.Column("seed", INT, nullable=False),
        sa.Column("start_structure_id", INT, nullable=False),
        sa.Column("schedule_json", TEXT, nullable=False),
        sa.Column("n_steps", INT, nullable=False),
        sa.Column("time_fs", FLOAT, nullable=False),
        sa.Column("stop_reason", TEXT, nullable=False),
        sa.Column("trace_json", TEXT, nullable=False),
        sa.CheckConstraint(
            "stop_reason = 'flagged' OR stop_reason = 'finished' OR stop_reason = 'not-finite' OR stop_reason = 'too-close' OR stop_reason = 'too-hot' OR stop_reason = 'exploded' OR stop_reason = 'collapsed' OR stop_reason = 'escaped'",
            name=op.f("ck_trajectory_stop_reason"),
        ),
        sa.CheckConstraint("n_steps >= 0", name=op.f("ck_trajectory_n_steps")),
        sa.CheckConstraint(
            "time_fs > -1e300 AND time_fs < 1e300",
            name=op.f("ck_trajectory_time_fs_finite"),
        ),
        sa.ForeignKeyConstraint(
            ["attempt_id"], ["attempt.id"], name=op.f("fk_trajectory_attempt_id")
        ),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaign.id"], name=op.f("fk_trajectory_campaign_id")
        ),
        sa.ForeignKeyConstraint(
            ["ensemble_id"], ["ensemble.id"], name=op.f("fk_trajectory_ensemble_id")
        ),
        sa.ForeignKeyConstraint(
            ["iteration_id"], ["iteration.id"], name=op.f("fk_trajectory_iteration_id")
        ),
        sa.ForeignKeyConstraint(
            ["start_structure_id"],
            ["structure.id"],
            name=op.f("fk_trajectory_start_structure_id"),
        ),
        sa.ForeignKeyConstraint(
            ["task_id"], ["task.id"], name=op.f("fk_trajectory_task_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trajectory")),
        sa.UniqueConstraint(
            "task_id", "position", name=op.f("uq_trajectory_task_id_position")
        ),
        sqlite_strict=True,
    )
    op.create_index(
        op.f("ix_trajectory_iteration_id"), "trajectory", ["iteration_id"], unique=False
    )
    op.create_table(
        "candidate",
        sa.Column("id", INT, autoincrement=False, nullable=False),
        sa.Column("iteration_id", INT, nullable=False),
        sa.Column("structure_id", INT, nullable=False),
        sa.Column("trajectory_id", INT, nullable=False),
        sa.Column("ensemble_id", INT, nullable=False),
        sa.Column("step", INT, nullable=False),
        sa.Column("time_fs", FLOAT, nullable=False),
        sa.Column("temperature_K", FLOAT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("measure", TEXT, nullable=False),
        sa.Column("energy_spread", FLOAT, nullable=True),
        sa.Column("force_spread_mean", FLOAT, nullable=True),
        sa.Column("force_spread_max", FLOAT, nullable=True),
        sa.Column("force_scale", FLOAT, nullable=True),
        sa.Column("decision", TEXT, nullable=False),
        sa.Column("decision_reason", TEXT, nullable=False),
        sa.Column("rank", INT, nullable=True),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=True),
        sa.Column("cost_core_s", FLOAT, nullable=True),
        sa.CheckConstraint(
            "(decision = 'selected') = (rank IS NOT NULL)", name=op.f("ck_candidate_rank")
        ),
        sa.CheckConstraint(
            "decision = 'selected' OR decision = 'duplicate' OR decision = 'filtered' OR decision = 'over-budget'",
            name=op.f("ck_candidate_decision"),
        ),
        sa.CheckConstraint(
            "reason = 'flagged' OR reason = 'audit'", name=op.f("ck_candidate_reason")
        ),
        sa.CheckConstraint(
            "cost_core_s > -1e300 AND cost_core_s < 1e300",
            name=op.f("ck_candidate_cost_core_s_finite"),
        ),
        sa.CheckConstraint(
            "energy_spread > -1e300 AND energy_spread < 1e300",
            name=op.f("ck_candidate_energy_spread_finite"),
        ),
        sa.CheckConstraint(
            "force_scale > -1e300 AND force_scale < 1e300",
            name=op.f("ck_candidate_force_scale_finite"),
        ),
        sa.CheckConstraint(
            "force_spread_max > -1e300 AND force_spread_max < 1e300",
            name=op.f("ck_candidate_force_spread_max_finite"),
        ),
        sa.CheckConstraint(
            "force_spread_mean > -1e300 AND force_spread_mean < 1e300",
            name=op.f("ck_candidate_force_spread_mean_finite"),
        ),
        sa.CheckConstraint(
            '"temperature_K" > -1e300 AND "temperature_K" < 1e300',
            name=op.f("ck_candidate_temperature_K_finite"),
        ),
        sa.CheckConstraint(
            "time_fs > -1e300 AND time_fs < 1e300", name=op.f("ck_candidate_time_fs_finite")
        ),
        sa.ForeignKeyConstraint(
            ["ensemble_id"], ["ensemble.id"], name=op.f("fk_candidate_ensemble_id")
        ),
        sa.ForeignKeyConstraint(
            ["iteration_id"], ["iteration.id"], name=op.f("fk_candidate_iteration_id")
        ),
        sa.ForeignKeyConstraint(
            ["structure_id"], ["structure.id"], name=op.f("fk_candidate_structure_id")
        ),
        sa.ForeignKeyConstraint(
            ["trajectory_id"], ["trajectory.id"], name=op.f("fk_candidate_trajectory_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_candidate")),
        sa.UniqueConstraint(
            "iteration_id",
            "structure_id",
            name=op.f("uq_candidate_iteration_id_structure_id"),
        ),
        sqlite_strict=True,
    )
    op.create_index(
        op.f("ix_candidate_iteration_id_decision"),
        "candidate",
        ["iteration_id", "decision"],
        unique=False,
    )
    op.create_index(
        op.f("ix_candidate_structure_id"), "candidate", ["structure_id"], unique=False
    )
    op.create_table(
        "label_extra",
        sa.Column("label_id", INT, autoincrement=False, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("dtype", TEXT, nullable=False),
        sa.Column("shape", TEXT, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["label_id"], ["label.id"], name=op.f("fk_label_extra_label_id")
        ),
        sa.PrimaryKeyConstraint("label_id", "name", name=op.f("pk_label_extra")),
        sqlite_strict=True,
    )
    op.create_table(
        "prediction",
        sa.Column("ensemble_id", INT, autoincrement=False, nullable=False),
        sa.Column("label_id", INT, autoincrement=False, nullable=False),
        sa.Column("energy", FLOAT, nullable=True),
        sa.Column("energy_spread", FLOAT, nullable=True),
        sa.Column("force_rmse", FLOAT, nullable=True),
        sa.Column("force_spread_mean", FLOAT, nullable=True),
        sa.Column("force_spread_max", FLOAT, nullable=True),
        sa.Column("force_scale", FLOAT, nullable=True),
        sa.Column("forces", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint(
            "energy > -1e300 AND energy < 1e300", name=op.f("ck_prediction_energy_finite")
        ),
        sa.CheckConstraint(
            "energy_spread > -1e300 AND energy_spread < 1e300",
            name=op.f("ck_prediction_energy_spread_finite"),
        ),
        sa.CheckConstraint(
            "force_rmse > -1e300 AND force_rmse < 1e300",
            name=op.f("ck_prediction_force_rmse_finite"),
        ),
        sa.CheckConstraint(
            "force_scale > -1e300 AND force_scale < 1e300",
            name=op.f("ck_prediction_force_scale_finite"),
        ),
        sa.CheckConstraint(
            "force_spread_max > -1e300 AND force_spread_max < 1e300",
            name=op.f("ck_prediction_force_spread_max_finite"),
        ),
        sa.CheckConstraint(
            "force_spread_mean > -1e300 AND force_spread_mean < 1e300",
            name=op.f("ck_prediction_force_spread_mean_finite"),
        ),
        sa.ForeignKeyConstraint(
            ["ensemble_id"], ["ensemble.id"], name=op.f("fk_prediction_ensemble_id")
        ),
        sa.ForeignKeyConstraint(
            ["label_id"], ["label.id"], name=op.f("fk_prediction_label_id")
        ),
        sa.PrimaryKeyConstraint("ensemble_id", "label_id", name=op.f("pk_prediction")),
        sqlite_strict=True,
    )
    op.create_table(
        "property",
        sa.Column("task_id", INT, autoincrement=False, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("ensemble_id", INT, nullable=True),
        sa.Column("lot_id", INT, nullable=True),
        sa.Column("suite", TEXT, nullable=False),
        sa.Column("value", FLOAT, nullable=True),
        sa.Column("unit", TEXT, nullable=False),
        sa.Column("members_json", TEXT, nullable=True),
        sa.CheckConstraint(
            "(ensemble_id IS NULL) != (lot_id IS NULL)", name=op.f("ck_property_owner")
        ),
        sa.CheckConstraint(
            "value > -1e300 AND value < 1e300", name=op.f("ck_property_value_finite")
        ),
        sa.ForeignKeyConstraint(
            ["ensemble_id"], ["ensemble.id"], name=op.f("fk_property_ensemble_id")
        ),
        sa.ForeignKeyConstraint(
            ["lot_id"], ["level_of_theory.id"], name=op.f("fk_property_lot_id")
        ),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_property_task_id")),
        sa.PrimaryKeyConstraint("task_id", "name", name=op.f("pk_property")),
        sqlite_strict=True,
    )
    op.create_table(
        "sighting",
        sa.Column("structure_id", INT, autoincrement=False, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("group_key", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("attempt_id", INT, nullable=True),
        sa.Column("trajectory_id", INT, nullable=True),
        sa.Column("step", INT, nullable=True),
        sa.Column("parent_structure_id", INT, nullable=True),
        sa.Column("file_id", INT, nullable=True),
        sa.Column("frame", INT, nullable=True),
        sa.CheckConstraint(
            "kind = 'builder' OR kind = 'import' OR kind = 'start' OR kind = 'sampler' OR kind = 'relax' OR kind = 'augment'",
            name=op.f("ck_sighting_kind"),
        ),
        sa.ForeignKeyConstraint(
            ["attempt_id"], ["attempt.id"], name=op.f("fk_sighting_attempt_id")
        ),
        sa.ForeignKeyConstraint(
            ["file_id"], ["source_file.id"], name=op.f("fk_sighting_file_id")
        ),
        sa.ForeignKeyConstraint(
            ["parent_structure_id"],
            ["structure.id"],
            name=op.f("fk_sighting_parent_structure_id"),
        ),
        sa.ForeignKeyConstraint(
            ["structure_id"], ["structure.id"], name=op.f("fk_sighting_structure_id")
        ),
        sa.ForeignKeyConstraint(
            ["trajectory_id"], ["trajectory.id"], name=op.f("fk_sighting_trajectory_id")
        ),
        sa.PrimaryKeyConstraint(
            "structure_id", "source", "group_key", "kind", name=op.f("pk_sighting")
        ),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_sighting_trajectory_id_step_kind"),
        "sighting",
        ["trajectory_id", "step", "kind"],
        unique=True,
        sqlite_where=sa.text("trajectory_id IS NOT NULL"),
        postgresql_where=sa.text("trajectory_id IS NOT NULL"),
    )
    op.create_index(
        op.f("ix_sighting_file_id_frame"),
        "sighting",
        ["file_id", "frame"],
        unique=True,
        sqlite_where=sa.text("file_id IS NOT NULL"),
        postgresql_where=sa.text("file_id IS NOT NULL"),
    )
    op.create_table(
        "snapshot_interval",
        sa.Column("campaign_id", INT, autoincrement=False, nullable=False),
        sa.Column("label_id", INT, autoincrement=False, nullable=False),
        sa.Column("role", TEXT, nullable=False),
        sa.Column("from_seq", INT, autoincrement=False, nullable=False),
        sa.Column("to_seq", INT, nullable=True),
        sa.CheckConstraint(
            "role = 'train' OR role = 'val' OR role = 'test'",
            name=op.f("ck_snapshot_interval_role"),
        ),
        sa.CheckConstraint(
            "to_seq IS NULL OR to_seq > from_seq",
            name=op.f("ck_snapshot_interval_interval"),
        ),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaign.id"], name=op.f("fk_snapshot_interval_campaign_id")
        ),
        sa.ForeignKeyConstraint(
            ["label_id"], ["label.id"], name=op.f("fk_snapshot_interval_label_id")
        ),
        sa.PrimaryKeyConstraint(
            "campaign_id", "label_id", "from_seq", name=op.f("pk_snapshot_interval")
        ),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_snapshot_interval_open",
        "snapshot_interval",
        ["campaign_id", "label_id"],
        unique=False,
        sqlite_where=sa.text("to_seq IS NULL"),
        postgresql_where=sa.text("to_seq IS NULL"),
    )
    if op.get_bind().dialect.name == "postgresql":
        # Noise does not get smaller by compression; it only takes time.
        for table, column in ARRAYS:
            op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTERNAL")
