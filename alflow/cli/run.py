"""Commands that run campaigns: run, resume, demo."""

import contextlib
import os
import shutil
import signal
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alflow.cli.check import require_programs
from alflow.cli.database import (
    DbArgument,
    DbOption,
    existing_database,
    new_database,
    reading,
    report_path,
)
from alflow.cli.following import beside
from alflow.cli.progress import ProgressLines
from alflow.cli.terminal import emit
from alflow.core.errors import SiteLost
from alflow.core.urls import without_secrets

if TYPE_CHECKING:
    from types import FrameType

    from alflow.core.protocols import Executor
    from alflow.execution.sites import Site
    from alflow.loop.campaign import OpenCampaign
    from alflow.loop.manager import Ending, StopSignal
    from alflow.store import Workers


class StopChoice(StrEnum):
    """What a first request to stop does."""

    DRAIN = "drain"
    DETACH = "detach"


SiteOption = Annotated[str, typer.Option(help="Name of a site, or path of a site file.")]
Iterations = Annotated[
    int | None, typer.Option(min=1, help="Begin at most this many iterations now.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only print what would be done next.")
]

OnStop = Annotated[
    StopChoice,
    typer.Option(
        help="At Ctrl-C, SIGTERM or SIGUSR1: drain (finish running tasks first) or detach "
        "(leave at once; running tasks go on, and resume takes their results)."
    ),
]

WORK_LEFT = 3
"""Exit code of a campaign that stopped with work left."""

FRESH_STARTS_VARIABLE = "ALFLOW_FRESH_STARTS"
"""Environment variable that counts how often the manager has started itself afresh."""
MOST_FRESH_STARTS = 2
"""Fresh starts that are tried."""


@dataclass(frozen=True, slots=True)
class _Run:
    """How to run an opened campaign.

    Attributes:
        database: The database, as a user types it.
        site: The site; loaded before anything is opened or made.
        site_name: How the user calls it.
        iterations: How many iterations to begin; None sets no limit.
        on_stop: What a first request to stop does.
    """

    database: str
    site: "Site"
    site_name: str
    iterations: int | None = None
    on_stop: StopChoice = StopChoice.DRAIN


def run(
    file: Annotated[Path, typer.Argument(help="The campaign file.")],
    site: SiteOption = "local",
    db: Annotated[
        str | None,
        typer.Option(help="Database file or URL. Default: $ALFLOW_DB, else NAME.db here."),
    ] = None,
    iterations: Iterations = None,
    on_stop: OnStop = StopChoice.DRAIN,
    dry_run: DryRun = False,
) -> None:
    """Run a campaign: start it, or continue where its database stands."""
    from alflow.config.loading import load_campaign
    from alflow.execution.sites import usable_site
    from alflow.loop.campaign import run_campaign

    settings = load_campaign(file)
    database = new_database(db, settings.name)
    if dry_run:
        from alflow.loop.preview import preview

        emit("\n".join(preview(database, settings, str(file))))
        return
    loaded = usable_site(site)
    require_programs(settings, loaded, str(file))
    how = _Run(database, loaded, site, iterations, on_stop)
    _drive(run_campaign(database, settings, file=str(file)), how)


def resume(
    db: DbArgument = None,
    db_option: DbOption = None,
    site: SiteOption = "local",
    iterations: Iterations = None,
    on_stop: OnStop = StopChoice.DRAIN,
    dry_run: DryRun = False,
) -> None:
    """Continue a campaign from its database; the campaign file is not needed."""
    from alflow.execution.sites import usable_site
    from alflow.loop.campaign import resume_campaign

    database = existing_database(db, db_option)
    if dry_run:
        from alflow.loop.preview import preview_stored

        emit("\n".join(preview_stored(database)))
        return
    how = _Run(database, usable_site(site), site, iterations, on_stop)
    _drive(resume_campaign(database), how)


def demo(
    directory: Annotated[
        Path, typer.Argument(help="Folder to work in; made if it is not there.")
    ] = Path("alflow-demo"),
    site: SiteOption = "local",
) -> None:
    """Run a whole small campaign: water, real PySCF labels, minutes on two cores."""
    from alflow.config.loading import load_campaign
    from alflow.config.shipped import template
    from alflow.execution.sites import usable_site
    from alflow.loop.campaign import make_writable, run_campaign

    loaded = usable_site(site)
    file = make_writable(directory) / "campaign.yaml"
    if not file.exists():
        shutil.copyfile(template("water") / "campaign.yaml", file)
    settings = load_campaign(file)
    database = str(directory / f"{settings.name}.db")
    _drive(run_campaign(database, settings, file=str(file)), _Run(database, loaded, site))
    emit("Next: alflow init my-campaign --template water")


def _drive(opening: "AbstractContextManager[OpenCampaign]", how: _Run) -> None:
    """Run an opened campaign, write its report, say what became of it."""
    from alflow.loop.manager import StopSignal
    from alflow.report import write_report

    stop = StopSignal(detaches=how.on_stop is StopChoice.DETACH)
    with _afresh(how), opening as campaign:
        with signals(stop) as received:
            ending = _manage(campaign, how, stop)
        row = campaign.store.campaign()
        path = report_path(how.database, campaign.files.root)
    # Once the lease is given back, so that a campaign that pauses is not said to run.
    with reading(how.database) as store:
        report = write_report(store, path)
    _tell(f"{row.name}: {row.verdict or ending}.")
    emit(f"Report: {report} ({report.stat().st_size / 1e6:.1f} MB).")
    if row.state == "running":
        shown = without_secrets(how.database)
        print(f"Continue:  alflow resume {shown}", file=sys.stderr)
    code = 128 + received[0] if received else WORK_LEFT * (row.state in _UNDONE)
    if code:
        raise typer.Exit(code)


_UNDONE = ("running", "stopped", "failed")


def _manage(campaign: "OpenCampaign", how: _Run, stop: "StopSignal") -> "Ending":
    from alflow.execution.parsl import ParslExecutor
    from alflow.loop.manager import Ending, Manager
    from alflow.store.views import progress

    lines = ProgressLines(campaign.store)
    lines.opened(campaign, without_secrets(how.database), how.site.name)
    begun = len(progress(campaign.store).iterations)
    last = None if how.iterations is None else begun + how.iterations - 1
    executor = ParslExecutor(campaign.files, how.site)
    manager = Manager(campaign, executor, lines.show, stop)
    # After an error, too, what runs goes on to its end: the next manager takes it in.
    ending = Ending.DETACHED
    campaign.store.record_workers(_workers(how.site, executor))
    with beside(campaign, without_secrets(how.database)):
        executor.start()
        try:
            ending = manager.run(last_iteration=last)
        finally:
            executor.close(cancel=ending is not Ending.DETACHED)
    return ending


def _workers(site: "Site", executor: "Executor") -> "dict[str, Workers]":
    """What the manager can hand work to, by pool."""
    from alflow.store import Workers

    kinds: dict[str, set[str]] = defaultdict(set)
    for kind, pool in executor.pools().items():
        kinds[pool].add(kind)
    return {
        pool.label: Workers(pool.workers, frozenset(kinds[pool.label]))
        for pool in site.distinct_pools()
    }


@contextlib.contextmanager
def _afresh(how: _Run) -> Iterator[None]:
    """Become a fresh manager when this process can no longer hand out work."""
    try:
        yield
    except SiteLost as error:
        n_starts = int(os.environ.get(FRESH_STARTS_VARIABLE, "0"))
        if n_starts >= MOST_FRESH_STARTS or how.iterations is not None:
            raise
        _tell(f"{error.message}; starting afresh")
        os.environ[FRESH_STARTS_VARIABLE] = str(n_starts + 1)
        # Not an argument: a URL may hold a password, and arguments are there for all to see.
        os.environ["ALFLOW_DB"] = how.database
        os.execv(sys.executable, _fresh_command(how))  # noqa: S606 - alflow's own command


def _fresh_command(how: _Run) -> list[str]:
    code = "import sys; from alflow.cli.main import main; sys.exit(main())"
    command = [sys.executable, *(["-P"] if sys.flags.safe_path else []), "-c", code]
    command += ["resume", "--site", how.site_name, "--on-stop", how.on_stop.value]
    return command


@contextlib.contextmanager
def signals(stop: "StopSignal") -> Iterator[list[int]]:
    """Ctrl-C and the system's signals ask the manager to stop; yields those received."""
    received: list[int] = []

    def ask(number: int, _frame: "FrameType | None") -> None:
        received.append(number)
        stop.press()
        if stop.detaches:
            _tell("leaving: running tasks go on, queued ones do not start.")
            return
        again = "" if len(received) > 1 else " Once more gives running tasks back at once."
        _tell(f"stopping: running tasks are finished first.{again}")

    handled = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = {number: signal.signal(number, ask) for number in handled}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
