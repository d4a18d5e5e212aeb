"""Runs attempts on the pools of a site through Parsl."""

import contextlib
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from parsl.executors.high_throughput.errors import WorkerLost

from alflow.core.errors import SiteError, SiteLost
from alflow.core.labels import Failure, FailureKind
from alflow.core.protocols import News
from alflow.core.tasks import AttemptRef
from alflow.execution.blocks import BlockFiles
from alflow.execution.files import CampaignFiles
from alflow.execution.kernel import Kernel, log_to
from alflow.execution.sites import Site
from alflow.execution.stale import StaleBlocks
from alflow.execution.worker import COMMITTED, NOT_CLAIMED
from alflow.registry import available

_MOST_RESTARTS = 3
_TOGETHER_S = 0.04


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
        self._pending: dict[AttemptRef, tuple[str, int]] = {}
        self._shut: frozenset[str] = frozenset()
        self._news: list[News] = []
        self._excluded: tuple[str, ...] = ()
        self._suspects: dict[AttemptRef, tuple[str, bool]] = {}
        self._hints: list[AttemptRef] = []
        self._undo_log = _nothing
        self._stale: StaleBlocks | None = None

    def start(self) -> None:
        """Start dispatchers and ask for workers.

        Raises:
            SiteError: If the site does not come up.
        """
        logs = self._files.root / "logs"
        undo_log = log_to(logs)
        self._stale = StaleBlocks(BlockFiles(self._files.root))
        try:
            self._kernel = Kernel(self._site, logs)
        except SiteError:
            undo_log()
            raise
        self._undo_log = undo_log

    def submit(self, attempt: AttemptRef, *, larger: bool = False) -> None:
        """Queue an attempt whose spec is on disk; `larger` if it failed for lack of resources.

        Raises:
            SiteError: If no pool takes it.
        """
        kernel = self._running()
        label = self._site.pool_of(attempt.kind, larger=larger).label
        place = (label, self._restarts)
        with self._lock:
            self._pending[attempt] = place
        future = kernel.submit(label, self._files.root, attempt)
        future.add_done_callback(partial(self._ended, attempt, place))

    def slots(self) -> Mapping[str, int]:
        """Number of workers that can run each installed task kind at the same time; 0 for not now.

        Kinds that share a pool share its workers, too.
        """
        shut = self._shut_pools()
        pools = {kind: self._site.pool_of(kind) for kind in self._kinds()}
        return {
            kind: 0 if pool.label in shut else pool.workers for kind, pool in pools.items()
        }

    def refusals(self) -> Mapping[str, SiteError]:
        """Task kinds that nothing will run any more, each with what to tell the user."""
        refused = self._running().refusals()
        pools = {kind: self._site.pool_of(kind).label for kind in self._kinds()}
        return {kind: refused[label] for kind, label in pools.items() if label in refused}

    def news(self) -> Sequence[News]:
        """What happened to workers since the last call."""
        kernel = self._running()
        refused = kernel.refusals()
        shut = self._shut_pools()
        stale = [] if self._stale is None else self._stale.news()
        news = [*self._news, *(News("earlier", text) for text in stale)]
        news += [News(label, text) for label, text in kernel.news()]
        for label in sorted(shut - self._shut):
            why = refused.get(label)
            text = "no workers for now" if why is None else why.message
            news.append(News(label, text, is_closed=True))
        news += [
            News(label, "it may have workers again", is_closed=False)
            for label in sorted(self._shut - shut)
        ]
        self._shut = shut
        self._news.clear()
        return news

    def exclude(self, hosts: Sequence[str]) -> Sequence[str]:
        """Give these hosts no more work; names of the pools where that can be done."""
        self._excluded = tuple(hosts)
        return self._running().exclude(hosts)

    def pools(self) -> Mapping[str, str]:
        """Label of the pool that runs each installed task kind."""
        kinds = filter(self._site.serves, available("tasks"))
        return {kind: self._site.pool_of(kind).label for kind in kinds}

    def wait(self, timeout_s: float) -> Sequence[AttemptRef]:
        """Return when some attempts may have ended, or after `timeout_s`; which ones.

        Those that end shortly after one another are told together.

        Raises:
            SiteLost: If what hands work to workers keeps breaking.
        """
        if self._wake.wait(timeout_s):
            time.sleep(_TOGETHER_S)
        self._wake.clear()
        with self._lock:
            ended, self._hints = self._hints, []
        kernel = self._running()
        if (fault := kernel.fault()) is not None:
            self._replace(kernel, fault)
        elif refused := kernel.refusals():
            self._take_back(refused)
        return ended

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

    def adopted(self, attempts: Sequence[AttemptRef]) -> None:
        """Attempts of earlier managers that live on: what runs them is left, the rest ended."""
        if self._stale is not None:
            claims = map(self._files.claim_of, attempts)
            self._stale.release([claim.job for claim in claims if claim is not None])

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
            # On a full disk nothing can be claimed either, and what is wrong has been said.
            with contextlib.suppress(OSError):
                self._files.revoke(attempt)
        if kernel is not None:
            kernel.close(cancel=cancel)
        self._undo_log()
        self._undo_log = _nothing

    def _running(self) -> Kernel:
        if self._kernel is None:
            raise SiteError(f"site {self._site.name!r} is not started")
        return self._kernel

    def _shut_pools(self) -> frozenset[str]:
        if self._kernel is None:
            return frozenset()
        return self._kernel.paused().union(self._kernel.refusals())

    def _kinds(self) -> Iterable[str]:
        return filter(self._site.serves, available("tasks"))

    def _take_back(self, refused: Mapping[str, SiteError]) -> None:
        """What waits at a pool that gets no workers is lost there, unless a worker has it."""
        with self._lock:
            for attempt, (label, _) in list(self._pending.items()):
                if label in refused:
                    del self._pending[attempt]
                    self._suspects[attempt] = (refused[label].message, False)

    def _ended(
        self, attempt: AttemptRef, place: tuple[str, int], future: Future[Any]
    ) -> None:
        """Note the end of a future; runs in a thread of Parsl's and must not raise."""
        error = future.exception()
        if error is not None:
            ending = (f"{type(error).__name__}: {error}", isinstance(error, WorkerLost))
        else:
            status = str(future.result().get("status", ""))
            ending = (status, True)
        with self._lock:
            self._hints.append(attempt)
            kernel = self._kernel if place[1] == self._restarts else None
            if ending[0] == COMMITTED and kernel is not None:
                kernel.worked(place[0])
            if self._pending.get(attempt) == place:
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
            raise SiteLost(
                f"{fault}, for the {self._restarts}th time",
                consequence="What is finished is kept.",
                next_step=f"look into {self._files.root / 'logs'}, then run `alflow resume`",
            )
        with self._lock:
            self._suspects.update(dict.fromkeys(self._pending, (fault, False)))
            self._pending.clear()
        self._kernel = None
        kernel.close(cancel=False)
        self._news.append(News("all", f"{fault}: everything is started anew"))
        self._kernel = Kernel(self._site, self._files.root / "logs")
        self._kernel.exclude(self._excluded)


def _nothing() -> None:
    """Undo no log."""
