"""`alflow replay`: what other settings would have chosen, and when they would have stopped."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from alflow.cli import themes
from alflow.cli.database import DbArgument, DbOption, reading
from alflow.cli.terminal import JsonFlag, Listing, emit, emit_json, emit_listing

if TYPE_CHECKING:
    from alflow.core.sampling import Gate, Limit, Verdict
    from alflow.loop.replay import Replayed, Unknown
    from alflow.loop.replay_campaign import Replay
    from alflow.loop.replay_stopping import Judgement, Later
    from alflow.loop.stopping import StopVerdict

MOST_DIFFERENCES = 5
"""Candidates that are named where a replay is not exact."""
_SHORT = 12

_COUNTS = ("candidates", "flagged", "really", "now", "both", "only really", "only now")


def register(app: typer.Typer) -> None:
    """Add the commands of this theme."""
    app.command(rich_help_panel=themes.LOOK)(replay)


def replay(
    db: DbArgument = None,
    db_option: DbOption = None,
    *,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Another setting, for example acquire.audit_fraction=0.1 or "
            "stop.converged.stalled=2; may be given more than once.",
            show_default=False,
        ),
    ] = None,
    iteration: Annotated[
        int | None,
        typer.Option(help="Only what was chosen in this iteration.", show_default=False),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Choose once more among the frames that were kept. Nothing is written.

    Without --set every decision must come out as it is in the database; with it, what other
    settings would have chosen and when they would have stopped.
    """
    from alflow.config.overrides import parse_override
    from alflow.loop.replay_campaign import REPLAYED
    from alflow.loop.replay_campaign import replay as do_again

    overrides = [parse_override(text, REPLAYED) for text in changes or []]
    with reading(db, db_option) as store:
        found = do_again(store, overrides, iteration)
    if as_json:
        emit_json(found.to_json())
        return
    _tell_real(found)
    _tell_selections(found)
    _tell_stops(found)


def _tell_real(found: "Replay") -> None:
    count = sum(one.n_candidates for one in found.selections)
    where = f"{count} candidates in {_iterations(len(found.selections))}"
    if found.is_exact:
        emit(f"The real settings: every decision reproduced ({where}).")
    else:
        different = [
            (one.iteration, d) for one in found.selections for d in one.differences
        ]
        emit(f"The real settings: {len(different)} decisions differ ({where}):")
        rows: list[tuple[Any, ...]] = [
            (f"i{number}", d.id[:_SHORT], _verdict(d.then), _verdict(d.now))
            for number, d in different[:MOST_DIFFERENCES]
        ]
        emit_listing(Listing(("", "candidate", "then", "replayed"), rows))
    learnt = [f"i{one.iteration}" for one in found.selections if not one.is_gate_reproduced]
    if learnt:
        emit(
            f"Limits of {', '.join(learnt)}: today's labels would have given others (labels were "
            "put aside or mended since, or sampling began with other settings); those that were "
            "used count."
        )


def _verdict(verdict: "Verdict | None") -> str:
    if verdict is None:
        return "not considered"
    rank = "" if verdict.rank is None else f" {verdict.rank}"
    return f"{verdict.decision}{rank}: {verdict.reason}"


def _tell_selections(found: "Replay") -> None:
    rows = [
        (
            f"i{one.iteration}",
            one.n_candidates,
            _arrow(one.n_flagged, one.n_flagged_now),
            len(one.chosen),
            len(one.chosen_now),
            one.n_common,
            len(one.chosen) - one.n_common,
            len(one.chosen_now) - one.n_common,
            _gates(one),
        )
        for one in found.selections
    ]
    emit("")
    columns = ("", *_COUNTS, "limits: energy [meV], force mean, max [eV/Å]")
    emit_listing(Listing(columns, rows, frozenset(_COUNTS)))
    for one in found.selections:
        if one.unknown:
            emit(f"i{one.iteration}: {_not_known(one.unknown)}")


def _arrow(then: object, now: object) -> str:
    return str(then) if then == now else f"{then} → {now}"


def _gates(one: "Replayed") -> str:
    return _arrow(_limits(one.gate), _limits(one.gate_now))


def _limits(gate: "Gate") -> str:
    limits = [
        _limit(gate.energy, 1e3),
        _limit(gate.force_mean),
        _limit(gate.force_max),
    ]
    return ", ".join(limits) + f" after {gate.grace_fs:g} fs"


def _limit(limit: "Limit | None", factor: float = 1.0) -> str:
    if limit is None:
        return "–"
    growth = f"+{factor * limit.per_force:.3g}F" if limit.per_force else ""
    return f"{factor * limit.base:.3g}{growth}"


def _not_known(unknown: "Unknown") -> str:
    said = {
        "flagged frames would not be, and their trajectories would go on": unknown.n_going_on,
        "trajectories would have been flagged earlier, at a frame that was not kept (the one "
        "that was kept stands in)": unknown.n_earlier,
        "trajectories would have been flagged, of which no such frame was kept": (
            unknown.n_not_kept
        ),
        "audit frames would have been flagged": unknown.n_drawn,
        "flagged frames come after those": unknown.n_not_reached,
    }
    return "not known: " + "; ".join(f"{n} {what}" for what, n in said.items() if n)


def _tell_stops(found: "Replay") -> None:
    emit("")
    rows = [
        (f"i{one.iteration}", *_said(one), _later(one.later)) for one in found.judgements
    ]
    emit_listing(Listing(("after", "really", "now", "frames drawn at random later"), rows))
    stop = found.stop
    if stop is None or stop.now is None:
        emit("These settings would not have stopped it yet.")
    else:
        emit(f"It ends after i{stop.iteration}, {stop.now.state}: {stop.now.sentence}.")
    counts = found.false_stops
    if counts.n_converged:
        rate = "" if counts.rate is None else f" ({100 * counts.rate:.0f} %)"
        emit(
            f"Called converged after {_iterations(counts.n_converged)}; later labels tell about "
            f"{counts.n_checked} of them: {counts.n_false} false{rate}."
        )


def _said(one: "Judgement") -> tuple[str, str]:
    return _state(one.then), _state(one.now)


def _state(verdict: "StopVerdict | None") -> str:
    return "go on" if verdict is None else verdict.state


def _later(later: "Later | None") -> str | None:
    if later is None:
        return None
    if not later.n_audited:
        return f"none with g{later.generation}"
    error = "" if later.force_error is None else f", {1e3 * later.force_error:.3g} meV/Å"
    text = f"{later.n_audited} with g{later.generation}{error}"
    if later.n_beyond is None or later.tolerance is None:
        return f"{text}; no tolerance is given"
    word = "right" if later.is_right else "false"
    share = f"{100 * later.tolerance.share:g} %"
    return (
        f"{text}, {later.n_beyond} beyond {later.tolerance.source} ({share} may be): {word}"
    )


def _iterations(n: int) -> str:
    return f"{n} iteration" if n == 1 else f"{n} iterations"
