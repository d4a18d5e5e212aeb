"""Which process is which: identities that survive the reuse of process numbers."""

import os
from functools import cache
from pathlib import Path

_PROC = Path("/proc")


@cache
def machine_identity() -> str:
    """Names this boot of this machine and process namespace; empty where unknown.

    Two processes with the same, non-empty identity can judge each other by process number.
    A host name is not enough: it stays the same over a reboot and inside containers.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def start_time(pid: int) -> str:
    """When a living process started, in clock ticks since boot; empty if it is not alive.

    A zombie is dead: it can do nothing more.
    """
    status = _status(pid)
    return "" if status is None or status[0] in "ZX" else status[19]


def group_is_alive(group: int) -> bool:
    """Whether any process of a process group is alive, zombies left out."""
    if not machine_identity():
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        return True
    members = (_status(int(path.name)) for path in _PROC.iterdir() if path.name.isdigit())
    return any(
        status is not None and status[2] == str(group) and status[0] not in "ZX"
        for status in members
    )


def parent_of(pid: int) -> int:
    """Process number of the parent of a process; 0 if it is not there."""
    status = _status(pid)
    return 0 if status is None else int(status[1])


def children_of(pid: int) -> list[int]:
    """Process numbers of the children of a process."""
    numbers = (int(path.name) for path in _PROC.iterdir() if path.name.isdigit())
    return [number for number in numbers if parent_of(number) == pid]


def _status(pid: int) -> list[str] | None:
    """Fields of `/proc/PID/stat` from the state on (field 3 of proc(5)), or None."""
    try:
        text = (_PROC / str(pid) / "stat").read_text("ascii", errors="replace")
    except OSError:
        return None
    # The command, in parentheses, may itself hold spaces and parentheses.
    return text.rpartition(")")[2].split()
