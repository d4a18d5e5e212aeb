"""Private folders for programs: removed on success, kept on failure within a quota."""

import os
import re
import shutil
import socket
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from alflow.core.errors import SiteError

_LIVE, _KEPT = "live-", "failed-"


def scratch_base(folder: str | None) -> Path:
    """The folder that scratch folders lie in, made if it is not there.

    Args:
        folder: As set; None for one of this user in the system's temporary folder.

    Raises:
        SiteError: If it cannot be made, or belongs to somebody else.
    """
    base = Path(folder or Path(tempfile.gettempdir()) / f"alflow-{os.getuid()}")
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SiteError(
            f"cannot make the folder {base}: {error.strerror}",
            next_step="set 'scratch' to a folder that workers can write to",
        ) from error
    # In a temporary folder for all, somebody else may have taken the name.
    if folder is None and (base.is_symlink() or base.stat().st_uid != os.getuid()):
        raise SiteError(
            f"{base} belongs to somebody else",
            next_step="set 'scratch' to a folder of your own",
        )
    return base


def new_scratch(base: Path) -> Path:
    """A new folder that only this user can read; those of processes that died are removed."""
    prefix = f"{_LIVE}{socket.gethostname()}-"
    for folder in base.glob(f"{_LIVE}*"):
        found = re.fullmatch(re.escape(prefix) + r"(\d+)-\w+", folder.name)
        if found and not _is_alive(int(found[1])):
            discard(folder)
    return Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-", dir=base))


def discard(folder: Path) -> None:
    """Remove a folder; what cannot be removed stays."""
    shutil.rmtree(folder, ignore_errors=True)


def keep(folder: Path, quota_bytes: float) -> Path | None:
    """Keep a folder for the user to look at, and remove the oldest kept ones beyond the quota.

    Args:
        folder: As made by `new_scratch`.
        quota_bytes: What all kept folders beside it may take together [bytes].

    Returns:
        Where it is kept; None if it alone exceeds the quota, and is removed.
    """
    size = _size(folder)
    if size > quota_bytes:
        discard(folder)
        return None
    # Names begin with the time, so that their order is that of their age.
    suffix = folder.name.rpartition("-")[2]
    kept = folder.with_name(f"{_KEPT}{time.time_ns()}-{suffix}")
    older = sorted(folder.parent.glob(f"{_KEPT}*"), reverse=True)
    with suppress(OSError):
        folder.rename(kept)
    for other in older:
        size += _size(other)
        if size > quota_bytes:
            discard(other)
    return kept


def _size(folder: Path) -> int:
    """Bytes of all files in a folder; links are not followed."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += (Path(root) / name).lstat().st_size
    return total


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
