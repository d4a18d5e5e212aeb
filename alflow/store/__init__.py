"""The only door to SQL: what a campaign knows, in one database.

`open_store` gives a `Store`, whose verbs are one transaction each. `alflow.store.views` has what
the planner and the status line read, `alflow.store.listings` and `alflow.store.lineage` what
`alflow ls` and `alflow show` print.
"""

from alflow.store.importing import ImportResult, ImportSource, NewLabelled
from alflow.store.lease import Lease
from alflow.store.opening import open_store
from alflow.store.rows import (
    AttemptRow,
    CampaignRow,
    CampaignState,
    GateVerdict,
    Glance,
    NewStructure,
    NewTask,
    PredictionRow,
    Quality,
    Severity,
    SightingKind,
    Snapshot,
    Split,
    StopMode,
    TaskRow,
    TrajectoryRow,
    Workers,
)
from alflow.store.store import Store

__all__ = [
    "AttemptRow",
    "CampaignRow",
    "CampaignState",
    "GateVerdict",
    "Glance",
    "ImportResult",
    "ImportSource",
    "Lease",
    "NewLabelled",
    "NewStructure",
    "NewTask",
    "PredictionRow",
    "Quality",
    "Severity",
    "SightingKind",
    "Snapshot",
    "Split",
    "StopMode",
    "Store",
    "TaskRow",
    "TrajectoryRow",
    "Workers",
    "open_store",
]
