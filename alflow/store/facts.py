"""What a database is, without looking at what it says."""

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from alflow.store import migrations
from alflow.store import schema as tables
from alflow.store.filesystem import filesystem_type, meaning
from alflow.store.session import Session

_GROUPS = {
    "structures": (tables.structure, tables.campaign_structure, tables.sighting),
    "labels": (
        tables.label,
        tables.label_item,
        tables.label_extra,
        tables.level_of_theory,
        tables.lot_reference,
    ),
    "models": (
        tables.ensemble,
        tables.model,
        tables.blob,
        tables.snapshot,
        tables.snapshot_interval,
    ),
    "numbers": (
        tables.metric,
        tables.metric_epoch,
        tables.ensemble_metric,
        tables.iteration_stat,
        tables.prediction,
        tables.material_property,
    ),
    "sampling": (tables.trajectory, tables.candidate),
    "work": (
        tables.iteration,
        tables.task,
        tables.task_dep,
        tables.attempt,
        tables.submission,
        tables.environment,
    ),
    "events": (tables.event,),
}


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What a database is.

    Attributes:
        backend: Program and version.
        revision: Revision of its schema.
        newest: The newest revision that this alflow knows.
        size: Size of all its data [bytes].
        free: Part of it that is free, and used again [bytes]; 0 on a server.
        journal_mode: How SQLite keeps transactions; empty on a server.
        page_size: Size of a page [bytes].
        filesystem: File system of the file and what that means; empty on a server.
        rows: Number of rows by group of tables.
    """

    backend: str
    revision: str
    newest: str
    size: int
    free: int
    journal_mode: str
    page_size: int
    filesystem: str
    rows: dict[str, int]


def store_facts(store: Session) -> StoreFacts:
    """Collect them; counting takes a while in a large store."""
    path = store.database.path
    with store.read() as connection:
        revision = migrations.revision(connection) or ""
        rows = {group: _count(connection, group) for group in _GROUPS}
        if path is None:
            backend = f"PostgreSQL {_ask(connection, 'SHOW server_version')}"
            size = int(_ask(connection, "SELECT pg_database_size(current_database())"))
            page_size, free = int(_ask(connection, "SHOW block_size")), 0
            journal_mode = filesystem = ""
        else:
            backend = f"SQLite {_ask(connection, 'SELECT sqlite_version()')}"
            page_size = int(_ask(connection, "PRAGMA page_size"))
            size = int(_ask(connection, "PRAGMA page_count")) * page_size
            free = int(_ask(connection, "PRAGMA freelist_count")) * page_size
            journal_mode = _ask(connection, "PRAGMA journal_mode")
            filesystem = meaning(filesystem_type(path.parent))
    newest = migrations.REVISIONS[-1]
    place = (journal_mode, page_size, filesystem)
    return StoreFacts(backend, revision, newest, size, free, *place, rows)


def _ask(connection: Connection, statement: str) -> str:
    return str(connection.exec_driver_sql(statement).scalar_one())


def _count(connection: Connection, group: str) -> int:
    counts = (select(func.count()).select_from(table) for table in _GROUPS[group])
    return sum(int(connection.scalar(query) or 0) for query in counts)
