"""How many threads the compiled kernels use: one, unless the pool of a worker says otherwise."""

import os

VARIABLE = "NUMBA_NUM_THREADS"
"""Set for every task to the threads of its pool, recorded with it, and set again by a rerun."""


def kernel_threads() -> int:
    """Threads that share the atoms of a batch; 1 where nothing sensible is set.

    The rounding of forces depends on their number, but not on what else is in a batch.
    """
    text = os.environ.get(VARIABLE, "").strip()
    return max(1, int(text)) if text.isdecimal() else 1
