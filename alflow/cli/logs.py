"""`alflow logs`: what an attempt printed, and where it failed."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alflow.cli import themes
from alflow.cli.database import DbArgument, DbOption, existing_database, reading
from alflow.cli.moments import utc
from alflow.cli.terminal import JsonFlag, emit, emit_json, talk

if TYPE_CHECKING:
    from alflow.loop.traces import Trace
    from alflow.store.attempts import AttemptRecord

LOOK_S = 0.5
"""Time between two looks at files that may grow [s]."""


def register(app: typer.Typer) -> None:
    """Add the commands of this theme."""
    app.command(rich_help_panel=themes.LOOK)(logs)


def logs(
    name: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="A task (its last attempt), an attempt such as t-88#2, or what a task made: "
            "s-12, l-12, c-12, p-12, g3 or d3.",
        ),
    ],
    db: DbArgument = None,
    db_option: DbOption = None,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print what comes until it has ended.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Print what an attempt wrote to stdout and stderr, and its traceback if it failed."""
    from alflow.core.naming import parse_name
    from alflow.loop.traces import trace_of
    from alflow.store.attempts import attempt_behind

    if follow and as_json:
        raise typer.BadParameter("--follow and --json exclude each other")
    database = existing_database(db, db_option)
    with reading(database) as store:
        record = attempt_behind(store, parse_name(name))
        trace = trace_of(store, database, record)
    if follow:
        _follow(record, trace)
        return
    told = _told(record, trace)
    if as_json:
        emit_json(told)
        return
    _emit(record, told)


def _told(record: "AttemptRecord", trace: "Trace") -> dict[str, Any]:
    from alflow.loop.traces import STREAMS, printed

    is_kept = trace.directory.is_dir()
    kept = printed(trace.streams)
    return {
        "attempt": str(record.name),
        "of": record.n_attempts,
        "task": record.key,
        "kind": record.ref.kind,
        "state": record.state,
        "host": record.host or trace.host,
        "started": utc(record.started),
        "ended": utc(record.ended),
        "directory": str(trace.directory) if is_kept else None,
        "failure": record.failure,
        "message": record.message or None,
        **{stream: kept.get(stream, "") if is_kept else None for stream in STREAMS},
        "traceback": record.traceback or trace.traceback() or None,
    }


def _head(told: Mapping[str, Any]) -> str:
    """One line about an attempt."""
    where = f" on {told['host']}" if told["host"] else ", taken by no worker"
    until = f" to {told['ended']}" if told["ended"] else ""
    how = f"{told['state']} ({told['failure']})" if told["failure"] else told["state"]
    return (
        f"{told['attempt']} of {told['of']}, {told['task']}: {how}{where}, "
        f"{told['started']}{until}"
    )


def _emit(record: "AttemptRecord", told: Mapping[str, Any]) -> None:
    from alflow.loop.traces import STREAMS

    talk(_head(told))
    talk(_place(record, told))
    if told["message"]:
        talk(f"it failed: {told['message']}")
    parts = {part: (told[part] or "").rstrip() for part in (*STREAMS, "traceback")}
    for part, text in parts.items():
        if text:
            emit(f"--- {part}\n{text}")
    if told["directory"] and not any(parts.values()):
        talk(f"{told['attempt']} has printed nothing")


def _place(record: "AttemptRecord", told: Mapping[str, Any]) -> str:
    if told["directory"]:
        return f"files: {told['directory']}"
    if told["host"] is None and record.is_open:
        return "it waits for a worker and has no files yet; -f waits for them"
    if told["host"] is None:
        return "no worker ever took it: there are no files"
    return (
        "nothing was kept: its folder is not here (deleted, or the campaign's files are on another "
        "machine); what the database knows is all there is"
    )


def _follow(record: "AttemptRecord", trace: "Trace") -> None:
    """Print what an attempt prints until it ends; what goes to stderr there does here."""
    from alflow.loop.traces import follow

    if record.is_open:
        talk(f"following {record.name}, {record.key}; Ctrl-C leaves it alone")
    elif not trace.directory.is_dir():
        talk(_place(record, _told(record, trace)))
    for _, text in follow(
        trace.streams,
        has_ended=lambda: not record.is_open or trace.has_ended(),
        wait=lambda: time.sleep(LOOK_S),
    ):
        typer.echo(text, nl=False)
    text = record.traceback or trace.traceback()
    if text:
        emit(f"--- traceback\n{text.rstrip()}")
    talk(f"{record.name} has ended; how: alflow logs {record.name}")
