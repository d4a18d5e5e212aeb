"""What a provider of blocks needs of a scheduler, what that says, and what it is asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from alflow.core.errors import SiteError

_ENDED = frozenset(
    (
        *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
        *("OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
    )
)
_WAITING = frozenset(
    (
        *("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD"),
        *("RESV_DEL_HOLD", "SPECIAL_EXIT"),
    )
)


@dataclass(frozen=True, slots=True)
class Job:
    """A job as its scheduler describes it.

    Attributes:
        state: Its state, in Slurm's words whatever the scheduler, for example `PENDING`.
        reason: Why it is in that state, in the scheduler's words; empty for no reason.
    """

    state: str
    reason: str = ""

    @property
    def is_over(self) -> bool:
        """Whether it has ended. A word that is not known means that it goes on."""
        return self.state in _ENDED

    @property
    def is_waiting(self) -> bool:
        """Whether it has not begun."""
        return self.state in _WAITING


class SchedulerSilent(SiteError):
    """The scheduler does not answer now. It may later, and may have done what it was asked to."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a scheduler said about all jobs of this user at one moment.

    Attributes:
        time: When it was asked, on the monotonic clock [s].
        jobs: Job number to job.
        names: Job name to job number, of the jobs that have not ended.
    """

    time: float
    jobs: Mapping[str, Job]
    names: Mapping[str, str]


@runtime_checkable
class Queue(Protocol):
    """A scheduler as this user sees it."""

    @property
    def name(self) -> str:
        """Names the scheduler in the files of blocks."""
        ...

    @property
    def title(self) -> str:
        """Names the scheduler to people."""
        ...

    def submit(self, script: Path) -> str:
        """Queue a script; returns its job number.

        Raises:
            SiteError: If it is refused, or, as `SchedulerSilent`, there is no answer.
        """
        ...

    def find(self, names: Sequence[str]) -> dict[str, str]:
        """Job numbers of the jobs with these names that are queued or running."""
        ...

    def cancel(self, jobs: Sequence[str], *, pending_only: bool = False) -> None:
        """End jobs; those that have ended already are passed over."""
        ...

    def look(self, max_age_s: float) -> Look | None:
        """What was said not longer ago than this; None if there is no answer now."""
        ...

    def past(self, jobs: Sequence[str]) -> dict[str, Job]:
        """What is known about jobs that are not in a look any more."""
        ...


@runtime_checkable
class Request(Protocol):
    """What a block is to be."""

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        ...

    def script(
        self, name: str, log: Path, command: str, excluded: Sequence[str] = ()
    ) -> str:
        """What is submitted.

        Args:
            name: Name of the job.
            log: File for what the job prints.
            command: Command line that starts the workers of one node.
            excluded: Hosts not to use.
        """
        ...
