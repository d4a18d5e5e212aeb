"""Calculations in a process of their own: its death costs one structure, nothing outlives it."""

import ctypes
import errno
import os
import signal
import subprocess
import sys
import time
from contextlib import closing

import numpy as np
import psutil
import pytest

from alflow.core.errors import SiteError
from alflow.core.labels import Failure, FailureKind, Label
from alflow.core.structures import Structure
from alflow.labelers import isolated
from alflow.labelers.isolated import IsolatedLabeler, Limits


def atoms(x: float = 0.0) -> Structure:
    return Structure(np.array([1], np.uint8), np.array([[x, 0, 0]]))


class Scripted:
    """Does what its script says about the position of the first atom; tells its process."""

    def __init__(self, script):
        self.script = script

    def label(self, structure):
        act = self.script.get(round(float(structure.positions[0, 0])))
        if act is not None:
            act()
        return Label(1.0, np.zeros((1, 3)), None, {"pid": os.getpid()})

    def version(self):
        return "scripted 1"


def labels(script, *numbers, **limits):
    with closing(IsolatedLabeler(Scripted(script), Limits(**limits))) as isolated:
        return [isolated.label(atoms(float(x))) for x in numbers]


def is_gone(pid: int, within_s: float = 2.0) -> bool:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def hang_in_c() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    ctypes.PyDLL(None).sleep(1000)  # holds the interpreter's lock


def test_one_process_labels_a_batch_and_is_not_this_one():
    first, second = labels({}, 1, 2)
    assert first.extras == second.extras
    assert first.extras["pid"] != os.getpid()
    assert is_gone(first.extras["pid"])


def test_a_hung_kernel_is_killed_at_its_deadline_with_all_that_it_started(tmp_path):
    def start_and_hang() -> None:
        same = subprocess.Popen(["sleep", "1000"])
        apart = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        (tmp_path / "pids").write_text(f"{os.getpid()} {same.pid} {apart.pid}")
        hang_in_c()

    began = time.monotonic()
    killed, after = labels({1: start_and_hang}, 1, 2, timeout_s=1.0)
    assert time.monotonic() - began < 1.0 + 2.0
    assert killed.kind is FailureKind.RESOURCE
    assert "timeout_s = 1 s" in killed.message
    assert isinstance(after, Label), "the next structure has a new process"
    pids = [int(word) for word in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 3
    assert all(map(is_gone, pids))


def test_time_is_counted_for_each_structure():
    nap = {k: lambda: time.sleep(0.3) for k in range(4)}
    assert all(isinstance(one, Label) for one in labels(nap, 0, 1, 2, 3, timeout_s=0.9))


@pytest.mark.parametrize(
    ("act", "kind", "words"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), FailureKind.CRASH, "SIGSEGV"),
        (os.abort, FailureKind.CRASH, "SIGABRT"),
        (lambda: os._exit(3), FailureKind.CRASH, "status 3"),
        (lambda: os._exit(0), FailureKind.CRASH, "status 0"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), FailureKind.RESOURCE, "memory"),
    ],
)
def test_a_process_that_dies_costs_one_structure(act, kind, words):
    before, died, after = labels({1: act}, 0, 1, 2)
    assert died.kind is kind
    assert words in died.message
    assert isinstance(before, Label)
    assert isinstance(after, Label)
    assert before.extras["pid"] != after.extras["pid"]


def test_what_it_printed_before_it_died_is_kept(capfd):
    def last_words() -> None:
        os.write(2, b"no more cores\n")
        os._exit(3)

    (died,) = labels({1: last_words}, 1)
    assert "no more cores" in died.details["stderr"]
    assert "no more cores" in capfd.readouterr().err


def test_too_much_memory_is_told_and_the_next_structure_goes_on():
    def grow() -> None:
        kept = [np.ones(10_000_000) for _ in range(10)]  # 800 MB
        time.sleep(30)
        del kept

    killed, after = labels({1: grow}, 1, 2, memory_MB=200.0)
    assert killed.kind is FailureKind.RESOURCE
    assert "memory_MB = 200 MB" in killed.message
    assert killed.details["used_MB"] > 200
    assert isinstance(after, Label)


def test_memory_of_what_it_started_counts():
    code = "import time; kept = bytearray(300_000_000); time.sleep(30)"
    started = lambda: subprocess.run([sys.executable, "-c", code], check=False)  # noqa: E731
    (killed,) = labels({1: started}, 1, memory_MB=200.0)
    assert killed.kind is FailureKind.RESOURCE


def raising(error: BaseException):
    def act() -> None:
        raise error

    return act


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("odd"), FailureKind.BUG),
        (ZeroDivisionError(), FailureKind.BUG),
        (MemoryError("1 TiB"), FailureKind.RESOURCE),
    ],
)
def test_other_errors_are_failures_of_the_structure(error, kind):
    failed, after = labels({1: raising(error)}, 1, 2)
    assert isinstance(failed, Failure)
    assert failed.kind is kind
    assert isinstance(after, Label)


def test_troubles_of_the_site_are_raised_as_they_were():
    with pytest.raises(SiteError) as told:
        labels({1: raising(SiteError("no program", code="AL201", next_step="get it"))}, 1)
    assert (told.value.code, told.value.next_step) == ("AL201", "get it")
    with pytest.raises(OSError, match="No space left") as full:
        labels({1: raising(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))}, 1)
    assert full.value.errno == errno.ENOSPC


ORPHANED = """
import os, sys
import numpy as np
sys.path.insert(0, {folder!r})
from test_isolated import Scripted, atoms, hang_in_c
from alflow.labelers import isolated
from alflow.labelers.isolated import IsolatedLabeler, Limits

def hang():
    print(os.getpid(), flush=True)
    hang_in_c()

IsolatedLabeler(Scripted({{1: hang}}), Limits()).label(atoms(1.0))
"""


@pytest.mark.recovery
def test_it_dies_with_the_process_that_asked():
    script = ORPHANED.format(folder=os.path.dirname(__file__))  # noqa: PTH120
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert psutil.pid_exists(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert is_gone(child)


def test_memory_is_noticed_although_shared_pages_go_away(monkeypatch):
    """What a fork shares with its parent the kernel may take back, as the process grows."""
    monkeypatch.setattr(isolated._Process, "_resident_MB", lambda _process: 3000.0)

    def grow() -> None:
        kept = [np.ones(10_000_000) for _ in range(10)]  # 800 MB
        time.sleep(30)
        del kept

    (killed,) = labels({1: grow}, 1, memory_MB=200.0)
    assert killed.kind is FailureKind.RESOURCE
    assert killed.details["used_MB"] > 200
