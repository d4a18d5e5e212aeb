"""Runs attempts in the manager's own process: for tests and for `alflow try`."""

import contextlib
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence

from alflow.core.errors import SiteError
from alflow.core.labels import Failure, FailureKind
from alflow.core.protocols import News
from alflow.core.tasks import AttemptRef
from alflow.execution.body import run_body
from alflow.execution.files import CampaignFiles, Claim
from alflow.registry import available


class InlineExecutor:
    """One worker, which is this process; each `wait` runs one attempt to its end.

    The files are the same as with any other executor. There is no child process, so a body
    that crashes takes the manager along, and `timeout_s` is not enforced.
    """

    def __init__(self, files: CampaignFiles) -> None:
        """Take the campaign directory to work in."""
        self._files = files
        self._queue: deque[AttemptRef] = deque()
        self._lost: list[tuple[AttemptRef, Failure]] = []

    def start(self) -> None:
        """Nothing to bring up."""

    def submit(self, attempt: AttemptRef, *, larger: bool = False) -> None:
        """Queue an attempt whose spec is on disk."""
        del larger
        self._queue.append(attempt)

    def slots(self) -> Mapping[str, int]:
        """One worker for each installed task kind."""
        return dict.fromkeys(available("tasks"), 1)

    def pools(self) -> Mapping[str, str]:
        """One group for all."""
        return dict.fromkeys(available("tasks"), "inline")

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
        """Run the next attempt, however long it takes; return at once if there is none."""
        del timeout_s
        if not self._queue:
            return ()
        attempt = self._queue.popleft()
        if self._files.claim(attempt, Claim.of_this_process()):
            self._run(attempt)
        return (attempt,)

    def _run(self, attempt: AttemptRef) -> None:
        self._files.beat(attempt)
        with (
            tempfile.TemporaryDirectory(prefix="alflow-") as scratch,
            contextlib.chdir(scratch),
        ):
            try:
                run_body(self._files, attempt)
            except OSError as error:
                failure = Failure(
                    FailureKind.LOST, f"the result could not be written: {error}"
                )
                self._lost.append((attempt, failure))

    def lost(self) -> Sequence[tuple[AttemptRef, Failure]]:
        """Attempts that ended without a result, each told once."""
        lost, self._lost = self._lost, []
        return lost

    def adopted(self, attempts: Sequence[AttemptRef]) -> None:
        """Attempts of earlier managers that live on end by themselves, with their workers."""

    def close(self, *, cancel: bool) -> None:
        """Forget what is queued, so that it can never start."""
        del cancel
        while self._queue:
            self._files.revoke(self._queue.popleft())
