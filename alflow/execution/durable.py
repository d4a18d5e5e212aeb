"""Files that are whole or absent, whatever is killed when."""

import os
import secrets
from pathlib import Path


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


def write_atomic(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file so that a reader sees the old content or the new one, never a part.

    Args:
        path: File to write; its directory exists.
        content: What will stand in it.
        durable: Whether to return only when it would survive a power failure.
    """
    # The leading dot keeps a file that a crash left half-written out of every listing.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        _write(temporary, content, os.O_EXCL, durable=durable)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_directory(path.parent)


def create_exclusive(path: Path, content: bytes) -> bool:
    """Create a file that must not exist yet; of many callers exactly one gets True."""
    try:
        _write(path, content, os.O_EXCL, durable=True)
    except FileExistsError:
        return False
    sync_directory(path.parent)
    return True


def _write(path: Path, content: bytes, flags: int, *, durable: bool) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o666)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        if durable:
            file.flush()
            os.fsync(descriptor)
