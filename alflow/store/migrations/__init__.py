"""Changes of the schema, in order; carried out inside one transaction of the caller."""

import threading

from sqlalchemy import Column, Connection, MetaData, Table, Text, select

REVISIONS = ("0001",)
"""All revisions that this alflow knows, oldest first."""

MIN_READER = "0001"
"""The oldest revision whose readers can still read what the newest writes."""

SCRIPTS = "alflow.store:migrations"
"""Where Alembic finds the changes; tests bring their own."""

VERSION_TABLE = "alflow_schema"
"""Alembic's table, under a name of our own: a database may be shared with another program."""

# Alembic keeps the migration that runs in a global variable.
_one_at_a_time = threading.Lock()

_version = Table(VERSION_TABLE, MetaData(), Column("version_num", Text))


def revision(connection: Connection) -> str | None:
    """The revision of a database that has a version table."""
    found: str | None = connection.scalar(select(_version.c.version_num))
    return found


def upgrade(connection: Connection) -> None:
    """Bring the schema to the newest revision; the caller's transaction makes it atomic."""
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import text

    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": 0x616C666C})
    config = Config()
    config.set_main_option("script_location", SCRIPTS.replace("%", "%%"))
    config.attributes["connection"] = connection
    with _one_at_a_time:
        command.upgrade(config, REVISIONS[-1])
