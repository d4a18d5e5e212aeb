"""What a worker does with one attempt: claim it, guard it, account for its end.

`run_attempt` is the one function that Parsl runs. The body runs in a child process that the
fork server of this worker makes; the child commits the result itself, and the worker speaks
up only where the child could not.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from alflow.core.errors import AlflowError, SiteError
from alflow.core.labels import Failure, FailureKind
from alflow.core.tasks import AttemptRef, Outcome
from alflow.execution.deadlines import time_left_s
from alflow.execution.devices import devices_of_worker
from alflow.execution.files import HEARTBEAT_PERIOD_S, CampaignFiles, Claim
from alflow.execution.forked import ForkedProcess
from alflow.execution.surroundings import THREADS, environment

COMMITTED = "committed"
"""The attempt has a `result.json`, good or bad."""
NOT_CLAIMED = "not-claimed"
"""Somebody else has the attempt, or the manager revoked it; nothing was run."""
THREADS_VARIABLE = "ALFLOW_THREADS"
"""Environment variable with the number of threads of a worker; 1 if not set."""

_REPRODUCIBLE = {
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
    "MKL_CBWR": "AUTO",
    "MKL_DYNAMIC": "FALSE",
    "OMP_DYNAMIC": "FALSE",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    # Relative to the private working directory of each attempt.
    "PYSCF_TMPDIR": ".",
}
_SIGNAL_NAMES = {number.value: number.name for number in signal.Signals}
_KILL_DEADLINE_S = 10.0
_WATCH_PERIOD_S = 1.0
_SHORTEST_S = 5.0
_NO_TIME = "its block was about to end"


class _Terminated(BaseException):
    """The worker was asked to end (SIGTERM) while an attempt ran."""


def run_attempt(
    root: str, task_id: int, number: int, token: str, kind: str
) -> dict[str, Any]:
    """Run one attempt in a child process, unless it is taken or revoked.

    Nothing is raised and nothing but plain values is returned: an object that the manager
    cannot unpickle would end the thread in which Parsl receives results.

    Args:
        root: The campaign directory.
        task_id: Number of the task.
        number: Which try.
        token: Random word of the attempt.
        kind: Task kind.

    Returns:
        `status`: `COMMITTED`, `NOT_CLAIMED` or a sentence about why nothing could be
        committed; `attempt`: task, number and token.
    """
    attempt = AttemptRef(task_id=task_id, number=number, token=token, kind=kind)
    try:
        with _terminable():
            status = _run(CampaignFiles(Path(root)), attempt)
    except BaseException as error:  # noqa: BLE001 - see above: nothing may escape
        status = f"{type(error).__name__}: {str(error)[:500]}"
    return {"status": status, "attempt": [task_id, number, token]}


def child_environment() -> dict[str, str]:
    """Environment of every child: the same whichever worker runs it, but for its devices."""
    threads = os.environ.get(THREADS_VARIABLE, "1")
    return {
        **os.environ,
        **dict.fromkeys(THREADS, threads),
        **_REPRODUCIBLE,
        **devices_of_worker(os.environ),
    }


class ForkserverLost(AlflowError):
    """The fork server of this worker died."""


class Forkserver:
    """The worker's end of the conversation with `alflow.execution.forkserver`."""

    def __init__(self, process: ForkedProcess | None = None) -> None:
        """Start a server, which imports in the background; or talk to one that was forked."""
        self._process = process or subprocess.Popen(
            [sys.executable, "-P", "-m", "alflow.execution.forkserver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            cwd="/",
            env=child_environment(),
            # Its own session, so that Ctrl-C and signals to the pool do not reach it: it ends
            # when this process does, after killing its child.
            start_new_session=True,
        )
        self._unread = b""
        self._child = 0

    @property
    def is_alive(self) -> bool:
        """Whether it can run attempts."""
        return self._process.poll() is None

    def begin(self, files: CampaignFiles, attempt: AttemptRef) -> None:
        """Fork a child that runs an attempt.

        Raises:
            ForkserverLost: If the server died.
            SiteError: If this machine has no room for a child.
        """
        self._send({"root": str(files.root), "attempt": asdict(attempt)})
        reply = self._receive(None) or {}
        if "pid" not in reply:
            raise SiteError(f"no process for the task: {reply.get('refused')}")
        self._child = int(reply["pid"])

    def wait(self, timeout_s: float | None) -> int | None:
        """How the child ended, negative for a signal; None if it is still running.

        Raises:
            ForkserverLost: If the server died; the child has been killed.
        """
        reply = self._receive(timeout_s)
        if reply is None:
            return None
        self._child = 0
        return int(reply["exit"])

    def kill(self) -> None:
        """Kill the child with all that it started."""
        if self._child:
            self._send({"kill": True})
            if self.wait(_KILL_DEADLINE_S) is None:
                self.close()

    def close(self) -> None:
        """End the server and its child."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(_KILL_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, request: Mapping[str, Any]) -> None:
        stdin = self._process.stdin
        if stdin is None:
            return
        try:
            stdin.write(json.dumps(request).encode() + b"\n")
        except OSError as error:
            self._lose(error)

    def _receive(self, timeout_s: float | None) -> dict[str, Any] | None:
        stdout = self._process.stdout
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        poll = select.poll()
        poll.register(stdout or -1, select.POLLIN)
        while b"\n" not in self._unread:
            left = (
                None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
            )
            if not poll.poll(left):
                return None
            chunk = b"" if stdout is None else stdout.read(65536)
            if not chunk:
                self._lose(None)
            self._unread += chunk or b""
        line, _, self._unread = self._unread.partition(b"\n")
        return dict(json.loads(line))

    def _lose(self, cause: OSError | None) -> None:
        if self._child:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child, signal.SIGKILL)
        self._child = 0
        raise ForkserverLost("the fork server of this worker died") from cause


@contextlib.contextmanager
def heartbeat(files: CampaignFiles, attempt: AttemptRef) -> Iterator[None]:
    """Show that the worker lives, and end it when its pool is gone."""
    stop = threading.Event()
    parent = os.getppid()

    def beat() -> None:
        next_beat = time.monotonic()
        while True:
            if time.monotonic() >= next_beat:
                # A beat that a file system swallows is made up for by the next one.
                with contextlib.suppress(OSError):
                    files.beat(attempt)
                next_beat += HEARTBEAT_PERIOD_S
            if stop.wait(_WATCH_PERIOD_S):
                return
            if os.getppid() != parent:
                # The pool was killed. Parsl's worker would notice only after the attempt,
                # while a retry of the same task runs elsewhere.
                os.kill(os.getpid(), signal.SIGTERM)
                return

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _run(files: CampaignFiles, attempt: AttemptRef) -> str:
    begun = time.monotonic()
    left_s = time_left_s()
    if left_s is not None and left_s < _SHORTEST_S:
        # Not at once: the dispatcher would hand the next one to this worker at the same speed.
        time.sleep(_SHORTEST_S)
        return _NO_TIME
    if not files.claim(attempt, Claim.of_this_process()):
        return NOT_CLAIMED
    is_terminated = False
    with heartbeat(files, attempt):
        try:
            failure = _supervise(files, attempt)
        except _Terminated:
            is_terminated = True
            with contextlib.suppress(ForkserverLost):
                forkserver().kill()
            failure = Failure(FailureKind.LOST, "the worker was told to end (SIGTERM)")
        if failure is not None and not files.has_result(attempt):
            wall_s = time.monotonic() - begun
            files.commit_result(
                attempt, Outcome(failure=failure, wall_s=wall_s, environment=environment())
            )
    if is_terminated:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    return COMMITTED


def _supervise(files: CampaignFiles, attempt: AttemptRef) -> Failure | None:
    """Run the child to its end; why it committed nothing, if it did not."""
    try:
        timeout_s = _timeout_s(files, attempt)
        server = forkserver()
        server.begin(files, attempt)
        left_s = time_left_s()
        is_limit_of_block = left_s is not None and (timeout_s is None or left_s < timeout_s)
        code = server.wait(left_s if is_limit_of_block else timeout_s)
        if code is None:
            server.kill()
            if is_limit_of_block:
                return Failure(FailureKind.LOST, _NO_TIME, {"yielded": True})
            return Failure(
                FailureKind.RESOURCE,
                f"took longer than the allowed timeout_s = {timeout_s:g} s",
            )
    except ForkserverLost as error:
        return Failure(FailureKind.CRASH, error.message)
    except SiteError as error:
        return Failure(FailureKind.RESOURCE, error.message)
    except (AlflowError, ValueError, TypeError) as error:
        return Failure(FailureKind.BUG, str(error))
    return _failure_of_exit(code, files.attempt_directory(attempt) / "stderr")


def _timeout_s(files: CampaignFiles, attempt: AttemptRef) -> float | None:
    value = files.read_spec(attempt.task_id).settings.get("timeout_s")
    return None if value is None else float(value)


def _failure_of_exit(code: int, stderr: Path) -> Failure:
    if code < 0:
        name = _SIGNAL_NAMES.get(-code, f"signal {-code}")
        message = f"the process of the task was ended by {name}"
        if name == "SIGKILL":
            message += "; often the kernel does that when memory runs out"
    else:
        message = f"the process of the task ended by itself with exit status {code}"
    details = {"exit": code, "stderr": _tail(stderr)}
    return Failure(FailureKind.CRASH, message, details)


def _tail(path: Path, length: int = 4000) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - length))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


@cache
def _forkservers() -> list[Forkserver]:
    """The fork server of this process, once there is one."""
    return []


def forkserver() -> Forkserver:
    """The fork server of this process, started if there is none that lives."""
    servers = _forkservers()
    if servers and not servers[0].is_alive:
        servers.pop().close()
    if not servers:
        servers.append(Forkserver())
    return servers[0]


def use_forkserver(server: Forkserver) -> None:
    """Make this the fork server of this process."""
    close_forkserver()
    _forkservers().append(server)


def close_forkserver() -> None:
    """End the fork server of this process, if there is one."""
    for server in _forkservers():
        server.close()
    _forkservers().clear()


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Turn SIGTERM into an exception, so that the child is killed before the worker goes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise _Terminated

    previous = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous or signal.SIG_DFL)
