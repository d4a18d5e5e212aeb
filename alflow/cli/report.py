"""`alflow report`: one file that tells the whole campaign."""

from enum import StrEnum
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

STDOUT = Path("-")


def register(app: typer.Typer) -> None:
    """Add the commands of this theme."""
    app.command(rich_help_panel=themes.LOOK)(report)


class FormatChoice(StrEnum):
    """What a report is written as."""

    HTML = "html"
    MD = "md"
    JSON = "json"


def report(
    db: DbArgument = None,
    db_option: DbOption = None,
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Where the report goes; - is stdout. Default: where `alflow run` writes it.",
            show_default=False,
        ),
    ] = None,
    file_format: Annotated[
        FormatChoice | None,
        typer.Option(
            "--format",
            help="html, md (Markdown) or json. Default: by the name of the file, else html.",
            show_default=False,
        ),
    ] = None,
    iteration: Annotated[
        int | None,
        typer.Option(min=0, help="As the campaign stood after this iteration."),
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
    """Write the report: one file that needs no network and no other file."""
    from alflow.loop.campaign import campaign_directory
    from alflow.report import ReportFormat, collect, render, write_explorer, write_report

    database = existing_database(db, db_option)
    how = ReportFormat(file_format or _by_name(output))
    with reading(database) as store:
        if output == STDOUT:
            typer.echo(render(collect(store, iteration), how), nl=False)
            return
        directory = campaign_directory(database, store.campaign().name, store)
        default = report_path(database, directory)
        of = "" if iteration is None else f"-i{iteration}"
        path = output or default.with_name(f"{default.stem}{of}.{how}")
        write_report(store, path, how, iteration)
        emit(f"Report: {path} ({path.stat().st_size / 1e6:.1f} MB)")
        if explorer:
            second = path.with_name(f"{path.stem}-explorer.html")
            write_explorer(store, second)
            emit(f"Explorer: {second} ({second.stat().st_size / 1e6:.1f} MB)")


def _by_name(output: Path | None) -> FormatChoice:
    """The format that the name of a file tells; a page by default."""
    suffix = "" if output is None else output.suffix.removeprefix(".").lower()
    known = {**{str(one): one for one in FormatChoice}, "markdown": FormatChoice.MD}
    return known.get(suffix, FormatChoice.HTML)
