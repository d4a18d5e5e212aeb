"""PostgreSQL: its URLs, how its connections are set up, and what its errors mean to a user."""

import os
import re
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from alflow.core.errors import PluginError, StoreError

LOCK_TIMEOUT_S = 30.0
"""Longest wait for another process [s], as on SQLite."""

CONNECT_TIMEOUT_S = 10
"""Longest wait for the server [s], unless the URL or $PGCONNECT_TIMEOUT say otherwise."""

_ARRAYS = "alflow_arrays"
ARRAYS = {_ARRAYS: True}
"""Execution options of queries that read arrays: they come as bytes, not as hexadecimal text."""

_SESSION = {
    # A manager that was stopped within a transaction must not lock out others for ever, nor one
    # whose machine has gone without a word.
    "idle_in_transaction_session_timeout": "600s",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}
_SCHEMES = frozenset({"postgresql", "postgres", "postgresql+psycopg"})
DRIVER = "postgresql+psycopg"


def server_url(text: str) -> URL:
    """The URL, for the driver that alflow uses.

    Raises:
        StoreError: If it cannot be understood. The text may hold a password: it is not repeated.
    """
    scheme = text.partition("://")[0]
    try:
        parsed = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise StoreError("the database URL cannot be understood") from error
    if scheme not in _SCHEMES:
        raise StoreError(
            f"alflow cannot keep a store in {scheme!r}",
            next_step="use a file name, sqlite:///PATH or postgresql://HOST/NAME",
        )
    if "@" in (parsed.host or ""):
        raise StoreError(
            "the database URL cannot be understood: it has more than one @",
            next_step="write %40 for an @ in a password, or keep the password in ~/.pgpass",
        )
    return parsed.set(drivername=DRIVER)


def server_engine(url: URL, *, read_only: bool) -> Engine:
    """An engine whose connections wait as long as those to SQLite do, and not for ever.

    Raises:
        PluginError: If the driver is not installed.
    """
    options = {"postgresql_readonly": True} if read_only else {}
    # A database may be encoded as "SQL_ASCII", which means nothing; ours holds UTF-8.
    arguments: dict[str, Any] = {"client_encoding": "utf8"}
    if "connect_timeout" not in url.query and "PGCONNECT_TIMEOUT" not in os.environ:
        arguments["connect_timeout"] = CONNECT_TIMEOUT_S
    if "application_name" not in url.query and "PGAPPNAME" not in os.environ:
        arguments["application_name"] = "alflow"
    try:
        engine = create_engine(
            url,
            hide_parameters=True,
            isolation_level="READ COMMITTED",
            pool_pre_ping=True,
            execution_options=options,
            connect_args=arguments,
        )
    except ImportError as error:
        raise PluginError(
            "the driver of PostgreSQL databases (psycopg) is not installed",
            code="AL201",
            next_step='pip install "alflow[postgres]"',
        ) from error
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "do_execute", _execute_binary)
    return engine


def explained(name: str, error: DBAPIError) -> StoreError:
    """What a user needs to know of an error, on one screen; it holds no secret."""
    text = str(error.orig).strip()
    state = getattr(error.orig, "sqlstate", None) or ""
    for pattern, what, next_step in _CAUSES:
        if re.search(pattern, f"{state} {text}", re.IGNORECASE | re.DOTALL):
            is_connecting = error.connection_invalidated or not state
            return StoreError(
                f"{name}: {what.format(seconds=LOCK_TIMEOUT_S)}",
                consequence=f"In detail: {_last_words(text)}",
                next_step=next_step,
                code="AL304" if is_connecting else None,
            )
    return StoreError(f"{name}: {_last_words(text)}", consequence=_UNDONE)


_UNDONE = "The transaction was undone."
_PGPASS = (
    "put it into ~/.pgpass, a line HOST:PORT:DATABASE:USER:PASSWORD (chmod 600), or into "
    "$PGPASSWORD"
)
_GRANT = "as owner of the database: GRANT CREATE, USAGE ON SCHEMA public TO its user"
_SERVER = (
    "check host and port of the URL, and that the server runs:  pg_isready -h HOST -p PORT"
)
_CAUSES = (
    (r"no password supplied", "the server asks for a password", _PGPASS),
    (r"password authentication failed", "the server refuses the password", _PGPASS),
    (
        r"definition of service .* not found",
        "there is no such service",
        "add it to ~/.pg_service.conf, or name that file in $PGSERVICEFILE",
    ),
    (
        r'database "[^"]*" does not exist',
        "the server has no such database",
        "create it, empty:  createdb -h HOST NAME",
    ),
    (
        r'role "[^"]*" does not exist',
        "the server has no such user",
        "name one:  postgresql://USER@HOST/NAME",
    ),
    (
        r"no pg_hba.conf entry|authentication failed",
        "the server does not let this user in from here",
        "ask its administrator for an entry in pg_hba.conf",
    ),
    (
        r"translate host name|name or service not known|no address associated",
        "there is no such host",
        _SERVER,
    ),
    (
        (
            r"connection refused|is the server running|timeout expired|timed out|unreachable"
            r"|no such file or directory"
        ),
        "no server answers",
        _SERVER,
    ),
    (
        r"^(57P0|08)|server closed the connection",
        "the server ended the connection",
        _SERVER,
    ),
    (r"^53300|too many clients", "the server has no connection left", "try again later"),
    (r"^42501", "the user may not do this", _GRANT),
    (r"^53100|no space left", "the server's disk is full", "make room there and resume"),
    (
        r"^55P03",
        "another process kept it locked for {seconds:g} s",
        "see which one:  SELECT * FROM pg_stat_activity WHERE state <> 'idle'",
    ),
)
"""State and text of an error (a pattern), what it means, what to do. The first match counts."""


def _last_words(text: str) -> str:
    """The line of an error that tells most; the others may repeat whole rows."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if "failed:" in line or line.startswith("FATAL")]
    return (told or lines or ["nothing"])[-1 if told else 0][:300]


def _prepare(connection: Any, _entry: ConnectionPoolEntry) -> None:
    with connection.cursor() as cursor:
        settings = {**_SESSION, "lock_timeout": f"{LOCK_TIMEOUT_S * 1000:.0f}ms"}
        for name, value in settings.items():
            cursor.execute("SELECT set_config(%s, %s, false)", (name, value))
    connection.commit()


def _execute_binary(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
    """Ask for binary rows where the query says that it reads arrays; True if done."""
    if not context.execution_options.get(_ARRAYS):
        return False
    cursor.execute(statement, parameters, binary=True)
    return True
