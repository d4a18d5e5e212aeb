"""Levels of theory of a campaign: what each of them is, what it gave, and what that took."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from sqlalchemy import Connection, func, select

from alflow.store.costs import measured
from alflow.store.rows import ItemState, Quality
from alflow.store.schema import label, label_item, level_of_theory
from alflow.store.store import Store


@dataclass(frozen=True, slots=True)
class StoredLevel:
    """A level of theory.

    Attributes:
        name: Its name in the campaign file.
        digest: SHA-256 of its settings; labels of two digests are never mixed.
        labels: Number of labels, those of imports included.
        failed: Number of structures that got none.
        pending: Number of structures that wait for one.
        put_aside: Number of labels that are not trained on.
        core_s: Median cost of the latest labels that were made here [core-seconds]; None if none
            tells it.
        programs: Names and versions of programs to the number of their labels.
        settings: What makes it the level it is, resolved (JSON-like).
    """

    name: str
    digest: str
    labels: int
    failed: int
    pending: int
    put_aside: int
    core_s: float | None
    programs: Mapping[str, int]
    settings: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """A JSON-like dict."""
        return asdict(self)


def levels(store: Store) -> list[StoredLevel]:
    """All levels of theory, in the order in which they came."""
    with store.read() as connection:
        rows = connection.execute(select(level_of_theory).order_by(level_of_theory.c.id))
        return [_level(connection, row) for row in rows.all()]


def _level(connection: Connection, row: Any) -> StoredLevel:
    def counted(column: Any, table: Any) -> dict[str, int]:
        query = select(column, func.count()).where(table.c.lot_id == row.id)
        found = connection.execute(query.group_by(column).order_by(column))
        return {str(key): int(n) for key, n in found}

    states = counted(label_item.c.state, label_item)
    quality = counted(label.c.quality, label)
    programs = counted(label.c.program_version, label)
    costs = [one.core_s for one in measured(connection, row.name)]
    return StoredLevel(
        name=row.name,
        digest=row.spec_hash,
        labels=sum(programs.values()),
        failed=states.get(ItemState.FAILED, 0),
        pending=states.get(ItemState.PENDING, 0),
        put_aside=sum(n for key, n in quality.items() if key != Quality.OK),
        core_s=median(costs) if costs else None,
        programs=programs,
        settings=json.loads(row.settings_json),
    )
