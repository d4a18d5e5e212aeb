"""Levels of theory, what was asked to be labelled, and the labels.

Units are fixed: energies eV, forces eV/Å, stress eV/Å³ (Voigt, tensile positive), dipoles e·Å.
"""

from sqlalchemy import Column, ForeignKey, Index, UniqueConstraint, text

from alflow.core.labels import FailureKind
from alflow.store.rows import ItemState, Quality, Split
from alflow.store.schema.base import (
    BYTES,
    FLOAT,
    INT,
    TEXT,
    HexBytes,
    finite,
    link,
    number,
    one_of,
    optional,
    required,
    rule,
    size,
    table,
)

level_of_theory = table(
    "level_of_theory",
    number(),
    required("spec_hash", TEXT, unique=True),
    required("name", TEXT, unique=True),
    optional("tier", TEXT),
    optional("program", TEXT),
    optional("method", TEXT),
    optional("basis", TEXT),
    required("settings_json", TEXT),
    optional("charge_model", TEXT),
)

lot_reference = table(
    "lot_reference",
    Column(
        "lot_id",
        INT,
        ForeignKey("level_of_theory.id"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("z", INT, primary_key=True, autoincrement=False),
    required("energy", FLOAT),
    *finite("energy"),
)
"""Energies of isolated atoms [eV]."""

label_item = table(
    "label_item",
    number(),
    link("task_id", "task.id", nullable=True),
    optional("position", INT),
    link("structure_id", "structure.id"),
    link("lot_id", "level_of_theory.id"),
    required("rev", INT, server_default=text("0")),
    required("state", TEXT),
    optional("failure_kind", TEXT),
    optional("message", TEXT),
    optional("details_json", TEXT),
    UniqueConstraint("structure_id", "lot_id", "rev"),
    UniqueConstraint("task_id", "position"),
    one_of("state", ItemState),
    one_of("failure_kind", FailureKind),
    rule("failure", "(state = 'failed') = (failure_kind IS NOT NULL)"),
)
"""One label that was asked for. Its id is reserved for the label, so that label ids do not depend
on the order in which results arrive."""

label = table(
    "label",
    Column("id", INT, ForeignKey("label_item.id"), primary_key=True, autoincrement=False),
    link("structure_id", "structure.id"),
    link("lot_id", "level_of_theory.id"),
    required("rev", INT, server_default=text("0")),
    link("superseded_by", "label.id", nullable=True),
    required("n_atoms", INT),
    required("energy", FLOAT),
    optional("forces", BYTES),
    optional("stress", BYTES),
    optional("dipole", BYTES),
    optional("charges", BYTES),
    optional("fmax", FLOAT),
    required("quality", TEXT),
    required("content_sha", HexBytes()),
    optional("extras_json", TEXT),
    link("attempt_id", "attempt.id", nullable=True),
    required("program_version", TEXT),
    required("created", FLOAT),
    Index(
        "uq_label_current",
        "structure_id",
        "lot_id",
        unique=True,
        sqlite_where=text("superseded_by IS NULL"),
        postgresql_where=text("superseded_by IS NULL"),
    ),
    Index(
        "ix_label_put_aside",
        "id",
        sqlite_where=text("quality <> 'ok'"),
        postgresql_where=text("quality <> 'ok'"),
    ),
    size("content_sha", "32"),
    size("forces", "24 * n_atoms"),
    size("stress", "48"),
    size("dipole", "24"),
    size("charges", "8 * n_atoms"),
    *finite("energy", "fmax"),
    one_of("quality", Quality),
    rule("n_atoms", "n_atoms > 0"),
)

label_count = table(
    "label_count",
    Column("iteration_id", INT, primary_key=True, autoincrement=False),
    Column(
        "lot_id",
        INT,
        ForeignKey("level_of_theory.id"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("split", TEXT, primary_key=True),
    Column("state", TEXT, primary_key=True),
    required("n", INT),
    one_of("split", Split),
    one_of("state", ItemState),
)
"""Number of label items by the iteration that asked for them (0: none did, they were imported),
level, split and state; kept in the transactions that change them (`alflow.store.counting`)."""

label_extra = table(
    "label_extra",
    Column("label_id", INT, ForeignKey("label.id"), primary_key=True, autoincrement=False),
    Column("name", TEXT, primary_key=True),
    required("dtype", TEXT),
    required("shape", TEXT),
    required("data", BYTES),
)
"""Any other array that belongs to a label: a Hessian, a quadrupole."""
