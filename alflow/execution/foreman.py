"""A process that keeps workers on this machine and hands them attempts, without Parsl.

It has imported what bodies need, and forks its workers, so that one costs milliseconds. The
manager talks with it in lines of JSON:

    manager  {"root": …, "attempt": {…}}          queue this attempt               → foreman
    manager  {"cancel": true}                     end everything now               → foreman
    foreman  {"attempt": {…}, "status": …}        the worker is through with it    → manager
    foreman  {"attempt": {…}, "status": null}     its worker died, and its body    → manager

A foreman whose manager is gone starts nothing more and leaves when its workers are through. A
worker whose foreman is gone ends its attempt (`alflow.execution.worker.heartbeat`), or leaves.
"""

import contextlib
import json
import os
import select
import signal
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NoReturn

from alflow.core.tasks import AttemptRef
from alflow.execution.forked import ForkedProcess, become_child, send_line
from alflow.execution.forkserver import Server, preload
from alflow.execution.worker import (
    Forkserver,
    child_environment,
    run_attempt,
    use_forkserver,
)

Job = tuple[str, AttemptRef]
"""Campaign directory and attempt."""


@dataclass(slots=True)
class Worker:
    """A worker as its foreman sees it.

    Attributes:
        process: The process, with the pipes to and from it.
        job: What it is at, or None.
        unread: Part of a reply.
    """

    process: ForkedProcess
    job: Job | None = None
    unread: bytes = field(default=b"", repr=False)


class Foreman:
    """Keeps a number of workers busy."""

    def __init__(self, requests: int, replies: int, workers: int) -> None:
        """Take the two ends of the conversation with the manager, and how many workers to keep.

        Args:
            requests: File descriptor that the manager writes to.
            replies: File descriptor that the manager reads from.
            workers: Number of workers.
        """
        self._requests = requests
        self._replies = replies
        self._n_workers = workers
        self._workers: dict[int, Worker] = {}
        self._queue: deque[Job] = deque()
        self._unread = b""
        self._is_lame = False

    def serve(self) -> None:
        """Run attempts until the manager is gone and the workers are through."""
        while not self._is_lame or self._workers:
            if not self._is_lame:
                self._hire()
                self._assign()
            sources = list(self._workers)
            if not self._is_lame:
                sources.append(self._requests)
            for descriptor in _readable(sources):
                if descriptor == self._requests:
                    self._read_manager()
                else:
                    self._read_worker(descriptor)

    def _hire(self) -> None:
        while len(self._workers) < self._n_workers:
            process = ForkedProcess(_work)
            self._workers[process.stdout.fileno()] = Worker(process)

    def _assign(self) -> None:
        for worker in self._workers.values():
            if worker.job is None and self._queue:
                worker.job = self._queue.popleft()
                root, attempt = worker.job
                # A worker that has just died is noticed at the other pipe.
                with contextlib.suppress(BrokenPipeError):
                    send_line(
                        worker.process.stdin.fileno(),
                        {"root": root, "attempt": asdict(attempt)},
                    )

    def _read_manager(self) -> None:
        chunk = os.read(self._requests, 65536)
        *lines, self._unread = (self._unread + chunk).split(b"\n")
        for line in lines:
            request = json.loads(line)
            if "cancel" in request:
                self._dismiss(signal.SIGTERM)
                return
            self._queue.append((request["root"], AttemptRef(**request["attempt"])))
        if not chunk:
            self._dismiss(None)

    def _dismiss(self, number: signal.Signals | None) -> None:
        """Start nothing more; a worker leaves when it is through, or at this signal."""
        self._is_lame = True
        self._queue.clear()
        for worker in self._workers.values():
            worker.process.stdin.close()
            if number is not None:
                worker.process.signal(number)

    def _read_worker(self, descriptor: int) -> None:
        worker = self._workers[descriptor]
        chunk = os.read(descriptor, 65536)
        *lines, worker.unread = (worker.unread + chunk).split(b"\n")
        for line in lines:
            self._tell(worker, json.loads(line)["status"])
        if not chunk:
            self._tell(worker, None)
            del self._workers[descriptor]
            worker.process.close()

    def _tell(self, worker: Worker, status: str | None) -> None:
        if worker.job is None:
            return
        reply = {"attempt": asdict(worker.job[1]), "status": status}
        worker.job = None
        with contextlib.suppress(BrokenPipeError):
            send_line(self._replies, reply)


def _work(requests: int, replies: int) -> None:
    """Run attempts until the foreman has no more."""
    # The fork server holds the pipe to the foreman open as well: the foreman sees the end of it
    # only when the worker is gone, its fork server, and the body that this one guards.
    process = ForkedProcess(_serve_forks, keep=(replies,), in_new_session=True)
    use_forkserver(Forkserver(process))
    unread = b""
    while chunk := os.read(requests, 65536):
        *lines, unread = (unread + chunk).split(b"\n")
        for line in lines:
            request = json.loads(line)
            answer = run_attempt(request["root"], *request["attempt"].values())
            # A foreman that is gone is noticed at the end of its requests.
            with contextlib.suppress(BrokenPipeError):
                send_line(replies, {"status": answer["status"]})


def _serve_forks(requests: int, replies: int) -> None:
    os.chdir("/")
    Server(requests, replies).serve()


def _readable(descriptors: list[int]) -> list[int]:
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poll.poll()]


def run_foreman(requests: int, replies: int, workers: int) -> NoReturn:
    """Be a foreman, in a process forked for that, until the end."""
    become_child(lambda: Foreman(requests, replies, workers).serve())


def foreman_command(workers: int) -> tuple[list[str], Mapping[str, Any]]:
    """Command line and further arguments of `subprocess.Popen` that start a foreman."""
    command = [sys.executable, "-P", "-m", "alflow.execution.foreman", str(workers)]
    return command, {"cwd": "/", "env": child_environment(), "start_new_session": True}


def main() -> None:
    """Serve the manager at the other end of standard input and output."""
    replies = os.dup(1)
    # Whatever a preloaded module prints must not look like a reply.
    os.dup2(2, 1)
    preload()
    Foreman(0, replies, int(sys.argv[1])).serve()


if __name__ == "__main__":
    main()
