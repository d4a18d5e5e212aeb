"""Runs a program in a session of its own, which ends with it: whatever it started, too."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

STDOUT, STDERR = "stdout.txt", "stderr.txt"
GRACE_S = 1.0
"""Time between SIGTERM and SIGKILL [s]."""

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
    with (folder / STDOUT).open("wb") as stdout, (folder / STDERR).open("wb") as stderr:
        process = subprocess.Popen(  # noqa: S603 - a list, and the user's own program
            list(command),
            cwd=folder,
            env={**os.environ, **(variables or {})},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
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
