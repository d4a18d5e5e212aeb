"""Bounds that hold at every look, so that a campaign may stop at the first good one."""

import math

STEPS = 60
"""Halvings of an interval: more than double precision has digits."""


def upper_bound(n_beyond: int, n: int, confidence: float, start: int = 1) -> float:
    """The share that the true one is below, at all times at once, with this probability.

    Of draws that are each 1 or 0, by a mixture over all shares, uniform beforehand (Robbins,
    Annals of Mathematical Statistics 41, 1397 (1970); Ville's inequality): the shares that the
    mixture is not 1 / (1 - confidence) times as likely as. It may be looked at after every draw.
    Draws may also be counted from one of several starts, a window that moves: the k-th start gets
    6 / (π k)² of the probability to fail, so that all together have no more than all of it.

    Args:
        n_beyond: Number of ones.
        n: Number of draws.
        confidence: Probability that the bounds hold, from all starts together, between 0 and 1.
        start: Number of the start that draws are counted from, 1 for the first.
    """
    limit = -math.log1p(-confidence) + math.log((math.pi * start) ** 2 / 6)
    mixture = _log_beta(n_beyond + 1, n - n_beyond + 1)

    def is_refuted(share: float) -> bool:
        likelihood = n_beyond * math.log(share) if n_beyond else 0.0
        likelihood += (n - n_beyond) * math.log1p(-share) if n > n_beyond else 0.0
        return mixture - likelihood >= limit

    low, high = n_beyond / n if n else 1.0, 1.0
    if not low < high or not is_refuted(1.0 - 1e-15):
        return 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if is_refuted(middle) else (middle, high)
    return high


def _log_beta(a: int, b: int) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
