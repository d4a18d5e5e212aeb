"""`alflow watch`: the live view of a campaign, from any machine that sees its database."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType

import typer

from alflow.cli import themes
from alflow.cli.database import DbArgument, DbOption, existing_database, reading
from alflow.cli.status import NEEDS_ATTENTION, needs_attention
from alflow.core.urls import without_secrets


def register(app: typer.Typer) -> None:
    """Add the commands of this theme."""
    app.command(rich_help_panel=themes.LOOK)(watch)


def watch(db: DbArgument = None, db_option: DbOption = None) -> None:
    """Follow a campaign until it has ended, or q is typed; nothing is written.

    The manager may be gone and come back. Where stdout is no terminal, a line for each change.
    Exit codes as `status`.
    """
    from alflow.cli.following import follow, keys, view_on
    from alflow.execution.files import CampaignFiles
    from alflow.loop.campaign import campaign_directory
    from alflow.loop.watching import Watcher

    database = existing_database(db, db_option)
    with reading(database) as store, _signals() as received:
        files = CampaignFiles(campaign_directory(database, store.campaign().name, store))
        with (
            view_on(sys.stdout, without_secrets(database)) as view,
            keys(received) as pause,
        ):
            seen = follow(Watcher(store, files), view, pause)
    if signal.SIGTERM in received:
        raise typer.Exit(128 + signal.SIGTERM)
    if needs_attention(seen.standing):
        raise typer.Exit(NEEDS_ATTENTION)


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Signals that ask to leave, those received: a line is drawn to its end, the terminal kept.

    The second one does not wait for a database that does not answer.
    """
    received: list[int] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        if received:
            raise SystemExit(128 + number)
        received.append(number)

    before = {one: signal.signal(one, ask) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
