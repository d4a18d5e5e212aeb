"""Slurm's commands: what they are asked, and what their answers mean."""

import getpass
import os
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice
from pathlib import Path

from alflow.core.errors import SiteError
from alflow.execution.queues import Job, Look, SchedulerSilent

COMMAND_TIMEOUT_S = 60.0
"""Time after which a command of Slurm's counts as not answered [s]."""
_BATCH = 100
_SILENCE = (
    *("unable to contact slurm controller", "socket timed out", "connection refused"),
    *("communication connection failure", "zero bytes were transmitted", "try again"),
    *("slurm backup controller in standby mode", "connection timed out"),
)
"""Parts of Slurm's messages that speak of Slurm's troubles, not of the request."""


class SlurmQueue:
    """One Slurm as this user sees it; shared by all pools, which makes one question of many."""

    def __init__(self, cluster: str = "") -> None:
        """Talk to a cluster; empty for the one that the commands use by themselves."""
        self._cluster = cluster
        self._look: Look | None = None
        self._asked = float("-inf")
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """Names the scheduler in the files of blocks."""
        return f"slurm:{self._cluster}" if self._cluster else "slurm"

    @property
    def title(self) -> str:
        """Names the scheduler to people."""
        return "Slurm"

    def submit(self, script: Path) -> str:
        """Queue a script; returns its job number.

        Raises:
            SiteError: If Slurm refuses it or does not answer.
        """
        answer = self._run("sbatch", "--parsable", str(script))
        job = answer.strip().rpartition("\n")[2].partition(";")[0]
        if not job.isdecimal():
            raise SiteError(f"sbatch said {answer.strip()[:200]!r} instead of a job number")
        return job

    def find(self, names: Sequence[str]) -> dict[str, str]:
        """Job numbers of the jobs with these names that are queued or running.

        Raises:
            SiteError: If Slurm does not answer.
        """
        found = self._ask().names
        return {name: found[name] for name in names if name in found}

    def cancel(self, jobs: Sequence[str], *, pending_only: bool = False) -> None:
        """End jobs; those that have ended already are passed over.

        Raises:
            SiteError: If Slurm does not answer.
        """
        only = ["--state=PENDING"] if pending_only else []
        for batch in _batches(jobs):
            try:
                self._run("scancel", "--quiet", *only, *batch)
            except SchedulerSilent:
                raise
            except SiteError:
                # It also fails for a job that has ended, or is not in the state asked for.
                if not pending_only and self._active(batch):
                    raise

    def _active(self, jobs: Sequence[str]) -> list[str]:
        """Those jobs that have not ended and are not about to."""
        found = self._ask().jobs
        active = [job for job in jobs if job in found and not found[job].is_over]
        return [job for job in active if found[job].state != "COMPLETING"]

    def look(self, max_age_s: float) -> Look | None:
        """What Slurm said not longer ago than this; None if it does not answer now.

        A Slurm that does not answer is not asked again before `max_age_s` have passed either.
        """
        with self._lock:
            now = time.monotonic()
            if now - self._asked >= max_age_s:
                self._asked = now
                try:
                    self._look = self._ask()
                except SiteError:
                    self._look = None
                    self._asked = time.monotonic()
            return self._look

    def past(self, jobs: Sequence[str]) -> dict[str, Job]:
        """What the accounting knows about jobs; empty where there is none."""
        found: dict[str, Job] = {}
        for batch in _batches(jobs):
            try:
                answer = self._run(
                    *("sacct", "-X", "-n", "-P", "-o", "JobIDRaw,State"),
                    *("-j", ",".join(batch)),
                )
            except SiteError:
                return {}
            for line in answer.splitlines():
                number, _, state = line.partition("|")
                # "CANCELLED by 1000"
                word, _, reason = state.partition(" ")
                found[number] = Job(word.rstrip("+"), reason)
        return found

    def _ask(self) -> Look:
        """Ask about all jobs of this user, those included that ended a short while ago.

        Asked about one number, squeue fails when the controller has forgotten that job.
        """
        asked = time.monotonic()
        answer = self._run(
            *("squeue", "--noheader", "--states=all", f"--user={_user()}"),
            "--format=%i|%T|%r|%j",
        )
        jobs, names = {}, {}
        for line in answer.splitlines():
            number, state, reason, name = line.split("|", 3)
            job = Job(state, "" if reason == "None" else reason)
            jobs[number] = job
            if not job.is_over:
                names[name.strip()] = number
        return Look(asked, jobs, names)

    def _run(self, *command: str) -> str:
        program, *arguments = command
        if self._cluster:
            arguments = [f"--clusters={self._cluster}", *arguments]
        try:
            done = subprocess.run(  # noqa: S603 - Slurm's own command, no shell
                [program, *arguments],
                check=False,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=COMMAND_TIMEOUT_S,
                stdin=subprocess.DEVNULL,
                # In a session of its own: Ctrl-C is for the manager.
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise SiteError(
                f"there is no command {program}; is this a Slurm site?"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise SchedulerSilent(
                f"{program} did not answer within {COMMAND_TIMEOUT_S:g} s"
            ) from error
        if done.returncode:
            raise _refusal(program, done)
        if self._cluster:
            return "\n".join(
                line for line in done.stdout.splitlines() if not line.startswith("CLUSTER:")
            )
        return done.stdout


def _refusal(program: str, done: "subprocess.CompletedProcess[str]") -> SiteError:
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    said = "; ".join(lines[-3:]) or f"exit status {done.returncode}"
    text = said if said.startswith(program) else f"{program}: {said}"
    is_silent = any(word in said.lower() for word in _SILENCE)
    return SchedulerSilent(text) if is_silent else SiteError(text)


@cache
def slurm_queue(cluster: str = "") -> SlurmQueue:
    """The queue of a cluster, one in this process."""
    return SlurmQueue(cluster)


def _batches(jobs: Sequence[str]) -> Iterator[list[str]]:
    left = iter(jobs)
    while batch := list(islice(left, _BATCH)):
        yield batch


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no name for this number: squeue takes the number, too
        return str(os.getuid())
