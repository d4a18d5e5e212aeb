"""Structures, to which campaign they belong, and where each was seen.

Lengths are in Å. Arrays are raw little-endian float64 in C order, their size fixed by a CHECK.
"""

from sqlalchemy import Column, ForeignKey

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
    unique_where_known,
)

structure = table(
    "structure",
    number(),
    required("hash", HexBytes(), unique=True),
    required("n_atoms", INT),
    required("formula", TEXT),
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
        "structure_id",
        INT,
        ForeignKey("structure.id"),
        primary_key=True,
        autoincrement=False,
    ),
    Column(
        "campaign_id", INT, ForeignKey("campaign.id"), primary_key=True, autoincrement=False
    ),
    required("group_key", TEXT),
    required("split", TEXT),
    required("source", TEXT),
    required("added_iter", INT),
    one_of("split", Split),
    sqlite_with_rowid=False,
)
"""A structure that may get a label. Its split is written once and never changes."""

source_file = table(
    "source_file",
    number(),
    required("sha256", TEXT, unique=True),
    required("name", TEXT),
)
"""A file that structures came from, with the name that it had then."""

sighting = table(
    "sighting",
    Column(
        "structure_id",
        INT,
        ForeignKey("structure.id"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("source", TEXT, primary_key=True),
    Column("group_key", TEXT, primary_key=True),
    Column("kind", TEXT, primary_key=True),
    link("attempt_id", "attempt.id", nullable=True),
    link("trajectory_id", "trajectory.id", nullable=True),
    optional("step", INT),
    link("parent_structure_id", "structure.id", nullable=True),
    link("file_id", "source_file.id", nullable=True),
    optional("frame", INT),
    one_of("kind", SightingKind),
    unique_where_known("trajectory_id", "step", "kind"),
    unique_where_known("file_id", "frame"),
    sqlite_with_rowid=False,
)
"""Where a structure came from. One structure may be seen many times; all are kept."""
