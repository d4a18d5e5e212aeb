"""A process that has imported what task bodies need, and forks one child per attempt.

Importing torch and PySCF takes seconds; a fork of a process that has them takes
milliseconds. The server runs beside one worker and talks with it in lines of JSON:

    worker  {"root": …, "attempt": {…}}      run this attempt        → server
    server  {"pid": 4711}                    a child runs it         → worker
    worker  {"kill": true}                   end the child           → server
    server  {"exit": -11}                    it ended, by signal 11  → worker
    server  {"refused": "No space left"}     no child could be made  → worker

It is the guard of the child, too: when the pipe to the worker closes, because the worker was
killed however hard, the whole process group of the child is killed. `multiprocessing` has a
fork server as well; it would leave grandchildren behind here, and import the main module of
Parsl's worker again for each task.
"""

import contextlib
import faulthandler
import gc
import importlib
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any, NoReturn

from alflow.core.tasks import AttemptRef
from alflow.execution.body import run_body
from alflow.execution.files import CampaignFiles
from alflow.registry import available

PRELOAD_VARIABLE = "ALFLOW_PRELOAD"
"""Environment variable with what to import before forking, separated by commas: modules, or
`module:function` to call the function as well."""
SCRATCH_VARIABLE = "ALFLOW_SCRATCH"
"""Environment variable with the folder for private working directories."""
DEFAULT_PRELOAD = "torch,alflow.models.compiled:warm_up,ase,pyscf.dft,pyscf.scf,pyscf.grad"


class Server:
    """Forks children on request and watches over the one that runs."""

    def __init__(self, requests: int, replies: int) -> None:
        """Take the two ends of the conversation.

        Args:
            requests: File descriptor that the worker writes to.
            replies: File descriptor that the worker reads from.
        """
        self._requests = requests
        self._replies = replies
        self._unread = b""
        self._child = 0
        self._scratch = Path()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)

    def serve(self) -> None:
        """Run attempts until the worker is gone."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write)
        poll = select.poll()
        poll.register(self._requests, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        is_open = True
        while is_open:
            for descriptor, _ in poll.poll():
                if descriptor == self._requests:
                    is_open = self._read()
                else:
                    os.read(self._wake_read, 512)
            self._reap()
        self._end()

    def _read(self) -> bool:
        """Take what the worker wrote; False when it is gone."""
        try:
            chunk = os.read(self._requests, 65536)
        except OSError:
            return False
        *lines, self._unread = (self._unread + chunk).split(b"\n")
        for line in lines:
            request = json.loads(line)
            if "kill" in request:
                self._kill()
            else:
                self._fork(request)
        return bool(chunk)

    def _reply(self, message: dict[str, Any]) -> None:
        # A worker that is gone is noticed where it matters: at the end of its requests.
        with contextlib.suppress(BrokenPipeError):
            os.write(self._replies, json.dumps(message).encode() + b"\n")

    def _fork(self, request: dict[str, Any]) -> None:
        folder = os.environ.get(SCRATCH_VARIABLE)
        try:
            self._scratch = Path(tempfile.mkdtemp(prefix="alflow-", dir=folder))
            self._child = os.fork()
        except OSError as error:
            self._reply({"refused": str(error)})
            return
        if self._child == 0:
            self._become_child(request)
        self._reply({"pid": self._child})

    def _become_child(self, request: dict[str, Any]) -> NoReturn:
        code = 1
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for descriptor in (self._wake_read, self._wake_write, self._replies):
                os.close(descriptor)
            files = CampaignFiles(Path(request["root"]))
            attempt = AttemptRef(**request["attempt"])
            _redirect(files.attempt_directory(attempt))
            _move_to(self._scratch)
            faulthandler.enable()
            run_body(files, attempt)
            code = 0
        except BaseException:  # noqa: BLE001 - nothing may return into the server's loop
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            # The result is committed; threads and exit hooks of libraries are not waited for.
            os._exit(code)

    def _reap(self) -> None:
        """If the child has ended: sweep up what it left, then say so."""
        if not self._child:
            return
        # Not reaped yet, the child keeps its process number, and so its group's, from reuse.
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        if os.waitid(os.P_PID, self._child, flags) is None:
            return
        code = self._end()
        self._reply({"exit": code})

    def _end(self) -> int:
        """Kill what is left of the child; returns how it ended."""
        if not self._child:
            return 0
        self._kill()
        _, status = os.waitpid(self._child, 0)
        self._child = 0
        shutil.rmtree(self._scratch, ignore_errors=True)
        return os.waitstatus_to_exitcode(status)

    def _kill(self) -> None:
        if not self._child:
            return
        try:
            os.killpg(self._child, signal.SIGKILL)
        except ProcessLookupError:  # forked, but not yet the leader of its group
            os.kill(self._child, signal.SIGKILL)


def preload() -> None:
    """Import what bodies will need: no thread pool, no accelerator context."""
    names = os.environ.get(PRELOAD_VARIABLE, DEFAULT_PRELOAD).split(",")
    names += [entry.module for entry in available("tasks").values()]
    for name in filter(None, names):
        module, _, function = name.partition(":")
        try:
            found = importlib.import_module(module)
            if function:
                getattr(found, function)()
        except Exception as error:  # noqa: BLE001 - a broken plug-in concerns its own tasks only
            sys.stderr.write(f"preload of {name}: {type(error).__name__}: {error}\n")
    # What is here now is shared with every child; the collector need not look at it again.
    gc.freeze()


def _redirect(directory: Path) -> None:
    """Send what the child prints to files of its attempt, and give it nothing to read."""
    for descriptor, path, flags in (
        (0, Path(os.devnull), os.O_RDONLY),
        (1, directory / "stdout", os.O_WRONLY | os.O_CREAT | os.O_APPEND),
        (2, directory / "stderr", os.O_WRONLY | os.O_CREAT | os.O_APPEND),
    ):
        opened = os.open(path, flags, 0o666)
        os.dup2(opened, descriptor)
        os.close(opened)


def _move_to(scratch: Path) -> None:
    os.chdir(scratch)
    os.environ["TMPDIR"] = str(scratch)
    tempfile.tempdir = None


def main() -> None:
    """Serve the worker at the other end of standard input and output."""
    replies = os.dup(1)
    # Whatever a preloaded module prints must not look like a reply.
    os.dup2(2, 1)
    preload()
    Server(0, replies).serve()


if __name__ == "__main__":
    main()
