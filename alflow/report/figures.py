"""The figures of a report; each takes content and returns the text of an SVG element."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from alflow.core.sampling import Limit
from alflow.report import svg
from alflow.report.content import GenerationRow, IterationRow
from alflow.report.quantities import grouped, significant
from alflow.report.samples import (
    CalibrationSample,
    Parity,
    SpreadSample,
    SurvivalCurve,
)
from alflow.store.traces import Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_VECTOR_POINTS = 300
"""Above this a scatter is drawn as pixels or hexagons: it would bloat the page."""

MAX_POINTS = 1000
"""Points of one colour that are drawn, evenly chosen; more only hide each other."""

MANY = 100
"""Largest over smallest value of a log axis that is not marked at every 1, 2 and 5."""


def learning(rows: Sequence[GenerationRow]) -> str:
    """Test errors by generation on a log axis; labels as second x."""

    def paint(figure: "Figure", axes: "Axes") -> None:
        numbers = [row.number for row in rows]
        forces = np.array([_milli(row.force_rmse) for row in rows])
        energies = np.array([_milli(row.energy_rmse) for row in rows])
        is_refused = np.array([row.state == "rejected" for row in rows])
        drawn = np.array(numbers)[~is_refused]
        if np.isfinite(forces).any():
            style: Any = {"color": svg.BLUE, "label": "force, meV/Å"}
            axes.plot(drawn, forces[~is_refused], "o-", **style)
        if np.isfinite(energies).any():
            style = {"color": svg.VERMILION, "label": "energy, meV/atom"}
            axes.plot(drawn, energies[~is_refused], "s--", **style)
        if is_refused.any():
            style = {"color": svg.INK, "label": "refused"}
            axes.plot(np.array(numbers)[is_refused], forces[is_refused], "x", **style)
            axes.plot(
                np.array(numbers)[is_refused], energies[is_refused], "x", color=svg.INK
            )
        _log_axis(axes, [*forces, *energies])
        axes.set_xlabel("generation")
        axes.set_ylabel("test RMSE (see legend)")
        axes.set_xticks(_thinned(numbers), [f"g{n}" for n in _thinned(numbers)])
        axes.set_xlim(numbers[0] - 0.4, numbers[-1] + 0.4)
        _labels_axis(axes, rows)
        figure.legend(loc="outside lower center", ncols=3)

    return svg.draw("learning", paint)


def _milli(value: float | None) -> float:
    return np.nan if value is None else 1e3 * value


def _labels_axis(axes: "Axes", rows: Sequence[GenerationRow]) -> None:
    second = axes.secondary_xaxis("top")
    shown = _thinned([row.number for row in rows], limit=6)
    labels = {row.number: grouped(row.n_labels) for row in rows}
    second.set_xticks(shown, [labels[number] for number in shown])
    second.set_xlabel("labels trained on")
    second.spines["top"].set_visible(False)


def _thinned(numbers: Sequence[int], limit: int = 10) -> list[int]:
    step = -(-len(numbers) // limit)
    return list(numbers[::-1][::step][::-1])


def _log_axis(axes: "Axes", values: Sequence[float]) -> None:
    """A log axis with plain numbers: at 1, 2 and 5, or, where these would be many, at 1 alone."""
    usable = [value for value in values if np.isfinite(value) and value > 0]
    if not usable:
        return
    axes.set_yscale("log")
    axes.set_ylim(min(usable) / 1.5, max(usable) * 1.5)
    is_wide = max(usable) > MANY * min(usable)
    svg.plain_log(axes.yaxis, (1.0,) if is_wide else (1.0, 2.0, 5.0))


SPREADS = {
    "excess": ("largest spread, in units of its limit", "", 1.0),
    "force_mean": ("mean force spread", "meV/Å", 1e3),
    "force_max": ("largest force spread", "meV/Å", 1e3),
    "energy": ("energy spread / √N", "meV", 1e3),
}
"""Measures of the spread: what they are, their unit, and how many of it make one of ours."""

BINS = 30


def spread_histogram(
    sample: SpreadSample, measure: str, before: SpreadSample | None = None
) -> str:
    """Candidates by spread, flagged on audit, with the threshold; the iteration before as line."""
    what, unit, _ = SPREADS[measure]
    edges = bin_edges(spread_values(sample, measure))

    def paint(figure: "Figure", axes: "Axes") -> None:
        from matplotlib.ticker import MaxNLocator

        axes.hist(
            [
                _inside(sample, measure, edges, mask)
                for mask in (~sample.is_audit, sample.is_audit)
            ],
            bins=list(edges),
            stacked=True,
            color=[svg.BLUE, svg.ORANGE],
            label=["flagged", "audit (random)"],
            rwidth=0.92,
        )
        if before is not None:
            everything = np.ones(len(before.energy), bool)
            counts, _ = np.histogram(_inside(before, measure, edges, everything), edges)
            axes.stairs(counts, edges, color=svg.INK, label=f"all of i{before.iteration}")
        if measure == "excess":
            axes.axvline(1.0, color=svg.VERMILION, linestyle="--", label="limit")
        else:
            limit = None if sample.gate is None else getattr(sample.gate, measure)
            if limit is not None:
                _threshold(axes, limit, sample.force_scale)
        axes.set_xscale("log")
        svg.plain_log(axes.xaxis, _digits(edges))
        axes.set_xlabel(f"{what}, {unit}" if unit else what)
        axes.set_ylabel("candidates")
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.grid(visible=False, axis="x")
        figure.legend(
            loc="outside lower center", ncols=4, columnspacing=1.2, handlelength=1.4
        )

    return svg.draw(f"spread-{measure.replace('_', '-')}", paint)


def spread_values(sample: SpreadSample, measure: str) -> Float[np.ndarray, " candidates"]:
    """One measure of the spread of all candidates, in the unit of `SPREADS`."""
    _, _, factor = SPREADS[measure]
    values: Float[np.ndarray, " candidates"] = factor * getattr(sample, measure)
    return values


def _inside(
    sample: SpreadSample,
    measure: str,
    edges: Float[np.ndarray, " edges"],
    mask: Bool[np.ndarray, " candidates"],
) -> Float[np.ndarray, " some"]:
    values = spread_values(sample, measure)[mask]
    clipped: Float[np.ndarray, " some"] = np.clip(
        values[np.isfinite(values)], edges[0], edges[-1]
    )
    return clipped


def bin_edges(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " edges"]:
    """Edges of bins as wide as each other on a log axis, from the smallest to the largest value.

    One of them is at 1, if that is between.
    """
    usable = values[np.isfinite(values) & (values > 0)]
    if not len(usable):
        return np.array([0.1, 1.0])
    low, high = np.log10(usable.min()), np.log10(usable.max())
    width = max(float(high - low), 0.1) / (BINS - 1)
    first, last = math.floor(low / width), math.floor(high / width) + 1
    edges: Float[np.ndarray, " edges"] = 10.0 ** (width * np.arange(first, last + 1))
    return edges


def _digits(edges: Float[np.ndarray, " edges"]) -> tuple[float, ...]:
    """Where a log axis is marked in each decade, so that a handful of marks comes out."""
    decades = np.log10(edges[-1] / edges[0])
    if decades > 2:  # noqa: PLR2004
        return (1.0,)
    return (1.0, 3.0) if decades > 1 else (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)


def _threshold(
    axes: "Axes", limit: Limit, scales: Float[np.ndarray, " candidates"]
) -> None:
    """A line at the limit for the median force, a band from the smallest to the largest."""
    usable = scales[np.isfinite(scales)]
    if not len(usable):
        usable = np.zeros(1)
    low, middle, high = (
        1e3 * limit.at(float(s)) for s in np.quantile(usable, [0.05, 0.5, 0.95])
    )
    if high > low:
        axes.axvspan(low, high, color=svg.VERMILION, alpha=0.10, linewidth=0)
    axes.axvline(
        middle,
        color=svg.VERMILION,
        linestyle="--",
        label=f"threshold {significant(middle, 3)}",
    )


def calibration(sample: CalibrationSample) -> str:
    """True error of new labels against the spread that chose them, both on log axes."""

    def paint(figure: "Figure", axes: "Axes") -> None:
        usable = (sample.force_spread > 0) & (sample.force_error > 0)
        x, y = 1e3 * sample.force_spread[usable], 1e3 * sample.force_error[usable]
        is_audit = sample.is_audit[usable]
        points = [(x[mask], y[mask]) for mask in (~is_audit, is_audit)]
        _scatter(axes, points, [(svg.BLUE, "flagged"), (svg.ORANGE, "audit (random)")])
        if len(x):
            ends = np.array([min(x.min(), y.min()) / 1.3, max(x.max(), y.max()) * 1.3])
            axes.plot(ends, ends, color=svg.GREY, linewidth=1.2, label="error = spread")
            if sample.factor:
                axes.plot(
                    ends,
                    sample.factor * ends,
                    "--",
                    color=svg.VERMILION,
                    label=f"error = {significant(sample.factor, 2)} × spread",
                )
            axes.loglog()
            axes.set(xlim=ends, ylim=ends)
            for axis in (axes.xaxis, axes.yaxis):
                svg.plain_log(axis, (1.0, 3.0))
        axes.set_xlabel("mean force spread, meV/Å")
        axes.set_ylabel("true force error, meV/Å")
        if len(x):
            figure.legend(loc="outside lower center", ncols=2)

    return svg.draw("calibration", paint)


def _scatter(
    axes: "Axes",
    points: Sequence[tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]],
    styles: Sequence[tuple[str, str]],
) -> None:
    """Sets of points, each with its colour and label; as pixels if they are many."""
    many = sum(len(x) for x, _ in points) > MAX_VECTOR_POINTS
    for (x, y), (colour, label) in zip(points, styles, strict=True):
        if len(x):
            step = -(-len(x) // MAX_POINTS)
            style: Any = {
                "color": colour,
                "alpha": 0.55,
                "markeredgewidth": 0,
                "label": label,
            }
            axes.plot(x[::step], y[::step], "o", markersize=3.5, rasterized=many, **style)


def parity(pair: Sequence[Parity], quantity: str) -> str:
    """Predictions against labels of the test set: the first generation behind the last."""
    is_force = quantity == "force"
    unit = "eV/Å" if is_force else "eV/atom"

    def paint(_figure: "Figure", axes: "Axes") -> None:
        points = [
            (one.force_reference, one.force_predicted)
            if is_force
            else (one.energy_reference, one.energy_predicted)
            for one in pair
        ]
        colours = [svg.ORANGE, svg.BLUE][-len(pair) :]
        names = [f"g{one.generation}" for one in pair]
        _scatter(axes, points, list(zip(colours, names, strict=True)))
        values = np.concatenate([axis for both in points for axis in both])
        if len(values):
            low, high = float(values.min()), float(values.max())
            margin = 0.05 * (high - low) or 1.0
            ends = (low - margin, high + margin)
            axes.plot(ends, ends, color=svg.INK, linewidth=1.0, zorder=0)
            axes.set(xlim=ends, ylim=ends)
            axes.legend(loc="upper left", markerscale=1.8)
        axes.set_aspect("equal", adjustable="box")
        noun = "force component" if is_force else "energy"
        axes.set_xlabel(f"labelled {noun}, {unit}")
        axes.set_ylabel(f"predicted, {unit}")

    return svg.draw(f"parity-{quantity}", paint)


def survival(curves: Sequence[SurvivalCurve]) -> str:
    """Fraction of trajectories that are still trusted, by simulated time and generation."""

    def paint(figure: "Figure", axes: "Axes") -> None:
        longest = max(curve.times_fs[-1] for curve in curves)
        divisor, unit = (1.0, "fs") if longest < 1000 else (1000.0, "ps")  # noqa: PLR2004
        colours = _shades(len(curves))
        for curve, colour in zip(curves, colours, strict=True):
            axes.step(
                np.array(curve.times_fs) / divisor,
                100 * np.array(curve.fractions),
                where="post",
                color=colour,
                label=f"g{curve.generation}",
            )
        axes.axhline(50, color=svg.GREY, linewidth=0.8, linestyle=":")
        axes.set_ylim(0, 102)
        axes.set_xlim(0, max(longest / divisor, 1e-9))
        axes.set_xlabel(f"simulated time, {unit}")
        axes.set_ylabel("still trusted, %")
        figure.legend(loc="outside lower center", ncols=6)

    return svg.draw("survival", paint)


def traces(shown: Sequence[Trace]) -> str:
    """Temperature and force spread along a few trajectories."""
    colours = (svg.VERMILION, svg.BLUE, svg.GREEN)
    styles = ("-", "--", ":")

    def paint(figure: "Figure", axes: "Axes") -> None:
        axes.remove()
        upper, lower = figure.subplots(2, 1, sharex=True)
        longest = max(float(one.time_fs[-1]) for one in shown)
        divisor, unit = (1.0, "fs") if longest < 1000 else (1000.0, "ps")  # noqa: PLR2004
        spreads = []
        for one, colour, line in zip(shown, colours, styles, strict=False):
            style: Any = {"color": colour, "linestyle": line, "linewidth": 1.4}
            times = one.time_fs / divisor
            name = f"p-{one.trajectory} {one.stop_reason}"
            upper.plot(times, one.temperature_K, label=name, **style)
            spread = 1e3 * one.force_spread
            spread[~(spread > 0)] = np.nan
            spreads += list(spread)
            lower.plot(times, spread, **style)
            last = {"color": colour, "marker": "o", "markersize": 4}
            upper.plot(times[-1:], one.temperature_K[-1:], **last)
            lower.plot(times[-1:], spread[-1:], **last)
        for one in (upper, lower):
            one.patch.set_alpha(0.0)
        _log_axis(lower, spreads)
        upper.set_ylabel("T, K")
        upper.set_ylim(bottom=0)
        lower.set_xlim(left=0)
        lower.set_ylabel("spread, meV/Å")
        lower.set_xlabel(f"simulated time, {unit}")
        figure.legend(loc="outside lower center", ncols=3, columnspacing=1.2)

    return svg.draw("traces", paint)


def _shades(number: int) -> list[Any]:
    """From light to dark blue; the last one is orange, so that it stands out."""
    import matplotlib as mpl

    if number == 1:
        return [svg.BLUE]
    tones = np.linspace(0.3, 0.95, number - 1)
    return [*mpl.colormaps["Blues"](tones), svg.VERMILION]


def fates(rows: Sequence[IterationRow]) -> str:
    """Shares of trajectories that were trusted, flagged or unphysical, by iteration."""
    colours = {"trusted": svg.GREEN, "flagged": svg.ORANGE, "unphysical": svg.VERMILION}

    def paint(figure: "Figure", axes: "Axes") -> None:
        numbers = [row.number for row in rows]
        bottom = np.zeros(len(rows))
        for name, colour in colours.items():
            shares = np.array([100 * row.fates[name] / row.n_trajectories for row in rows])
            hatch = "////" if name == "unphysical" else None
            style: Any = {"hatch": hatch, "edgecolor": "white", "linewidth": 0}
            axes.bar(numbers, shares, 0.8, bottom, color=colour, label=name, **style)
            bottom += shares
        axes.set_xticks(_thinned(numbers), [f"i{n}" for n in _thinned(numbers)])
        axes.set_ylim(0, 100)
        axes.set_xlabel("iteration")
        axes.set_ylabel("trajectories, %")
        axes.grid(visible=False, axis="x")
        figure.legend(loc="outside lower center", ncols=3)

    return svg.draw("fates", paint)
