"""`alflow explain`: what an error code means."""

from typing import Annotated

import typer

from alflow.cli import themes
from alflow.cli.terminal import Listing, emit, emit_listing
from alflow.core.errors import EXPLANATIONS, SettingsError, closest


def register(app: typer.Typer) -> None:
    """Add the commands of this theme."""
    app.command(rich_help_panel=themes.HELP)(explain)


def explain(
    code: Annotated[
        str | None,
        typer.Argument(help="Code of an error, for example AL102. Default: all."),
    ] = None,
) -> None:
    """Say what an error code means."""
    if code is None:
        emit_listing(Listing(("code", "meaning"), list(EXPLANATIONS.items())))
        return
    wanted = code.upper()
    if wanted not in EXPLANATIONS:
        hint = closest(wanted, EXPLANATIONS)
        raise SettingsError(
            f"there is no error code {code!r}"
            + (f"; did you mean {hint!r}?" if hint else ""),
            next_step="alflow explain  lists all",
        )
    emit(f"{wanted}: {EXPLANATIONS[wanted]}")
