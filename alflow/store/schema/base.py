"""What all tables share: one metadata, portable column types, and the words for constraints.

Tables are STRICT on SQLite. Words of an enumeration are text with a CHECK, so that adding one
never needs an ALTER TYPE on PostgreSQL. SQLite turns NaN into NULL and lets infinity pass even
in a STRICT table, hence `finite`.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    REAL,
    BigInteger,
    CheckConstraint,
    Column,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)
from sqlalchemy.types import TypeDecorator, TypeEngine

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)
"""All tables of a store but Alembic's own version table, `alflow_schema`."""

INT = BigInteger().with_variant(Integer(), "sqlite")
FLOAT: TypeEngine[float] = Double().with_variant(REAL(), "sqlite")
TEXT: TypeEngine[str] = Text().with_variant(Text(collation="C"), "postgresql")
"""Text in the order of its bytes, as on SQLite: it depends on no server's language, and an update
of the operating system cannot make an index wrong."""

BYTES = LargeBinary()

LIMIT = "1e300"
"""Larger numbers are infinite as far as a store is concerned."""


class HexBytes(TypeDecorator[str]):
    """A digest: bytes in the database, hexadecimal digits in Python."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:  # noqa: ARG002
        """Hexadecimal digits to bytes."""
        return None if value is None else bytes.fromhex(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Bytes to hexadecimal digits."""
        return None if value is None else bytes(value).hex()


def table(name: str, *parts: Any, **options: Any) -> Table:
    """A table that checks the types of its values on every database."""
    return Table(name, metadata, *parts, sqlite_strict=True, **options)


def number() -> Column[int]:
    """The column `id`. The store assigns ids itself, so that they are the same everywhere."""
    return Column("id", INT, primary_key=True, autoincrement=False)


def required(name: str, kind: Any, *more: Any, **options: Any) -> Column[Any]:
    """A column that always has a value."""
    return Column(name, kind, *more, nullable=False, **options)


def optional(name: str, kind: Any, *more: Any) -> Column[Any]:
    """A column that may be NULL."""
    return Column(name, kind, *more, nullable=True)


def link(name: str, target: str, *, nullable: bool = False) -> Column[Any]:
    """A reference to the id of another table."""
    return Column(name, INT, ForeignKey(target), nullable=nullable)


def one_of(column: str, words: Iterable[str]) -> CheckConstraint:
    """The column holds one of these words."""
    # Not IN: SQLite builds a table of the words for every row that it checks.
    equal = " OR ".join(f"{column} = '{word}'" for word in words)
    return CheckConstraint(equal, name=column)


def finite(*columns: str) -> list[CheckConstraint]:
    """Each of the columns holds a finite number, or NULL where that is allowed."""
    # PostgreSQL takes a name without quotes for one in lower case.
    quoted = [column if column.islower() else f'"{column}"' for column in columns]
    return [
        CheckConstraint(f"{name} > -{LIMIT} AND {name} < {LIMIT}", name=f"{column}_finite")
        for column, name in zip(columns, quoted, strict=True)
    ]


def size(column: str, n_bytes: str) -> CheckConstraint:
    """The column holds this number of bytes (an SQL expression), or NULL where allowed."""
    return CheckConstraint(f"length({column}) = {n_bytes}", name=f"{column}_size")


def unique_where_known(*columns: str) -> Index:
    """No two rows share these values; rows without the first of them take no room."""
    known = text(f"{columns[0]} IS NOT NULL")
    return Index(None, *columns, unique=True, sqlite_where=known, postgresql_where=known)


def rule(name: str, condition: str) -> CheckConstraint:
    """Any other condition on one row."""
    return CheckConstraint(condition, name=name)
