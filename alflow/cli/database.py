"""Which database a command means, and how it is opened."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alflow.cli.generations import is_generation
from alflow.cli.terminal import talk
from alflow.core.errors import SettingsError, StoreError
from alflow.core.filenames import similar
from alflow.core.urls import has_password, without_secrets

if TYPE_CHECKING:
    from alflow.store.store import Store

VARIABLE = "ALFLOW_DB"

DbArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[DB]",
        help="Database file or URL. Default: $ALFLOW_DB, else the one *.db in this folder.",
        show_default=False,
    ),
]
DbOption = Annotated[
    str | None,
    typer.Option(
        "--db",
        metavar="DB",
        help="The same, as an option.",
        show_default=False,
    ),
]


def find_database(*given: str | None) -> str:
    """The database that is meant: what was given, else $ALFLOW_DB, else the only one here.

    Args:
        given: File, URL, or a folder with one database in it, as argument and as option.

    Raises:
        SettingsError: If there is none, or more than one to choose from.
    """
    named = {name for name in given if name}
    if len(named) > 1:
        shown = " and ".join(sorted(without_secrets(name) for name in named))
        raise SettingsError(f"two databases are named: {shown}")
    warn_of_password(*named)
    meant = named.pop() if named else os.environ.get(VARIABLE)
    if meant and ("://" in meant or not Path(meant).is_dir()):
        return meant
    folder = Path(meant) if meant else Path()
    where = f"the folder {meant}" if meant else "this folder"
    found = sorted(str(path) for path in folder.glob("*.db"))
    if len(found) == 1:
        return found[0]
    if not found:
        raise SettingsError(
            f"there is no database (*.db) in {where}",
            code="AL103",
            next_step=f"name one, set {VARIABLE}, or start one: alflow run campaign.yaml",
        )
    raise SettingsError(
        f"there are {len(found)} databases in {where}: {', '.join(found)}",
        code="AL103",
        next_step=f"name one, as argument, by --db or by {VARIABLE}; for example --db {found[0]}",
    )


def new_database(given: str | None, campaign: str) -> str:
    """Where a campaign is to be kept: what was given, else $ALFLOW_DB, else a file NAME.db here.

    Args:
        given: File or URL, as option.
        campaign: Name of the campaign.
    """
    warn_of_password(given)
    meant = given or os.environ.get(VARIABLE)
    return meant or f"{campaign}.db"


def warn_of_password(*given: str | None) -> None:
    """Tell a user who types a password that others see it; one from the environment is fine."""
    if any(has_password(name) for name in given if name):
        talk(
            "warning: a password on the command line can be read by everybody on this machine; "
            f"~/.pgpass, a service file or ${VARIABLE} keep it secret"
        )


def existing_database(*given: str | None) -> str:
    """The database that is meant; a file is known to exist.

    Raises:
        SettingsError: If it is not clear which one is meant.
        StoreError: If it does not exist.
    """
    url = find_database(*given)
    if "://" not in url and not Path(url).exists():
        raise StoreError(
            _missing(url),
            consequence="Nothing was created.",
            next_step=_ways_on(url),
        )
    return url


def _missing(name: str) -> str:
    match = similar(Path(name), (".db",))
    return f"there is no database {name}" + (f"; did you mean {match!r}?" if match else "")


def _ways_on(name: str) -> str:
    if is_generation(name):
        return f"for a generation: --generation {name}"
    return "start one: alflow run campaign.yaml"


def report_path(database: str, directory: Path) -> Path:
    """Where the report of a campaign goes unless the user says otherwise.

    Beside the database where that has a folder to itself, with its campaign file, as `demo` and
    `init` make it; else into the campaign's directory.
    """
    folder = Path(database).parent
    is_alone = "://" not in database and len(list(folder.glob("*.db"))) == 1
    if is_alone and (folder / "campaign.yaml").exists():
        return folder / "report.html"
    return directory / "report.html"


@contextmanager
def reading(*given: str | None) -> "Iterator[Store]":
    """The store that is meant, opened for reading only.

    Raises:
        SettingsError: If it is not clear which one is meant.
        StoreError: If it cannot be opened.
    """
    from alflow.store.opening import open_store

    with open_store(existing_database(*given), read_only=True) as store:
        yield store


@contextmanager
def writing(*given: str | None) -> "Iterator[Store]":
    """The store that is meant, opened for writing; it must exist.

    Raises:
        SettingsError: If it is not clear which one is meant.
        StoreError: If it cannot be opened.
    """
    from alflow.store.opening import open_store

    with open_store(existing_database(*given)) as store:
        yield store
