"""`alflow report`: one file that tells the whole campaign."""

from pathlib import Path
from typing import Annotated

import typer

from alflow.cli import themes
from alflow.cli.database import (
    DbArgument,
    DbOption,
    existing_database,
    reading,
    report_path,
)
from alflow.cli.terminal import emit


def register(app: typer.Typer) -> None:
    """Add the commands of this theme."""
    app.command(rich_help_panel=themes.LOOK)(report)


def report(
    db: DbArgument = None,
    db_option: DbOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Where the report goes. Default: where `alflow run` writes it.",
            show_default=False,
        ),
    ] = None,
    explorer: Annotated[
        bool,
        typer.Option(
            "--explorer",
            help="Also write a second file, NAME-explorer.html of some 4 MB, in which sampled "
            "structures can be explored on a map. Needs the extra alflow\\[explore].",
        ),
    ] = False,
) -> None:
    """Write the report: one HTML file that needs no network and no other file."""
    from alflow.loop.campaign import campaign_directory
    from alflow.report import write_explorer, write_report

    database = existing_database(db, db_option)
    with reading(database) as store:
        directory = campaign_directory(database, store.campaign().name, store)
        path = write_report(store, output or report_path(database, directory))
        emit(f"Report: {path} ({path.stat().st_size / 1e6:.1f} MB)")
        if explorer:
            second = path.with_name(f"{path.stem}-explorer{path.suffix}")
            write_explorer(store, second)
            emit(f"Explorer: {second} ({second.stat().st_size / 1e6:.1f} MB)")
