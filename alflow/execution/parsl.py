"""Runs attempts on the pools of a site through Parsl."""

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from parsl.executors.high_throughput.errors import WorkerLost

from alflow.core.errors import SiteError
from alflow.core.labels import Failure, FailureKind
from alflow.core.tasks import AttemptRef
from alflow.execution.files import CampaignFiles
from alflow.execution.kernel import Kernel, log_to
from alflow.execution.sites import Site
from alflow.execution.worker import COMMITTED, NOT_CLAIMED
from alflow.registry import available

_MOST_RESTARTS = 3


class ParslExecutor:
    """Hands attempts to Parsl and finds out which of them ended without a result."""

    def __init__(self, files: CampaignFiles, site: Site) -> None:
        """Prepare; nothing is started.

        Args:
            files: The campaign directory.
            site: Where to run.
        """
        self._files = files
        self._site = site
        self._kernel: Kernel | None = None
        self._restarts = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._pending: dict[AttemptRef, int] = {}
        self._suspects: dict[AttemptRef, tuple[str, bool]] = {}
        self._undo_log = _nothing

    def start(self) -> None:
        """Start dispatchers and ask for workers.

        Raises:
            SiteError: If the site does not come up.
        """
        logs = self._files.root / "logs"
        undo_log = log_to(logs)
        try:
            self._kernel = Kernel(self._site, logs)
        except SiteError:
            undo_log()
            raise
        self._undo_log = undo_log

    def submit(self, attempt: AttemptRef) -> None:
        """Queue an attempt whose spec is on disk.

        Raises:
            SiteError: If no pool takes it, or its pool cannot get workers.
        """
        kernel = self._running()
        label = self._site.pool_of(attempt.kind).label
        with self._lock:
            self._pending[attempt] = self._restarts
        future = kernel.submit(label, self._files.root, attempt)
        future.add_done_callback(partial(self._ended, attempt, self._restarts))

    def slots(self) -> Mapping[str, int]:
        """Number of workers that can run each installed task kind at the same time.

        Kinds that share a pool share its workers, too.
        """
        kinds = filter(self._site.serves, available("tasks"))
        return {kind: self._site.pool_of(kind).workers for kind in kinds}

    def wait(self, timeout_s: float) -> None:
        """Return when some attempt may have ended, or after `timeout_s`.

        Raises:
            SiteError: If a pool cannot get workers, or dispatchers keep dying.
        """
        self._wake.wait(timeout_s)
        self._wake.clear()
        kernel = self._running()
        if (fault := kernel.fault()) is not None:
            self._replace(kernel, fault)

    def lost(self) -> Sequence[tuple[AttemptRef, Failure]]:
        """Attempts that ended without a result, each told once.

        An attempt whose worker Parsl has lost sight of may still be running and commit its
        result: it is lost only when its worker is gone, too.
        """
        with self._lock:
            suspects = dict(self._suspects)
        lost = []
        for attempt, (reason, is_certain) in suspects.items():
            is_over = (
                self._files.revoke(attempt)
                or is_certain
                or not self._files.is_alive(attempt)
            )
            has_result = self._files.has_result(attempt)
            if is_over and not has_result:
                lost.append((attempt, Failure(FailureKind.LOST, reason)))
            if is_over or has_result:
                with self._lock:
                    del self._suspects[attempt]
        return lost

    def close(self, *, cancel: bool) -> None:
        """Take the workers down within a deadline.

        Args:
            cancel: Kill what runs. Otherwise what runs goes on to its end and commits its
                result, what is queued never starts, and the workers leave by themselves.
        """
        kernel, self._kernel = self._kernel, None
        with self._lock:
            pending, self._pending = list(self._pending), {}
        for attempt in pending:
            self._files.revoke(attempt)
        if kernel is not None:
            kernel.close(cancel=cancel)
        self._undo_log()
        self._undo_log = _nothing

    def _running(self) -> Kernel:
        if self._kernel is None:
            raise SiteError(f"site {self._site.name!r} is not started")
        if (refusal := self._kernel.refusal()) is not None:
            raise refusal
        return self._kernel

    def _ended(self, attempt: AttemptRef, generation: int, future: Future[Any]) -> None:
        """Note the end of a future; runs in a thread of Parsl's and must not raise."""
        error = future.exception()
        if error is not None:
            ending = (f"{type(error).__name__}: {error}", isinstance(error, WorkerLost))
        else:
            status = str(future.result().get("status", ""))
            ending = (status, True)
        with self._lock:
            if self._pending.get(attempt) == generation:
                del self._pending[attempt]
                # A committed result may become visible here later than the news of it, on a
                # network file system; it is there all the same.
                if ending[0] not in (COMMITTED, NOT_CLAIMED):
                    self._suspects[attempt] = ending
        self._wake.set()

    def _replace(self, kernel: Kernel, fault: str) -> None:
        """Abandon a broken kernel and start another; its workers end by themselves."""
        self._restarts += 1
        if self._restarts > _MOST_RESTARTS:
            raise SiteError(
                f"{fault}, for the {self._restarts}th time",
                consequence="What is finished is kept.",
                next_step=f"look into {self._files.root / 'logs'}, then run `alflow resume`",
            )
        with self._lock:
            self._suspects.update(dict.fromkeys(self._pending, (fault, False)))
            self._pending.clear()
        self._kernel = None
        kernel.close(cancel=False)
        self._kernel = Kernel(self._site, self._files.root / "logs")


def _nothing() -> None:
    """Undo no log."""
