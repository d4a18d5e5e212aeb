"""Child processes that are forked, not started: they have all that this process has imported."""

import contextlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from io import FileIO
from subprocess import TimeoutExpired
from typing import Any, NoReturn

from alflow.execution.processes import start_time

_POLL_S = 0.01

Body = Callable[[int, int], None]
"""What a child does, given the descriptors that it reads from and writes to."""


class ForkedProcess:
    """A forked child with a pipe in each direction; stands in for `subprocess.Popen`.

    Attributes:
        pid: Its process number.
        stdin: What it reads.
        stdout: What it writes.
    """

    def __init__(
        self, body: Body, *, keep: Sequence[int] = (), in_new_session: bool = False
    ) -> None:
        """Fork a child. It inherits no descriptor but its pipes, stderr, and those to keep.

        Args:
            body: What it does; it ends when this returns.
            keep: Further descriptors to leave open in it.
            in_new_session: Whether signals to the group of this process shall not reach it.
        """
        child_reads, we_write = os.pipe()
        we_read, child_writes = os.pipe()
        self._code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            become_child(
                lambda: body(child_reads, child_writes),
                keep=(child_reads, child_writes, *keep),
                in_new_session=in_new_session,
            )
        os.close(child_reads)
        os.close(child_writes)
        self.stdin = FileIO(we_write, "wb")
        self.stdout = FileIO(we_read, "rb")

    def poll(self) -> int | None:
        """How it ended, negative for a signal; None if it is still running."""
        if self._code is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                # The child of another process, which handed its pipes on and knows how it ended.
                self._code = None if start_time(self.pid) else 0
            else:
                self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end.

        Raises:
            TimeoutExpired: If it has not come after `timeout` [s].
        """
        end = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if end is not None and time.monotonic() > end:
                raise TimeoutExpired(f"process {self.pid}", timeout or 0.0)
            time.sleep(_POLL_S)
        return code

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it."""
        self.signal(signal.SIGKILL)

    def close(self) -> None:
        """Close the pipes and wait for its end."""
        self.stdin.close()
        self.stdout.close()
        self.wait()


def become_child(
    run: Callable[[], None], *, keep: Sequence[int] = (), in_new_session: bool = False
) -> NoReturn:
    """In a child just forked: do something else than the parent, then end. Never returns.

    Args:
        run: What to do.
        keep: Descriptors to leave open besides the standard ones; empty for all.
        in_new_session: Whether to leave the session of the parent.
    """
    code = 1
    try:
        if in_new_session:
            os.setsid()
        if keep:
            _close_others(keep)
        run()
        code = 0
    except BaseException:  # noqa: BLE001 - nothing may return into the parent's code
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def send_line(descriptor: int, message: Mapping[str, Any]) -> None:
    """Write a line of JSON to a pipe."""
    content = json.dumps(message).encode() + b"\n"
    while content:
        content = content[os.write(descriptor, content) :]


def _close_others(keep: Sequence[int]) -> None:
    """Close what the parent has open: a lock or a pipe must end with the parent."""
    low = 3
    for descriptor in sorted(keep):
        os.closerange(low, descriptor)
        low = max(low, descriptor + 1)
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))
