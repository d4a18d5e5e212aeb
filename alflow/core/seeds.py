"""Named child seeds: every random number of a campaign follows from its one seed.

A task's seed derives from the campaign seed and the task key, never from time, process or
order of arrival, so that a task that is run again is the same task.
"""

import hashlib

import numpy as np


def child_seed(seed: int, *names: str | int) -> int:
    """Derive an independent seed from a parent seed and a path of names.

    Args:
        seed: Parent seed.
        names: What the child is for, for example a task key, then a replica number. The path
            is unambiguous: `("a", "bc")` and `("ab", "c")` give different seeds.

    Returns:
        An integer in [0, 2**63), so that it fits a signed 64-bit SQL column.
    """
    digest = hashlib.blake2b(digest_size=8, person=b"alflow-seed-v1")
    for name in (seed, *names):
        text = str(name).encode()
        digest.update(len(text).to_bytes(8, "little"))
        digest.update(text)
    return int.from_bytes(digest.digest(), "little") >> 1


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """A numpy random generator for the named child of `seed`."""
    return np.random.Generator(np.random.PCG64(child_seed(seed, *names)))
