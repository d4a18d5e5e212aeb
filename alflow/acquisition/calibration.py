"""How errors go with spreads: pure functions of labels and of what the ensemble had said."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from alflow.core.past import PastIteration

FEWEST = 20
"""With fewer labels than this a quantile of ratios says too little."""
LEVELS = (0.5, 1.0)
"""Smallest and largest share of known ratios that a bound lies above."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """How many times its spread an error is.

    Attributes:
        force: Bound of the ratio for the mean force of a frame; with the stated probability a frame
            is below it.
        energy: The same for the energy.
        force_scale: Error of the forces of a frame by their spread, in the median over frames: 1
            where the spread is the error. A few frames with atoms too close are off by ten
            spreads, and would rule a mean.
        energy_scale: Error of the energy by its spread, root mean square over frames.
        n_labels: Labels that say so; 0 where bounds are assumed.
    """

    force: float
    energy: float
    force_scale: float
    energy_scale: float
    n_labels: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """How often errors stayed below their bound.

    Attributes:
        force: Share of frames, by their forces; NaN without any.
        energy: The same by their energies.
        force_audit: The same as `force`, of frames drawn at random alone.
        energy_audit: The same as `energy`, of frames drawn at random alone.
        n_labels: Number of frames.
        n_audit: Number of those drawn at random.
    """

    force: float
    energy: float
    force_audit: float
    energy_audit: float
    n_labels: int
    n_audit: int


def calibrate(
    past: Sequence[PastIteration],
    *,
    coverage: float,
    window: int,
    energy_window: int | None = None,
    prior_ratio: float,
    adaptation: float = 0.0,
) -> Calibration:
    """Learn from the labels of the last iterations.

    Args:
        past: Iterations, in order.
        coverage: Share of frames whose error should be below the bound.
        window: Number of the last iterations to learn from; more where they have too few labels.
        energy_window: The same for energies; None is `window`.
        prior_ratio: What is assumed where there are too few labels at all.
        adaptation: Step of `adapted`; 0 is split conformal prediction as it stands.
    """
    checked = [one.checked for one in _last(past, window)]
    force = (
        _joined([c.force_error for c in checked]),
        _joined([c.force_spread for c in checked]),
    )
    checked = [one.checked for one in _last(past, energy_window or window)]
    energy = (
        _joined([c.energy_error for c in checked]),
        _joined([c.energy_spread for c in checked]),
    )
    counts = [one.n_labelled for one in past]
    shares = [one.coverage_force for one in past], [one.coverage_energy for one in past]
    levels = [adapted(coverage, one, counts, adaptation) for one in shares]
    force_bound, n_force = _bound(*force, levels[0])
    energy_bound, n_energy = _bound(*energy, levels[1])
    return Calibration(
        prior_ratio if force_bound is None else force_bound,
        prior_ratio if energy_bound is None else energy_bound,
        _median(_ratios(*force)),
        _root_mean_square(_ratios(*energy)),
        max(n_force, n_energy),
    )


def _last(past: Sequence[PastIteration], window: int) -> list[PastIteration]:
    """The last iterations, more than asked for where these have too few labels."""
    used: list[PastIteration] = []
    for one in reversed(past):
        if len(used) >= window and sum(len(u.checked) for u in used) >= FEWEST:
            break
        used.append(one)
    return used


def covered(past: PastIteration, by: Calibration) -> Coverage:
    """How often the errors of an iteration stayed below what was known before it."""
    c = past.checked
    force = _is_below(c.force_error, c.force_spread, by.force)
    energy = _is_below(c.energy_error, c.energy_spread, by.energy)
    return Coverage(
        _mean(force),
        _mean(energy),
        _mean(force[c.is_audit]),
        _mean(energy[c.is_audit]),
        len(c),
        int(c.is_audit.sum()),
    )


def adapted(
    coverage: float, measured: Sequence[float], n_labels: Sequence[int], step: float
) -> float:
    """The level at which to take the quantile so that in the long run the coverage is as stated.

    Each generation is another ensemble, and the frames that it meets are others: ratios of one are
    not draws like those of the next, which the quantile takes for granted. Adaptive conformal
    inference (Gibbs and Candès, NeurIPS 34, 1660 (2021)) raises the level after too many errors
    beyond their bound, and lowers it after too few.

    Args:
        coverage: The share wanted.
        measured: Shares of the iterations so far, in order; NaN where one is unknown.
        n_labels: Labels behind each; fewer than `FEWEST` count in proportion.
        step: What a share that is off by 1 changes.
    """
    level = coverage
    for share, n in zip(measured, n_labels, strict=True):
        if math.isfinite(share):
            level += step * min(1.0, n / FEWEST) * (coverage - share)
            level = min(max(level, LEVELS[0]), LEVELS[1])
    return level


def conformal_quantile(values: Float[np.ndarray, " values"], coverage: float) -> float:
    """The value that another draw stays below with at least this probability.

    That is the one of rank ceil((n + 1) * coverage) among n; the largest where there is none.
    """
    ordered = np.sort(values)
    rank = math.ceil((len(ordered) + 1) * coverage - 1e-9)
    return float(ordered[min(rank, len(ordered)) - 1])


def _bound(
    errors: Float[np.ndarray, " frames"],
    spreads: Float[np.ndarray, " frames"],
    coverage: float,
) -> tuple[float | None, int]:
    ratios = _ratios(errors, spreads)
    if len(ratios) < FEWEST:
        return None, 0
    return conformal_quantile(ratios, coverage), len(ratios)


def _ratios(
    errors: Float[np.ndarray, " frames"], spreads: Float[np.ndarray, " frames"]
) -> Float[np.ndarray, " known"]:
    ratios = errors / np.where(spreads > 0, spreads, np.nan)
    return ratios[np.isfinite(ratios)]


def _median(ratios: Float[np.ndarray, " known"]) -> float:
    return float(np.median(ratios)) if len(ratios) else math.nan


def _root_mean_square(ratios: Float[np.ndarray, " known"]) -> float:
    return float(np.sqrt(np.mean(ratios**2))) if len(ratios) else math.nan


def _is_below(
    errors: Float[np.ndarray, " frames"],
    spreads: Float[np.ndarray, " frames"],
    bound: float,
) -> Float[np.ndarray, " frames"]:
    """1 for an error below its bound, 0 for one beyond it, NaN where there is no error."""
    below: Float[np.ndarray, " frames"] = (errors <= bound * spreads).astype(np.float64)
    below[~np.isfinite(errors)] = np.nan
    return below


def _mean(shares: Float[np.ndarray, " frames"]) -> float:
    known = shares[np.isfinite(shares)]
    return float(known.mean()) if len(known) else math.nan


def _joined(parts: Sequence[Float[np.ndarray, " _"]]) -> Float[np.ndarray, " frames"]:
    return np.concatenate([np.zeros(0), *parts])
