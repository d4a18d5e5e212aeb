"""Blocks of Parsl workers as jobs of a batch scheduler."""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from parsl.jobs.states import JobState, JobStatus
from parsl.providers.base import ExecutionProvider

from alflow.core.errors import SiteError
from alflow.execution.blocks import Block, BlockFiles
from alflow.execution.breaker import CircuitBreaker
from alflow.execution.queues import Job, Look, Queue, Request, SchedulerSilent

LONG_WAIT_S = 600.0
"""Time between two words about a block that waits [s]."""
SILENCE_S = 30.0
"""Time for which a Slurm that does not answer is not asked for blocks [s]."""

_NO_ANSWER = "does not answer"

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Known:
    """A block of this manager."""

    block: Block
    log: Path
    asked: float
    job: Job
    told: float


class BlockProvider(ExecutionProvider):
    """Asks a scheduler, first of all Slurm, for blocks, and knows what became of them.

    Parsl's own provider takes a job that is missing from an answer for completed, one that the
    controller has forgotten for running for ever, and a word that it does not know for neither.
    Here a job has ended when the scheduler says so, or when it answers and knows it no more.
    """

    def __init__(
        self,
        queue: Queue,
        request: Request,
        *,
        blocks: tuple[int, int],
        status_period_s: float,
        breaker: CircuitBreaker,
    ) -> None:
        """Prepare; nothing is asked yet.

        Args:
            queue: The scheduler to ask.
            request: What to ask it for.
            blocks: Fewest and most blocks.
            status_period_s: How often to ask for the state of jobs [s].
            breaker: Says when blocks that fail are no longer asked for.
        """
        self.script_dir: str | None = None
        self.nodes_per_block = request.nodes
        self.min_blocks, self._max_blocks = blocks
        self.init_blocks = self.min_blocks
        self.parallelism = 1.0
        self._queue = queue
        self._request = request
        self._period_s = status_period_s
        self._breaker = breaker
        self._pool = "pool"
        self._files: BlockFiles | None = None
        self._known: dict[str, _Known] = {}
        self._judged: set[str] = set()
        self._news: list[str] = []
        self._last_fault = ""
        self._unsure: list[Block] = []
        self._silent_until = 0.0
        self._excluded: tuple[str, ...] = ()
        self._is_closed = False
        self._lock = threading.RLock()

    # What Parsl asks ------------------------------------------------------------------------

    @property
    def label(self) -> str:
        """Name of the provider in Parsl's logs."""
        return self._queue.name

    @property
    def max_blocks(self) -> int:
        """Most blocks to have now."""
        if time.monotonic() < self._silent_until:
            return 0
        return self._breaker.allowance(self._max_blocks)

    @max_blocks.setter
    def max_blocks(self, count: int) -> None:
        self._max_blocks = count

    @property
    def status_polling_interval(self) -> int:
        """How often Parsl asks for the state of blocks [s]."""
        return max(1, round(self._period_s))

    def script(self, name: str, log: Path, command: str) -> str:
        """What is submitted for a block.

        Args:
            name: Name of the job.
            log: File for what the job prints.
            command: Command line of the worker pool.
        """
        return self._request.script(name, log, command, self._excluded)

    def submit(self, command: str, tasks_per_node: int, job_name: str = "block") -> object:
        """Ask for a block; returns its job number.

        Args:
            command: Command line of the worker pool.
            tasks_per_node: Not used: a node has one pool.
            job_name: Not used: the name of the job is that of the block.

        Raises:
            SiteError: If Slurm refuses or does not answer.
        """
        del tasks_per_node, job_name
        files = self._block_files()
        block = files.intend(self._pool, self._queue.name)
        script = Path(self.script_dir or ".").absolute() / f"{block.name}.sh"
        log = script.with_suffix(".log")
        text = self.script(block.name, log, command)
        script.write_text(text, "utf-8")
        try:
            job = self._queue.submit(script)
        except SchedulerSilent as error:
            # It may have taken the job, and lost the answer.
            with self._lock:
                self._unsure.append(block)
                self._silent_until = time.monotonic() + SILENCE_S
            raise SiteError(f"{self._queue.title} {_NO_ANSWER}: {error.message}") from error
        except SiteError:
            files.end(block, "REFUSED")
            raise
        with self._lock:
            block = replace(block, job=job, state="PENDING")
            now = time.monotonic()
            self._known[job] = _Known(block, log, now, Job("PENDING"), now)
            files.save(block)
            if not self._is_closed:
                return job
        self.cancel([job])
        raise SiteError(f"job {job} came too late: the site is closed")

    def status(self, job_ids: Sequence[object]) -> list[JobStatus]:
        """State of blocks, in the order asked for."""
        with self._lock:
            if self._unsure or any(not known.job.is_over for known in self._known.values()):
                self._update()
            return [_status_of(self._known[str(job)]) for job in job_ids]

    def cancel(self, job_ids: Sequence[object]) -> list[bool]:
        """End blocks; whether that worked, for each."""
        with self._lock:
            wanted = [str(job) for job in job_ids if not self._known[str(job)].job.is_over]
        try:
            self._queue.cancel(wanted)
        except SiteError as error:
            self._say(f"jobs {', '.join(wanted)} could not be cancelled: {error.message}")
            return [str(job) not in wanted for job in job_ids]
        for job in wanted:
            self._settle(self._known[job], Job("CANCELLED", "by alflow"))
        return [True] * len(job_ids)

    # What alflow asks -----------------------------------------------------------------------

    @property
    def is_shut(self) -> bool:
        """Whether there is no block and none may be asked for now."""
        if time.monotonic() < self._silent_until:
            return False
        with self._lock:
            has_block = any(not known.job.is_over for known in self._known.values())
        return not has_block and self._breaker.allowance(1) == 0

    def attach(self, files: BlockFiles, pool: str) -> None:
        """Say whose blocks these are; before the first is asked for."""
        self._files = files
        self._pool = pool

    def observe(self, status: Mapping[str, JobStatus], connected: Sequence[str]) -> None:
        """Learn from what became of blocks whether to ask for more.

        Args:
            status: State of each block, by Parsl's name for it.
            connected: Names of the blocks whose workers have reported to the dispatcher.
        """
        failed = [
            (name, block)
            for name, block in sorted(status.items(), key=lambda item: int(item[0]))
            if block.state in (JobState.FAILED, JobState.MISSING) and name not in connected
        ]
        new = [name for name in connected if name not in self._judged]
        if new:
            self._judged.update(new)
            self._breaker.came_up()
        for name, block in failed:
            if name not in self._judged:
                self._judged.add(name)
                if _NO_ANSWER in (block.message or ""):
                    self._say(f"{block.message}; asked again in {SILENCE_S:.0f} s")
                else:
                    self._fail(block)

    def news(self) -> list[str]:
        """Sentences about what happened to the blocks since the last call."""
        with self._lock:
            news, self._news = self._news, []
        return news

    def refusal(self) -> str | None:
        """Why there will be no workers, or None."""
        return self._last_fault if self._breaker.is_exhausted else None

    def exclude(self, hosts: Sequence[str]) -> None:
        """Use these hosts no more for blocks from now on.

        Args:
            hosts: Names as the hosts call themselves; a node goes by the first part of it.
        """
        self._excluded = tuple(dict.fromkeys(host.partition(".")[0] for host in hosts))

    def close(self, *, cancel: bool) -> None:
        """Ask for no more, and end blocks.

        Args:
            cancel: End all. Otherwise only those that have not begun.
        """
        with self._lock:
            self._is_closed = True
            active = [job for job, known in self._known.items() if not known.job.is_over]
        if cancel:
            self.cancel(active)
            return
        try:
            self._queue.cancel(active, pending_only=True)
        except SiteError as error:
            _logger.warning("pending jobs %s are left: %s", active, error.message)

    # Inside ---------------------------------------------------------------------------------

    def _update(self) -> None:
        look = self._queue.look(self._period_s / 2)
        if look is None:
            return  # what was known last is the best there is
        self._find_unsure(look)
        active = [known for known in self._known.values() if not known.job.is_over]
        missing = [
            known
            for known in active
            if known.block.job not in look.jobs and known.asked < look.time
        ]
        past = self._queue.past([known.block.job for known in missing]) if missing else {}
        gone = Job("COMPLETED", f"{self._queue.title} knows it no more")
        for known in active:
            job = look.jobs.get(known.block.job, known.job)
            if known in missing:
                job = past.get(known.block.job, gone)
            self._note(known, job)

    def _note(self, known: _Known, job: Job) -> None:
        if job.is_over:
            self._settle(known, job)
            return
        now = time.monotonic()
        is_new = job != known.job
        known.job = job
        if is_new:
            known.block = replace(known.block, state=job.state, reason=job.reason)
            self._block_files().save(known.block)
        reason = f" ({job.reason})" if job.reason else ""
        if job.is_waiting and now - known.told >= LONG_WAIT_S:
            known.told = now
            waited = round((now - known.asked) / 60)
            self._say(f"job {known.block.job} has waited {waited} minutes{reason}")
        elif is_new and job.is_waiting and _is_lasting(job):
            self._say(f"job {known.block.job} waits{reason}")
        elif is_new and job.state == "RUNNING":
            self._say(f"job {known.block.job} runs")

    def _settle(self, known: _Known, job: Job) -> None:
        with self._lock:
            known.job = job
            self._block_files().end(known.block, job.state, job.reason)
            reason = f" ({job.reason})" if job.reason else ""
            self._say(f"job {known.block.job} ended: {job.state}{reason}")

    def _fail(self, block: JobStatus) -> None:
        lines = (block.message or "").partition("\n")[0]
        self._last_fault = lines or f"its last block ended as {block.state.name}"
        self._say(f"a block failed: {self._last_fault}")
        if self._breaker.failed() and not self._breaker.is_exhausted:
            self._say(f"no further block for {self._breaker.pause_s:.0f} s: several failed")

    def _find_unsure(self, look: Look) -> None:
        """End the blocks that Slurm took without saying so."""
        for block in self._unsure:
            job = look.names.get(block.name)
            try:
                self._queue.cancel([] if job is None else [job])
            except SiteError:
                return  # asked again next time; the file stays for the next manager
            self._block_files().end(block, "REFUSED")
        self._unsure.clear()

    def _block_files(self) -> BlockFiles:
        if self._files is None:
            raise SiteError("a block was asked for before it was said for which campaign")
        return self._files

    def _say(self, text: str) -> None:
        _logger.info("pool %s: %s", self._pool, text)
        with self._lock:
            self._news.append(text)


def _status_of(known: _Known) -> JobStatus:
    """The state as Parsl counts: pending and running blocks are blocks to be had."""
    job = known.job
    if job.is_waiting:
        state = JobState.PENDING
    elif not job.is_over:
        state = JobState.RUNNING
    elif job.state in ("TIMEOUT", "DEADLINE", "PREEMPTED"):
        state = JobState.TIMEOUT
    elif job.state == "CANCELLED":
        state = JobState.CANCELLED
    elif job.state == "COMPLETED":
        state = JobState.COMPLETED
    else:
        state = JobState.FAILED
    why = f"job {known.block.job} ended as {job.state} before its workers had reported"
    message = f"{why}; look into {known.log}" if job.is_over else None
    return JobStatus(state, message, stdout_path=str(known.log), stderr_path=str(known.log))


def _is_lasting(job: Job) -> bool:
    """Whether the reason is more than that the queue is being worked through."""
    return job.reason not in ("", "None", "Priority", "Resources", "Prolog")
