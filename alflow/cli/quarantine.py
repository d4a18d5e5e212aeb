"""`alflow quarantine`: labels that are not to be trained on."""

import os
import platform
from typing import Annotated

import typer

from alflow.cli import themes
from alflow.cli.database import DbOption, writing
from alflow.cli.terminal import talk
from alflow.core.errors import SettingsError


def register(app: typer.Typer) -> None:
    """Add the commands of this theme."""
    app.command(rich_help_panel=themes.DATA)(quarantine)


def quarantine(
    labels: Annotated[
        list[str], typer.Argument(metavar="l-N...", help="Labels, for example l-12 l-31.")
    ],
    *,
    reason: Annotated[
        str, typer.Option(help="Why; kept with each label. Needed unless --undo.")
    ] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Trust them again instead.")] = False,
    db: DbOption = None,
) -> None:
    """Train the next generation without some labels. Nothing is deleted; --undo takes it back."""
    from alflow.store import Quality

    numbers = [_number(text) for text in labels]
    if not reason and not undo:
        raise SettingsError(
            "labels are set aside for a reason", next_step='add --reason "TEXT"'
        )
    reason = reason or "trusted again"
    quality = Quality.OK if undo else Quality.SUSPECT
    with (
        writing(db) as store,
        store.acquire_lease(f"{platform.node()} (pid {os.getpid()}, quarantine)"),
    ):
        changed = store.set_quality(numbers, quality, reason)
    what = "trusted again" if undo else "set aside"
    talk(
        f"{changed} of {len(set(numbers))} labels {what}; it counts from the next generation on."
    )


def _number(text: str) -> int:
    digits = text.removeprefix("l-")
    if not digits.isdecimal():
        raise SettingsError(
            f"{text!r} is not the name of a label",
            next_step="labels are called l-1, l-2, ...: alflow show s-1 lists those of a structure",
        )
    return int(digits)
