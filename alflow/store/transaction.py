"""What every verb gets: a connection in a transaction, and in whose name it writes."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from alflow.core.errors import StoreError
from alflow.store.codec import json_text
from alflow.store.rows import Severity
from alflow.store.schema import event, iteration


def utc_now() -> float:
    """Seconds since 1970, UTC. For people and for leases; no result depends on it."""
    return time.time()


@dataclass(frozen=True, slots=True)
class Transaction:
    """A write transaction of one campaign.

    Attributes:
        connection: Connection with an open transaction.
        campaign_id: The campaign.
        epoch: Epoch of the manager that writes; None for writes that need no lease.
        now: One time for all rows of the transaction [s since 1970, UTC].
    """

    connection: Connection
    campaign_id: int
    epoch: int | None
    now: float

    def event(
        self,
        kind: str,
        subject: str,
        data: Mapping[str, Any],
        severity: str = Severity.INFO,
    ) -> None:
        """Write down that something happened."""
        self.connection.execute(
            event.insert().values(
                campaign_id=self.campaign_id,
                ts=self.now,
                epoch=self.epoch,
                kind=kind,
                severity=severity,
                subject=subject,
                data_json=json_text(data),
            )
        )

    def iteration_id(self, number: int) -> int:
        """The row of an iteration.

        Raises:
            StoreError: If it has not begun.
        """
        found = self.connection.scalar(
            select(iteration.c.id).where(
                iteration.c.campaign_id == self.campaign_id, iteration.c.number == number
            )
        )
        if found is None:
            raise StoreError(f"iteration i{number} has not begun")
        return int(found)

    def set_phase(self, number: int, phase: str) -> None:
        """Move an iteration to a phase."""
        self.connection.execute(
            iteration.update().where(iteration.c.id == self.iteration_id(number)),
            {"phase": phase},
        )
