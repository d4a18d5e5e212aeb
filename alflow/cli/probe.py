"""`alflow sites probe`: how soon a site begins, and how many cores a calculation is worth."""

import shutil
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alflow.cli.sites import SiteArgument, sites_app
from alflow.cli.terminal import JsonFlag, Listing, emit, emit_json, emit_listing, talk

if TYPE_CHECKING:
    from alflow.execution.tryout import PoolTrial, Tryout

WENT_WRONG = 3
"""Exit code when a pool gave no answer."""

GOOD_EFFICIENCY = 0.7
"""Speed-up divided by threads, down to which more threads are recommended."""

_REPEATS = 3
_MOST_THREADS = 16


def register() -> None:
    """Add the command to `alflow sites`."""
    sites_app.command()(probe)


def probe(
    site: SiteArgument,
    *,
    directory: Annotated[
        Path, typer.Option(help="A folder that workers see; nothing is left in it.")
    ] = Path(),
    patience: Annotated[
        float, typer.Option("--patience", min=1, help="Time for workers to answer [s].")
    ] = 1800.0,
    scaling: Annotated[
        bool, typer.Option(help="Time a reference calculation on 1, 2, 4, ... threads.")
    ] = True,
    as_json: JsonFlag = False,
) -> None:
    """Run tiny tasks on each pool: wait in the queue, start of a worker, time between tasks.

    A reference calculation (four waters, PBE/def2-SVP, energy and forces) on more and more threads
    says how many cores a label task is worth. Exit code 3: some pool gave no answer.
    """
    from alflow.execution.sites import load_site
    from alflow.execution.tryout import tryout

    loaded = load_site(site)
    folder = Path(tempfile.mkdtemp(prefix="alflow-probe-", dir=directory)).absolute()
    try:
        with tryout(loaded, folder) as started:
            found = [
                _measured(started, trial, patience, scaling=scaling)
                for trial in started.ask({}, patience)
            ]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if as_json:
        emit_json(found)
    else:
        _tell(found)
    if any(one["problem"] for one in found):
        raise typer.Exit(WENT_WRONG)


def recommended(seconds: Mapping[int, float]) -> int:
    """Threads worth having: the most whose speed-up is at least `GOOD_EFFICIENCY` of their number.

    Args:
        seconds: Time of the same calculation [s] by number of threads.
    """
    alone = seconds[min(seconds)] * min(seconds)
    good = [n for n, time in seconds.items() if alone / (time * n) >= GOOD_EFFICIENCY]
    return max(good, default=min(seconds))


def _measured(
    started: "Tryout", first: "PoolTrial", patience_s: float, *, scaling: bool
) -> dict[str, Any]:
    """What the first task of a pool told, and further ones now that it has a worker."""
    found: dict[str, Any] = {"pool": first.label, "workers": first.workers, "problem": ""}
    if not first.answers:
        why = [*first.failures, *first.news] or [f"no answer within {patience_s:g} s"]
        return {**found, "problem": why[-1] if not first.failures else first.failures[0]}
    again = [started.ask({}, patience_s, pools=[first.label])[0] for _ in range(_REPEATS)]
    round_trips = [
        one.waited_s[0] + one.took_s[0] for one in again if one.answers and one.waited_s
    ]
    cores = int(first.answers[0]["cores"])
    found |= {
        "host": first.answers[0]["host"],
        "cores": cores,
        "queue_s": round(first.waited_s[0], 2),
        "start_s": round(first.took_s[0], 2),
        "task_s": round(statistics.median(round_trips), 3) if round_trips else None,
    }
    if scaling:
        found |= _scaling(started, first.label, cores, patience_s)
    return found


def _scaling(
    started: "Tryout", label: str, cores: int, patience_s: float
) -> dict[str, Any]:
    threads = [n for n in (1, 2, 4, 8, _MOST_THREADS) if n <= max(1, cores)]
    (trial,) = started.ask({"threads": threads}, patience_s, pools=[label])
    if not trial.answers:
        return {"problem": "; ".join(trial.failures) or "no answer to the reference task"}
    told = trial.answers[0]["reference_s"]
    times = {int(n): time for n, time in told.items() if isinstance(time, float)}
    if not times:
        return {"problem": f"the reference calculation failed: {next(iter(told.values()))}"}
    return {"reference_s": times, "cores_per_task": recommended(times)}


def _tell(found: list[dict[str, Any]]) -> None:
    columns = ("pool", "host", "cores", "queue_s", "start_s", "task_s", "cores_per_task")
    rows = [[one.get(name) for name in columns] for one in found]
    emit_listing(Listing(columns, rows, frozenset(columns[2:])))
    for one in found:
        if one["problem"]:
            talk(f"{one['pool']}: {one['problem']}")
        for n, seconds in one.get("reference_s", {}).items():
            speed = one["reference_s"][1] / seconds if 1 in one["reference_s"] else 1.0
            emit(
                f"{one['pool']}: reference calculation on {n} threads: {seconds:.2f} s, "
                f"{speed:.2f} times as fast"
            )
        if "cores_per_task" in one:
            emit(f"{one['pool']}: set threads={one['cores_per_task']} for label tasks")
