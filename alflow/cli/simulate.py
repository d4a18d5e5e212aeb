"""`alflow simulate`: how a campaign would go on a site, before anything is started."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alflow.cli import themes
from alflow.cli.database import reading
from alflow.cli.terminal import JsonFlag, Listing, emit, emit_json, emit_listing, talk
from alflow.config.loading import load_campaign
from alflow.core.errors import SettingsError

if TYPE_CHECKING:
    from alflow.config.times import Times
    from alflow.loop.described import SiteModel
    from alflow.loop.simulate import Range, Summary

LOCAL = "local"
"""The site if none is named, as for `alflow run`."""

_WHOLE = 1000
"""Numbers from here on are printed without decimals."""

_UNITS = (("d", 24.0), ("h", 1.0), ("min", 1 / 60), ("s", 1 / 3600))


def register(app: typer.Typer) -> None:
    """Add the commands of this theme."""
    app.command(rich_help_panel=themes.START)(simulate)


def simulate(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Campaign file.", show_default=False)
    ],
    site: Annotated[
        str | None,
        typer.Option(help="Site: a name, or the path of a site file. Default: local."),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            metavar="DB", help="Take the times of tasks from this campaign's database."
        ),
    ] = None,
    times: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="YAML file with times of tasks, and queues; goes first."
        ),
    ] = None,
    repeats: Annotated[
        int, typer.Option(min=1, help="Number of courses, each with other random numbers.")
    ] = 20,
    as_json: JsonFlag = False,
) -> None:
    """Run a campaign in a simulation: time, use of the workers, and cost on a site.

    The plan is the real one; tasks only pretend, and take as long as such tasks took, or as you
    say.
    """
    from alflow.loop.simulate import simulate as course
    from alflow.loop.simulate import summary

    settings = load_campaign(file)
    known = _known(like, times)
    model = _model(site, known)
    courses = [course(settings, known, model, repeat) for repeat in range(repeats)]
    found = summary(courses, model)
    if as_json:
        emit_json(found.to_json())
    else:
        _tell(found)
    talk(
        "Without audits and promotion; criteria that need errors of a model are never met here."
    )


def _known(like: str | None, times: Path | None) -> "Times":
    """What is known about times: the file first, then the database."""
    from alflow.config.times import Times, load_times

    if like is None and times is None:
        raise SettingsError(
            "nothing is known about the times of tasks",
            consequence="Nothing was simulated.",
            next_step="--like DB takes them from the database of a campaign that ran; "
            "--times FILE from a YAML file (see the guide, Simulation)",
        )
    known = Times()
    if like is not None:
        from alflow.loop.measured import measured_times

        with reading(like) as store:
            known = measured_times(store)
    return known if times is None else load_times(times).over(known)


def _model(site: str | None, times: "Times") -> "SiteModel":
    """The named site, else the one that the file of times describes, else this machine."""
    from alflow.execution.sites import load_site
    from alflow.loop.described import described, of_site

    if site is None and times.pools:
        return described(times)
    return of_site(load_site(site or LOCAL, is_draft=True), times)


def _tell(found: "Summary") -> None:
    emit(f"{found.repeats} courses on site {found.site!r}; median (10 % to 90 %)\n")
    rows = [
        ("time", _time(found.wall_hours)),
        *((f"  to {n} labels", _time(hours)) for n, hours in found.label_hours.items()),
        ("iterations", _number(found.iterations)),
        ("labels", _number(found.labels)),
    ]
    if found.lost.high:
        rows.append(("attempts made again", _number(found.lost)))
    emit_listing(Listing(("what", "how much"), rows))
    emit("")
    columns = ("pool", "workers", "busy", "queue", "start-up", "barrier", "core-hours held")
    pools = [
        (
            *(label, one.workers),
            *map(_share, (one.busy, one.queue, one.start, one.barrier)),
            _number(one.held_core_hours),
        )
        for label, one in found.pools.items()
    ]
    emit_listing(Listing(columns, pools, frozenset(columns[1:])))
    emit("")
    names = ("tasks", "number", "worker-hours", "core-hours")
    tasks = [
        (
            kind,
            *map(_number, (n, found.worker_hours[kind], found.core_hours[kind])),
        )
        for kind, n in found.tasks.items()
    ]
    emit_listing(Listing(names, tasks, frozenset(names[1:])))
    emit("")
    for verdict, n in found.verdicts.items():
        emit(f"{n} of {found.repeats} courses end {verdict}")


def _time(hours: "Range") -> str:
    unit, scale = next((one for one in _UNITS if hours.median >= 2 * one[1]), _UNITS[-1])
    return f"{_several(hours, 1 / scale)} {unit}"


def _number(found: "Range") -> str:
    return _several(found, 1.0)


def _share(found: "Range") -> str:
    return f"{_several(found, 100.0)} %"


def _several(found: "Range", factor: float) -> str:
    """The median, and the range if it has one."""
    values = [factor * value for value in (found.median, found.low, found.high)]
    texts = [f"{one:.0f}" if one >= _WHOLE else f"{one:.3g}" for one in values]
    if len(set(texts)) == 1:
        return texts[0]
    return "{} ({} to {})".format(*texts)
