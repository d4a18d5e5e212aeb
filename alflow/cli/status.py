"""`alflow status`: one screen that says how a campaign is."""

import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, runtime_checkable

import typer

from alflow.cli import themes
from alflow.cli.database import DbArgument, DbOption, existing_database, reading
from alflow.cli.moments import ago, utc
from alflow.cli.terminal import JsonFlag, Listing, cell, emit, emit_json, plain_table
from alflow.cli.training import running_trainings, training_line

if TYPE_CHECKING:
    from alflow.store.views import ManagerStatus, Status

NEEDS_ATTENTION = 3
"""Exit code of `status` when someone should look: failed, stopped, or nobody runs it."""
STAGES = ("build", "sample", "score", "label", "train", "validate")
N_TROUBLES = 5
"""Warnings and errors that are shown."""


def register(app: typer.Typer) -> None:
    """Add the commands of this theme."""
    app.command(rich_help_panel=themes.LOOK)(status)


def status(
    db: DbArgument = None,
    db_option: DbOption = None,
    *,
    as_json: JsonFlag = False,
    metrics: Annotated[
        bool, typer.Option("--metrics", help="Print numbers for Prometheus.")
    ] = False,
    metrics_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.prom",
            help="Write them, for the textfile collector of node_exporter.",
        ),
    ] = None,
) -> None:
    """Say how a campaign is. Exit code 0: running or done; 3: needs attention."""
    from alflow.loop.forecast import forecast
    from alflow.store import views

    database = existing_database(db, db_option)
    if metrics or metrics_file is not None:
        _tell_metrics(database, metrics_file)
        return
    with reading(database) as store:
        view = views.status(store)
        trainings = running_trainings(store, database)
        costs = forecast(store)
        name = store.name
    if as_json:
        emit_json({**view.to_json(), "trainings": trainings, "forecast": costs.to_json()})
    else:
        emit("\n".join(screen(view, name, trainings, costs.sentences())))
    if needs_attention(view):
        raise typer.Exit(NEEDS_ATTENTION)


def _tell_metrics(database: str, path: Path | None) -> None:
    """Numbers for Prometheus on stdout, or in a file."""
    from alflow.cli.metrics import exposition, write
    from alflow.execution.files import CampaignFiles
    from alflow.loop.campaign import campaign_directory
    from alflow.loop.watching import Watcher
    from alflow.store import costs, views

    with reading(database) as store:
        files = CampaignFiles(campaign_directory(database, store.campaign().name, store))
        seen = Watcher(store, files).look(time.time())
        tasks = views.status(store).tasks
        with store.read() as connection:
            core_s = costs.core_seconds(connection)
    text = exposition(seen, tasks, core_s)
    if path is None:
        emit(text.rstrip("\n"))
    else:
        write(text, path)
    if needs_attention(seen.standing):
        raise typer.Exit(NEEDS_ATTENTION)


@runtime_checkable
class Stands(Protocol):
    """What a verdict is about: how a campaign stands, and who runs it."""

    @property
    def state(self) -> str:
        """Where it stands."""

    @property
    def verdict(self) -> str:
        """Why, a sentence; empty while it runs."""

    @property
    def stop_requested(self) -> str | None:
        """None, drain or now."""

    @property
    def iteration(self) -> int | None:
        """Number of the last iteration, None before the first."""

    @property
    def manager(self) -> "ManagerStatus":
        """Who runs it."""


def needs_attention(view: Stands) -> bool:
    """Whether work is left and nobody does it."""
    if view.state in ("converged", "finished"):
        return False
    return view.state != "running" or not view.manager.alive


_GO_ON = {
    "stopped": "Go on: alflow resume {}",
    "failed": "Go on after a change of settings: alflow run campaign.yaml; else, once what failed "
    "is mended: alflow retry --failed --db {0} (alflow ls tasks --db {0} --state failed)",
}
"""What to type in a state that a campaign does not leave by itself."""


_STOPPING = {
    "drain": "stopping: what runs is finished first, nothing else is begun",
    "now": "stopping: what runs is given back",
}
"""What a manager does that was asked to stop."""


def verdict(view: Stands, database: str) -> str:
    """One sentence about where the campaign stands and what to type next."""
    database = shlex.quote(database)
    if view.state in ("converged", "finished"):
        return f"{view.state}: {view.verdict}"
    if view.state in _GO_ON:
        return f"{view.state}: {view.verdict}. {_GO_ON[view.state].format(database)}"
    if not view.manager.alive and view.iteration is None:
        return f"not begun: no manager runs it. Begin: alflow resume {database}"
    if not view.manager.alive:
        how = "paused" if view.manager.is_released else "interrupted"
        return f"{how}: no manager runs it. Go on: alflow resume {database}"
    if view.stop_requested:
        return _STOPPING[view.stop_requested]
    return "running"


def screen(
    view: "Status",
    database: str,
    trainings: Sequence[Mapping[str, Any]] = (),
    costs: Sequence[str] = (),
) -> list[str]:
    """The lines of the screen; `costs` are those about costs."""
    where = "not begun" if view.iteration is None else f"iteration {view.iteration}"
    if view.iteration is not None and view.state == "running":
        where += f" ({view.phase})"
    for number, phase in sorted(view.under_way.items(), reverse=True):
        if number != view.iteration:
            where += f", {number} ({phase})"
    generation = "none yet" if view.generation is None else f"g{view.generation}"
    counts = ", ".join(
        f"{view.labels.get(state, 0)} {word}" for state, word in _LABEL_WORDS.items()
    )
    lines = [
        f"{view.campaign} · {where} · generation {generation}",
        verdict(view, database),
        f"manager: {_manager(view)}",
        f"labels: {counts}" + (f", {view.put_aside} put aside" if view.put_aside else ""),
        *_refused(view),
        "",
        *plain_table(_stages(view)),
        *([""] if trainings else []),
        *(training_line(one) for one in trainings),
        *([""] if costs else []),
        *costs,
        *_arms(view),
        *_troubles(view, database),
    ]
    troubles = [event for event in view.events if event["severity"] != "info"]
    if troubles:
        lines += ["", "latest warnings and errors:"]
    for event in troubles[:N_TROUBLES]:
        what = f"{event['severity']} {event['subject']} {event['kind']}"
        lines.append(f"  {utc(event['ts'])} {what} {cell(event['data'])}")
    return lines


def _refused(view: "Status") -> list[str]:
    """Which generations were worse than the one that serves; nothing if none was."""
    if not view.refused:
        return []
    names = ", ".join(f"g{number}" for number in view.refused)
    are = "is" if len(view.refused) == 1 else "are"
    return [f"refused: {names} {are} worse on the test set than g{view.generation}"]


def _manager(view: "Status") -> str:
    manager = view.manager
    if not manager.holder:
        return "none so far"
    silent = (
        "" if manager.silent_s is None else f", last sign of life {ago(manager.silent_s)}"
    )
    is_over = view.state in ("converged", "finished")
    is_done = is_over or manager.is_released
    how = "alive" if manager.alive else "done" if is_done else "gone"
    return f"{manager.holder} {how}{silent}"


def _troubles(view: "Status", database: str) -> list[str]:
    """What stands in the way, a line for each; nothing if nothing does."""
    found = view.troubles
    lines = []
    if found.n_lost:
        lines.append(f"lost with their workers: {found.n_lost} attempts")
    if found.n_waiting and found.next_try is not None:
        when = utc(found.next_try)
        lines.append(f"waiting before another try: {found.n_waiting} tasks, next at {when}")
    if found.quarantined:
        names = ", ".join(f"t-{one.id}" for one in found.quarantined[:N_TROUBLES])
        more = len(found.quarantined) - N_TROUBLES
        one = f"t-{found.quarantined[0].id}" if more <= 0 else "--failed"
        names += f" and {more} more" if more > 0 else ""
        database = shlex.quote(database)
        lines.append(f"quarantined: {names}. Release: alflow retry {one} --db {database}")
    lines += [f"pool {name} gets no workers: {why}" for name, why in found.pools.items()]
    lines += [
        f"host {one.host} is left out until {utc(one.until)}: {len(one.tasks)} tasks failed there"
        for one in found.excluded
    ]
    return ["", *lines] if lines else []


def _arms(view: "Status") -> list[str]:
    """What the arms of a mixture brought in; nothing if there is none."""
    if not view.arms:
        return []
    counts = ("tasks", "flagged", "accepted", "million atom-steps", "accepted per million")
    from alflow.store.yields import rate_text

    rows = [
        (
            one.arm,
            *(f"{n:g}" for n in (one.n_tasks, one.n_flagged, one.n_accepted)),
            f"{one.atom_steps / 1e6:.3g}",
            rate_text(one.per_million),
        )
        for one in view.arms
    ]
    head = f"arms in i{view.arms[0].iteration}"
    return ["", *plain_table(Listing((head, *counts), rows, frozenset(counts)))]


def _stages(view: "Status") -> Listing:
    kinds = [kind for kind in STAGES if kind in view.tasks]
    kinds += [kind for kind in view.tasks if kind not in STAGES]
    rows = [
        (kind, *(view.tasks[kind].get(state, 0) for state in _STATES.values()))
        for kind in kinds
    ]
    return Listing(("stage", *_STATES), rows, frozenset(_STATES))


_LABEL_WORDS = {"ok": "done", "pending": "waiting", "failed": "failed"}
_STATES = {
    "done": "done",
    "running": "leased",
    "waiting": "queued",
    "failed": "failed",
    "cancelled": "cancelled",
}
"""Column of the table to state of a task."""
