"""`alflow validate`: properties of a generation beside what is known about them."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alflow.cli import themes
from alflow.cli.database import DbOption, existing_database, new_database
from alflow.cli.generations import generation_number
from alflow.cli.progress import ProgressLines
from alflow.cli.run import SiteOption, signals
from alflow.cli.terminal import JsonFlag, Listing, emit_json, emit_listing, talk

if TYPE_CHECKING:
    from alflow.core.comparison import Compared
    from alflow.loop.campaign import OpenCampaign
    from alflow.loop.validating import Answers

UNANSWERED = 3
"""Exit code where tasks are left without an answer."""
_NUMBERS = ("value", "spread", "reference", "error", "error/spread")


def register(app: typer.Typer) -> None:
    """Add the commands of this theme."""
    app.command(rich_help_panel=themes.RUN)(validate)


def validate(
    campaign: Annotated[
        str | None,
        typer.Argument(
            metavar="[CAMPAIGN]",
            help="Campaign file, whose section validate is taken over, or database.",
            show_default=False,
        ),
    ] = None,
    db_option: DbOption = None,
    generation: Annotated[
        str | None,
        typer.Option(help="Generation, for example g3. Default: the one that serves."),
    ] = None,
    suite: Annotated[
        str | None, typer.Option(help="Suites of this kind alone, for example crystal.")
    ] = None,
    site: SiteOption = "local",
    *,
    as_json: JsonFlag = False,
) -> None:
    """Compute what is missing of the properties of a generation, and print all of them.

    The suites are those of the section validate. Nothing that is done is done again.
    """
    from alflow.loop.validating import answers, newest

    number = None if generation is None else generation_number(generation)
    opening, database = _opening(campaign, db_option)
    with opening as opened:
        number = newest(opened.store) if number is None else number
        _complete(opened, number, suite, site, database)
        found = answers(opened.store, number, suite)
    if as_json:
        rows = [row.to_json() for row in found.rows]
        emit_json(
            {"generation": found.generation, "properties": rows, "notes": found.notes}
        )
    else:
        emit_listing(listing(found.rows))
    _tell(found)


def listing(rows: "tuple[Compared, ...]") -> Listing:
    """The table of properties."""
    cells = [
        (
            row.name,
            row.unit,
            row.value,
            row.spread,
            row.reference,
            row.error,
            row.error_per_spread,
            row.source or None,
        )
        for row in rows
    ]
    columns = ("property", "unit", *_NUMBERS, "reference by")
    return Listing(columns, cells, frozenset(_NUMBERS))


def _opening(
    campaign: str | None, db_option: str | None
) -> "tuple[AbstractContextManager[OpenCampaign], str]":
    """The campaign, to be opened with the settings of its file if that was named."""
    from alflow.loop.campaign import resume_campaign, run_campaign

    if campaign is not None and Path(campaign).suffix in (".yaml", ".yml"):
        from alflow.config.loading import load_campaign

        settings = load_campaign(Path(campaign))
        database = existing_database(new_database(db_option, settings.name))
        return run_campaign(database, settings, file=campaign, goes_on=False), database
    database = existing_database(campaign, db_option)
    return resume_campaign(database, goes_on=False), database


def _complete(
    campaign: "OpenCampaign", generation: int, suite: str | None, site: str, database: str
) -> None:
    """Ask for what is missing, and do it."""
    from alflow.loop.validating import ask

    n_open = ask(campaign, generation, suite)
    if not n_open:
        return
    from alflow.core.urls import without_secrets
    from alflow.execution.parsl import ParslExecutor
    from alflow.execution.sites import load_site
    from alflow.loop.manager import Manager, StopSignal
    from alflow.store.properties import PROPERTY

    talk(f"g{generation}: {n_open} suites to run; database {without_secrets(database)}")
    stop = StopSignal()
    executor = ParslExecutor(campaign.files, load_site(site))
    manager = Manager(campaign, executor, ProgressLines(campaign.store).show, stop)
    executor.start()
    try:
        with signals(stop) as received:
            manager.run(only=PROPERTY)
    finally:
        executor.close(cancel=True)
    if received:
        raise typer.Exit(128 + received[0])


def _tell(found: "Answers") -> None:
    for note in found.notes:
        talk(note)
    for key in found.failed:
        talk(f"{key} failed; see: alflow ls tasks --kind property --state failed")
    if found.open:
        talk(f"not computed yet: {', '.join(found.open)}")
    if found.open or found.failed:
        raise typer.Exit(UNANSWERED)
