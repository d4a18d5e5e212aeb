"""The live view: what is seen of a campaign, as lines that fit into a terminal. Pure."""

import re
import shlex
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.text import Text

from alflow.cli.changes import FAILURES, trouble_text
from alflow.cli.moments import ago, clock, coarse, lasting, utc
from alflow.cli.status import needs_attention, verdict

if TYPE_CHECKING:
    from alflow.loop.watching import Seen, Stage
    from alflow.store.standing import Standing, Trouble

BLOCKS = "▁▂▃▄▅▆▇█"
MOST_VERDICT = 3
"""Lines that a verdict may take."""
MOST_RUNNING = 16
MOST_TROUBLES = 10
"""Lines of a tall terminal for what runs, and for what went wrong."""
_MINUTE_S = 60
LEAST_TEXT = 24
"""Letters of a message beside which the command to see more is written in full."""
SHORTEST_NAME = 8
"""Letters of the campaign's name that are always there."""
NARROW = 60
"""Width below which the bars of the table are left out."""

_ASCII = str.maketrans(
    {
        **dict(zip(BLOCKS, "_.:-=+*#", strict=True)),
        "░": ".",
        "·": "-",
        "—": "-",
        "→": ">",
        "≤": "<=",
        "Å": "A",
        "…": "~",
    }
)

Part = tuple[str, str]
"""A piece of a line and its style."""


@dataclass(frozen=True, slots=True)
class Room:
    """What there is to draw on.

    Attributes:
        width: Columns.
        height: Lines.
        is_ascii: Whether nothing but ASCII can be shown.
    """

    width: int = 80
    height: int = 24
    is_ascii: bool = False


def screen(seen: "Seen", database: str, room: Room, problem: str = "") -> list[Text]:
    """The lines of the view: none wider, and not more of them, than there is room for.

    Args:
        seen: What is seen.
        database: The database, as a user types it.
        room: What there is to draw on.
        problem: Why nothing newer can be seen; empty if it can.
    """
    view = seen.standing
    fixed = [
        *([[(problem, "bold red")]] if problem else []),
        _head(seen, room.width),
        *_verdict(view, database, room.width),
        *_curves(view, room.width),
        [],
        *_table(seen.stages, room.width),
        *_workers(seen),
    ]
    free = max(0, room.height - len(fixed) - 1)
    troubles = _troubles(view, database, room, min(MOST_TROUBLES, max(2, free // 3)))
    running = _running(seen, min(MOST_RUNNING, max(1, free - len(troubles))))
    rest = [*running, *troubles]
    lines = [*fixed, *([[]] if rest else []), *rest]
    return [_drawn(line, room) for line in lines[: room.height]]


def sparkline(values: Sequence[float], width: int) -> str:
    """The newest values as blocks whose height is their size, from zero to the largest."""
    shown = values[-width:] if width > 0 else ()
    largest = max(shown, default=0.0)
    if largest <= 0:
        return BLOCKS[0] * len(shown)
    top = len(BLOCKS) - 1
    return "".join(BLOCKS[round(max(0.0, value) / largest * top)] for value in shown)


def _head(seen: "Seen", width: int) -> list[Part]:
    view = seen.standing
    if view.iteration is None:
        return [(view.campaign, "bold"), (" · not begun", "")]
    limit = _number(view.config, "loop", "max_iterations")
    where = f"iteration {view.iteration}" + ("" if limit is None else f" of ≤ {limit:g}")
    others = [
        f"{number} ({phase})"
        for number, phase in sorted(view.under_way.items(), reverse=True)
        if number != view.iteration
    ]
    if view.iteration in view.under_way:
        since = (
            "" if view.began is None else f", {lasting(max(0.0, seen.now - view.began))}"
        )
        where += f" ({view.phase}{since})"
    where = ", ".join([where, *others])
    generation = "" if view.generation is None else f" · g{view.generation}"
    ok, failed = view.labels.get("ok", 0), view.labels.get("failed", 0)
    labels = f" · {ok} label{'s' * (ok != 1)}" + (f", {failed} failed" if failed else "")
    rest = f" · {where}{generation}{labels}"
    # A name may be cut, numbers may not.
    name = view.campaign
    room = max(SHORTEST_NAME, width - len(rest))
    if len(name) > room:
        name = name[: room - 1] + "…"
    return [(name, "bold"), (rest, "")]


def _verdict(view: "Standing", database: str, width: int) -> list[list[Part]]:
    manager = view.manager
    silent = None if manager.silent_s is None else ago(manager.silent_s)
    told = verdict(view, database)
    if view.state == "running" and manager.alive:
        return [[(told, "bold green"), (f" · manager {manager.holder} alive {silent}", "")]]
    if view.state == "running" and manager.holder and not manager.is_released:
        command = f"alflow resume {shlex.quote(database)}"
        return [
            [
                ("interrupted", "bold red"),
                (f" · {manager.holder} is gone, last sign of life {silent}", ""),
            ],
            [("Nothing finished is lost. Go on: ", ""), (command, "bold")],
        ]
    style = "bold yellow" if needs_attention(view) else "bold green"
    lines = textwrap.wrap(told, max(10, width), max_lines=MOST_VERDICT, placeholder=" …")
    return [[(line, style)] for line in lines]


_ERRORS = {
    "test_force_rmse_eV_per_A": ("force RMSE", "meV/Å"),
    "test_energy_rmse_eV_per_atom": ("energy RMSE", "meV/atom"),
    "new_force_rmse_eV_per_A": ("force RMSE on new", "meV/Å"),
}
"""Statistics by which a campaign is judged, the first that it has; their words and units."""


def _curves(view: "Standing", width: int) -> list[list[Part]]:
    told = [_error_curve(view), _flagged_curve(view)]
    curves = [one for one in told if one is not None]
    if not curves:
        return []
    texts = sum(len(f"{name}  {now}   ") for name, _, now in curves)
    each = max(8, (width - texts) // len(curves))
    parts: list[Part] = []
    lines: list[list[Part]] = []
    for name, values, now in curves:
        line = [(f"{name} ", ""), (sparkline(values, each), "cyan"), (f" {now}", "")]
        if parts and _length([*parts, *line]) + 3 > width:
            lines.append(parts)
            parts = []
        parts = [*parts, *([("   ", "")] if parts else []), *line]
    return [*lines, parts]


def _error_curve(view: "Standing") -> tuple[str, list[float], str] | None:
    for statistic, (name, unit) in _ERRORS.items():
        values = [1e3 * value for value in view.curves.get(statistic, {}).values()]
        if values:
            aim = _number(view.config, "stop", "converged", "force_rmse_eV_per_A")
            is_judged = aim is not None and statistic == "test_force_rmse_eV_per_A"
            wanted = f" (aim ≤ {1e3 * aim:.3g})" if aim is not None and is_judged else ""
            return name, values, f"{_figures(values[-1])} {unit}{wanted}"
    return None


def _flagged_curve(view: "Standing") -> tuple[str, list[float], str] | None:
    flagged = view.curves.get("n_flagged", {})
    sampled = view.curves.get("n_trajectories", {})
    shares = [flagged[n] / sampled[n] for n in sorted(flagged) if sampled.get(n)]
    if not shares:
        return None
    aim = _number(view.config, "stop", "converged", "survival_ps")
    wanted = "" if aim is None else f" (aim 0 % in {aim:g} ps)"
    return "flagged", shares, f"{100 * shares[-1]:.3g} %{wanted}"


def _figures(value: float) -> str:
    return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"  # noqa: PLR2004


_COLUMNS = {"running": 9, "waiting": 9, "failed": 8, "typical": 10, "left": 10}
"""Columns of the table after the bar, with their widths."""
_SPARED = ("typical", "waiting", "running")
"""Columns that a narrow terminal does without, the first one first."""


def _table(stages: Sequence["Stage"], width: int) -> list[list[Part]]:
    if not stages:
        return [[("no tasks yet", "dim")]]
    name_width = max(8, *(len(stage.kind) + 1 for stage in stages))
    done = [f"{stage.n_done}/{stage.n}" for stage in stages]
    done_width = max(8, *(len(text) + 1 for text in done))
    columns = dict(_COLUMNS)
    fixed = 1 + name_width + done_width + 1
    for name in _SPARED:
        if fixed + sum(columns.values()) > width:
            del columns[name]
    free = width - fixed - sum(columns.values())
    bar = 0 if width < NARROW else max(0, min(60, free))
    head = f" {'stage':<{name_width}}{'done':>{done_width}}{'':{bar + 1}}"
    head += "".join(f"{name:>{w}}" for name, w in columns.items())
    rows: list[list[Part]] = [[(head, "bold")]]
    for stage, text in zip(stages, done, strict=True):
        values = {
            "running": stage.n_running,
            "waiting": stage.n_waiting,
            "failed": stage.n_failed,
            "typical": "—" if stage.typical_s is None else clock(stage.typical_s),
            "left": "—" if stage.left_s is None else coarse(stage.left_s),
        }
        row: list[Part] = [
            (f" {stage.kind:<{name_width}}{text:>{done_width}} ", ""),
            (_bar(stage, bar), "green"),
        ]
        for name, w in columns.items():
            is_bad = name == "failed" and stage.n_failed
            row.append((f"{values[name]:>{w}}", "red" if is_bad else ""))
        rows.append(row)
    return rows


def _bar(stage: "Stage", width: int) -> str:
    # Full only when it is done.
    filled = stage.n_done * width // stage.n if stage.n else 0
    return "█" * filled + "░" * (width - filled)


def _workers(seen: "Seen") -> list[list[Part]]:
    if not seen.pools:
        return []
    busy, n = sum(one.n_busy for one in seen.pools), sum(one.n for one in seen.pools)
    text = f"{busy} of {n} busy"
    if len(seen.pools) > 1:
        text += " (" + ", ".join(f"{p.name} {p.n_busy}/{p.n}" for p in seen.pools) + ")"
    lines: list[list[Part]] = [[(" workers  ", ""), (text, "")]]
    for name, why in seen.standing.closed.items():
        lines.append([(f" pool {name} gets no workers: {why}", "yellow")])
    return lines


def _running(seen: "Seen", most: int) -> list[list[Part]]:
    lines: list[list[Part]] = []
    for one in seen.running[:most]:
        where = f" · {one.host}" if one.host else ""
        seconds = max(0.0, seen.now - one.since)
        since = clock(seconds) if seconds >= _MINUTE_S else f"{seconds:.0f} s"
        said = f" · epoch {one.said['epoch'] + 1:.0f}" if "epoch" in one.said else ""
        said += f" of {one.said['epochs']:.0f}" if said and "epochs" in one.said else ""
        text = f"t-{one.task_id} {one.key}{where} · {since}{said}"
        lines.append([(" now   " if not lines else "       ", ""), (text, "")])
    if lines and len(seen.running) > most > 1:
        lines[-1] = [(f"       … and {len(seen.running) - most + 1} more", "dim")]
    return lines


def _troubles(view: "Standing", database: str, room: Room, most: int) -> list[list[Part]]:
    """The newest failure, then what else went wrong, newest first."""
    label = [] if view.failed_label is None else [view.failed_label]
    found = sorted([*view.troubles, *label], key=lambda one: -one.ts)
    failure = next((one for one in found if one in label or one.kind in FAILURES), None)
    rest = [one for one in found if one is not failure]
    ordered = ([] if failure is None else [failure]) + rest
    return [
        [(head, ""), *_trouble(one, database, room.width - len(head))]
        for one, head in zip(ordered[:most], [" last  ", *["       "] * most], strict=False)
    ]


def _trouble(one: "Trouble", database: str, width: int) -> list[Part]:
    # When a label failed is not known to the second: its task is about many.
    stamp = (utc(one.ts) or "")[11:] if one.id else "no label:"
    text = " ".join(f"{stamp} {trouble_text(one)}".split())
    short = f" → alflow show {one.subject}"
    long = f"{short} --db {shlex.quote(database)}"
    if re.fullmatch(r"([stl]-|[ig])\d+", one.subject) is None:
        command = ""
    else:
        command = long if LEAST_TEXT + len(long) <= width else short
    left = max(10, width - len(command))
    text = text if len(text) <= left else text[: left - 1] + "…"
    style = "red" if one.severity == "error" or one.id == 0 else "yellow"
    return [(text, style), (command, "bold")]


def _number(config: Mapping[str, Any], *path: str) -> float | None:
    """The number under a path of keys, or None."""
    value: Any = config
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else None


def _length(parts: Iterable[Part]) -> int:
    return sum(len(text) for text, _ in parts)


def shown(text: str, *, is_ascii: bool) -> str:
    """Text as a stream can show it."""
    if not is_ascii:
        return text
    return text.translate(_ASCII).encode("ascii", "replace").decode()


def _drawn(parts: Iterable[Part], room: Room) -> Text:
    text = Text(no_wrap=True, end="\n")
    for piece, style in parts:
        text.append(shown(piece, is_ascii=room.is_ascii), style or None)
    if not room.is_ascii:
        text.truncate(room.width, overflow="ellipsis")
    elif len(text) > room.width:
        text.truncate(max(0, room.width - 1), overflow="crop")
        text.append(shown("…", is_ascii=True))
    return text
