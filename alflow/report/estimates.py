"""Numbers a report derives from rows: survival, calibration, lanes of a timeline. Pure."""

import heapq
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from alflow.report.samples import Bar, SurvivalCurve, Timeline

NORMAL_QUANTILES = {0.50: 0.67449, 0.80: 1.28155, 0.95: 1.95996}
"""Half-width, in standard deviations, of the interval that holds this share of a normal
distribution."""

MAX_LANES = 32
"""Rows that a timeline can show."""

PAUSE_S = 900.0
"""A longer time without any task is a pause of the campaign, not idleness of workers."""

MAX_STEPS = 100
"""Steps of a survival curve that are kept; more cannot be told apart."""

MERGE_FRACTION = 1 / 600
"""Gaps of a lane that are shorter than this share of the whole time are not drawn."""


def survival_curve(
    generation: int,
    times_fs: Sequence[float] | Float[np.ndarray, " paths"],
    has_ended: Sequence[bool] | Bool[np.ndarray, " paths"],
) -> SurvivalCurve:
    """Kaplan-Meier estimate of the fraction of trajectories that are still trusted.

    A trajectory that was flagged or became unphysical has ended; one that ran for its whole
    duration is only known to last at least that long.

    Args:
        generation: Generation that sampled.
        times_fs: Simulated time of each trajectory [fs].
        has_ended: Whether it was flagged or unphysical.
    """
    times = np.asarray(times_fs, np.float64)
    ended = np.asarray(has_ended, bool)
    at, lost = np.unique(times[ended], return_counts=True)
    at_risk = len(times) - np.searchsorted(np.sort(times), at, "left")
    alive = np.cumprod(1 - lost / at_risk)
    gone = np.flatnonzero(alive <= 0.5)  # noqa: PLR2004
    median = float(at[gone[0]]) if len(gone) else None
    steps, fractions = [0.0, *at.tolist()], [1.0, *alive.tolist()]
    longest = float(times.max(initial=0.0))
    if longest > steps[-1]:
        steps.append(longest)
        fractions.append(fractions[-1])
    kept = sorted(
        set(np.linspace(0, len(steps) - 1, MAX_STEPS).round().astype(int).tolist())
    )
    return SurvivalCurve(
        generation,
        tuple(steps[k] for k in kept),
        tuple(fractions[k] for k in kept),
        len(times),
        int(ended.sum()),
        median,
    )


def fraction_at(curve: SurvivalCurve, time_fs: float) -> float | None:
    """Fraction still trusted at a time [fs]; None beyond the longest trajectory."""
    if time_fs > curve.times_fs[-1]:
        return None
    return curve.fractions[int(np.searchsorted(curve.times_fs, time_fs, "right")) - 1]


def calibration_factor(
    spread: Float[np.ndarray, " labels"], error: Float[np.ndarray, " labels"]
) -> float | None:
    """Median ratio of error to spread: what makes an error of a spread."""
    usable = np.isfinite(spread) & np.isfinite(error) & (spread > 0)
    if not usable.any():
        return None
    return float(np.median(error[usable] / spread[usable]))


def coverage(
    spread: Float[np.ndarray, " labels"], error: Float[np.ndarray, " labels"]
) -> dict[float, float]:
    """Observed share of errors inside a normal interval, by nominal share."""
    usable = np.isfinite(spread) & np.isfinite(error)
    if not usable.any():
        return {}
    ratio = np.abs(error[usable]) / np.maximum(spread[usable], 1e-300)
    return {share: float(np.mean(ratio <= z)) for share, z in NORMAL_QUANTILES.items()}


def rank_correlation(
    first: Float[np.ndarray, " labels"], second: Float[np.ndarray, " labels"]
) -> float | None:
    """Spearman's rank correlation; None for fewer than five points or without variation."""
    usable: Bool[np.ndarray, " labels"] = np.isfinite(first) & np.isfinite(second)
    if np.count_nonzero(usable) < 5:  # noqa: PLR2004
        return None
    ranks = [_ranks(values[usable]) for values in (first, second)]
    centred = [rank - rank.mean() for rank in ranks]
    norm = float(np.sqrt((centred[0] ** 2).sum() * (centred[1] ** 2).sum()))
    return float((centred[0] * centred[1]).sum() / norm) if norm > 0 else None


def _ranks(values: Float[np.ndarray, " labels"]) -> Float[np.ndarray, " labels"]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: Float[np.ndarray, " labels"] = ((2 * ends - counts - 1) / 2)[inverse]
    return ranks


@dataclass(frozen=True, slots=True)
class Work:
    """One attempt, as the timeline needs it.

    Attributes:
        worker: Name of the machine or worker that ran it.
        kind: Kind of task.
        start: Beginning [s].
        end: End, or now if it still runs [s].
        is_failed: Whether it gave no result.
        handed: When it was handed out, if that is known [s].
        iteration: Iteration that it belongs to.
    """

    worker: str
    kind: str
    start: float
    end: float
    is_failed: bool
    handed: float | None = None
    iteration: int = 0

    @property
    def handed_out(self) -> float:
        """When it was handed out, or began if nothing else is known [s]."""
        return self.start if self.handed is None else min(self.handed, self.start)


def packed(work: Sequence[Work], n_workers: int) -> list[Work]:
    """Attempts moved to where the workers that there are can have run them.

    When a body ended is known by when its result was taken in. After a manager was away, or busy,
    many are taken in at once, as if more had run at the same time than there are workers. Such a
    body began earlier, but not before it was handed out; where that does not help it stays.

    Args:
        work: All attempts.
        n_workers: How many one machine can run at the same time, 0 if that is not known.
    """
    moved = list(work)
    # of each machine: when the first attempt of each of its workers began, of those seen yet
    since: dict[str, list[float]] = defaultdict(list)
    latest_first = sorted(
        range(len(moved)), key=lambda k: (-moved[k].end, -moved[k].start, moved[k].kind, k)
    )
    for k in latest_first:
        item, lanes = moved[k], since[work[k].worker]
        fits = [n for n, first in enumerate(lanes) if first >= item.end]
        if fits:
            lanes[min(fits, key=lambda n: lanes[n])] = item.start
            continue
        if lanes and 0 < n_workers <= len(lanes):
            lane = max(range(len(lanes)), key=lambda n: lanes[n])
            start = lanes[lane] - (item.end - item.start)
            if start >= item.handed_out:
                moved[k] = replace(item, start=start, end=lanes[lane])
                lanes[lane] = start
                continue
        lanes.append(item.start)
    return moved


def timeline(work: Sequence[Work]) -> Timeline:
    """Lay attempts out in lanes: on each worker as many as it ran at the same time."""
    if not work:
        return Timeline()
    first = min(item.start for item in work)
    span = max(item.end for item in work) - first
    hours: dict[str, float] = defaultdict(float)
    counts: dict[str, int] = defaultdict(int)
    for item in work:
        hours[item.kind] += (item.end - item.start) / 3600
        counts[item.kind] += 1
    placed = _in_lanes(work)
    lanes = sorted({lane for lane, _ in placed})
    row = {lane: number for number, lane in enumerate(lanes)}
    bars = [
        Bar(row[lane], item.kind, item.start, item.end, item.is_failed)
        for lane, item in placed
    ]
    busy = sum(item.end - item.start for item in work)
    paused = _paused(work)
    return Timeline(
        lanes=tuple(f"{worker} #{slot + 1}" for worker, slot in lanes),
        bars=_merged([bar for bar in bars if bar.lane < MAX_LANES], span * MERGE_FRACTION),
        hours={kind: hours[kind] for kind in sorted(hours)},
        counts={kind: counts[kind] for kind in sorted(counts)},
        span_s=span,
        paused_s=paused,
        busy_fraction=busy / (len(lanes) * (span - paused)) if span > paused else None,
    )


def _paused(work: Sequence[Work]) -> float:
    """Time of all long gaps with no attempt under way: nobody ran the campaign then."""
    paused, end = 0.0, min(item.start for item in work)
    for item in sorted(work, key=lambda w: w.handed_out):
        if item.handed_out - end > PAUSE_S:
            paused += item.handed_out - end
        end = max(end, item.end)
    return paused


def _in_lanes(work: Sequence[Work]) -> list[tuple[tuple[str, int], Work]]:
    """Give each attempt the lowest slot of its worker that is free when it starts."""
    free: dict[str, list[int]] = defaultdict(list)
    running: dict[str, list[tuple[float, int]]] = defaultdict(list)
    placed = []
    for item in sorted(work, key=lambda w: (w.start, w.end, w.worker, w.kind)):
        slots, busy = free[item.worker], running[item.worker]
        while busy and busy[0][0] <= item.start:
            heapq.heappush(slots, heapq.heappop(busy)[1])
        slot = heapq.heappop(slots) if slots else len(busy)
        heapq.heappush(busy, (item.end, slot))
        placed.append(((item.worker, slot), item))
    return placed


def _merged(bars: Sequence[Bar], gap_s: float) -> tuple[Bar, ...]:
    """Join neighbours of one lane, kind and outcome: many short tasks become one shape."""
    joined: list[Bar] = []
    for bar in sorted(bars, key=lambda b: (b.lane, b.start, b.end)):
        last = joined[-1] if joined else None
        same = last and (last.lane, last.kind, last.is_failed) == (
            bar.lane,
            bar.kind,
            bar.is_failed,
        )
        if last and same and bar.start - last.end <= gap_s:
            joined[-1] = replace(last, end=max(last.end, bar.end))
        else:
            joined.append(bar)
    return tuple(joined)
