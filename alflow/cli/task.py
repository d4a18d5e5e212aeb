"""`alflow task`: one task again, here."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alflow.cli import retry, themes
from alflow.cli.database import DbOption, reading
from alflow.cli.terminal import JsonFlag, emit, emit_json, talk
from alflow.core.errors import SettingsError

if TYPE_CHECKING:
    from alflow.loop.rerun import Rerun

task_app = typer.Typer(no_args_is_help=True)

TaskArgument = Annotated[
    str, typer.Argument(metavar="t-N", help="A task, for example t-88.")
]

WENT_WRONG = 3
"""Exit code when the task failed again, or came to another result."""


def register(app: typer.Typer) -> None:
    """Add the commands of this theme."""
    app.add_typer(task_app, name="task", rich_help_panel=themes.RUN)


@task_app.callback()
def group() -> None:
    """Do one task again, here, to look at it; in its campaign: `alflow retry`."""


@task_app.command()
def rerun(
    name: TaskArgument,
    db: DbOption = None,
    *,
    local: Annotated[
        bool,
        typer.Option("--local", help="Here, in the foreground; the only way there is."),
    ] = False,
    directory: Annotated[
        Path | None, typer.Option(help="An empty folder for its files, which are kept.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Do a task once more from what the database holds, and compare. The campaign is not touched.

    Exit code 0: it came to the same result, bit by bit, or there was none to compare with;
    3: it failed, or came to another one.
    """
    from alflow.loop.rerun import rerun as do_again

    number = _number(name)
    if not local:
        raise SettingsError(
            "a task is run again here or by its campaign",
            next_step=f"here: alflow task rerun {name} --local; by the campaign, "
            f"if it failed: alflow retry {name}",
        )
    folder = _folder(directory)
    with reading(db) as store:
        done = do_again(store, number, folder)
    failure = done.outcome.failure
    if as_json:
        emit_json(
            {
                "task": number,
                "outcome": done.outcome.to_json(),
                "directory": str(done.directory),
                "command": done.command,
                "compared": done.compared,
                "different": done.differences,
            }
        )
    elif failure is not None:
        emit(f"{name} failed: {failure.message}")
        emit(str(failure.details.get("traceback", "")).rstrip())
    else:
        emit(f"{name} done in {done.outcome.wall_s:.2f} s. {_verdict(done)}")
    talk(f"Its files are in {done.directory}")
    if failure is not None or done.differences:
        raise typer.Exit(WENT_WRONG)


# The older spelling of `alflow retry t-8`.
task_app.command("retry", hidden=True)(retry.retry)


def _verdict(done: "Rerun") -> str:
    if not done.compared:
        return "There is no result in the database to compare with."
    if not done.differences:
        return f"All {done.compared} results are the same as in the database, bit by bit."
    shown = ", ".join(done.differences[:5])
    return f"{len(done.differences)} of {done.compared} results differ: {shown}"


def _folder(given: Path | None) -> Path:
    if given is None:
        return Path(tempfile.mkdtemp(prefix="alflow-rerun-"))
    if given.exists() and any(given.iterdir()):
        raise SettingsError(f"the folder {given} is not empty")
    given.mkdir(parents=True, exist_ok=True)
    return given


def _number(text: str) -> int:
    digits = text.removeprefix("t-")
    if not digits.isdecimal():
        raise SettingsError(
            f"{text!r} is not the name of a task",
            next_step="tasks are called t-1, t-2, ...: alflow ls tasks",
        )
    return int(digits)
