"""Runs attempts on worker processes of this machine, without Parsl."""

import contextlib
import json
import os
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from alflow.core.errors import SiteError
from alflow.core.labels import Failure, FailureKind
from alflow.core.protocols import News
from alflow.core.tasks import AttemptRef
from alflow.execution.files import CampaignFiles
from alflow.execution.foreman import foreman_command
from alflow.execution.forked import ForkedProcess, send_line
from alflow.execution.worker import COMMITTED, NOT_CLAIMED
from alflow.registry import available

_MOST_RESTARTS = 3
_CLOSE_DEADLINE_S = 15.0

ForemanProcess = subprocess.Popen[bytes] | ForkedProcess


class ProcessExecutor:
    """Hands attempts to a foreman, and finds out which of them ended without a result.

    Workers outlive their manager as long as they are at an attempt, and commit its result.
    """

    def __init__(
        self, files: CampaignFiles, workers: int, foreman: ForemanProcess | None = None
    ) -> None:
        """Prepare; nothing is started.

        Args:
            files: The campaign directory.
            workers: Number of workers.
            foreman: A foreman that is there already, with that many workers.
        """
        self._files = files
        self._n_workers = workers
        self._foreman = foreman
        self._restarts = 0
        self._unread = b""
        self._pending: dict[AttemptRef, None] = {}
        self._suspects: dict[AttemptRef, str] = {}

    def start(self) -> None:
        """Start a foreman, unless one is there."""
        if self._foreman is None:
            self._foreman = self._launch()

    def submit(self, attempt: AttemptRef, *, larger: bool = False) -> None:
        """Queue an attempt whose spec is on disk.

        Raises:
            SiteError: If the executor has not been started.
        """
        del larger
        self._pending[attempt] = None
        # A foreman that is gone is noticed by `wait`, with all that was pending.
        with contextlib.suppress(BrokenPipeError):
            self._send(
                {"root": str(self._files.root), "attempt": asdict(attempt)},
            )

    def slots(self) -> Mapping[str, int]:
        """Number of workers, for each installed task kind; all kinds share them."""
        return dict.fromkeys(available("tasks"), self._n_workers)

    def pools(self) -> Mapping[str, str]:
        """One group for all kinds."""
        return dict.fromkeys(available("tasks"), "workers")

    def refusals(self) -> Mapping[str, SiteError]:
        """Nothing is refused here."""
        return {}

    def news(self) -> Sequence[News]:
        """Nothing happens to the workers that a manager need know."""
        return ()

    def exclude(self, hosts: Sequence[str]) -> Sequence[str]:
        """There is no other host."""
        del hosts
        return ()

    def wait(self, timeout_s: float) -> Sequence[AttemptRef]:
        """Return when some attempts may have ended, or after `timeout_s`; which ones.

        Raises:
            SiteError: If the foreman keeps dying.
        """
        foreman = self._running()
        descriptor = _output(foreman)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if not poll.poll(timeout_s * 1000):
            return ()
        chunk = os.read(descriptor, 65536)
        *lines, self._unread = (self._unread + chunk).split(b"\n")
        ended = []
        for line in lines:
            reply = json.loads(line)
            ended.append(AttemptRef(**reply["attempt"]))
            self._ended(ended[-1], reply["status"])
        if not chunk:
            self._replace(foreman)
        return ended

    def lost(self) -> Sequence[tuple[AttemptRef, Failure]]:
        """Attempts that ended without a result, each told once.

        An attempt whose foreman died may still be running and commit its result: it is lost only
        when its worker is gone, too.
        """
        lost = []
        for attempt, reason in list(self._suspects.items()):
            is_over = self._files.revoke(attempt) or not self._files.is_alive(attempt)
            has_result = self._files.has_result(attempt)
            if is_over and not has_result:
                lost.append((attempt, Failure(FailureKind.LOST, reason)))
            if is_over or has_result:
                del self._suspects[attempt]
        return lost

    def adopted(self, attempts: Sequence[AttemptRef]) -> None:
        """Attempts of earlier managers that live on end by themselves, with their workers."""

    def close(self, *, cancel: bool) -> None:
        """Let go of the workers.

        Args:
            cancel: End what runs. Otherwise it goes on to its end and commits its result, what
                is queued never starts, and the workers leave by themselves.
        """
        foreman, self._foreman = self._foreman, None
        for attempt in self._pending:
            self._files.revoke(attempt)
        self._pending.clear()
        if foreman is None:
            return
        if cancel:
            with contextlib.suppress(BrokenPipeError):
                send_line(_input(foreman), {"cancel": True})
        _close_pipes(foreman)
        if cancel:
            _await_end(foreman)

    def _running(self) -> ForemanProcess:
        if self._foreman is None:
            raise SiteError("the workers of this machine are not started")
        return self._foreman

    def _send(self, message: Mapping[str, Any]) -> None:
        send_line(_input(self._running()), message)

    def _ended(self, attempt: AttemptRef, status: str | None) -> None:
        self._pending.pop(attempt, None)
        if status is None:
            self._suspects[attempt] = "its worker died"
        elif status not in (COMMITTED, NOT_CLAIMED):
            self._suspects[attempt] = status

    def _replace(self, foreman: ForemanProcess) -> None:
        """Start another foreman; the workers of the dead one end by themselves."""
        foreman.wait()
        _close_pipes(foreman)
        self._restarts += 1
        if self._restarts > _MOST_RESTARTS:
            raise SiteError(
                f"the foreman of the workers died, for the {self._restarts}th time",
                consequence="What is finished is kept.",
                next_step=f"look into {self._log()}, then run `alflow resume`",
            )
        self._suspects.update(
            dict.fromkeys(self._pending, "the foreman of its worker died")
        )
        self._pending.clear()
        self._unread = b""
        self._foreman = self._launch()

    def _launch(self) -> ForemanProcess:
        command, options = foreman_command(self._n_workers)
        log = self._log()
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            return subprocess.Popen(  # noqa: S603 - alflow's own command, no shell
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                bufsize=0,
                **options,
            )

    def _log(self) -> Path:
        return self._files.root / "logs" / "workers.log"


def _input(foreman: ForemanProcess) -> int:
    if foreman.stdin is None:
        raise SiteError("the foreman of the workers cannot be written to")
    return foreman.stdin.fileno()


def _output(foreman: ForemanProcess) -> int:
    if foreman.stdout is None:
        raise SiteError("the foreman of the workers cannot be read from")
    return foreman.stdout.fileno()


def _close_pipes(foreman: ForemanProcess) -> None:
    for pipe in (foreman.stdin, foreman.stdout):
        if pipe is not None:
            pipe.close()


def _await_end(foreman: ForemanProcess) -> None:
    end = time.monotonic() + _CLOSE_DEADLINE_S
    while foreman.poll() is None:
        if time.monotonic() > end:
            foreman.kill()
            foreman.wait()
            return
        time.sleep(0.01)
