"""What a user may type for a database: a file, or a URL that must not show its password."""

from pathlib import Path
from urllib.parse import parse_qsl, urlencode

_HARMLESS = frozenset({"host", "hostaddr", "port", "dbname", "user", "service", "sslmode"})
"""Parameters of a PostgreSQL URL that may be shown; a password can hide in the others."""


def is_server(database: str | Path) -> bool:
    """Whether it names a database on a server, not a file."""
    text = str(database)
    return "://" in text and not text.startswith("sqlite")


def has_password(database: str | Path) -> bool:
    """Whether a password stands in it, or may."""
    return is_server(database) and (
        ":" in _split(str(database))[1] or "password" in str(database).partition("?")[2]
    )


def without_secrets(database: str | Path) -> str:
    """The same database, in a form that may be printed, logged and typed again."""
    if not is_server(database):
        return str(database)
    scheme, user, rest = _split(str(database))
    user = user.partition(":")[0]
    place, _, query = rest.partition("?")
    shown = [pair for pair in parse_qsl(query) if pair[0] in _HARMLESS]
    # A path needs no escapes here, and reads better without.
    tail = f"?{urlencode(shown, safe='/')}" if shown else ""
    return f"{scheme.partition('+')[0]}://{f'{user}@' if user else ''}{place}{tail}"


def _split(url: str) -> tuple[str, str, str]:
    """Scheme, user with password, and the rest; cut so that no secret is in the rest."""
    scheme, _, rest = url.partition("://")
    place = rest.partition("?")[0]
    # A password that is not escaped may hold any sign: the last @ is the one that ends it.
    end = place.rfind("@") if "@" in place else rest.rfind("@") if _is_cut(rest) else -1
    return (scheme, "", rest) if end < 0 else (scheme, rest[:end], rest[end + 1 :])


def _is_cut(rest: str) -> bool:
    """Whether the ? is one of a password, as in `user:what?@host/name`."""
    query = rest.partition("?")[2]
    return "@" in query and "=" not in query.partition("@")[0]
