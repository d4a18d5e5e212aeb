"""Starts blocks of Parsl workers on this machine, without a shell and without PATH."""

import contextlib
import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from parsl.jobs.states import JobState, JobStatus
from parsl.providers.base import ExecutionProvider

from alflow.execution.processes import group_is_alive

_GRACE_S = 8.0


class ThisMachine(ExecutionProvider):
    """One block of workers here.

    Parsl's own local provider needs `bash`, `ps` and `grep` on PATH and learns the state of a
    block from files. Here a block is a child process in a session of its own: Ctrl-C does not
    reach it, its end is seen at once, and it is ended as a group.
    """

    def __init__(self) -> None:
        """One block, started at once and replaced when it dies while there is work."""
        self.script_dir: str | None = None
        self.nodes_per_block = 1
        self.init_blocks = 1
        self.min_blocks = 1
        self.max_blocks = 1
        self.parallelism = 1.0
        self._blocks: dict[str, subprocess.Popen[bytes]] = {}
        self._logs: dict[str, Path] = {}
        self._cancelled: set[str] = set()

    @property
    def label(self) -> str:
        """Name of the provider in Parsl's logs."""
        return "this-machine"

    @property
    def status_polling_interval(self) -> int:
        """How often Parsl asks for the state of blocks [s]."""
        return 1

    def submit(self, command: str, tasks_per_node: int, job_name: str = "block") -> object:
        """Start a block; returns its id.

        Args:
            command: Command line of the worker pool.
            tasks_per_node: Not used: a block is one pool.
            job_name: Name of the block, for its log.
        """
        del tasks_per_node
        log = Path(self.script_dir or os.devnull) / f"{job_name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 - alflow's own command, no shell
                shlex.split(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=log.parent,
                start_new_session=True,
            )
        # Waited for in the background, so that a block that outlives its executor leaves no
        # zombie.
        threading.Thread(target=process.wait, name=job_name, daemon=True).start()
        job_id = str(process.pid)
        self._blocks[job_id] = process
        self._logs[job_id] = log
        return job_id

    def status(self, job_ids: Sequence[object]) -> list[JobStatus]:
        """State of blocks, in the order asked for."""
        return [self._status(str(job_id)) for job_id in job_ids]

    def cancel(self, job_ids: Sequence[object]) -> list[bool]:
        """End blocks: SIGTERM to the whole group, SIGKILL to what is left after a grace."""
        groups = [int(str(job_id)) for job_id in job_ids]
        self._cancelled.update(map(str, groups))
        for group in groups:
            _signal_group(group, signal.SIGTERM)
        deadline = time.monotonic() + _GRACE_S
        for group in groups:
            while group_is_alive(group) and time.monotonic() < deadline:
                time.sleep(0.02)
            _signal_group(group, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._blocks[str(group)].wait(1.0)
        return [True] * len(groups)

    def _status(self, job_id: str) -> JobStatus:
        code = self._blocks[job_id].poll()
        if code is None:
            return JobStatus(JobState.RUNNING)
        if job_id in self._cancelled:
            return JobStatus(JobState.CANCELLED)
        state = JobState.COMPLETED if code == 0 else JobState.FAILED
        return JobStatus(state, exit_code=code, stderr_path=str(self._logs[job_id]))


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
