"""What a calculation costs: core-seconds predicted from its elements, fitted to measured ones.

The model of a level is `log t = a + b log(sum over atoms of w[element])`, with noise. What is not
measured yet is bridged by a prior: costs grow with the square of the size, give or take one power,
and elements weigh as much as their electrons, give or take a factor of e. With the first
measurement the model is little more than that; with many the prior counts for nothing. A
calculation that had to be rescued takes ten times as long: the fit is robust against those.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

N_ELEMENTS = 119
"""Length of a composition: one place for each atomic number."""

_POWER, _POWER_SPREAD, _LARGEST_POWER = 2.0, 1.0, 8.0
_WEIGHT_SPREAD = 1.0
_NOISE, _NOISE_WORTH = 0.3, 4.0
"""Spread of the logarithms that is taken for granted, and how many measurements that is worth."""
_LEAST_NOISE = 0.02
_CAUCHY = 2.385
"""Residuals of so many spreads count half in the fit."""
_MOST_STEPS, _LONGEST_STEP, _SMALL_STEP = 100, 1.0, 1e-9


@dataclass(frozen=True, eq=False, slots=True)
class Measured:
    """One calculation and the time that it took.

    Attributes:
        numbers: Atomic numbers, (atoms,).
        wall_s: Time [s].
        cores: Cores that were its own for that time.
    """

    numbers: UInt8[np.ndarray, " atoms"]
    wall_s: float
    cores: int = 1

    @property
    def core_s(self) -> float:
        """Time of all cores together [s]."""
        return self.wall_s * self.cores


def compositions(
    structures: Iterable[UInt8[np.ndarray, " atoms"]],
) -> Float[np.ndarray, "structures elements"]:
    """Number of atoms by atomic number of each structure, given the atomic numbers of each."""
    counted = [np.bincount(numbers, minlength=N_ELEMENTS) for numbers in structures]
    return np.array(counted, np.float64).reshape(-1, N_ELEMENTS)


@dataclass(frozen=True, eq=False, slots=True)
class CostModel:
    """What calculations at one level of theory cost.

    Attributes:
        n_measured: Number of calculations that it was fitted to.
        cores: Cores that they had, in the median.
        reference: Size that `log_s` is the cost of.
        log_s: Logarithm of the median cost [core-seconds] at that size.
        power: How the cost grows with the size.
        weights: Size of an atom by atomic number, (elements,).
        noise: Spread of the logarithms around the model.
        covariance: Of `log_s`, `power` and the logarithms of the weights that were fitted.
        fitted: Atomic numbers whose weights were fitted.
        residuals: Logarithms of measured over median costs.
    """

    n_measured: int
    cores: int
    reference: float
    log_s: float
    power: float
    weights: Float[np.ndarray, " elements"]
    noise: float
    covariance: Float[np.ndarray, "parameters parameters"]
    fitted: tuple[int, ...]
    residuals: Float[np.ndarray, " measured"]

    def median_core_s(
        self, counts: Float[np.ndarray, "structures elements"]
    ) -> Float[np.ndarray, " structures"]:
        """Core-seconds that half of the calculations of such structures stay below.

        Never less for a structure with more atoms.
        """
        median: Float[np.ndarray, " structures"] = np.exp(self._log_median(counts))
        return median

    def mean_core_s(
        self, counts: Float[np.ndarray, "structures elements"]
    ) -> Float[np.ndarray, " structures"]:
        """Core-seconds on average, those of the slow ones included: what may be summed."""
        # "Smearing": the mean of the factors that were measured, whatever their distribution.
        factor = float(np.mean(np.exp(self.residuals)))
        return factor * self.median_core_s(counts)

    def upper_core_s(
        self, counts: Float[np.ndarray, "structures elements"], share: float
    ) -> Float[np.ndarray, " structures"]:
        """Core-seconds that this share of the calculations stay below.

        What the model does not know about sizes and elements far from the measured ones counts.
        """
        sizes = counts @ self.weights
        parts = counts[:, self.fitted] * self.weights[list(self.fitted)] / sizes[:, None]
        slopes = np.column_stack(
            [np.ones(len(sizes)), np.log(sizes / self.reference), self.power * parts]
        )
        known = np.einsum("ni,ij,nj->n", slopes, self.covariance, slopes)
        # Of an element that was never seen only the prior is known.
        strange = self.power * np.clip(1.0 - parts.sum(1), 0.0, 1.0) * _WEIGHT_SPREAD
        doubt = np.sqrt(np.maximum(known, 0.0) + strange**2 + self.noise**2)
        normal = NormalDist().inv_cdf(share) * doubt
        seen = float(np.quantile(self.residuals, share, method="higher"))
        upper: Float[np.ndarray, " structures"] = np.exp(
            self._log_median(counts) + np.maximum(normal, seen)
        )
        return upper

    def _log_median(
        self, counts: Float[np.ndarray, "structures elements"]
    ) -> Float[np.ndarray, " structures"]:
        relative: Float[np.ndarray, " structures"] = counts @ self.weights / self.reference
        log_s: Float[np.ndarray, " structures"] = self.log_s + self.power * np.log(relative)
        return log_s


def fit(measured: Sequence[Measured]) -> CostModel | None:
    """The model of a level, fitted to what was measured at it; None if nothing was."""
    measured = [one for one in measured if one.wall_s > 0 and len(one.numbers)]
    if not measured:
        return None
    counts = compositions(one.numbers for one in measured)
    logs = np.log([one.core_s for one in measured])
    electrons = np.arange(N_ELEMENTS, dtype=np.float64)
    electrons[0] = 1.0  # of ghosts and the like
    fitted = tuple(np.flatnonzero(counts.any(0)).tolist())
    reference = float(np.exp(np.mean(np.log(counts @ electrons))))
    seen = counts[:, fitted] * electrons[list(fitted)] / reference
    best = _solved(seen, logs, np.array([np.median(logs), _POWER, *np.zeros(len(fitted))]))
    weights = electrons.copy()
    weights[list(fitted)] *= np.exp(best.values[2:])
    return CostModel(
        n_measured=len(measured),
        cores=int(np.median([one.cores for one in measured])),
        reference=reference,
        log_s=float(best.values[0]),
        power=float(best.values[1]),
        weights=weights,
        noise=best.noise,
        covariance=np.linalg.inv(best.curvature),
        fitted=fitted,
        residuals=best.residuals,
    )


class _Solution(NamedTuple):
    """Parameters (`log_s`, `power`, logarithms of weights), and the problem around them."""

    values: Float[np.ndarray, " parameters"]
    residuals: Float[np.ndarray, " measured"]
    slopes: Float[np.ndarray, "measured parameters"]
    trust: Float[np.ndarray, " measured"]
    curvature: Float[np.ndarray, "parameters parameters"]
    noise: float


def _solved(
    seen: Float[np.ndarray, "measured fitted"],
    logs: Float[np.ndarray, " measured"],
    expected: Float[np.ndarray, " parameters"],
) -> _Solution:
    """The most probable parameters.

    Gauss-Newton on least squares, first with the noise that is taken for granted, then with noise
    and weights (Cauchy's) that follow from the residuals of the step before: far from the solution
    these would call everything noise.

    Args:
        seen: Size of the atoms of each element, before its weight is fitted.
        logs: Logarithms of the costs.
        expected: The parameters as the prior has them; it leaves the first one free.
    """
    precision = np.full(len(expected), _WEIGHT_SPREAD**-2.0)
    precision[:2] = 0.0, _POWER_SPREAD**-2.0
    values = expected
    for is_robust in (False, True):
        for _ in range(_MOST_STEPS):
            now = _at(values, seen, logs, precision, is_robust=is_robust)
            pull = now.slopes.T @ (now.trust * now.residuals)
            pull -= precision * (values - expected)
            step = np.linalg.solve(now.curvature, pull).clip(-_LONGEST_STEP, _LONGEST_STEP)
            before, values = values, values + step
            values[1] = np.clip(values[1], 0.0, _LARGEST_POWER)
            if np.abs(values - before).max() < _SMALL_STEP:
                break
    return _at(values, seen, logs, precision, is_robust=True)


def _at(
    values: Float[np.ndarray, " parameters"],
    seen: Float[np.ndarray, "measured fitted"],
    logs: Float[np.ndarray, " measured"],
    precision: Float[np.ndarray, " parameters"],
    *,
    is_robust: bool,
) -> _Solution:
    """The problem around some values of the parameters."""
    parts = seen * np.exp(values[2:])
    sizes = parts.sum(1)
    residuals = logs - values[0] - values[1] * np.log(sizes)
    slopes = np.column_stack(
        [np.ones(len(sizes)), np.log(sizes), values[1] * parts / sizes[:, None]]
    )
    # Half of normally distributed numbers are within 0.6745 spreads.
    scatter = float(np.median(np.abs(residuals))) / 0.6745
    n = len(logs)
    variance = (_NOISE_WORTH * _NOISE**2 + n * scatter**2) / (_NOISE_WORTH + n)
    noise = max(_LEAST_NOISE, float(np.sqrt(variance)))
    trust = np.full(n, _NOISE**-2.0)
    if is_robust:
        trust = 1 / (1 + (residuals / (_CAUCHY * noise)) ** 2) / noise**2
    curvature = (slopes.T * trust) @ slopes + np.diag(precision)
    return _Solution(values, residuals, slopes, trust, curvature, noise)
