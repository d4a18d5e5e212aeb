"""Structures, to which campaign they belong, and where each was seen.

Lengths are in Å. Arrays are raw little-endian float64 in C order, their size fixed by a CHECK.
"""

from sqlalchemy import Column, ForeignKey, Index, UniqueConstraint

from alflow.store.rows import SightingKind, Split
from alflow.store.schema.base import (
    BYTES,
    FLOAT,
    INT,
    TEXT,
    HexBytes,
    link,
    number,
    one_of,
    optional,
    required,
    rule,
    size,
    table,
)

structure = table(
    "structure",
    number(),
    required("hash", HexBytes(), unique=True),
    required("perm_hash", HexBytes(), index=True),
    required("n_atoms", INT),
    required("formula", TEXT, index=True),
    required("numbers", BYTES),
    required("positions", BYTES),
    optional("cell", BYTES),
    required("pbc", INT),
    required("charge", INT),
    required("multiplicity", INT),
    optional("magmoms", BYTES),
    optional("extra", TEXT),
    required("created", FLOAT),
    size("hash", "32"),
    size("perm_hash", "16"),
    size("numbers", "n_atoms"),
    size("positions", "24 * n_atoms"),
    size("cell", "72"),
    size("magmoms", "24 * n_atoms"),
    rule("n_atoms", "n_atoms > 0"),
    rule("pbc", "pbc >= 0 AND pbc <= 7"),
    rule("periodic_cell", "pbc = 0 OR cell IS NOT NULL"),
    rule("multiplicity", "multiplicity > 0"),
)

campaign_structure = table(
    "campaign_structure",
    Column(
        "campaign_id", INT, ForeignKey("campaign.id"), primary_key=True, autoincrement=False
    ),
    Column(
        "structure_id",
        INT,
        ForeignKey("structure.id"),
        primary_key=True,
        autoincrement=False,
    ),
    required("group_key", TEXT),
    required("split", TEXT),
    required("source", TEXT),
    required("added_iter", INT),
    one_of("split", Split),
    Index(None, "structure_id", "split"),
)
"""A structure that may get a label. Its split is written once and never changes."""

sighting = table(
    "sighting",
    number(),
    link("structure_id", "structure.id"),
    required("kind", TEXT),
    required("source", TEXT),
    required("group_key", TEXT),
    link("attempt_id", "attempt.id", nullable=True),
    link("trajectory_id", "trajectory.id", nullable=True),
    optional("step", INT),
    link("parent_structure_id", "structure.id", nullable=True),
    optional("source_sha", TEXT),
    optional("source_index", INT),
    one_of("kind", SightingKind),
    UniqueConstraint("structure_id", "source", "group_key", "kind"),
    UniqueConstraint("trajectory_id", "step", "kind"),
    UniqueConstraint("source_sha", "source_index"),
)
"""Where a structure came from. One structure may be seen many times; all are kept."""
