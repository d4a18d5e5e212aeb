"""Keeps a pool from asking a scheduler for one doomed block after the other."""

import time
from collections.abc import Callable, Sequence

PAUSES_S = (60.0, 300.0, 900.0)
"""Waits before the next block is tried, after failures in a row [s]."""
THRESHOLD = 3
"""Blocks that fail in a row until a pool pauses."""


class CircuitBreaker:
    """Allows all blocks, none, or one to try with.

    A few failures in a row make a pause. After it one block is tried: if it comes up, all is
    well again, if it fails, a longer pause follows. After the last pause there is no more.
    """

    def __init__(
        self,
        pauses_s: Sequence[float] = PAUSES_S,
        threshold: int = THRESHOLD,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin closed: all blocks are allowed.

        Args:
            pauses_s: Lengths of the pauses [s].
            threshold: Failures in a row that make a pause.
            clock: Tells the time [s].
        """
        self._pauses_s = tuple(pauses_s)
        self._threshold = threshold
        self._clock = clock
        self._failures = 0
        self._pauses = 0
        self._until: float | None = None

    @property
    def is_suspicious(self) -> bool:
        """Whether blocks failed since the last one that came up."""
        return self._failures > 0 or self._pauses > 0

    @property
    def is_exhausted(self) -> bool:
        """Whether it failed once more after the last pause."""
        return self._pauses > len(self._pauses_s)

    @property
    def pause_s(self) -> float:
        """Time until the next block may be tried [s]; 0 if one may now."""
        return 0.0 if self._until is None else max(0.0, self._until - self._clock())

    def failed(self) -> bool:
        """A block failed; True if that begins a pause, or is the end."""
        self._failures += 1
        is_trial = self._pauses > 0
        if not is_trial and self._failures < self._threshold:
            return False
        self._pauses += 1
        self._failures = 0
        if not self.is_exhausted:
            self._until = self._clock() + self._pauses_s[self._pauses - 1]
        return True

    def came_up(self) -> None:
        """A block has workers: all is well."""
        self._failures = 0
        self._pauses = 0
        self._until = None

    def allowance(self, wanted: int) -> int:
        """How many blocks there may be, if `wanted` would be best."""
        if self.is_exhausted or self.pause_s > 0:
            return 0
        return min(wanted, 1) if self._pauses else wanted
