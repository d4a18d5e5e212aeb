"""Which file system a path is on: SQLite's locks cannot be trusted over a network.

In WAL mode, besides, all processes must share memory, which machines do not. Seen in the field:
processes killed by SIGBUS on Lustre, "locking protocol" on NFS homes, locks that outlive their
process. A store is therefore not written there, unless the user takes the responsibility for
there being one process only.
"""

import contextlib
import os
import re
from pathlib import Path

from alflow.core.errors import StoreError

ALLOW_VARIABLE = "ALFLOW_ALLOW_NETWORK_SQLITE"
"""Environment variable by which a user promises, with `1`, that one process at a time uses a
database on a network file system. It is then locked as a whole, and kept without WAL."""

_NETWORK = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb", "smb3", "smbfs", "9p", "afs", "ncpfs", "coda"),
        *("lustre", "gpfs", "mmfs", "beegfs", "beegfs_nodev", "panfs", "ceph", "wekafs"),
        *("glusterfs", "orangefs", "pvfs2", "gfs2", "ocfs2", "dvs", "unifyfs"),
        # Folders of the host, in a virtual machine.
        *("virtiofs", "vboxsf", "vmhgfs", "prl_fs"),
    }
)
_LOCAL_FUSE = frozenset(
    {"ntfs", "ntfs-3g", "exfat", "fuse-overlayfs", "gocryptfs", "encfs"}
)
"""What is behind FUSE is a network more often than not: sshfs, s3fs, rclone, cvmfs, ..."""

_MEMORY = frozenset({"tmpfs", "ramfs"})
_MOUNTS = Path("/proc/self/mountinfo")


def filesystem_type(directory: Path, mounts: Path = _MOUNTS) -> str | None:
    """The type of the file system that a directory is on, or None if the system does not tell.

    Args:
        directory: An existing directory.
        mounts: Linux' table of mounts.
    """
    with contextlib.suppress(OSError):
        # A directory that is mounted when it is first used shows in the table after that.
        os.stat(f"{directory}/.")  # noqa: PTH116 (a Path drops the dot)
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    target = directory.resolve()
    best, kind = -1, None
    for line in lines:
        left, _, right = line.partition(" - ")
        mount = Path(_unescape(left.split()[4]))
        # Of two mounts on one point the later one hides the earlier.
        if target.is_relative_to(mount) and len(mount.parts) >= best:
            best, kind = len(mount.parts), right.split()[0]
    return kind


def is_network(kind: str | None) -> bool:
    """Whether a type of file system is one of a network; of an unknown type it is not assumed."""
    if kind is None:
        return False
    family, _, program = kind.partition(".")
    if family == "fuse":
        return program not in _LOCAL_FUSE
    return kind in _NETWORK


def network_filesystem(directory: Path, mounts: Path = _MOUNTS) -> str | None:
    """The type of the network file system that a directory is on, or None.

    None also where the operating system does not tell.

    Args:
        directory: An existing directory.
        mounts: Linux' table of mounts.
    """
    kind = filesystem_type(directory, mounts)
    return kind if is_network(kind) else None


def is_lasting(kind: str | None) -> bool:
    """Whether what is written outlives the machine's next restart; assumed if unknown."""
    return kind not in _MEMORY


def is_allowed_on_network() -> bool:
    """Whether the user has promised that one process at a time uses a database there."""
    return os.environ.get(ALLOW_VARIABLE) == "1"


def refusal(path: Path, kind: str) -> StoreError:
    """Why a database cannot be written where it is, and the three ways out."""
    return StoreError(
        f"{path} is on a network file system ({kind}), where SQLite databases get damaged",
        code="AL321",
        consequence="Nothing was created or changed. There are three ways out:",
        next_step=f"1. a disk of this machine:   --db /local/disk/{path.name}, and now and then "
        f"alflow db backup -o {path.parent}/BACKUP.db\n"
        "2. a database server:        --db postgresql://HOST/NAME\n"
        f"3. one process on one host:  {ALLOW_VARIABLE}=1; the database is locked as a whole "
        "then, status and report wait until nobody runs it",
    )


def meaning(kind: str | None) -> str:
    """What a type of file system means for a database on it, a phrase."""
    if kind is None:
        return "unknown; on a network SQLite would not be safe"
    if kind in _MEMORY:
        return f"{kind}, in memory: empty after a restart of the machine"
    if not is_network(kind):
        return f"{kind}, local"
    if is_allowed_on_network():
        return f"{kind}, a network: one process at a time ({ALLOW_VARIABLE}=1)"
    return f"{kind}, a network: it is not written there"


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
