"""The command `alflow`."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from alflow import __version__
from alflow.cli import (
    chaos,
    check,
    compare,
    db,
    doctor,
    explain,
    export,
    failures,
    importing,
    init,
    inspection,
    levels,
    logs,
    models,
    plugins,
    probe,
    quarantine,
    replay,
    report,
    reproduce,
    retry,
    run,
    simulate,
    sites,
    sql,
    status,
    stop,
    task,
    terminal,
    themes,
    trial,
    validate,
    watch,
)
from alflow.core.errors import AlflowError

app = typer.Typer(
    name="alflow",
    help="Active learning for machine-learned interatomic potentials.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> bool:
    if wanted:
        terminal.emit(f"alflow {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def options(
    verbose: Annotated[
        int,
        typer.Option("--verbose", "-v", count=True, help="Say more; twice: everything."),
    ] = 0,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")
    ] = False,
    no_color: Annotated[
        bool,
        typer.Option("--no-color", help="No colour; NO_COLOR in the environment does too."),
    ] = False,
    _show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Active learning for machine-learned interatomic potentials.

    Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 bug, 2 bad input,
    3 stopped with work left, 4 another manager runs the campaign, 130 interrupted.
    """
    terminal.set_up(verbose=verbose, quiet=quiet, color=not no_color)


# The order is that of the help.
init.register(app)
check.register(app)
doctor.register(app)
sites.register(app)
probe.register()
app.command(rich_help_panel=themes.START)(run.demo)
app.command("try", rich_help_panel=themes.START)(trial.try_)
simulate.register(app)
app.command(rich_help_panel=themes.RUN)(run.run)
app.command(rich_help_panel=themes.RUN)(run.resume)
for _theme in (
    retry,
    task,
    validate,
    reproduce,
    stop,
    status,
    watch,
    inspection,
    logs,
    compare,
    replay,
    levels,
    report,
):
    _theme.register(app)
for _theme in (importing, export, models, quarantine, db, sql):
    _theme.register(app)
for _theme in (plugins, explain, chaos):
    _theme.register(app)


def run_command(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; no exception leaves this function."""
    try:
        app(args=list(arguments), prog_name="alflow")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except AlflowError as error:
        return failures.tell_error(error)
    except KeyboardInterrupt:
        return failures.EXIT_INTERRUPTED
    except BrokenPipeError:
        return failures.reader_gone()
    except Exception as error:  # noqa: BLE001 - the last handler: whatever is left is a bug
        return failures.tell_bug(error)
    return 0


def main() -> None:
    """Entry point of the command `alflow`."""
    sys.exit(run_command(sys.argv[1:]))
