"""Kills and pauses the processes of a campaign until it has ended in spite of it."""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from alflow.core.failpoints import NAMES
from alflow.execution.files import CampaignFiles
from alflow.execution.forked import ForkedProcess
from alflow.execution.processes import children_of, parent_of
from alflow.store import open_store
from alflow.store.lease import TTL_S
from alflow.testing.actors import (
    FENCED,
    PROCESS,
    ManagerProcess,
    Stage,
    start_foreman,
    start_manager,
)

WORKER_POINTS = frozenset(
    f"file.{kind}.{side}"
    for kind in ("claim", "item", "output", "checkpoint", "result")
    for side in ("before", "after")
)
"""Points that workers pass."""

MANAGER_POINTS = frozenset(NAMES) - WORKER_POINTS
"""Points that managers pass. A toy campaign does not come by all of them: its settings never
change, none of its tasks fails for good, and its weights fit into the database."""

DEADLINE_S = 300.0
"""A campaign that has not ended after this time [s] without any progress will not."""

_MOST_BUGS = 3
_MOST_CRASHES = 2
"""Bodies that may be killed in one campaign. A third crash of one task would use the task up, as it
should, and the campaign would end in another way than the undisturbed one."""
_LONGEST_WAIT_S = 0.7
_WAITS_FOR_PROGRESS = 0.8
_HAS_POINTS, _HAS_POINT = 0.85, 0.7
_WORKERS_HAVE_POINTS = 0.3
"""How likely: that a manager may begin before something happens to it, that it has failpoints, and
any one of those left; that its workers have some."""


@dataclass(slots=True)
class Tally:
    """What has been done to campaigns so far.

    Attributes:
        kills: Processes killed.
        pauses: Processes stopped and continued.
        fenced: Managers that woke up and found that another one had taken over.
        points: Failpoints at which a process was killed.
        recoveries: Times from the death of a manager to the first progress of its successor [s].
        bugs: Managers that ended in a way that they should not have.
    """

    kills: int = 0
    pauses: int = 0
    fenced: int = 0
    points: set[str] = field(default_factory=set)
    recoveries: list[float] = field(default_factory=list)
    bugs: int = 0


class Torment:
    """One campaign under torment."""

    def __init__(self, stage: Stage, rng: random.Random, tally: Tally, kills: int) -> None:
        """Work on a stage whose campaign has not begun.

        Args:
            stage: The campaign.
            rng: Decides what happens when.
            tally: Where to count.
            kills: How many kills the tally may reach.
        """
        self._stage = stage
        self._rng = rng
        self._tally = tally
        self._kills = kills
        self._files = CampaignFiles(stage.folder / "chaos")
        self._foremen: list[ForkedProcess] = []
        self._stopped: list[int] = []
        self._token = stage.folder / "token"
        self._crashes_left = _MOST_CRASHES
        self._died: float | None = None
        self._acts: list[tuple[int, Callable[[ManagerProcess], ManagerProcess]]] = [
            (6, self._kill_manager),
            (6, self._kill_worker),
            (2, self._kill_body),
            (1, self._kill_pool),
            (2, self._pause_manager),
            (2, self._pause_worker),
            (1, self._start_rival),
        ]

    def run(self) -> None:
        """Let the campaign begin and end.

        Raises:
            TimeoutError: If it does not end.
        """
        try:
            manager = self._start()
            while manager.code != 0:
                manager = self._disturbed(manager)
            manager.close()
        finally:
            self._settle()

    def _disturbed(self, manager: ManagerProcess) -> ManagerProcess:
        """Let a manager run for a while, then do something; the manager that runs then."""
        if self._tally.kills >= self._kills:
            self._wait(manager, lambda: False, DEADLINE_S)
            if manager.code is None:
                raise TimeoutError(f"no end after {DEADLINE_S:.0f} s: {self._stage.folder}")
        elif self._rng.random() < _WAITS_FOR_PROGRESS:
            # Killed before it has done anything, a campaign would never come forward.
            self._wait(manager, lambda: bool(manager.progress), DEADLINE_S)
        pause_s = self._rng.uniform(0.0, _LONGEST_WAIT_S)
        self._wait(manager, lambda: False, pause_s)
        self._count_worker_deaths()
        if manager.code is not None:
            return self._after_end(manager)
        acts = [act for weight, act in self._acts for _ in range(weight)]
        return self._rng.choice(acts)(manager)

    # What happens ----------------------------------------------------------------------------

    def _kill_manager(self, manager: ManagerProcess) -> ManagerProcess:
        manager.send(signal.SIGKILL)
        self._wait(manager, lambda: False, DEADLINE_S)
        return self._after_end(manager)

    def _kill_worker(self, manager: ManagerProcess) -> ManagerProcess:
        for pid in self._some_worker():
            self._kill(pid)
        return manager

    def _kill_body(self, manager: ManagerProcess) -> ManagerProcess:
        """Kill what a worker runs."""
        for pid in self._some_worker():
            bodies = [body for server in children_of(pid) for body in children_of(server)]
            if bodies and self._crashes_left:
                self._crashes_left -= 1
                self._kill(bodies[0])
        return manager

    def _kill_pool(self, manager: ManagerProcess) -> ManagerProcess:
        for pid in self._some_worker():
            pool = parent_of(pid)
            if pool in [foreman.pid for foreman in self._foremen] or _is_pool(pool):
                self._kill(pool)
        return manager

    def _pause_worker(self, manager: ManagerProcess) -> ManagerProcess:
        for pid in self._some_worker():
            with self._paused(pid):
                self._wait(manager, lambda: False, self._rng.uniform(0.1, 0.5))
        return manager

    def _pause_manager(self, manager: ManagerProcess) -> ManagerProcess:
        """Stop a manager for longer than its lease, and let another one take over."""
        with self._paused(manager.process.pid):
            time.sleep(TTL_S * self._rng.uniform(0.8, 1.5))
            rival = self._start(is_rival=True)
            self._wait(rival, lambda: bool(rival.progress), TTL_S)
        # One of the two goes on: the rival, or the one that had it if the rival came too early.
        self._wait(rival, lambda: manager.look(0.01) is False, 20.0 + TTL_S)
        if rival.code is None and manager.code is None:
            raise TimeoutError(f"two managers at the same time: {self._stage.folder}")
        if rival.code is None:
            manager, rival = rival, manager
        return self._after_rivalry(manager, rival)

    def _start_rival(self, manager: ManagerProcess) -> ManagerProcess:
        """Start a second manager, which must not get in."""
        rival = self._start(is_rival=True)
        self._wait(rival, lambda: False, DEADLINE_S)
        return self._after_rivalry(manager, rival)

    def _after_rivalry(
        self, manager: ManagerProcess, rival: ManagerProcess
    ) -> ManagerProcess:
        """Forget the one that has ended; the manager that runs then."""
        self._count_end(rival)
        manager.look(0.0)
        return manager if manager.code is None else self._after_end(manager)

    # Aids ------------------------------------------------------------------------------------

    def _start(self, *, is_rival: bool = False) -> ManagerProcess:
        """Start a manager, with workers of its own; it may have to die at a failpoint."""
        points: set[str] = set()
        is_over = self._tally.kills >= self._kills
        if not is_rival and not is_over and self._rng.random() < _HAS_POINTS:
            left = sorted(MANAGER_POINTS - self._tally.points)
            points = {name for name in left if self._rng.random() < _HAS_POINT}
        foreman = None
        if self._stage.site == PROCESS:
            for_workers: set[str] = set()
            self._disarm_workers()
            may_crash = not is_over and self._rng.random() < _WORKERS_HAVE_POINTS
            if may_crash and self._crashes_left:
                for_workers = set(WORKER_POINTS - self._tally.points)
                self._crashes_left -= bool(for_workers)
            foreman = start_foreman(self._stage, for_workers, self._token)
            self._foremen.append(foreman)
        return start_manager(self._stage, points, foreman)

    def _after_end(self, manager: ManagerProcess) -> ManagerProcess:
        """Count the end of a manager and start its successor, if the campaign goes on."""
        if manager.code == 0:
            return manager
        self._count_end(manager)
        self._died = time.monotonic()
        return self._start()

    def _count_end(self, manager: ManagerProcess) -> None:
        if manager.code == -signal.SIGKILL:
            self._tally.kills += 1
            if manager.died_at:
                self._tally.points.add(manager.died_at)
        elif manager.code == FENCED:
            self._tally.fenced += 1
        elif manager.code != 0:
            self._tally.bugs += 1
            if self._tally.bugs > _MOST_BUGS:
                raise RuntimeError(
                    f"managers keep ending with exit code {manager.code}: {self._stage.log}"
                )
        manager.close()

    def _wait(
        self, manager: ManagerProcess, condition: Callable[[], bool], timeout_s: float
    ) -> None:
        """Wait until a manager ends, something is true, or the time is up."""
        end = time.monotonic() + timeout_s
        while manager.look(0.005) and not condition() and time.monotonic() < end:
            pass
        if self._died is not None and manager.progress:
            self._tally.recoveries.append(manager.progress[0] - self._died)
            self._died = None

    def _kill(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self._tally.kills += 1

    @contextlib.contextmanager
    def _paused(self, pid: int) -> Iterator[None]:
        try:
            os.kill(pid, signal.SIGSTOP)
            self._tally.pauses += 1
            yield
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            return

    def _some_worker(self) -> list[int]:
        """The process of a worker that is at an attempt; empty if there is none."""
        if not (self._files.root / "tasks").is_dir():
            return []
        with open_store(self._stage.database, read_only=True) as store:
            attempts = [row.ref for row in store.open_attempts()]
        at_work = sorted(
            filter(self._files.is_alive, attempts), key=lambda ref: ref.task_id
        )
        if not at_work:
            return []
        claim = self._files.claim_of(self._rng.choice(at_work))
        return [] if claim is None or not claim.pid else [claim.pid]

    def _disarm_workers(self) -> None:
        """Take back the points of earlier workers that have not been reached."""
        with contextlib.suppress(FileNotFoundError):
            self._token.unlink()
            self._crashes_left += 1

    def _count_worker_deaths(self) -> None:
        for path in self._token.parent.glob(f"{self._token.name}.*"):
            path.unlink()
            self._tally.kills += 1
            point = path.name.removeprefix(f"{self._token.name}.")
            self._tally.points.add(point)
            # There the worker itself died, before there was a body.
            self._crashes_left += point.startswith("file.claim")
        for foreman in self._foremen:
            foreman.poll()

    def _settle(self) -> None:
        """Wait for what has outlived its manager."""
        end = time.monotonic() + 30.0
        while any(foreman.poll() is None for foreman in self._foremen):
            if time.monotonic() > end:
                for foreman in self._foremen:
                    foreman.kill()
            time.sleep(0.01)
        self._count_worker_deaths()


def _is_pool(pid: int) -> bool:
    """Whether a process is a pool of Parsl workers."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"process_worker_pool" in command
