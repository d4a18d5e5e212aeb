"""Runs a program in a session of its own, which ends with it: whatever it started, too."""

import os
import signal
import socket
import subprocess
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

STDOUT, STDERR = "stdout.txt", "stderr.txt"
GRACE_S = 1.0
"""Time between SIGTERM and SIGKILL [s]."""

_LONGEST_WAIT_S = 1e6
"""What poll(2), which counts milliseconds in an int, can wait for [s]."""
_PROC = Path("/proc")
_WATCHER = """
read -r _ && exit
kill -s KILL -- "-$0"
for file in /proc/[0-9]*/stat; do
  { read -r line < "$file"; } 2> /dev/null || continue
  set -f; set -- ${line##*) }
  if [ "$4" = "$0" ]; then kill -s KILL "${line%% *}"; fi
done
"""
"""Waits for a line, or kills a group and its session if the other end dies without sending one."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a program ended.

    Attributes:
        code: Exit status; minus the number of the signal that ended it.
        is_timed_out: Whether it was killed at its deadline.
        wall_s: Time that it ran [s].
    """

    code: int
    is_timed_out: bool
    wall_s: float


def run_program(
    command: Sequence[str],
    folder: Path,
    timeout_s: float,
    variables: Mapping[str, str] | None = None,
) -> Ending:
    """Run a program until it ends or its time is up; nothing that it started outlives it.

    What it prints goes to `STDOUT` and `STDERR` in its folder. At the deadline its process group
    gets SIGTERM, and SIGKILL when the program has ended or `GRACE_S` later. So does, on Linux, all
    that is left of its session: MPI puts each rank into a group of its own. Both are also killed
    if this process dies, by a watcher in another session.

    Args:
        command: Program and arguments; no shell reads them.
        folder: Where it runs.
        timeout_s: Longest time that it may run [s].
        variables: Environment variables that it gets beside those of this process.

    Raises:
        OSError: If it cannot be started.
    """
    began = time.monotonic()
    process = _started(command, folder, variables, subprocess.DEVNULL)
    is_timed_out = False
    try:
        with watched(process.pid):
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                is_timed_out = True
                _signal(process.pid, signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE_S)
    finally:
        _signal(process.pid, signal.SIGKILL)
        _kill_session(process.pid)
        process.wait()
    return Ending(process.returncode, is_timed_out, time.monotonic() - began)


class Server:
    """A program that stays, and works in one folder after the other.

    Its standard input is a socket. There it is told a folder, works in it in a fork of itself and
    answers with the exit status of that; or it closes the socket, does the work itself, and ends.
    It ends with this object, with this process, and after work that did not end well.
    """

    def __init__(
        self, command: Sequence[str], folder: Path, variables: Mapping[str, str]
    ) -> None:
        """Start it.

        Args:
            command: Program and arguments; no shell reads them.
            folder: The first folder to work in, which gets what it prints until it is told that.
            variables: Environment variables that it gets beside those of this process.

        Raises:
            OSError: If it cannot be started.
        """
        self._channel, theirs = socket.socketpair()
        with theirs:
            self._process = _started(command, folder, variables, theirs.fileno())
        guard = ExitStack()
        guard.enter_context(watched(self._process.pid))
        self._owner = os.getpid()
        self.close = weakref.finalize(self, _close, self._process, self._channel, guard)

    @property
    def is_ready(self) -> bool:
        """Whether it is there, and of this process, not of one that this was forked from."""
        return (
            self._owner == os.getpid() and self.close.alive and self._process.poll() is None
        )

    def run(self, folder: Path, timeout_s: float) -> Ending:
        """Let it work until it is done or its time is up; nothing that it started is left.

        Args:
            folder: Where it works.
            timeout_s: Longest time that it may take [s].
        """
        began = time.monotonic()
        is_timed_out, code = False, -1
        try:
            code = self._answer(os.fsencode(folder), timeout_s)
        except (TimeoutError, subprocess.TimeoutExpired):
            is_timed_out = True
            _signal(self._process.pid, signal.SIGTERM)
            with suppress(TimeoutError, subprocess.TimeoutExpired):
                code = self._answer(b"", GRACE_S)
        finally:
            if code or is_timed_out or self._process.poll() is not None:
                self.close()
            else:
                _kill_family(self._process.pid)
        return Ending(code, is_timed_out, time.monotonic() - began)

    def _answer(self, request: bytes, timeout_s: float) -> int:
        """The exit status of the work, within a time."""
        end = time.monotonic() + timeout_s
        answer = b""
        with suppress(ConnectionError):
            self._channel.settimeout(min(timeout_s, _LONGEST_WAIT_S))
            self._channel.sendall(request)
            answer = self._channel.recv(64)
        return int(answer or self._process.wait(max(0.0, end - time.monotonic())))


def family(pid: int) -> list[psutil.Process]:
    """A process and its descendants; none if it is gone."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def tail(path: Path, characters: int) -> str:
    """The end of a text file; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4 * characters))
            return file.read().decode("utf-8", errors="replace")[-characters:]
    except OSError:
        return ""


@contextmanager
def watched(group: int) -> Iterator[None]:
    """Let a process in another session kill a group of processes if this process is killed.

    Args:
        group: Number of the group.
    """
    watcher = subprocess.Popen(  # noqa: S603
        ["/bin/sh", "-c", _WATCHER, str(group)],
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        with suppress(BrokenPipeError):
            watcher.communicate(b"done\n")


def _started(
    command: Sequence[str],
    folder: Path,
    variables: Mapping[str, str] | None,
    stdin: int,
) -> subprocess.Popen[bytes]:
    """A program that leads a session of its own and prints to files in its folder."""
    with (folder / STDOUT).open("wb") as stdout, (folder / STDERR).open("wb") as stderr:
        return subprocess.Popen(  # noqa: S603 - a list, and the user's own program
            list(command),
            cwd=folder,
            env={**os.environ, **(variables or {})},
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )


def _close(
    process: subprocess.Popen[bytes], channel: socket.socket, guard: ExitStack
) -> None:
    """End a server with all that is left of its work."""
    channel.close()
    _kill_family(process.pid)
    _signal(process.pid, signal.SIGKILL)
    _kill_session(process.pid)
    process.wait()
    guard.close()


def _kill_family(pid: int) -> None:
    """Kill the descendants of a process, and what they fork meanwhile."""
    for _ in range(10):
        n_left = 0
        for process in family(pid)[1:]:
            with suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE:
                    n_left += 1
                    process.kill()
        if not n_left:
            return


def _kill_session(session: int) -> None:
    """Kill what is left of a session in other groups, and what they fork meanwhile."""
    for _ in range(10):
        left = [pid for pid in _session(session) if pid != session]
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not left:
            return


def _session(session: int) -> Iterator[int]:
    """Processes of a session that are not dead; none where the system has no /proc."""
    for file in _PROC.glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            # The name of a program, in parentheses, may have any character in it.
            state, _, _, found = (
                file.read_text(errors="replace").rpartition(")")[2].split()[:4]
            )
            if int(found) == session and state not in "ZX":
                yield int(file.parent.name)


def _signal(group: int, number: signal.Signals) -> None:
    # PermissionError: on macOS, what is left of the group are zombies
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
