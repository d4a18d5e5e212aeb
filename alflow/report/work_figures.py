"""Figures about the work: who did what when, and where the time went."""

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from alflow.report import svg
from alflow.report.attribution import Use, in_order
from alflow.report.labeling import time_edges
from alflow.report.samples import Timeline, WorkerTime

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_VECTOR_BARS = 250
"""Above this a timeline is drawn as pixels: it would bloat the page."""

KIND_COLOURS = {
    "build": svg.GREY,
    "sample": svg.BLUE,
    "label": svg.ORANGE,
    "train": svg.GREEN,
    "validate": svg.PURPLE,
}
"""Colour of each kind of task."""

BAR_HEIGHT = 0.72
"""Height of a bar of the timeline; lanes are 1 apart."""

_UNIT = np.array([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)])

USE_COLOURS = {
    Use.COMPUTING: svg.BLUE,
    Use.FAILED: svg.VERMILION,
    Use.START_UP: svg.SKY,
    Use.QUEUE: svg.YELLOW,
    Use.BARRIER: svg.ORANGE,
    Use.STRAGGLER: svg.PURPLE,
    Use.BETWEEN: svg.GREY,
}
"""Colour of what a worker slot did or waited for."""


def timeline(work: Timeline) -> str:
    """Work by worker and kind of task; failed attempts are red and hatched."""
    start = min(bar.start for bar in work.bars)
    divisor, unit = _time_unit(work.span_s)
    lanes = max(bar.lane for bar in work.bars) + 1
    shapes: dict[tuple[str, bool], list[Float[np.ndarray, "4 2"]]] = defaultdict(list)
    for bar in work.bars:
        length = max(bar.end - bar.start, work.span_s / 2000) / divisor
        corner = np.array([(bar.start - start) / divisor, bar.lane - BAR_HEIGHT / 2])
        shapes[bar.kind, bar.is_failed].append(corner + _UNIT * (length, BAR_HEIGHT))

    def paint(figure: "Figure", axes: "Axes") -> None:
        from matplotlib.collections import PolyCollection
        from matplotlib.patches import Patch

        colours = {kind: KIND_COLOURS.get(kind, svg.SKY) for kind, _ in shapes}
        # One collection for each colour: a patch for every bar would take many times as long.
        for (kind, failed), corners in sorted(shapes.items()):
            style: Any = {"hatch": "////", "edgecolor": "white"} if failed else {}
            colour = svg.VERMILION if failed else colours[kind]
            bars = PolyCollection(corners, facecolor=colour, linewidth=0, **style)
            bars.set_rasterized(len(work.bars) > MAX_VECTOR_BARS)
            axes.add_collection(bars)
        axes.set_yticks(range(lanes), [_short(name) for name in work.lanes[:lanes]])
        axes.set_ylim(lanes - 0.4, -0.6)
        axes.set_xlim(0, max(work.span_s / divisor, 1e-9))
        axes.set_xlabel(f"time since the first attempt, {unit}")
        axes.grid(visible=False, axis="y")
        kinds = in_order({bar.kind for bar in work.bars})
        patches = [Patch(color=KIND_COLOURS.get(k, svg.SKY), label=k) for k in kinds]
        if any(bar.is_failed for bar in work.bars):
            patches.append(
                Patch(
                    facecolor=svg.VERMILION, edgecolor="white", hatch="////", label="failed"
                )
            )
        figure.legend(handles=patches, loc="outside lower center", ncols=7)

    return svg.draw("timeline", paint, (svg.WIDE[0], 1.3 + 0.24 * lanes))


def label_times(wall_s: Float[np.ndarray, " labels"]) -> str:
    """How many labels took how long, time on a log axis."""
    edges = time_edges(wall_s)

    def paint(_figure: "Figure", axes: "Axes") -> None:
        from matplotlib.ticker import MaxNLocator

        axes.hist(wall_s, bins=list(edges), color=svg.BLUE, rwidth=0.92)
        middle = float(np.median(wall_s))
        axes.axvline(middle, color=svg.VERMILION, linestyle="--", label="median")
        axes.set_xscale("log")
        svg.plain_log(axes.xaxis, (1.0, 2.0, 5.0))
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel("wall time of a label, s")
        axes.set_ylabel("labels")
        axes.grid(visible=False, axis="x")
        axes.legend(loc="upper right")

    return svg.draw("label-times", paint)


def _short(name: str, limit: int = 24) -> str:
    return name if len(name) <= limit else "…" + name[1 - limit :]


def _time_unit(span_s: float) -> tuple[float, str]:
    if span_s < 300:  # noqa: PLR2004
        return 1.0, "s"
    if span_s < 3 * 3600:
        return 60.0, "min"
    return 3600.0, "h"


def worker_time(time: WorkerTime) -> str:
    """Time of worker slots by kind of task, divided into what it was used for."""
    kinds = list(time.seconds)
    divisor, unit = _time_unit(sum(time.by_use().values()))

    def paint(figure: "Figure", axes: "Axes") -> None:
        left = dict.fromkeys(kinds, 0.0)
        for use, colour in USE_COLOURS.items():
            widths = [time.seconds[kind].get(use, 0.0) / divisor for kind in kinds]
            if not any(widths):
                continue
            axes.barh(
                range(len(kinds)),
                widths,
                left=list(left.values()),
                height=0.7,
                color=colour,
                hatch="////" if use == Use.FAILED else None,
                edgecolor="white",
                linewidth=0,
                label=str(use),
            )
            left = {k: left[k] + w for k, w in zip(kinds, widths, strict=True)}
        axes.set_yticks(range(len(kinds)), kinds)
        axes.set_ylim(len(kinds) - 0.4, -0.6)
        axes.set_xlabel(f"time of all worker slots, {unit}")
        axes.grid(visible=False, axis="y")
        figure.legend(loc="outside lower center", ncols=4, columnspacing=1.2)

    return svg.draw("worker-time", paint, (svg.SMALL[0], 1.5 + 0.25 * len(kinds)))
