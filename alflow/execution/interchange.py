"""Parsl's dispatcher, taught to wind down when the manager dies.

Plain Parsl goes on without its manager: the interchange keeps dispatching queued tasks and
keeps its pools, and a batch job idles until its time is up. This one notices that its parent
is gone, or is told by SIGUSR1, and becomes a lame duck: running attempts go on to their end
and commit their results to files, queued ones never start, each pool is sent home when it is
idle, and then the interchange ends itself.

It overrides two methods of a class that Parsl does not promise to keep;
`tests/execution/test_interchange.py` holds the contract.
"""

import logging
import os
import pickle
import signal
import sys
import time
from typing import Any

from parsl.executors.high_throughput.interchange import Interchange

LINGER_S = 5.0
"""Time that a lame duck waits for pools that were just starting, to send them home [s]."""

_logger = logging.getLogger(__name__)


class LameDuckInterchange(Interchange):  # type: ignore[misc, unused-ignore]
    """An interchange that outlives its manager only as long as attempts run."""

    def __init__(self, *, manager_pid: int, **config: Any) -> None:
        """Connect to the manager.

        Args:
            manager_pid: Process number of the manager. It is told, not asked for: the
                manager may be gone before this process has come up.
            config: What Parsl configures its interchange with.
        """
        super().__init__(**config)
        self._manager_pid = manager_pid
        self._is_dismissed = False
        self._idle_since: float | None = None

    def dismiss(self, *_: object) -> None:
        """Become a lame duck; also a signal handler."""
        self._is_dismissed = True

    def is_lame(self) -> bool:
        """Whether nobody will ask for results any more."""
        if not self._is_dismissed and os.getppid() != self._manager_pid:
            _logger.warning("the manager is gone: finishing what runs, starting nothing")
            self._is_dismissed = True
        return self._is_dismissed

    def expire_drained_managers(self, *args: Any) -> None:
        """Send idle pools home; a lame duck sends all, then ends itself."""
        if self.is_lame():
            for pool in self._ready_managers.values():
                pool["draining"] = True
        super().expire_drained_managers(*args)
        if self.is_lame():
            self._end_when_alone()

    def process_tasks_to_send(self, *args: Any) -> None:
        """Dispatch queued tasks; a lame duck drops them."""
        if self.is_lame():
            self.pending_task_queue.clear()
        super().process_tasks_to_send(*args)

    def _end_when_alone(self) -> None:
        if self._ready_managers:
            self._idle_since = None
            return
        self._idle_since = self._idle_since or time.monotonic()
        if time.monotonic() - self._idle_since > LINGER_S:
            _logger.warning("no pool left: ending")
            logging.shutdown()
            # A clean exit would wait for ever to deliver results to a manager that is gone.
            os._exit(0)


def main() -> None:
    """Run the interchange that Parsl's executor has asked for; the argument is its pid."""
    manager_pid = int(sys.argv[1])
    if os.getpid() != os.getpgrp():
        # Ctrl-C is for the manager; it decides what becomes of the workers.
        os.setsid()
    # Parsl's own protocol, from our own parent process.
    config = pickle.load(sys.stdin.buffer)  # noqa: S301
    interchange = LameDuckInterchange(manager_pid=manager_pid, **config)
    signal.signal(signal.SIGUSR1, interchange.dismiss)
    interchange.start()


if __name__ == "__main__":
    main()
