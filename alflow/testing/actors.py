"""The processes of a campaign under test: a manager and its workers, forked in milliseconds."""

import os
import select
import signal
import time
import traceback
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from alflow.config.loading import load_campaign
from alflow.core import failpoints
from alflow.core.errors import AlflowError, LeaseHeld
from alflow.core.protocols import Executor
from alflow.execution.files import CampaignFiles
from alflow.execution.foreman import run_foreman
from alflow.execution.forked import ForkedProcess
from alflow.execution.process import ProcessExecutor
from alflow.execution.sites import load_site
from alflow.loop.campaign import run_campaign
from alflow.loop.ingest import Notice
from alflow.loop.manager import Manager

PROCESS = "process"
"""Name of the way to run without Parsl."""

FENCED = LeaseHeld.exit_code
"""Exit code of a manager that found another one."""

_POLL_S = 0.002


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a campaign under test is played.

    Attributes:
        folder: Its folder, with the campaign file.
        database: Its database, file or URL.
        site: `process`, or a site of Parsl's.
        workers: Number of workers, without Parsl.
    """

    folder: Path
    database: str
    site: str = PROCESS
    workers: int = 2

    @property
    def file(self) -> Path:
        """The campaign file."""
        return self.folder / "campaign.yaml"

    @property
    def log(self) -> Path:
        """What managers and workers say on stderr."""
        return self.folder / "processes.log"


@dataclass(slots=True)
class ManagerProcess:
    """A manager under test, as its tormentor sees it.

    Attributes:
        process: The process.
        began: When it was started, on the monotonic clock [s].
        progress: When it made progress, on the same clock [s].
        died_at: The failpoint at which it killed itself, or empty.
        code: How it ended; None while it runs.
    """

    process: ForkedProcess
    began: float
    progress: list[float] = field(default_factory=list)
    died_at: str = ""
    code: int | None = None
    _unread: bytes = b""

    def look(self, timeout_s: float) -> bool:
        """Take in what it says, for at most this time; False when it has ended."""
        end = time.monotonic() + timeout_s
        while self.code is None:
            self.code = self.process.poll()
            left = max(0.0, end - time.monotonic())
            self._listen(0.0 if self.code is not None else min(left, _POLL_S))
            if not left:
                break
        return self.code is None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.signal(number)

    def close(self) -> None:
        """Forget it, when it has ended."""
        self.process.close()

    def _listen(self, timeout_s: float) -> None:
        poll = select.poll()
        poll.register(self.process.stdout.fileno(), select.POLLIN)
        while poll.poll(timeout_s * 1000):
            chunk = os.read(self.process.stdout.fileno(), 65536)
            if not chunk:
                time.sleep(timeout_s)
                return
            *lines, self._unread = (self._unread + chunk).split(b"\n")
            for line in lines:
                word, _, value = line.decode().partition(" ")
                if word == "progress":
                    self.progress.append(float(value))
                else:
                    self.died_at = value
            timeout_s = 0.0


def start_foreman(stage: Stage, points: Collection[str], token: Path) -> ForkedProcess:
    """Start workers; one of their processes dies at the first of these points that it reaches.

    Args:
        stage: Where.
        points: Failpoints.
        token: A file that the process which dies renames, adding the name of the point.
    """

    def die(name: str) -> None:
        try:
            token.rename(token.with_name(f"{token.name}.{name}"))
        except FileNotFoundError:
            return  # another one did
        os.kill(os.getpid(), signal.SIGKILL)

    def work(requests: int, replies: int) -> None:
        _log_to(stage.log)
        _arm(points, die)
        run_foreman(requests, replies, stage.workers)

    if points:
        token.touch()
    return ForkedProcess(work, in_new_session=True)


def start_manager(
    stage: Stage, points: Collection[str], foreman: ForkedProcess | None
) -> ManagerProcess:
    """Start a manager; it dies at the first of these points that it reaches.

    Args:
        stage: Where.
        points: Failpoints.
        foreman: Its workers; they are its own from now on. None without Parsl for a manager that
            gets none, with Parsl always.
    """

    def manage(_requests: int, replies: int) -> None:
        _log_to(stage.log)
        os.chdir(stage.folder)

        def die(name: str) -> None:
            os.write(replies, f"point {name}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)

        def notify(_notice: Notice) -> None:
            os.write(replies, f"progress {time.monotonic()}\n".encode())

        _arm(points, die)
        os._exit(_manage(stage, foreman, notify))

    pipes = [] if foreman is None else [foreman.stdin.fileno(), foreman.stdout.fileno()]
    began = time.monotonic()
    process = ForkedProcess(manage, keep=pipes, in_new_session=True)
    if foreman is not None:
        # The end of the manager must be the end of the pipe.
        foreman.stdin.close()
        foreman.stdout.close()
    return ManagerProcess(process, began)


def _manage(
    stage: Stage, foreman: ForkedProcess | None, notify: Callable[[Notice], None]
) -> int:
    """What `alflow run` does, but for the report; its exit code."""
    try:
        settings = load_campaign(stage.file)
        with run_campaign(stage.database, settings, file=stage.file.name) as campaign:
            executor = _executor(stage, campaign.files, foreman)
            executor.start()
            try:
                Manager(campaign, executor, notify).run()
            finally:
                executor.close(cancel=True)
    except AlflowError as error:
        traceback.print_exc()
        return error.exit_code
    except Exception:  # noqa: BLE001 - a bug is told like a user would be told
        traceback.print_exc()
        return 1
    return 0


def _executor(
    stage: Stage, files: CampaignFiles, foreman: ForkedProcess | None
) -> Executor:
    if stage.site == PROCESS:
        return ProcessExecutor(files, stage.workers, foreman)
    from alflow.execution.parsl import ParslExecutor

    return ParslExecutor(files, load_site(stage.site))


def _arm(points: Collection[str], die: Callable[[str], None]) -> None:
    def hook(name: str) -> None:
        if name in points:
            die(name)

    failpoints.install(hook if points else None)


def _log_to(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
