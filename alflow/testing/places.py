"""Databases for campaigns under test: files, or schemas of a database on a server."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from alflow.core.errors import StoreError
from alflow.store.database import server_database

NewPlace = Callable[[Path], str]
"""Makes room for a campaign with this folder; gives its database."""


@contextmanager
def make_places(url: str | None, *, keep: bool) -> Iterator[NewPlace]:
    """Make databases; on a server they are dropped in the end.

    Args:
        url: URL of a database on a server, whose user may make schemas in it; None for files.
        keep: Whether they stay.

    Raises:
        StoreError: If the server does not let us.
    """
    if url is None:
        yield lambda folder: str(folder / "chaos.db")
        return
    if "options=" in url:
        raise StoreError(
            "the crash test needs the parameter `options` of the URL for itself"
        )
    made: list[str] = []

    def new(_folder: Path) -> str:
        name = f"alflow_chaos_{secrets.token_hex(4)}"
        _execute(url, f"CREATE SCHEMA {name}")
        made.append(name)
        return f"{url}{'&' if '?' in url else '?'}options=-csearch_path%3D{name}"

    try:
        yield new
    finally:
        for name in [] if keep else made:
            _execute(url, f"DROP SCHEMA {name} CASCADE")


def _execute(url: str, statement: str) -> None:
    database = server_database(url, read_only=False)
    try:
        with database.write() as connection:
            connection.exec_driver_sql(statement)
    finally:
        database.close()
