"""The campaign, who runs it, and what happened."""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, UniqueConstraint

from alflow.store.rows import CampaignState, Severity, StopMode
from alflow.store.schema.base import (
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

store_meta = table(
    "store_meta", Column("key", TEXT, primary_key=True), required("value", TEXT)
)

campaign = table(
    "campaign",
    number(),
    required("uuid", TEXT, unique=True),
    required("name", TEXT, unique=True),
    required("config_json", TEXT),
    required("config_sha", TEXT),
    required("seed", INT),
    required("state", TEXT),
    required("verdict", TEXT),
    optional("stop_mode", TEXT),
    optional("stop_requested", FLOAT),
    required("created", FLOAT),
    one_of("state", CampaignState),
    one_of("stop_mode", StopMode),
    rule("name", "length(name) > 0"),
)

manager_lease = table(
    "manager_lease",
    Column(
        "campaign_id", INT, ForeignKey("campaign.id"), primary_key=True, autoincrement=False
    ),
    required("epoch", INT),
    optional("holder", TEXT),
    optional("host", TEXT),
    optional("boot_id", TEXT),
    optional("pid", INT),
    required("renewed", FLOAT),
    required("expires", FLOAT),
    rule("epoch", "epoch >= 0"),
)
"""Who may write. The epoch grows with every holder; a holder of an old epoch is fenced off."""

iteration = table(
    "iteration",
    number(),
    link("campaign_id", "campaign.id"),
    required("number", INT),
    required("phase", TEXT),
    link("ensemble_id", "ensemble.id", nullable=True),
    optional("n_flagged", INT),
    optional("n_candidates", INT),
    optional("n_selected", INT),
    required("started", FLOAT),
    optional("ended", FLOAT),
    UniqueConstraint("campaign_id", "number"),
    rule("number", "number >= 0"),
    rule("phase", "length(phase) > 0"),
)
"""One pass of the loop. The counts are NULL until candidates have been decided about."""

iteration_stat = table(
    "iteration_stat",
    Column(
        "iteration_id",
        INT,
        ForeignKey("iteration.id"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("name", TEXT, primary_key=True),
    required("value", FLOAT),
    *finite("value"),
)

event = table(
    "event",
    Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True),
    link("campaign_id", "campaign.id"),
    required("ts", FLOAT),
    optional("epoch", INT),
    required("kind", TEXT),
    required("severity", TEXT),
    required("subject", TEXT),
    required("data_json", TEXT),
    one_of("severity", Severity),
    Index(None, "campaign_id", "id"),
)

environment = table(
    "environment",
    number(),
    required("sha", TEXT, unique=True),
    optional("alflow_version", TEXT),
    optional("python", TEXT),
    required("packages_json", TEXT),
    optional("hostname", TEXT),
    optional("device", TEXT),
)
"""What an attempt ran with: versions, host and device."""
