"""An open database with a campaign in it: connections, the lease, the campaign's own row."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from alflow.core.errors import StoreError
from alflow.core.failpoints import failpoint
from alflow.core.naming import parse_name
from alflow.store import blobs, campaigns, counting, retrying
from alflow.store.database import Database, insert_new
from alflow.store.lease import Lease, acquire
from alflow.store.retrying import Retries, TakenUp
from alflow.store.rows import (
    CampaignRow,
    CampaignState,
    Glance,
    Severity,
    StopMode,
    Workers,
)
from alflow.store.schema import blob
from alflow.store.transaction import Transaction, utc_now


class Session:
    """What a store can do besides its verbs about work and results."""

    def __init__(self, database: Database) -> None:
        """Wrap an open database whose schema has been checked."""
        self.database = database
        self._lease: Lease | None = None
        self._shared: Transaction | None = None
        self._shared_kinds: list[str] = []

    @property
    def name(self) -> str:
        """How messages call the database; without secrets."""
        return self.database.name

    def close(self) -> None:
        """Release the lease, if held, and close all connections."""
        if self._lease is not None:
            self._lease.release()
        self.database.close()

    def read(self) -> AbstractContextManager[Connection]:
        """A read transaction, for the queries of this package."""
        if self._shared is not None:
            return nullcontext(self._shared.connection)
        return self.database.read()

    @contextmanager
    def together(self) -> Iterator[None]:
        """One transaction for all verbs that are called in the block: all happen, or none.

        Verbs see what those before them wrote; everybody else sees it when the block ends. Other
        writers wait for the block: nothing slow belongs into it.
        """
        lease = self._held()
        try:
            with self.database.write() as connection:
                lease.check(connection)
                self._shared = Transaction(
                    connection, lease.campaign_id, lease.epoch, utc_now()
                )
                try:
                    yield
                finally:
                    self._shared = None
            for kind in self._shared_kinds:
                failpoint(f"store.{kind}.after")
        finally:
            self._shared_kinds.clear()

    def glance(self) -> Glance:
        """What a manager asks in every turn, once it is sure that it still is the manager.

        Raises:
            LeaseHeld: If another manager has taken over.
        """
        lease = self._held()
        with self.read() as connection:
            if self._shared is None:  # else it was checked when the transaction began
                lease.confirm(connection)
            return Glance(
                campaigns.stop_requested(connection),
                *counting.open_tasks(connection),
                retrying.is_requested(connection),
            )

    def create_campaign(
        self,
        name: str,
        config: Mapping[str, Any],
        seed: int,
        weights: bytes | None = None,
    ) -> int:
        """Insert the campaign of this store and return its id; there may be only one.

        Args:
            name: Its name.
            config: Its settings (JSON-like).
            seed: Its seed.
            weights: Weights that it begins from, which the settings name by their checksum.
        """
        files = [] if weights is None else [weights]
        rows = [
            blobs.prepare(self.database.path, one, "application/safetensors")
            for one in files
        ]
        with self.database.write() as connection:
            number = campaigns.create(connection, name, config, seed)
            for row in rows:
                connection.execute(insert_new(connection, blob), row)
            failpoint("store.create-campaign.before")
        failpoint("store.create-campaign.after")
        return number

    def campaign(self) -> CampaignRow:
        """The campaign; a `StoreError` if none has been created."""
        with self.read() as connection:
            return campaigns.load(connection)

    def campaign_or_none(self) -> CampaignRow | None:
        """The campaign, or None if none has been created."""
        with self.read() as connection:
            return campaigns.find(connection)

    def update_config(self, config: Mapping[str, Any]) -> None:
        """Replace the settings by ones that the caller has found to be compatible."""
        with self._write("update-config") as tx:
            campaigns.update_config(tx, config)

    def set_state(self, state: str, verdict: str) -> None:
        """Say where the campaign stands (see `CampaignState`) and why, a sentence."""
        if state not in list(CampaignState):
            raise StoreError(f"{state!r} is not a state of a campaign")
        with self._write("set-state") as tx:
            campaigns.set_state(tx, CampaignState(state), verdict)

    def request_stop(self, *, now: bool) -> None:
        """Ask the manager to stop: at once, or when running tasks are done. Needs no lease."""
        with self.database.write() as connection:
            campaign_id = campaigns.campaign_id(connection)
            tx = Transaction(connection, campaign_id, None, utc_now())
            campaigns.request_stop(tx, StopMode.NOW if now else StopMode.DRAIN)
            failpoint("store.request-stop.before")
        failpoint("store.request-stop.after")

    def request_retry(self, wanted: Retries) -> None:
        """Ask that what failed be tried again. Needs no lease: who holds it takes it up."""
        with self.database.write() as connection:
            campaign_id = campaigns.campaign_id(connection)
            tx = Transaction(connection, campaign_id, None, utc_now())
            retrying.request(tx, wanted)
            failpoint("store.request-retry.before")
        failpoint("store.request-retry.after")

    def take_up_retries(self) -> TakenUp:
        """Do what was requested by `request_retry`; nothing if nothing was."""
        with self._write("take-up-retries") as tx:
            return retrying.take_up(tx)

    def failed_work(
        self, names: Sequence[str] | None = None, kind: str | None = None
    ) -> Retries:
        """What can be tried again: what these names mean, or everything that failed.

        Args:
            names: Tasks, labels and structures, such as t-88, l-12, s-12; None for everything.
            kind: Only what failed with this kind of failure, if there are no names.

        Raises:
            SettingsError: If one of the names means nothing, or what it means has not failed.
        """
        with self.read() as connection:
            if names is None:
                return retrying.all_failed(connection, kind)
            return retrying.by_name(connection, [parse_name(name) for name in names])

    def stop_requested(self) -> StopMode | None:
        """How the manager was asked to stop: drain, now, or None."""
        with self.read() as connection:
            return campaigns.stop_requested(connection)

    def clear_stop(self) -> None:
        """Forget the request to stop."""
        with self._write("clear-stop") as tx:
            campaigns.clear_stop(tx)

    def event(
        self, kind: str, severity: str, subject: str, data: Mapping[str, Any]
    ) -> None:
        """Write down that something happened; severity is info, warning or error."""
        with self._write("event") as tx:
            tx.event(kind, subject, data, Severity(severity))

    def directory(self) -> Path | None:
        """The campaign's directory, if it has been recorded; it may be on another machine."""
        with self.read() as connection:
            return campaigns.directory(connection)

    def record_directory(self, path: Path) -> None:
        """Remember the campaign's directory, where the database does not tell it by its place."""
        with self._write("record-directory") as tx:
            campaigns.record_directory(tx, path)

    def record_workers(self, pools: Mapping[str, Workers]) -> None:
        """Remember what the manager can hand work to, for those who watch."""
        with self._write("record-workers") as tx:
            campaigns.record_workers(tx, pools)

    def acquire_lease(self, holder: str) -> Lease:
        """Become the one manager that may write; `LeaseHeld` if another one is alive."""
        with self.read() as connection:
            campaign_id = campaigns.campaign_id(connection)
        lease = acquire(self.database, campaign_id, holder)
        lease.on_release = self._forget_lease
        self._lease = lease
        return lease

    def _held(self) -> Lease:
        if self._lease is None:
            raise StoreError(f"{self.name}: writing needs the lease of the campaign")
        return self._lease

    @contextmanager
    def _write(self, kind: str) -> Iterator[Transaction]:
        """A write transaction of the manager; `kind` names it among the failpoints."""
        if self._shared is not None:
            yield self._shared
            self._shared_kinds.append(kind)
            failpoint(f"store.{kind}.before")
            return
        lease = self._held()
        with self.database.write() as connection:
            lease.check(connection)
            yield Transaction(connection, lease.campaign_id, lease.epoch, utc_now())
            failpoint(f"store.{kind}.before")
        failpoint(f"store.{kind}.after")

    def _forget_lease(self) -> None:
        self._lease = None
