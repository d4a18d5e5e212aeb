"""Tables about what made the numbers: artefacts, settings that changed, who ran it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from alflow.report.content import GenerationRow
from alflow.report.provenance import SettingChange
from alflow.report.quantities import NONE, is_secret, moment, scalar
from alflow.report.tables import Table, table


def artefacts(rows: Sequence[GenerationRow]) -> Table:
    """Checksums and seeds by generation, last first."""
    cells = [
        (
            f"g{row.number}",
            row.snapshot[:16] or NONE,
            ", ".join(sha[:16] for sha in row.weights) or NONE,
            ", ".join(str(seed) for seed in row.seeds) or NONE,
        )
        for row in reversed(rows)
    ]
    columns = ("generation", "snapshot digest", "weights SHA-256", "seeds of members")
    return table("artefacts", columns, cells)


def changes(rows: Sequence[SettingChange]) -> Table:
    """Settings that changed on the way, last first."""
    cells = [
        (
            moment(row.when),
            NONE if row.iteration is None else f"i{row.iteration}",
            row.name,
            *(
                "(not shown)" if is_secret(row.name) else setting(value)
                for value in (row.before, row.after)
            ),
        )
        for row in reversed(rows)
    ]
    return table("changes", ("time", "iteration", "setting", "before", "after"), cells)


def setting(value: Any) -> str:
    """A setting on one line; one that is absent as a dash."""
    if value is None:
        return NONE
    is_nested = isinstance(value, Mapping | list | tuple) and value
    return json.dumps(value, ensure_ascii=False) if is_nested else scalar(value)


def managers(rows: Sequence[tuple[float, str]]) -> Table:
    """Who ran the campaign, last first."""
    cells = [
        (moment(when), name, "began" if not k else "resumed")
        for k, (when, name) in enumerate(rows)
    ]
    return table("managers", ("time", "manager", "what"), cells[::-1])
