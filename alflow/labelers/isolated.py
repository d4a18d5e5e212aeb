"""Runs a labeler in a process of its own, so that what it does to it costs one structure.

A kernel in C cannot be interrupted, an allocation that fails may end a process, and a program that
was started may hang: the only thing that helps is a process that can be killed with all that it
started. It is forked once for a batch, and again after it died.
"""

import faulthandler
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import IO

import psutil

from alflow.core.errors import AlflowError
from alflow.core.labels import Failure, FailureKind, Label
from alflow.core.protocols import Labeler, ResumableLabeler
from alflow.core.structures import Structure
from alflow.labelers.program import family, watched

_PERIOD_S = 0.2
"""Time between two looks at the memory [s]."""
_LONGEST_WAIT_S = 3600.0
_LONGEST_TEXT = 4000
"""Characters of tracebacks and of what was printed that a failure keeps."""


Parts = Mapping[str, Label]
Keep = Callable[[Parts], None]
Request = tuple[Structure, dict[str, Label] | None]
"""A structure, and finished parts of its label; None for a labeler whose labels have none."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the calculation of one structure may use; None for no limit.

    Attributes:
        timeout_s: Time [s].
        memory_MB: Resident memory of the process and of all that it started [MB].
    """

    timeout_s: float | None = None
    memory_MB: float | None = None


class IsolatedLabeler:
    """A labeler whose calculations run in a process of their own, until `close`.

    What the labeler raises is raised here if it is of alflow or of the system (`AlflowError`,
    `OSError`); anything else is a failure of the structure.
    """

    def __init__(self, labeler: Labeler, limits: Limits) -> None:
        """Prepare; no process is started.

        Args:
            labeler: What labels.
            limits: What one structure may use.
        """
        self._labeler = labeler
        self._limits = limits
        self._process: _Process | None = None

    def label(self, structure: Structure) -> Label | Failure:
        """What the labeler says about one structure, or what became of its process.

        Raises:
            AlflowError: As the labeler.
            OSError: As the labeler, or if no process can be started.
        """
        return self._ask((structure, None), lambda _parts: None)

    def resume(self, structure: Structure, finished: Parts, keep: Keep) -> Label | Failure:
        """The same, without the parts that were finished before: see `ResumableLabeler`."""
        return self._ask((structure, dict(finished)), keep)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.end()
            self._process.printed()
            self._process = None

    def version(self) -> str:
        """Name and version of the program."""
        return self._labeler.version()

    def _ask(self, request: Request, keep: Keep) -> Label | Failure:
        if self._process is None:
            self._process = _Process(self._labeler)
        process, began = self._process, time.monotonic()
        try:
            process.connection.send(request)
            reply = self._await(process, began, keep)
        except (EOFError, ConnectionError):
            reply = _death(process.end())
        except BaseException:
            self.close()
            raise
        if isinstance(reply, Exception):
            raise reply
        if not process.has_ended:
            return reply
        self._process = None
        printed = process.printed()
        if printed and isinstance(reply, Failure):
            reply = replace(reply, details={**reply.details, "stderr": printed})
        return reply

    def _await(
        self, process: "_Process", began: float, keep: Keep
    ) -> Label | Failure | Exception:
        """The answer of the process, or what it was killed for."""
        limit_s, limit_MB = self._limits.timeout_s, self._limits.memory_MB
        end = float("inf") if limit_s is None else began + limit_s
        period_s = _LONGEST_WAIT_S if limit_MB is None else _PERIOD_S
        while True:
            if process.connection.poll(min(period_s, max(0.0, end - time.monotonic()))):
                answer: Label | Failure | Exception | dict[str, Label]
                answer = process.connection.recv()
                if not isinstance(answer, dict):
                    return answer
                keep(answer)
                continue
            if time.monotonic() >= end:
                process.end()
                return Failure(
                    FailureKind.RESOURCE,
                    f"killed after {time.monotonic() - began:.1f} s: one structure may take "
                    f"timeout_s = {limit_s:g} s",
                    {"timeout_s": limit_s, "own_limit": True},
                )
            used_MB = process.used_MB()
            if limit_MB is not None and used_MB > limit_MB:
                process.end()
                return Failure(
                    FailureKind.RESOURCE,
                    f"killed with {used_MB:.0f} MB in use: one structure may take memory_MB = "
                    f"{limit_MB:g} MB",
                    {
                        "memory_MB": limit_MB,
                        "used_MB": round(used_MB),
                        "own_limit": True,
                    },
                )


class _Process:
    """A forked process that labels what it is sent; it dies with this one."""

    def __init__(self, labeler: Labeler) -> None:
        context = multiprocessing.get_context("fork")
        self.connection, theirs = context.Pipe()
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `printed`
        sys.stdout.flush()
        sys.stderr.flush()
        self._process = context.Process(
            target=_serve, args=(labeler, theirs, self.connection, self._errors.fileno())
        )
        with warnings.catch_warnings():
            # Python 3.12 and later warn of locks that other threads hold: of what those do, a
            # labeler uses nothing.
            warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)
            self._process.start()
        theirs.close()
        self._pid = int(self._process.pid or 0)
        # It leads a group of its own, whichever of the two says so first.
        with suppress(ProcessLookupError, PermissionError):
            os.setpgid(self._pid, self._pid)
        self._guard = ExitStack()
        self._guard.enter_context(watched(self._pid))
        self._at_start_MB = self._resident_MB()
        self.has_ended = False

    def used_MB(self) -> float:
        """Memory of the process and its descendants beyond that at its start [MB].

        What is resident may shrink as well, where pages that it shares with its parent are taken
        back by the kernel: at least what it shares with nobody counts.
        """
        return max(self._resident_MB() - self._at_start_MB, self._private_MB())

    def end(self) -> int:
        """Kill it with all that it started; how it ended, negative for a signal."""
        if self.has_ended:
            return 0
        self.has_ended = True
        self.connection.close()
        for process in family(self._pid)[1:]:
            with suppress(psutil.Error):
                process.kill()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, signal.SIGKILL)
        self._process.join()
        self._guard.close()
        code = self._process.exitcode
        self._process.close()
        return 0 if code is None else code

    def printed(self) -> str:
        """The end of what it wrote to standard error, which is passed on to that of this one."""
        with self._errors as file:
            file.seek(0)
            text = file.read().decode(errors="replace")
        sys.stderr.write(text)
        return text[-_LONGEST_TEXT:].strip()

    def _resident_MB(self) -> float:
        found = 0.0
        for process in family(self._pid):
            with suppress(psutil.Error):
                found += process.memory_info().rss / 1e6
        return found

    def _private_MB(self) -> float:
        found = 0.0
        for process in family(self._pid):
            with suppress(psutil.Error):
                found += process.memory_full_info().uss / 1e6
        return found


def _serve(
    labeler: Labeler, requests: Connection, other_end: Connection, errors: int
) -> None:
    """Label what comes until there is no more; runs in the forked process."""
    with suppress(PermissionError):
        os.setpgid(0, 0)
    # What a parent does about signals and ends is its own business.
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    other_end.close()
    os.dup2(errors, 2)
    if faulthandler.is_enabled():
        faulthandler.enable(2)
    while True:
        try:
            structure, finished = requests.recv()
        except EOFError:
            return
        requests.send(_answer(labeler, structure, finished, requests.send))
        sys.stdout.flush()
        sys.stderr.flush()


def _answer(
    labeler: Labeler, structure: Structure, finished: dict[str, Label] | None, keep: Keep
) -> Label | Failure | Exception:
    try:
        if finished is not None and isinstance(labeler, ResumableLabeler):
            return labeler.resume(structure, finished, keep)
        return labeler.label(structure)
    except MemoryError as error:
        return Failure(FailureKind.RESOURCE, f"memory ran out: {error}")
    except (AlflowError, OSError) as error:
        return error
    except Exception as error:  # noqa: BLE001 - a labeler may raise anything
        text = "".join(traceback.format_exception(error))[-_LONGEST_TEXT:]
        return Failure(
            FailureKind.BUG, f"{type(error).__name__}: {error}", {"traceback": text}
        )


def _death(code: int) -> Failure:
    """A process that died by itself, by its exit status."""
    details = {"exit": code}
    if code == -signal.SIGKILL:
        return Failure(
            FailureKind.RESOURCE,
            "the process of the calculation was killed by SIGKILL, most often by the kernel "
            "because memory ran out",
            details,
        )
    how = (
        f"was ended by {signal.Signals(-code).name}"
        if code < 0
        else f"ended with status {code}"
    )
    return Failure(FailureKind.CRASH, f"the process of the calculation {how}", details)
