"""Trajectories, and the frames that were considered for a label."""

from sqlalchemy import Index, UniqueConstraint

from alflow.core.sampling import Decision, StopReason
from alflow.store.schema.base import (
    BYTES,
    FLOAT,
    INT,
    TEXT,
    finite,
    link,
    number,
    one_of,
    optional,
    required,
    rule,
    table,
)

trajectory = table(
    "trajectory",
    number(),
    link("campaign_id", "campaign.id"),
    link("iteration_id", "iteration.id"),
    link("ensemble_id", "ensemble.id"),
    link("task_id", "task.id"),
    required("position", INT),
    link("attempt_id", "attempt.id", nullable=True),
    required("sampler", TEXT),
    required("seed", INT),
    link("start_structure_id", "structure.id"),
    required("schedule_json", TEXT),
    required("n_steps", INT),
    required("time_fs", FLOAT),
    required("stop_reason", TEXT),
    required("trace_json", TEXT),
    UniqueConstraint("task_id", "position"),
    Index(None, "iteration_id"),
    one_of("stop_reason", StopReason),
    *finite("time_fs"),
    rule("n_steps", "n_steps >= 0"),
)

candidate = table(
    "candidate",
    number(),
    link("iteration_id", "iteration.id"),
    link("structure_id", "structure.id"),
    link("trajectory_id", "trajectory.id"),
    link("ensemble_id", "ensemble.id"),
    required("step", INT),
    required("time_fs", FLOAT),
    required("temperature_K", FLOAT),
    required("reason", TEXT),
    required("measure", TEXT),
    optional("energy_spread", FLOAT),
    optional("force_spread_mean", FLOAT),
    optional("force_spread_max", FLOAT),
    optional("force_scale", FLOAT),
    required("decision", TEXT),
    required("decision_reason", TEXT),
    optional("rank", INT),
    optional("fingerprint", BYTES),
    optional("cost_core_s", FLOAT),
    UniqueConstraint("iteration_id", "structure_id"),
    Index(None, "iteration_id", "decision"),
    Index(None, "structure_id"),
    one_of("reason", ("flagged", "audit")),
    one_of("decision", Decision),
    *finite(
        "time_fs",
        "temperature_K",
        "energy_spread",
        "force_spread_mean",
        "force_spread_max",
        "force_scale",
        "cost_core_s",
    ),
    rule("rank", "(decision = 'selected') = (rank IS NOT NULL)"),
)
"""A frame that might deserve a label. A spread that is NULL was not finite; the fingerprint, which
tells how unlike candidates are, is float64, little-endian; the cost is what its label was expected
to take [core-seconds]."""
