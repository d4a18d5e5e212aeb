"""What labels tell of how they were computed: their time, and how the calculation converged."""

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select

from alflow.core.labels import AUDIT
from alflow.store.schema import label, level_of_theory


class Told(NamedTuple):
    """What one label tells; what it does not tell is NaN, empty or None.

    `wall_s` is how long it took [s], `rung` the method that converged in the end.
    """

    level: str
    wall_s: float
    rung: str
    cycles: int | None


def told(connection: Connection, limit: int, before: float | None = None) -> list[Told]:
    """What labels that were computed here tell, by id: at most so many, evenly chosen.

    Labels that were computed again are left out; with `before` [s since 1970, UTC] also those
    that came later.
    """
    here = [label.c.attempt_id.is_not(None), ~level_of_theory.c.name.endswith(AUDIT)]
    if before is not None:
        here.append(label.c.created <= before)
    joined = label.join(level_of_theory, level_of_theory.c.id == label.c.lot_id)
    n = connection.scalar(select(func.count()).select_from(joined).where(*here)) or 0
    place = (func.row_number().over(order_by=label.c.id) - 1).label("place")
    numbered = (
        select(label.c.id, level_of_theory.c.name, label.c.extras_json, place)
        .select_from(joined)
        .where(*here)
        .subquery()
    )
    query = (
        select(numbered.c.name, numbered.c.extras_json)
        .where(numbered.c.place % max(1, -(-n // limit)) == 0)
        .order_by(numbered.c.id)
    )
    return [
        _told(level, json.loads(extras or "{}"))
        for level, extras in connection.execute(query)
    ]


def _told(level: str, extras: Mapping[str, Any]) -> Told:
    wall_s, rung, cycles = (extras.get(name) for name in ("wall_s", "rung", "cycles"))
    return Told(
        level,
        float(wall_s) if isinstance(wall_s, int | float) else math.nan,
        rung if isinstance(rung, str) else "",
        cycles if isinstance(cycles, int) else None,
    )
