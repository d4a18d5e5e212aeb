"""The other process in probes of a folder; run as a script, it needs the standard library only.

    probe_child.py create FOLDER COUNT    names that this process was the first to create
    probe_child.py link FOLDER COUNT      ... to link
    probe_child.py lock FILE              whether locks on it are free: flock, then fcntl
    probe_child.py database FILE          whether rows are seen, and whether it can be written

It says `ready` when it has started, and begins when a line comes in.
"""

import fcntl
import os
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path


def won(folder: Path, count: int, take: Callable[[Path], None]) -> list[int]:
    """Numbers of the names that this process got; each can be had once."""
    mine = []
    for number in range(count):
        try:
            take(folder / f"name-{number}")
        except FileExistsError:
            continue
        mine.append(number)
    return mine


def create(path: Path) -> None:
    """Make a file that must not exist."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def link(path: Path) -> None:
    """Give a file a second name that must not exist."""
    os.link(path.with_name(f"source-{os.getpid()}"), path)


TAKES = {"create": create, "link": link}
"""How a name can be taken, by the word for it."""


def free_locks(path: Path) -> list[str]:
    """Kinds of locks that nobody else holds on a file."""
    found = []
    for name, lock in (("flock", fcntl.flock), ("fcntl", fcntl.lockf)):
        with path.open("r+b") as file:
            try:
                lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            found.append(name)
    return found


def look(path: Path) -> list[str]:
    """Number of rows of the table `probe`, and whether another one may be written."""
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM probe").fetchone()
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return [str(count), "locked"]
        return [str(count), "free"]


def main(what: str, path: Path, count: int) -> list[str]:
    """Do one of the things above; what to say about it."""
    if what == "link":
        path.joinpath(f"source-{os.getpid()}").touch()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    if what in TAKES:
        return [str(number) for number in won(path, count, TAKES[what])]
    return free_locks(path) if what == "lock" else look(path)


if __name__ == "__main__":
    number = int(sys.argv[3]) if len(sys.argv) > 3 else 0  # noqa: PLR2004 (optional)
    sys.stdout.write(" ".join(main(sys.argv[1], Path(sys.argv[2]), number)) + "\n")
