"""Files that are whole or absent, whatever is killed when."""

import os
import secrets
from pathlib import Path

from alflow.core.failpoints import failpoint


def sync_directory(path: Path) -> None:
    """Make the names in a directory survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """Create a directory and its parents durably; an existing one is fine."""
    missing = [folder for folder in (path, *path.parents) if not folder.is_dir()]
    path.mkdir(parents=True, exist_ok=True)
    # All are made before the first is synced: a journal then writes them in one go.
    for folder in missing:
        sync_directory(folder.parent)


def write_atomic(
    path: Path, content: bytes, *, durable: bool = True, kind: str = ""
) -> None:
    """Write a file so that a reader sees the old content or the new one, never a part.

    Args:
        path: File to write; its directory exists.
        content: What will stand in it.
        durable: Whether to return only when it would survive a power failure.
        kind: What it is, among the failpoints; empty for what may be lost.
    """
    # The leading dot keeps a file that a crash left half-written out of every listing.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        _write(temporary, content, os.O_EXCL, durable=durable)
        if kind:
            failpoint(f"file.{kind}.before")
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_directory(path.parent)
    if kind:
        failpoint(f"file.{kind}.after")


def create_exclusive(path: Path, content: bytes, *, kind: str) -> bool:
    """Create a file that must not exist yet; of many callers exactly one gets True.

    Args:
        path: File to create; its directory exists.
        content: What will stand in it, from the moment that it is there.
        kind: What it is, among the failpoints.
    """
    if path.exists():
        return False
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        _write(temporary, content, os.O_EXCL, durable=True)
        failpoint(f"file.{kind}.before")
        if not _link(temporary, path):
            return False
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)
    failpoint(f"file.{kind}.after")
    return True


def _link(temporary: Path, path: Path) -> bool:
    """Give a file that is whole its final name, unless another one has it."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        # A network file system may do it, lose the answer, and try once more.
        return temporary.stat().st_nlink > 1
    except OSError:
        # There are no hard links here: the name comes first, the content after it.
        try:
            _write(path, temporary.read_bytes(), os.O_EXCL, durable=True)
        except FileExistsError:
            return False
    return True


def _write(path: Path, content: bytes, flags: int, *, durable: bool) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o666)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        if durable:
            file.flush()
            os.fsync(descriptor)
