"""Compares the schema of a database with what its revision should have, before it is used.

A database file can come from anybody. Triggers and views run code of their own when a store is
read or written, a column of another type lets values through that no code expects, and a table
that is not ours says that somebody else writes here. SQLite keeps the text of every definition:
it is compared part by part, whatever the order of the parts, so that a table that grew by
migrations equals one that was made at once. On a server, where others may have tables of their
own, only our tables are looked at.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, make_url, text
from sqlalchemy.schema import CreateIndex, CreateTable

from alflow.core.canonical import digest_of
from alflow.core.errors import NotAnAlflowStore
from alflow.store import migrations
from alflow.store.schema import metadata

_INTERNAL = frozenset({"sqlite_sequence", *(f"sqlite_stat{k}" for k in range(1, 5))})
_VERSION_PARTS = frozenset(
    {
        "version_num VARCHAR(32)NOT NULL",
        "CONSTRAINT alflow_schema_pkc PRIMARY KEY(version_num)",
    }
)
_PIECES = re.compile(r"'(?:[^']|'')*'|[(),]|[^'(),]+")
_CONSTRAINTS = ("CONSTRAINT ", "PRIMARY KEY", "UNIQUE", "CHECK", "FOREIGN KEY")

USUAL = "49fbd4d88228da4c969311c01005e08792baa5c92490e61d264c1c18709a7134"
"""Digest of the definitions in a file that was made at once with the newest schema. It saves
their comparison one by one; a file with another digest is compared."""

_OBJECTS = text("SELECT type, name, tbl_name, sql FROM sqlite_master")
_SERVER_COLUMNS = text(
    "SELECT c.relname, c.relkind::text AS kind, a.attname, a.attnotnull,"
    " format_type(a.atttypid, a.atttypmod) AS type"
    " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
    " WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY(:names)"
    " AND a.attnum > 0 AND NOT a.attisdropped"
)
_SERVER_EXTRAS = text(
    "SELECT 'trigger' AS kind, t.tgname AS name, c.relname FROM pg_trigger t"
    " JOIN pg_class c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal"
    " AND c.relnamespace = current_schema()::regnamespace AND c.relname = ANY(:names)"
    " UNION ALL SELECT 'rule', r.rulename, c.relname FROM pg_rewrite r"
    " JOIN pg_class c ON c.oid = r.ev_class WHERE c.relkind <> 'v'"
    " AND c.relnamespace = current_schema()::regnamespace AND c.relname = ANY(:names)"
)


def check(connection: Connection, name: str, revision: str) -> None:
    """Refuse a database whose schema is not that of its revision.

    Of a revision that is not the newest one only the kinds of objects are checked: no revision
    has triggers, views or virtual tables. An older store is checked in full once it has been
    migrated, in the same transaction.

    Args:
        connection: Connection in a transaction.
        name: How messages call the database.
        revision: What its version table says.

    Raises:
        NotAnAlflowStore: If something is there that should not be, or the other way round.
    """
    is_newest = revision == migrations.REVISIONS[-1]
    if connection.dialect.name == "sqlite":
        found = _differences(connection, is_newest=is_newest)
    else:
        found = _server_differences(connection, is_newest=is_newest)
    difference = next(found, None)
    if difference is not None:
        raise NotAnAlflowStore(
            f"{name} does not have the schema of revision {revision}: {difference}",
            code="AL320",
            consequence="Nothing in it was touched. Somebody or something changed its tables.",
            next_step="use a backup, or undo the change; notes and tables of your own belong "
            "into another database",
        )


def digest(objects: Iterable[Sequence[str | None]]) -> str:
    """SHA-256 over rows (type, name, table, text) of `sqlite_master`, blind to their order."""
    return digest_of(sorted([cell or "" for cell in row] for row in objects))


def _differences(connection: Connection, *, is_newest: bool) -> Iterator[str]:
    tables: dict[str, str] = {}
    indexes: dict[str, str] = {}
    objects = connection.execute(_OBJECTS).all()
    if is_newest and digest(objects) == USUAL:
        return
    for kind, name, owner, sql in objects:
        if kind in {"trigger", "view"}:
            yield f"there is a {kind} {name!r}"
        elif kind == "table" and name not in _INTERNAL:
            tables[name] = sql or ""
            if not (sql or "").startswith("CREATE TABLE "):
                yield f"{name!r} is not an ordinary table"
        elif kind == "index" and sql is not None:
            indexes[name] = sql
            if owner in _INTERNAL:
                yield f"there is an index {name!r} on {owner!r}"
    if is_newest:
        expected_tables, expected_indexes = _expected()
        yield from _of_tables(tables, expected_tables)
        yield from _of_indexes(indexes, expected_indexes)


def _of_tables(
    found: Mapping[str, str], expected: Mapping[str, frozenset[str]]
) -> Iterator[str]:
    yield from (f"there is no table {name!r}" for name in expected if name not in found)
    for name, sql in found.items():
        if name not in expected:
            yield f"there is a table {name!r}"
            continue
        if _at_once(sql) == _made(name):
            continue
        head, parts, tail = _parts(sql)
        if (head, tail) != (f"CREATE TABLE {name}", _plain(_made(name)[2])):
            yield f"table {name!r} is declared as {head!r} {tail}".rstrip()
        yield from _of_parts(name, parts, expected[name])


def _of_parts(table: str, found: frozenset[str], expected: frozenset[str]) -> Iterator[str]:
    """In words what is wrong with one table; columns come before constraints."""
    has = {_name_of(part): part for part in found - expected}
    lacks = {_name_of(part): part for part in expected - found}
    for key in sorted({*has, *lacks}, key=lambda key: (key.startswith(_CONSTRAINTS), key)):
        kind = "" if key.startswith(_CONSTRAINTS) else "column "
        if key not in has:
            yield f"table {table!r} has no {kind}{key}"
        elif key not in lacks:
            yield f"table {table!r} has a {kind}{key}"
        else:
            yield f"table {table!r} declares {has[key]!r} instead of {lacks[key]!r}"


def _of_indexes(found: Mapping[str, str], expected: Mapping[str, str]) -> Iterator[str]:
    yield from (f"there is no index {name!r}" for name in expected if name not in found)
    for name, sql in found.items():
        if name not in expected:
            yield f"there is an index {name!r}"
        elif sql != expected[name] and _plain(sql) != _plain(expected[name]):
            yield f"index {name!r} is another one: {_plain(sql)}"


def _at_once(sql: str) -> tuple[str, frozenset[str], str]:
    """The same as `_parts` for the layout that SQLAlchemy writes, and much faster.

    Equal parts between equal separators are equal definitions, whatever stands in them.
    """
    head, _, rest = sql.partition("(")
    body, _, tail = rest.rpartition(")")
    return head.strip(), frozenset(body.strip().split(", \n\t")), tail.strip()


@cache
def _made(table: str) -> tuple[str, frozenset[str], str]:
    if table == migrations.VERSION_TABLE:
        return "", frozenset(), ""
    dialect = make_url("sqlite://").get_dialect()()
    return _at_once(str(CreateTable(metadata.tables[table]).compile(dialect=dialect)))


@cache
def _expected() -> tuple[dict[str, frozenset[str]], dict[str, str]]:
    """Parts of every table, and the text of every index."""
    dialect = make_url("sqlite://").get_dialect()()
    # Plain enough already, but for spaces at parentheses.
    tables = {name: frozenset(map(_plain, _made(name)[1])) for name in metadata.tables}
    indexes = {
        str(index.name): str(CreateIndex(index).compile(dialect=dialect))
        for table in metadata.sorted_tables
        for index in table.indexes
    }
    return {**tables, migrations.VERSION_TABLE: _VERSION_PARTS}, indexes


def _parts(sql: str) -> tuple[str, frozenset[str], str]:
    """What stands before the parentheses, the definitions in them, and what stands behind."""
    sections = ["", "", ""]
    parts: list[str] = []
    depth, section = 0, 0
    for piece in _PIECES.findall(sql):
        if piece == ")":
            depth -= 1
        if depth == 0 and piece in "()":
            section += 1
        elif depth == 1 and piece == ",":
            parts.append(_plain(sections[1]))
            sections[1] = ""
        else:
            sections[min(section, 2)] += piece
        if piece == "(":
            depth += 1
    parts.append(_plain(sections[1]))
    return _plain(sections[0]), frozenset(parts), _plain(sections[2])


def _plain(sql: str) -> str:
    """The text with single spaces, none at parentheses, and plain names without quotes."""
    words = re.sub(r'"(\w+)"', r"\1", " ".join(sql.split()))
    return re.sub(r" ?([()]) ?", r"\1", words)


def _name_of(part: str) -> str:
    """Column or constraint that a definition is about."""
    words = part.split()
    return " ".join(words[: 2 if part.startswith(_CONSTRAINTS) else 1])


def _server_differences(connection: Connection, *, is_newest: bool) -> Iterator[str]:
    names = {"names": list(metadata.tables)}
    for row in connection.execute(_SERVER_EXTRAS, names):
        yield f"there is a {row.kind} {row.name!r} on table {row.relname!r}"
    found: dict[tuple[str, str], tuple[str, bool]] = {}
    for row in connection.execute(_SERVER_COLUMNS, names):
        if row.kind not in {"r", "p"}:
            yield f"{row.relname!r} is not an ordinary table"
        found[row.relname, row.attname] = (row.type, row.attnotnull)
    if is_newest:
        yield from _of_columns(found, _server_columns())


def _of_columns(
    found: Mapping[tuple[str, str], Any], expected: Mapping[tuple[str, str], Any]
) -> Iterator[str]:
    for key in sorted({*found, *expected}):
        table, column = key
        if key not in found:
            yield f"table {table!r} has no column {column}"
        elif key not in expected:
            yield f"table {table!r} has a column {column}"
        elif found[key] != expected[key]:
            (has, _), (needs, is_required) = found[key], expected[key]
            null = "" if is_required else "NULL or "
            yield f"column {column} of table {table!r} is {has}, not {null}{needs}"


@cache
def _server_columns() -> dict[tuple[str, str], tuple[str, bool]]:
    dialect = make_url("postgresql+psycopg://").get_dialect()()
    return {
        (table.name, column.name): (
            column.type.compile(dialect=dialect).lower().partition(" collate")[0],
            not column.nullable,
        )
        for table in metadata.sorted_tables
        for column in table.columns
    }
