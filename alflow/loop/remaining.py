"""How long a stage will still take, told as far as it was measured, no further. Pure."""

from collections.abc import Sequence
from statistics import fmean

ENOUGH = 3
"""Fewest measured times from which anything is foretold."""
LEAST_SHARE = 0.1
"""Share of the typical time that what runs longer than that is given to come to its end."""


def seconds_left(
    times_s: Sequence[float], n_waiting: int, elapsed_s: Sequence[float]
) -> float | None:
    """Time until all that waits and runs is done, if as many run at the same time as now.

    What has come to its end first was short: what runs longer than the mean of those counts with
    its time so far.

    Args:
        times_s: How long the latest ones took [s].
        n_waiting: How many wait.
        elapsed_s: Since when those run that run [s].

    Returns:
        The time [s]; None if nothing runs, or too few were measured.
    """
    if len(times_s) < ENOUGH or not elapsed_s:
        return None
    so_far = fmean(times_s)
    each = fmean([*times_s, *(time for time in elapsed_s if time > so_far)])
    rest = [max(each - time, LEAST_SHARE * each) for time in elapsed_s]
    return max(*rest, (n_waiting * each + sum(rest)) / len(elapsed_s))
