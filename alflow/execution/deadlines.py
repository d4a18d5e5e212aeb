"""How much time a worker has left: blocks of batch jobs end, whatever runs in them."""

import os
import time

BLOCK_END_VARIABLE = "ALFLOW_BLOCK_END"
"""Environment variable with the end of the block of a worker [s since 1970]."""
MARGIN_VARIABLE = "ALFLOW_BLOCK_MARGIN_S"
"""Environment variable with the time that a worker keeps for itself before that end [s]."""

_MARGIN_S = 20.0


def time_left_s() -> float | None:
    """Time that attempts of this worker may still take [s]; None where nothing ends it."""
    end = _number(BLOCK_END_VARIABLE)
    if end is None:
        return None
    margin = _number(MARGIN_VARIABLE)
    return end - time.time() - (_MARGIN_S if margin is None else margin)


def _number(name: str) -> float | None:
    try:
        return float(os.environ[name])
    except (KeyError, ValueError):
        return None
