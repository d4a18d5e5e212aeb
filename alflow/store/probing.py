"""Tries out whether a folder is fit for a campaign: what a database and its workers rely on.

Everything happens in a folder of its own, which is removed afterwards whatever happens. What
needs two processes is tried with two.
"""

import contextlib
import fcntl
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from alflow.core.errors import StoreError
from alflow.store.checking import CheckState
from alflow.store.filesystem import (
    filesystem_type,
    is_allowed_on_network,
    is_lasting,
    is_network,
    meaning,
)

_OK, _WARN, _FAIL = CheckState.OK, CheckState.WARN, CheckState.FAIL
_N_SYNCS = 15
_SLOW_SYNC_S = 0.05
_N_NAMES = 200
_CHILD_TIMEOUT_S = 30
_LITTLE_SPACE, _NO_SPACE = 5_000_000_000, 200_000_000
_FEW_FILES = 20_000
_SKEW_S, _BAD_SKEW_S = 1.0, 10.0
_EARLIEST = 1_735_689_600.0  # 2025-01-01


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found about one thing.

    Attributes:
        subject: What was tried.
        state: Whether it is as it must be.
        detail: What was found, a phrase.
    """

    subject: str
    state: CheckState
    detail: str


def probe_folder(folder: Path) -> list[Probe]:
    """Try everything out in a folder; nothing is left behind.

    Raises:
        StoreError: If nothing can be written there.
    """
    try:
        place = Path(tempfile.mkdtemp(prefix=".alflow-doctor-", dir=folder))
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be written: {error.strerror}", code="AL103"
        ) from error
    try:
        return [_tried(subject, probe, place) for subject, probe in _PROBES.items()]
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _tried(
    subject: str, probe: Callable[[Path], tuple[CheckState, str]], place: Path
) -> Probe:
    try:
        state, detail = probe(place)
    except (OSError, sqlite3.Error, subprocess.SubprocessError, ValueError) as error:
        state, detail = _FAIL, f"{type(error).__name__}: {error}"
    return Probe(subject, state, detail)


def _filesystem(place: Path) -> tuple[CheckState, str]:
    kind = filesystem_type(place)
    if is_network(kind):
        return (_WARN if is_allowed_on_network() else _FAIL), meaning(kind)
    is_good = kind is not None and is_lasting(kind)
    return (_OK if is_good else _WARN), meaning(kind)


def _space(place: Path) -> tuple[CheckState, str]:
    usage = os.statvfs(place)
    free, files = usage.f_bavail * usage.f_frsize, usage.f_favail
    detail = f"{free / 1e9:.1f} GB free"
    # A file system without a fixed number of files says that it has none at all.
    is_short = usage.f_files > 0 and files < _FEW_FILES
    if is_short:
        detail += f", room for {files} files only"
    state = (
        _FAIL if free < _NO_SPACE else _WARN if free < _LITTLE_SPACE or is_short else _OK
    )
    return state, detail


def _fsync(place: Path) -> tuple[CheckState, str]:
    times = []
    with (place / "synced").open("wb") as file:
        for _ in range(_N_SYNCS):
            file.write(b"x" * 4096)
            file.flush()
            start = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - start)
    descriptor = os.open(place, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    median = statistics.median(times)
    detail = f"median {median * 1e3:.2g} ms, worst {max(times) * 1e3:.2g} ms"
    return (_WARN if median > _SLOW_SYNC_S else _OK), detail


def _rename(place: Path) -> tuple[CheckState, str]:
    old, new = place / "old", place / "new"
    old.write_text("old")
    new.write_text("new")
    with old.open() as reader:
        new.replace(old)
        is_whole = (reader.read(), old.read_text(), new.exists()) == ("old", "new", False)
    if is_whole:
        return _OK, "a reader sees the old file or the new one, whole"
    return _FAIL, "a file that is replaced is not replaced at once"


def _create(place: Path) -> tuple[CheckState, str]:
    return _race(place, "create", "creates")


def _link(place: Path) -> tuple[CheckState, str]:
    state, detail = _race(place, "link", "links")
    # Where there are no hard links a rename does, with less protection against two at once.
    return (_WARN if "Error" in detail else state), detail


def _race(place: Path, what: str, verb: str) -> tuple[CheckState, str]:
    folder = place / what
    folder.mkdir()
    with _child(what, folder, _N_NAMES) as one, _child(what, folder, _N_NAMES) as other:
        _start(one, other)
        words = [_said(child) for child in (one, other)]
    taken = sorted(int(word) for said in words for word in said)
    if taken == list(range(_N_NAMES)):
        return _OK, f"of two processes exactly one {verb} a name"
    twice = len(taken) - len(set(taken))
    return _FAIL, f"of {_N_NAMES} names {twice} were had twice, {len(set(taken))} at all"


def _locks(place: Path) -> tuple[CheckState, str]:
    path = place / "lock"
    path.touch()
    wrong = []
    for name, lock in (("flock", fcntl.flock), ("fcntl", fcntl.lockf)):
        with path.open("r+b") as file:
            lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            wrong += [name] if name in _ask("lock", path) else []
    if wrong:
        return _FAIL, f"another process gets what is locked by {' and '.join(wrong)}"
    if len(_ask("lock", path)) < 2:  # noqa: PLR2004 (both kinds)
        return _FAIL, "a lock stays when it is given back"
    return _OK, "flock and fcntl hold between two processes"


def _wal(place: Path) -> tuple[CheckState, str]:
    path = place / "probe.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode != "wal":
            return _FAIL, f"SQLite cannot use WAL here, but {mode}"
        connection.execute("CREATE TABLE probe (x INTEGER)")
        connection.execute("INSERT INTO probe VALUES (1)")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO probe VALUES (2)")
        during = _ask("database", path)
        connection.execute("COMMIT")
        after = _ask("database", path)
    if (during, after) == (["1", "locked"], ["2", "free"]):
        return _OK, "SQLite writes and reads from two processes at once"
    return _FAIL, f"a second process sees {during}, then {after}"


def _clock(place: Path) -> tuple[CheckState, str]:
    before = time.time()
    path = place / "now"
    path.touch()
    after, stamp = time.time(), path.stat().st_mtime
    # Time stamps of files may lag by one tick of the kernel.
    skew = max(before - 0.02 - stamp, stamp - after, 0.0)
    if after < _EARLIEST or skew > _BAD_SKEW_S:
        return _FAIL, f"{time.strftime('%F %T')}, {skew:.1f} s from that of the file system"
    state = _WARN if skew > _SKEW_S else _OK
    return state, f"{skew:.1f} s from that of the file system"


_PROBES = {
    "file system": _filesystem,
    "free space": _space,
    "fsync": _fsync,
    "rename": _rename,
    "exclusive create": _create,
    "hard links": _link,
    "locks": _locks,
    "SQLite WAL": _wal,
    "clock": _clock,
}


@contextlib.contextmanager
def _child(what: str, path: Path, *more: int) -> "Iterator[subprocess.Popen[str]]":
    script = Path(__file__).with_name("probe_child.py")
    command = [sys.executable, "-I", "-S", str(script), what, str(path), *map(str, more)]
    with subprocess.Popen(  # noqa: S603 (our own script)
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def _start(*children: "subprocess.Popen[str]") -> None:
    """Let them begin as nearly at once as can be."""
    for child in children:
        if child.stdout is not None:
            child.stdout.readline()
    for child in children:
        if child.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                # Not through its buffer, which would keep what a dead process does not take.
                os.write(child.stdin.fileno(), b"go\n")


def _said(child: "subprocess.Popen[str]") -> list[str]:
    out, err = child.communicate(timeout=_CHILD_TIMEOUT_S)
    if child.returncode:
        raise ValueError(err.strip().splitlines()[-1] if err.strip() else "no answer")
    return out.split()


def _ask(what: str, path: Path) -> list[str]:
    with _child(what, path) as child:
        _start(child)
        return _said(child)
