"""`alflow stop`: ask a running campaign to stop, from any machine that sees its database."""

from typing import Annotated

import typer

from alflow.cli import themes
from alflow.cli.database import DbArgument, DbOption, writing
from alflow.cli.terminal import talk


def register(app: typer.Typer) -> None:
    """Add the commands of this theme."""
    app.command(rich_help_panel=themes.RUN)(stop)


def stop(
    db: DbArgument = None,
    db_option: DbOption = None,
    now: Annotated[
        bool,
        typer.Option("--now", help="Give running tasks back instead of finishing them."),
    ] = False,
) -> None:
    """Ask a running campaign to stop. Nothing finished is lost; resume goes on from there."""
    from alflow.store.views import status

    with writing(db, db_option) as store:
        view = status(store)
        store.request_stop(now=now)
    running = sum(states.get("leased", 0) for states in view.tasks.values())
    if not view.manager.alive:
        talk(
            f"No manager runs {view.campaign!r}; the request is noted and resume will lift it."
        )
    elif now:
        talk(
            f"{view.manager.holder} will give {running} running tasks back and end in seconds."
        )
    else:
        talk(f"{view.manager.holder} will end when {running} running tasks are finished.")
