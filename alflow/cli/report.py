"""`alflow report`: one file that tells the whole campaign."""

from pathlib import Path
from typing import Annotated

import typer

from alflow.cli import themes
from alflow.cli.database import DbArgument, reading
from alflow.cli.terminal import emit


def register(app: typer.Typer) -> None:
    """Add the commands of this theme."""
    app.command(rich_help_panel=themes.LOOK)(report)


def report(
    db: DbArgument = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where the report goes.")
    ] = Path("report.html"),
) -> None:
    """Write the report: one HTML file that needs no network and no other file."""
    from alflow.report import write_report

    with reading(db) as store:
        path = write_report(store, output)
    emit(f"Report: {path} ({path.stat().st_size / 1e6:.1f} MB)")
