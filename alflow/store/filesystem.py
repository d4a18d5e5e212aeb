"""Which file system a path is on: SQLite's locks cannot be trusted over a network."""

import re
from pathlib import Path

_NETWORK = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb", "smb3", "smbfs", "9p", "afs"),
        *("lustre", "gpfs", "mmfs", "beegfs", "panfs", "ceph", "glusterfs"),
    }
)
_MOUNTS = Path("/proc/self/mountinfo")


def network_filesystem(directory: Path, mounts: Path = _MOUNTS) -> str | None:
    """The type of the network file system that a directory is on, or None.

    None also where the operating system does not tell.

    Args:
        directory: An existing directory.
        mounts: Linux' table of mounts.
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    target = directory.resolve()
    best, kind = -1, ""
    for line in lines:
        left, _, right = line.partition(" - ")
        mount = Path(_unescape(left.split()[4]))
        # Of two mounts on one point the later one hides the earlier.
        if target.is_relative_to(mount) and len(mount.parts) >= best:
            best, kind = len(mount.parts), right.split()[0]
    is_network = kind in _NETWORK or kind.startswith("fuse.")
    return kind if is_network else None


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
