"""`alflow retry`: new attempts of what failed."""

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from alflow.cli import themes
from alflow.cli.database import DbOption, existing_database, reading, writing
from alflow.cli.terminal import JsonFlag, emit, emit_json, talk
from alflow.core.errors import SettingsError, closest
from alflow.core.labels import FailureKind
from alflow.core.urls import without_secrets

if TYPE_CHECKING:
    from alflow.store.retrying import Retries
    from alflow.store.store import Store

N_NAMED = 12
"""Names that are printed; `--json` prints all."""


def register(app: typer.Typer) -> None:
    """Add the commands of this theme."""
    app.command(rich_help_panel=themes.RUN)(retry)


def retry(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ID]...",
            help="Tasks, labels, or structures for all their labels: t-88, l-12, s-12.",
        ),
    ] = None,
    db: DbOption = None,
    *,
    failed: Annotated[
        bool, typer.Option("--failed", help="Everything that failed.")
    ] = False,
    kind: Annotated[
        str | None,
        typer.Option(help="With --failed: only this kind of failure, such as resource."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print what would be tried again.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Try again what failed: tasks, and structures that could not be labelled.

    A manager that runs takes it up at once, else it is done by `alflow resume`. Labels are
    computed with the settings that there are then: raise max_cycle, time or memory in the campaign
    file, and use `alflow run`. A training begins with the settings and the labels of then.
    """
    _check(names, kind, failed=failed)
    database = existing_database(db)
    with reading(database) as store:
        wanted = store.failed_work(None if failed else names, kind)
    if as_json:
        emit_json({"tasks": wanted.tasks, "labels": wanted.labels, "dry_run": dry_run})
    else:
        emit(_counted(wanted, is_done=not dry_run))
    if wanted.names and not dry_run:
        with writing(database) as store:
            store.request_retry(wanted)
            _say_who_does_it(store, shlex.quote(without_secrets(database)))


def _check(names: list[str] | None, kind: str | None, *, failed: bool) -> None:
    if failed == bool(names):
        raise typer.BadParameter("name what to try again, or say --failed; not both")
    if kind is not None and not failed:
        raise typer.BadParameter("--kind needs --failed")
    kinds = [str(one) for one in FailureKind]
    if kind is not None and kind not in kinds:
        hint = closest(kind, kinds)
        raise SettingsError(
            f"there is no kind of failure {kind!r}"
            + (f"; did you mean {hint!r}?" if hint else ""),
            next_step=f"kinds: {', '.join(kinds)}",
        )


def _counted(wanted: "Retries", *, is_done: bool) -> str:
    names = wanted.names
    if not names:
        return "nothing to try again: 0 tasks, 0 labels"
    shown = ", ".join(names[:N_NAMED])
    more = f" and {len(names) - N_NAMED} more" if len(names) > N_NAMED else ""
    verb = "to be tried again" if is_done else "would be tried again"
    tasks = f"{len(wanted.tasks)} task{'s' * (len(wanted.tasks) != 1)}"
    labels = f"{len(wanted.labels)} label{'s' * (len(wanted.labels) != 1)}"
    return f"{tasks}, {labels} {verb}: {shown}{more}"


def _say_who_does_it(store: "Store", database: str) -> None:
    """Who takes the request up, and what to type for that."""
    from alflow.store.views import manager_status

    with store.read() as connection:
        manager = manager_status(connection)
    if manager.alive:
        talk(f"{manager.holder} runs the campaign and takes it up in its next turn")
        return
    go_on = f"alflow resume {database}"
    state = store.campaign().state
    if state in ("finished", "converged"):
        talk(
            f"The campaign is {state} and stays so: {go_on} does what was asked for; for "
            "generations with new labels raise its limits first (alflow run campaign.yaml)"
        )
        return
    talk(f"it is done by: {go_on} (or, with other settings, alflow run campaign.yaml)")
