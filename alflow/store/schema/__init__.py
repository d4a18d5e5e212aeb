"""The tables of a store. Arrays are raw bytes, enumerations are words, ids are ours."""

from alflow.store.schema.base import metadata
from alflow.store.schema.campaign import (
    campaign,
    environment,
    event,
    iteration,
    iteration_stat,
    manager_lease,
    store_meta,
)
from alflow.store.schema.labels import (
    label,
    label_count,
    label_extra,
    label_item,
    level_of_theory,
    lot_reference,
)
from alflow.store.schema.models import (
    blob,
    ensemble,
    ensemble_metric,
    material_property,
    metric,
    metric_epoch,
    model,
    prediction,
    snapshot,
    snapshot_interval,
)
from alflow.store.schema.sampling import candidate, trajectory
from alflow.store.schema.structures import (
    campaign_structure,
    sighting,
    source_file,
    structure,
)
from alflow.store.schema.work import attempt, submission, task, task_count, task_dep

__all__ = [
    "attempt",
    "blob",
    "campaign",
    "campaign_structure",
    "candidate",
    "ensemble",
    "ensemble_metric",
    "environment",
    "event",
    "iteration",
    "iteration_stat",
    "label",
    "label_count",
    "label_extra",
    "label_item",
    "level_of_theory",
    "lot_reference",
    "manager_lease",
    "material_property",
    "metadata",
    "metric",
    "metric_epoch",
    "model",
    "prediction",
    "sighting",
    "snapshot",
    "snapshot_interval",
    "source_file",
    "store_meta",
    "structure",
    "submission",
    "task",
    "task_count",
    "task_dep",
    "trajectory",
]
