"""Locks that vanish with the process that holds them. They are for speed, not for safety."""

import fcntl
import hashlib
import os
from pathlib import Path

from sqlalchemy import Connection, func, select

from alflow.core.errors import StoreError
from alflow.store.database import Database


class FileLock:
    """An exclusive lock on a file."""

    def __init__(self, path: Path) -> None:
        """Name the file; it is made when the lock is taken."""
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Take the lock; False if another process has it."""
        if self._descriptor is not None:
            return True
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise StoreError(
                f"{self._path} cannot be opened: {error.strerror}", code="AL103"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Give the lock back."""
        if self._descriptor is not None:
            # Unlocked by name: a forked child may hold a copy of the descriptor.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
        self._descriptor = None


class ServerLock:
    """An advisory lock of a PostgreSQL session, on a connection of its own."""

    def __init__(self, database: Database, name: str) -> None:
        """Lock a name within a database."""
        self._database = database
        digest = hashlib.blake2b(name.encode(), digest_size=8, person=b"alflow-lease")
        self._key = int.from_bytes(digest.digest(), "big", signed=True)
        self._connection: Connection | None = None

    def acquire(self) -> bool:
        """Take the lock; False if another session has it."""
        if self._connection is not None and self._answers(self._connection):
            return True
        self._connection = None
        connection = self._database.spare()
        try:
            with self._database.told():
                is_mine = bool(
                    connection.scalar(select(func.pg_try_advisory_lock(self._key)))
                )
        except StoreError:
            connection.close()
            raise
        if is_mine:
            self._connection = connection
        else:
            connection.close()
        return is_mine

    def release(self) -> None:
        """Give the lock back: the session ends."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _answers(self, connection: Connection) -> bool:
        # The question also keeps a network from forgetting a silent connection.
        try:
            with self._database.told():
                connection.execute(select(1))
        except StoreError:
            connection.close()
            return False
        return True


ProcessLock = FileLock | ServerLock


def process_lock(database: Database, name: str) -> ProcessLock:
    """The lock of a campaign: on a file beside a SQLite database, else in the server."""
    if database.path is None:
        return ServerLock(database, name)
    return FileLock(database.path.with_name(f"{database.path.name}.lock"))
