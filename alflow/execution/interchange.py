"""Parsl's dispatcher, taught to wind down when the manager dies.

Plain Parsl goes on without its manager: the interchange keeps dispatching queued tasks and
keeps its pools, and a batch job idles until its time is up. This one notices that its parent
is gone, or is told by SIGUSR1, and becomes a lame duck: running attempts go on to their end
and commit their results to files, queued ones never start, each pool is sent home when it is
idle, and then the interchange ends itself.

It overrides two methods of a class that Parsl does not promise to keep. `broken_contract` says
whether the installed Parsl still has what that needs. Where it has not, Parsl's own interchange
runs, and is ended some time after its manager: by then a new manager has taken over what ran.
"""

import inspect
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from parsl.executors.high_throughput.interchange import Interchange
from parsl.executors.high_throughput.manager_record import ManagerRecord

LINGER_S = 5.0
"""Time that a lame duck waits for pools that were just starting, to send them home [s]."""

EXCLUDED_HOSTS = "excluded-hosts"
"""File in the folder of the logs: hosts, one a line, whose workers are to be sent home."""

STOCK_VARIABLE = "ALFLOW_STOCK_INTERCHANGE"
"""Environment variable that asks for Parsl's own interchange."""

ADOPTION_VARIABLE = "ALFLOW_ADOPTION_S"
"""Environment variable with the time that Parsl's own interchange outlives its manager [s]."""

_ADOPTION_S = 3600.0
_LOOK_PERIOD_S = 5.0
_HOOKS = {
    "expire_drained_managers": ("_ready_managers", "draining", "PKL_SHUTDOWN_CODE"),
    "process_tasks_to_send": ("pending_task_queue", "interesting_managers"),
}
"""Methods that are overridden, and words that their source must have."""

_logger = logging.getLogger(__name__)


class LameDuckInterchange(Interchange):  # type: ignore[misc, unused-ignore]
    """An interchange that outlives its manager only as long as attempts run."""

    def __init__(
        self, *, manager_pid: int, campaign: str | None = None, **config: Any
    ) -> None:
        """Connect to the manager.

        Args:
            manager_pid: Process number of the manager. It is told, not asked for: the
                manager may be gone before this process has come up.
            campaign: The campaign directory, if blocks of workers may wait in a queue.
            config: What Parsl configures its interchange with.
        """
        super().__init__(**config)
        self._excluded = Path(config["logdir"]) / EXCLUDED_HOSTS
        self._next_look = 0.0
        self._manager_pid = manager_pid
        self._campaign = campaign
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
            if self._campaign is not None:
                self._withdraw(self._campaign)
        return self._is_dismissed

    def _withdraw(self, campaign: str) -> None:
        """Take the blocks that have not begun out of the queue: they would find nobody."""
        command = [sys.executable, "-P", "-m", "alflow.execution.stale"]
        subprocess.Popen(  # noqa: S603 - alflow's own command, no shell
            [*command, campaign, str(self._manager_pid)],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def expire_drained_managers(self, *args: Any) -> None:
        """Send idle pools home; a lame duck sends all, then ends itself."""
        if self.is_lame():
            for pool in self._ready_managers.values():
                pool["draining"] = True
        self._drain_excluded()
        super().expire_drained_managers(*args)
        if self.is_lame():
            self._end_when_alone()

    def process_tasks_to_send(self, *args: Any) -> None:
        """Dispatch queued tasks; a lame duck drops them."""
        if self.is_lame():
            self.pending_task_queue.clear()
        super().process_tasks_to_send(*args)

    def _drain_excluded(self) -> None:
        """Start nothing more on hosts that the manager has excluded."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_PERIOD_S
        try:
            hosts = self._excluded.read_text("utf-8").split()
        except OSError:
            return
        for pool in self._ready_managers.values():
            if pool["hostname"] in hosts:
                pool["draining"] = True

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


def broken_contract() -> list[str]:
    """What the installed Parsl lacks for the lame duck; empty if all is there."""
    broken = [f"ManagerRecord.{name}" for name in ("draining", "hostname")]
    broken = [name for name in broken if name.partition(".")[2] not in _record_fields()]
    loop = inspect.getsource(Interchange.start) if hasattr(Interchange, "start") else ""
    position = -1
    for name, words in _HOOKS.items():
        method = vars(Interchange).get(name)
        source = "" if method is None else inspect.getsource(method)
        broken += [f"{name}: {word}" for word in words if word not in source]
        found = loop.find(f"self.{name}(")
        if found <= position:
            broken.append(f"start() does not call {name} in its place")
        position = found
    return broken


def _record_fields() -> frozenset[str]:
    return frozenset(ManagerRecord.__annotations__)


class Heir:
    """Ends this process some time after its manager: a plain interchange never would."""

    def __init__(self, manager_pid: int, adoption_s: float) -> None:
        """Watch a manager, the parent of this process, from a thread.

        Args:
            manager_pid: Its process number.
            adoption_s: How long to go on without it [s].
        """
        self._manager_pid = manager_pid
        self._adoption_s = adoption_s
        self._dismissed = threading.Event()
        threading.Thread(target=self._watch, name="heir", daemon=True).start()

    def dismiss(self, *_: object) -> None:
        """The manager leaves; also a signal handler."""
        self._dismissed.set()

    def _watch(self) -> None:
        while os.getppid() == self._manager_pid and not self._dismissed.wait(1.0):
            pass
        time.sleep(self._adoption_s)
        os._exit(0)


def main() -> None:
    """Run the interchange that Parsl's executor has asked for.

    The arguments are its pid and, if blocks may wait in a queue, the campaign directory.
    """
    manager_pid = int(sys.argv[1])
    campaign = sys.argv[2] if len(sys.argv) > 2 else None  # noqa: PLR2004
    if os.getpid() != os.getpgrp():
        # Ctrl-C is for the manager; it decides what becomes of the workers.
        os.setsid()
    # Parsl's own protocol, from our own parent process.
    config = pickle.load(sys.stdin.buffer)  # noqa: S301
    if os.environ.get(STOCK_VARIABLE) or broken_contract():
        adoption_s = float(os.environ.get(ADOPTION_VARIABLE, _ADOPTION_S))
        interchange = Interchange(**config)
        signal.signal(signal.SIGUSR1, Heir(manager_pid, adoption_s).dismiss)
    else:
        interchange = LameDuckInterchange(
            manager_pid=manager_pid, campaign=campaign, **config
        )
        signal.signal(signal.SIGUSR1, interchange.dismiss)
    interchange.start()


if __name__ == "__main__":
    main()
