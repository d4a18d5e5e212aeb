"""Who may write: one manager at a time, by an epoch that grows with every holder.

Safety comes from the epoch alone: each write transaction first checks that it is still the
newest, so a manager that was stopped for an hour and wakes up writes nothing. The lock on a file
beside a SQLite database is for speed and a friendly message: it vanishes with the process, so
that a restart after `kill -9` does not wait for the lease to run out.
"""

import fcntl
import os
import platform
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlalchemy import Connection, select

from alflow.core.errors import LeaseHeld, StoreError
from alflow.store.codec import AnyRow
from alflow.store.database import Database
from alflow.store.schema import manager_lease
from alflow.store.transaction import Transaction, utc_now

TTL_S = 30.0
"""A manager without a sign of life for this long [s] is taken for dead by other machines."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Lease:
    """The right to write to a campaign, until it is released or another manager takes over.

    Attributes:
        epoch: Number of this holder; every write is checked against it.
        holder: Who holds it, free text.
    """

    def __init__(
        self,
        database: Database,
        campaign_id: int,
        epoch: int,
        holder: str,
        lock: "_FileLock",
    ) -> None:
        """Made by `acquire`."""
        self.epoch = epoch
        self.holder = holder
        self.campaign_id = campaign_id
        self.on_release: Callable[[], None] | None = None
        self._database = database
        self._lock = lock

    def check(self, connection: Connection) -> None:
        """First statement of every write transaction.

        Raises:
            LeaseHeld: If another manager has taken over.
        """
        row = connection.execute(
            select(manager_lease)
            .where(manager_lease.c.campaign_id == self.campaign_id)
            .with_for_update(read=True)
        ).one()
        if row.epoch != self.epoch:
            raise _fenced(self._database.name, row)

    def renew(self) -> None:
        """Give a sign of life; may be called from any thread.

        Raises:
            LeaseHeld: If another manager has taken over.
        """
        with self._database.write() as connection:
            self.check(connection)
            _update(connection, self.campaign_id, _times(utc_now()))

    def release(self) -> None:
        """Let another manager take over at once; does nothing the second time."""
        if not self._lock.is_held:
            return
        try:
            with self._database.write() as connection:
                self.check(connection)
                _update(connection, self.campaign_id, {"expires": 0.0})
        except LeaseHeld:
            # Another manager has it already: there is nothing left to give back.
            return
        finally:
            self._lock.release()
            if self.on_release is not None:
                self.on_release()

    def __enter__(self) -> "Lease":  # noqa: PYI034 (the shape checks cannot see through Self)
        """Hold it for a block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release it."""
        self.release()


def acquire(database: Database, campaign_id: int, holder: str) -> Lease:
    """Take the lease of a campaign.

    Raises:
        LeaseHeld: If a living manager has it.
    """
    database.check_writable()
    lock = _FileLock(database.path)
    if not lock.acquire():
        with database.read() as connection:
            raise _held(database.name, _row(connection, campaign_id))
    try:
        with database.write() as connection:
            epoch = _take(connection, database, campaign_id, holder)
    except BaseException:
        lock.release()
        raise
    return Lease(database, campaign_id, epoch, holder, lock)


def is_alive(row: AnyRow) -> bool:
    """Whether the holder in a row of `manager_lease` seems to be running."""
    return _blocks(row, has_lock=False)


def _take(connection: Connection, database: Database, campaign_id: int, holder: str) -> int:
    row = _row(connection, campaign_id)
    if _blocks(row, has_lock=database.path is not None):
        raise _held(database.name, row)
    now, epoch, who = utc_now(), int(row.epoch) + 1, _who()
    values = {"epoch": epoch, "holder": holder, **who, **_times(now)}
    _update(connection, campaign_id, values)
    tx = Transaction(connection, campaign_id, epoch, now)
    tx.event("lease-acquired", holder, {"epoch": epoch, **who})
    return epoch


def _blocks(row: AnyRow, *, has_lock: bool) -> bool:
    """Whether the holder may be alive; on this machine the lock or its process tells."""
    if row.expires <= utc_now():
        return False
    is_here = row.boot_id == _who()["boot_id"]
    return not (is_here and (has_lock or not _runs(row.pid)))


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _who() -> dict[str, Any]:
    host = platform.node()
    try:
        boot_id = _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        boot_id = host
    return {"host": host, "boot_id": boot_id, "pid": os.getpid()}


def _times(now: float) -> dict[str, float]:
    return {"renewed": now, "expires": now + TTL_S}


def _row(connection: Connection, campaign_id: int) -> AnyRow:
    return connection.execute(
        select(manager_lease).where(manager_lease.c.campaign_id == campaign_id)
    ).one()


def _update(connection: Connection, campaign_id: int, values: dict[str, Any]) -> None:
    connection.execute(
        manager_lease.update().where(manager_lease.c.campaign_id == campaign_id), values
    )


def _held(name: str, row: AnyRow) -> LeaseHeld:
    silent = max(0.0, utc_now() - row.renewed)
    return LeaseHeld(
        f"{name} is being run by {row.host} (pid {row.pid}), "
        f"last sign of life {silent:.0f} s ago",
        next_step=f"Look at it:  alflow status {name}\nStop it:     alflow stop {name}",
    )


def _fenced(name: str, row: AnyRow) -> LeaseHeld:
    return LeaseHeld(
        f"{name} was taken over by {row.host} (pid {row.pid}) while this manager was silent",
        consequence="This manager wrote nothing more and must end.",
        next_step=f"Look at the other one:  alflow status {name}",
    )


class _FileLock:
    """An exclusive lock on a file beside the database; on a server it always succeeds."""

    def __init__(self, database: Path | None) -> None:
        self._path = (
            None if database is None else database.with_name(f"{database.name}.lock")
        )
        self._descriptor: int | None = None
        self.is_held = False

    def acquire(self) -> bool:
        """Take the lock; False if another process has it."""
        if self._path is not None:
            try:
                descriptor = os.open(
                    self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666
                )
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
        self.is_held = True
        return True

    def release(self) -> None:
        """Give the lock back."""
        if self._descriptor is not None:
            # Unlocked by name: a forked child may hold a copy of the descriptor.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
        self._descriptor = None
        self.is_held = False
