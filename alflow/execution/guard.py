"""Watches over the blocks of one pool, so that a bad pool harms no other and asks for no more.

Parsl calls a handler with the state of all blocks at every poll, in the thread of its poller. What
Parsl's own handlers do there, raising for an executor that was given up, ends the scaling of all
other executors. This one never raises and never gives an executor up: a pool whose blocks fail in
a row pauses (`alflow.execution.breaker`), then tries one block.

A provider may know more than Parsl tells. If it has them, these are called:

    observe(status, connected)   states of the blocks; it then limits its own `max_blocks`
    news()                       sentences about what happened since the last call
    is_shut                      whether it has no block and may ask for none now
    refusal()                    why there will be no workers, or None
    exclude(hosts)               hosts not to be used for blocks from now on
"""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from parsl.jobs.states import JobState, JobStatus

from alflow.execution.breaker import PAUSES_S, CircuitBreaker

STEADY_S = 60.0
"""Age at which a block that runs has proved its pool [s]."""

_LONGEST_WORD = 300
_FAILED = (JobState.FAILED, JobState.MISSING)
_logger = logging.getLogger(__name__)


class PoolGuard:
    """What is known about the blocks of a pool.

    Attributes:
        looked: When the poller last came by, by the monotonic clock [s].
    """

    def __init__(self, label: str, provider: Any) -> None:
        """Watch over the blocks that `provider` is asked for."""
        self.looked = time.monotonic()
        self._label = label
        self._provider = provider
        self._has_own = hasattr(provider, "observe")
        self._most_blocks = 1 if self._has_own else int(provider.max_blocks)
        self._breaker = CircuitBreaker(PAUSES_S)
        self._judged: set[str] = set()
        self._running: dict[str, float] = {}
        self._has_worked = False
        self._fault = ""
        self._news: list[str] = []
        self._lock = threading.RLock()

    def handle(self, executor: Any, status: Mapping[str, JobStatus]) -> None:
        """Take note of all blocks that the pool ever had; called by Parsl's poller."""
        self.looked = time.monotonic()
        try:
            if self._has_own:
                self._provider.observe(status, executor.connected_blocks())
            else:
                self._look(status)
                self._provider.max_blocks = self._breaker.allowance(self._most_blocks)
        except Exception:
            _logger.exception("looking at the blocks of pool %s", self._label)

    def worked(self) -> None:
        """An attempt ended well there."""
        with self._lock:
            self._has_worked = True
            if self._breaker.is_suspicious:
                self._breaker.came_up()
                self._news.append("it works again")

    @property
    def is_paused(self) -> bool:
        """Whether it has no block and may ask for none now."""
        if self._has_own:
            return bool(self._provider.is_shut)
        with self._lock:
            return self._breaker.allowance(1) == 0 and not self._running

    def refusal(self) -> str | None:
        """Why there will be no workers, or None: a pool that worked before is waited for."""
        if self._has_own:
            return None if (why := self._provider.refusal()) is None else str(why)
        with self._lock:
            if self.is_paused and (self._breaker.is_exhausted or not self._has_worked):
                return self._fault
        return None

    def news(self) -> list[str]:
        """Sentences about what happened since the last call."""
        with self._lock:
            news, self._news = self._news, []
        return [*news, *getattr(self._provider, "news", list)()]

    def exclude(self, hosts: Sequence[str]) -> bool:
        """Use these hosts no more for new blocks; False if that cannot be asked for."""
        if not hasattr(self._provider, "exclude"):
            return False
        self._provider.exclude(hosts)
        return True

    def _look(self, status: Mapping[str, JobStatus]) -> None:
        now = time.monotonic()
        with self._lock:
            for name, block in sorted(status.items(), key=lambda item: int(item[0])):
                if block.state is JobState.RUNNING:
                    since = self._running.setdefault(name, now)
                    if now - since > STEADY_S:
                        self.worked()
                    continue
                self._running.pop(name, None)
                if block.state in _FAILED and name not in self._judged:
                    self._judged.add(name)
                    self._fail(name, block)

    def _fail(self, name: str, block: JobStatus) -> None:
        self._fault = _reason(name, block)
        self._news.append(self._fault)
        if self._breaker.failed() and not self._breaker.is_exhausted:
            self._news.append(
                f"no further block for {self._breaker.pause_s:.0f} s: several failed"
            )


def _reason(name: str, block: JobStatus) -> str:
    """One line about a block that failed."""
    parts = [f"block {name} failed"]
    if block.exit_code is not None:
        parts.append(f"exit status {block.exit_code}")
    printed = (block.stderr_summary or block.stdout_summary or "").strip().splitlines()
    said = [*printed[-1:], *(block.message or "").strip().splitlines()]
    parts += [line.strip()[:_LONGEST_WORD] for line in said[:1]]
    log = f" (log: {block.stderr_path})" if block.stderr_path else ""
    return ": ".join(parts) + log
