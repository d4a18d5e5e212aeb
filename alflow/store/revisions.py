"""Brings the schema of a store up to date on request, and says from what to what."""

from dataclasses import dataclass
from pathlib import Path

from alflow.store.opening import open_store, stored_revision


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A schema before and after.

    Attributes:
        name: How messages call the database.
        before: Its revision before.
        after: Its revision now.
    """

    name: str
    before: str
    after: str


def upgrade_store(url: str | Path) -> Upgrade:
    """Open a store for writing, which migrates an older one in one transaction.

    Raises:
        SchemaMismatch: If a newer alflow wrote it.
        StoreError: If it is missing, damaged, or not writable.
    """
    before = stored_revision(url)
    with open_store(url) as store:
        return Upgrade(store.name, before, stored_revision(url))
