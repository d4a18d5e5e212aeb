"""Who may write: one manager at a time, by an epoch that grows with every holder.

Safety comes from the epoch alone: each write transaction first checks that it is still the
newest, so a manager that was stopped for an hour and wakes up writes nothing. The lock of the
process is for speed and a friendly message: it vanishes with the process, so that a restart after
`kill -9` does not wait for the lease to run out.
"""

import logging
import os
import platform
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
from sqlalchemy import Connection, bindparam, extract, func, select

from alflow.core.errors import LeaseHeld, StoreError
from alflow.core.failpoints import failpoint
from alflow.store.codec import AnyRow
from alflow.store.database import Database
from alflow.store.locks import ProcessLock, process_lock
from alflow.store.schema import campaign, manager_lease
from alflow.store.statement import Statement
from alflow.store.transaction import Transaction, utc_now

TTL_S = float(os.environ.get("ALFLOW_LEASE_TTL_S", "30"))
"""A manager without a sign of life for this long [s] is taken for dead by other machines. The
crash test cannot wait for that long."""

HEARTBEAT_S = TTL_S / 6
"""Time between two signs of life [s]."""

DYING_S = 2.0
"""Longest wait for the lock of a process of this machine that has just died [s]."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_logger = logging.getLogger(__name__)


class Lease:
    """The right to write to a campaign, until it is released or another manager takes over.

    While it is held, a thread of its own gives signs of life, whatever the others are busy with.

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
        lock: ProcessLock,
    ) -> None:
        """Made by `acquire`."""
        self.epoch = epoch
        self.holder = holder
        self.campaign_id = campaign_id
        self.on_release: Callable[[], None] | None = None
        self._database = database
        self._lock = lock
        self._is_lost = False
        self._released = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="alflow-lease", daemon=True)

    def check(self, connection: Connection) -> None:
        """First statement of every write transaction.

        Raises:
            LeaseHeld: If another manager has taken over.
        """
        row = _locked_row(connection, self.campaign_id)
        if self._is_lost or row.epoch != self.epoch:
            raise _fenced(self._database.name, row)

    def confirm(self, connection: Connection) -> None:
        """Make sure that it is still held, before doing things outside of the database.

        Raises:
            LeaseHeld: If another manager has taken over.
        """
        row = _row(connection, self.campaign_id)
        if self._is_lost or row.epoch != self.epoch:
            raise _fenced(self._database.name, row)

    def renew(self) -> None:
        """Give a sign of life; may be called from any thread.

        Raises:
            LeaseHeld: If another manager has taken over.
        """
        with self._database.write() as connection:
            if not self._update(connection, _times(clock(connection))):
                raise _fenced(self._database.name, _row(connection, self.campaign_id))
            failpoint("store.lease-renew.before")
        failpoint("store.lease-renew.after")

    def release(self) -> None:
        """Let another manager take over at once; does nothing the second time."""
        if self._released.is_set():
            return
        self._released.set()
        if self._heart.is_alive():
            self._heart.join()
        try:
            with self._database.write() as connection:
                self._update(connection, {"expires": 0.0})
                failpoint("store.lease-release.before")
            failpoint("store.lease-release.after")
        except StoreError as error:
            # Whoever comes next finds this process gone, or waits until the lease runs out.
            _logger.warning("the lease could not be given back: %s", error)
        finally:
            self._lock.release()
            if self.on_release is not None:
                self.on_release()

    def start(self) -> None:
        """Begin to give signs of life."""
        self._heart.start()

    def _beat(self) -> None:
        while not self._released.wait(HEARTBEAT_S):
            try:
                self._lock.acquire()  # again, if it got lost or was another's until now
                self.renew()
            except LeaseHeld:
                self._is_lost = True
                return
            except StoreError as error:
                # The manager's own transactions say so too, where it matters.
                _logger.warning("no sign of life could be given: %s", error)

    def _update(self, connection: Connection, values: dict[str, Any]) -> bool:
        """Change the row unless another manager has taken over; whether it was changed."""
        mine = (manager_lease.c.campaign_id == self.campaign_id) & (
            manager_lease.c.epoch == self.epoch
        )
        return bool(connection.execute(manager_lease.update().where(mine), values).rowcount)

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
    with database.read() as connection:
        name = connection.scalar(
            select(campaign.c.uuid).where(campaign.c.id == campaign_id)
        )
    lock = process_lock(database, str(name))
    has_lock = _try(lock, database, campaign_id)
    try:
        with database.write() as connection:
            epoch = _take(connection, database, campaign_id, holder, has_lock=has_lock)
            failpoint("store.lease-take.before")
        failpoint("store.lease-take.after")
    except BaseException:
        lock.release()
        raise
    lease = Lease(database, campaign_id, epoch, holder, lock)
    lease.start()
    return lease


def is_alive(row: AnyRow, now: float) -> bool:
    """Whether the holder in a row of `manager_lease` seems to be running.

    Args:
        row: The row.
        now: What `clock` says.
    """
    return bool(row.expires > now) and not (_is_here(row) and not _runs(row.pid))


def clock(connection: Connection) -> float:
    """The time by which leases run out [s since 1970, UTC]: a server's, if there is one."""
    if connection.dialect.name != "postgresql":
        return utc_now()
    return float(connection.scalar(select(extract("epoch", func.clock_timestamp()))) or 0.0)


def check_unused(connection: Connection, name: str) -> None:
    """Refuse what must not happen while a manager runs.

    Raises:
        LeaseHeld: If one does.
    """
    now = clock(connection)
    for row in connection.execute(select(manager_lease)):
        if is_alive(row, now):
            raise _held(name, row, now)


def _try(lock: ProcessLock, database: Database, campaign_id: int) -> bool:
    """Take the lock; False if its holder is silent for too long but may be alive.

    Raises:
        LeaseHeld: If the holder of the lease lives on this machine, with the lock or without.
    """
    patience = time.monotonic() + DYING_S
    has_lock = False
    while True:
        has_lock = has_lock or lock.acquire()
        with database.read() as connection:
            row, now = _row(connection, campaign_id), clock(connection)
        if row.expires <= now:
            return has_lock
        if has_lock and (not _is_here(row) or _is_gone(row)):
            return True
        # A process that was killed gives its lock back a moment before it is gone.
        is_dying = has_lock or not is_alive(row, now)
        if not is_dying or time.monotonic() > patience:
            lock.release()
            raise _held(database.name, row, now)
        time.sleep(0.05)


def _take(
    connection: Connection,
    database: Database,
    campaign_id: int,
    holder: str,
    *,
    has_lock: bool,
) -> int:
    row, now = _locked_row(connection, campaign_id), clock(connection)
    if row.expires > now and not (has_lock and _is_gone(row)):
        raise _held(database.name, row, now)
    epoch, who = int(row.epoch) + 1, _who()
    values = {"epoch": epoch, "holder": holder, **who, **_times(now)}
    connection.execute(
        manager_lease.update().where(manager_lease.c.campaign_id == campaign_id), values
    )
    tx = Transaction(connection, campaign_id, epoch, utc_now())
    tx.event("lease-acquired", holder, {"epoch": epoch, **who})
    return epoch


def _is_gone(row: AnyRow) -> bool:
    """Whether a holder whose lock is free has ended; of other machines only signs of life tell.

    One that took over from a silent holder may not have the lock yet: then its process tells.
    """
    return _is_here(row) and (row.pid == os.getpid() or not _runs(row.pid))


def _is_here(row: AnyRow) -> bool:
    return bool(row.boot_id == _who()["boot_id"])


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
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


_OF_CAMPAIGN = select(manager_lease).where(
    manager_lease.c.campaign_id == bindparam("campaign")
)
_ROW = Statement(_OF_CAMPAIGN)
_LOCKED_ROW = Statement(_OF_CAMPAIGN.with_for_update(key_share=True))


def _row(connection: Connection, campaign_id: int) -> AnyRow:
    return _ROW.rows(connection, campaign=campaign_id)[0]


def _locked_row(connection: Connection, campaign_id: int) -> AnyRow:
    """The row, locked to the end of the transaction: writers take turns, as on SQLite.

    A manager that takes over waits for a transaction of the old one to end; what the old one
    writes after that finds the new epoch.
    """
    return _LOCKED_ROW.rows(connection, campaign=campaign_id)[0]


def _held(name: str, row: AnyRow, now: float) -> LeaseHeld:
    silent = max(0.0, now - row.renewed)
    return LeaseHeld(
        f"{name} is being run by {row.host} (pid {row.pid}), "
        f"last sign of life {silent:.0f} s ago",
        consequence="Nothing was changed.",
        next_step=f"Look at it:  alflow status {name}\nStop it:     alflow stop {name}",
    )


def _fenced(name: str, row: AnyRow) -> LeaseHeld:
    return LeaseHeld(
        f"{name} was taken over by {row.host} (pid {row.pid}) while this manager was silent",
        consequence="This manager wrote nothing more and must end.",
        next_step=f"Look at the other one:  alflow status {name}",
    )
