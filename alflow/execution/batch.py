"""Schedulers that are spoken to in a dialect, as queues for blocks."""

import logging
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alflow.core.errors import SiteError
from alflow.execution.dialects import Answer, Flux, Lsf, Pbs, Scheduler
from alflow.execution.kubernetes import Kubernetes
from alflow.execution.queues import Job, Look, SchedulerSilent

COMMAND_TIMEOUT_S = 60.0
"""How long a command of a scheduler may take [s]."""

_logger = logging.getLogger(__name__)


class DialectQueue:
    """The jobs of one pool at a scheduler."""

    def __init__(self, scheduler: Scheduler) -> None:
        """Nothing is asked yet.

        Args:
            scheduler: How it is spoken to.
        """
        self._scheduler = scheduler
        self._open: set[str] = set()
        self._doubtful: set[str] = set()
        self._cancelled: set[str] = set()
        self._look: Look | None = None
        self._asked = float("-inf")

    @property
    def name(self) -> str:
        """Names the scheduler in the files of blocks; `queue_of` finds it again."""
        name = self._scheduler.title.lower()
        namespace = getattr(self._scheduler, "namespace", None)
        return f"{name}:{namespace}" if namespace else name

    @property
    def title(self) -> str:
        """Names the scheduler to people."""
        return self._scheduler.title

    def submit(self, script: Path) -> str:
        """Queue a script, whose name is that of the job; returns the number of the job.

        Raises:
            SiteError: If it is refused or there is no answer.
        """
        answer = _run(self._scheduler.submission(), script.read_text("utf-8"))
        if answer.code < 0:
            self._doubtful.add(script.stem)
            raise SchedulerSilent(answer.err)
        job = self._scheduler.job_id(answer.out) if answer.code == 0 else None
        if job is None:
            told = answer.err.strip() or answer.out.strip()
            raise SiteError(told[-500:] or f"exit status {answer.code}")
        self._open.add(job)
        # What was said before knows nothing of this job.
        self._asked = float("-inf")
        return job

    def find(self, names: Sequence[str]) -> dict[str, str]:
        """Job numbers of the jobs with these names that are queued or running.

        Raises:
            SiteError: If the scheduler does not answer.
        """
        found = {}
        for name in names:
            answer = _run(self._scheduler.search(name))
            if answer.code != 0 and "not found" not in answer.err:
                raise SchedulerSilent(answer.err.strip()[-500:])
            if (job := self._scheduler.job_id(answer.out)) is not None:
                found[name] = job
        return found

    def cancel(self, jobs: Sequence[str], *, pending_only: bool = False) -> None:
        """End jobs; those that have ended already are passed over.

        Raises:
            SiteError: If the scheduler does not answer, or a job goes on.
        """
        if pending_only:
            now = self._ask(jobs)
            jobs = [job for job in jobs if job in now and now[job].is_waiting]
        if not jobs:
            return
        self._cancelled.update(jobs)
        answer = _run(self._scheduler.cancellation(jobs))
        if answer.code == 0:
            return
        # For some schedulers it is an error that a job has ended by itself meanwhile.
        left = [job for job, state in self._ask(jobs).items() if not state.is_over]
        if left:
            raise SiteError(answer.err.strip()[-500:])

    def look(self, max_age_s: float) -> Look | None:
        """What was said not longer ago than this; None if there is no answer now."""
        now = time.monotonic()
        if now - self._asked >= max_age_s:
            self._asked = now
            try:
                names = self.find(sorted(self._doubtful))
                self._look = Look(now, self._ask(sorted(self._open)), names)
                self._doubtful.clear()
            except SiteError as error:
                _logger.warning("%s does not answer: %s", self.title, error.message)
                self._look = None
        return self._look

    def past(self, jobs: Sequence[str]) -> dict[str, Job]:
        """Nothing: a scheduler that does not list a job has forgotten how it ended."""
        self._open.difference_update(jobs)
        return {}

    def _ask(self, jobs: Sequence[str]) -> dict[str, Job]:
        if not jobs:
            return {}
        answer = _run(self._scheduler.question(jobs))
        reports = self._scheduler.reports(answer)
        if reports is None:
            raise SchedulerSilent(answer.err.strip()[-500:])
        # Not every scheduler tells a job that was cancelled from one that failed.
        over = {
            job: Job("CANCELLED", report.reason)
            for job, report in reports.items()
            if job in self._cancelled and report.is_over
        }
        return {**reports, **over}


def queue_of(name: str) -> DialectQueue | None:
    """The queue that a block's file names; None if there is no such scheduler.

    Args:
        name: `DialectQueue.name`.
    """
    kind, _, namespace = name.partition(":")
    schedulers: dict[str, Scheduler] = {
        "pbs": Pbs(),
        "lsf": Lsf(),
        "flux": Flux(),
        "kubernetes": Kubernetes("", {}, namespace=namespace or None),
    }
    return DialectQueue(schedulers[kind]) if kind in schedulers else None


def batch_executor(
    provider: Any,
    *,
    label: str,
    workers: int,
    interface: str | None,
    drain_s: int,
) -> Any:
    """The Parsl executor of a pool whose blocks are jobs.

    Args:
        provider: Where its blocks come from.
        label: Name of the pool.
        workers: Workers of each node.
        interface: Network interface of this host that compute nodes reach; without one, and
            where there is none of that name, each is tried.
        drain_s: Age at which a block takes no more work [s].
    """
    from parsl.executors import HighThroughputExecutor

    return HighThroughputExecutor(
        label=label,
        address=_address(interface),
        provider=provider,
        max_workers_per_node=workers,
        # Parsl also divides the cores of a node by this; the number of workers decides.
        cores_per_worker=1e-3,
        heartbeat_period=30,
        # Workers outlive a manager that is slow or gone for a while: they commit to files.
        heartbeat_threshold=300,
        drain_period=drain_s,
        encrypted=True,
    )


def _address(interface: str | None) -> str | None:
    if interface is None:
        return None
    from parsl.addresses import address_by_interface

    try:
        return str(address_by_interface(interface))
    except OSError:
        _logger.warning("no network interface %r; workers try all addresses", interface)
        return None


def _run(command: Sequence[str], text: str = "") -> Answer:
    """Run a command of a scheduler; whatever happens is an answer."""
    try:
        done = subprocess.run(  # noqa: S603 - commands of a dialect, no shell
            command,
            input=text,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=COMMAND_TIMEOUT_S,
            check=False,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            # In a session of its own: Ctrl-C is for the manager.
            start_new_session=True,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Answer(-1, "", str(error))
    return Answer(done.returncode, done.stdout, done.stderr)
