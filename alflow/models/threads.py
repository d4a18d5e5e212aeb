"""How many threads the compiled kernels use: one, unless the pool of a worker says otherwise."""

import os

VARIABLE = "NUMBA_NUM_THREADS"
"""Set for every task to the threads of its pool, recorded with it, and set again by a rerun."""


def kernel_threads() -> int:
    """Threads that share the atoms of a batch; 1 where nothing sensible is set.

    With several of them the rounding of forces depends on how atoms are shared out, and that on
    what is in the batch.
    """
    text = os.environ.get(VARIABLE, "").strip()
    return max(1, int(text)) if text.isdecimal() else 1
