"""`alflow chaos`: the crash guarantee, tried on the user's own machine."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alflow.cli import themes
from alflow.cli.run import WORK_LEFT
from alflow.cli.terminal import JsonFlag, Listing, emit, emit_json, emit_listing

if TYPE_CHECKING:
    from alflow.testing.chaos import ChaosResult


def register(app: typer.Typer) -> None:
    """Add the command of this theme."""
    app.command(rich_help_panel=themes.HELP)(chaos)


def chaos(
    directory: Annotated[
        Path,
        typer.Argument(help="Folder on the file system to try.", metavar="DIR"),
    ] = Path(),
    *,
    db: Annotated[
        str | None,
        typer.Option(help="URL of a database on a server; by default SQLite in DIR."),
    ] = None,
    site: Annotated[
        str,
        typer.Option(
            help="Name of a site, or path of a site file; 'process' starts workers here."
        ),
    ] = "process",
    kills: Annotated[int, typer.Option(min=1, help="How many processes to kill.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="What is killed when.")] = 0,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the folder with the campaigns.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Kill a toy campaign again and again, and see that nothing is lost and nothing done twice."""
    from alflow.testing.chaos import ChaosSettings, run_chaos

    settings = ChaosSettings(str(directory), db, site, kills, seed, keep)
    result = run_chaos(settings)
    if as_json:
        emit_json(asdict(result))
    else:
        _show(result)
    if not result.is_good:
        raise typer.Exit(WORK_LEFT)


def _show(result: "ChaosResult") -> None:
    recovery = result.recovery_s_median
    rows = [
        ("killed", f"{result.kills} processes, at {result.points} named points"),
        ("paused", f"{result.pauses} processes; {result.fenced} managers shut out"),
        ("lost", result.lost),
        ("done twice", result.duplicates),
        ("managers that failed", result.failures),
        ("content", "as undisturbed" if result.digest_equal else "DIFFERENT"),
        ("extra executions", f"{100 * result.extra_executions:.1f} %"),
        ("recovery", "–" if recovery is None else f"{recovery:.2f} s (median)"),
        ("campaigns", f"{result.campaigns} on {result.backend} in {result.seconds:.0f} s"),
    ]
    emit_listing(Listing(("what", "value"), rows))
    if result.folder:
        emit(f"Kept: {result.folder}")
    verdict = "kept" if result.is_good else "BROKEN"
    emit(f"The promise is {verdict}: nothing finished is lost, nothing is done twice.")
