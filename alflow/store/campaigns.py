"""The campaign's own row: settings, state, verdict, requests to stop."""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select

from alflow.core.canonical import sha256_hex
from alflow.core.errors import StoreError
from alflow.store.codec import from_json_text, json_text
from alflow.store.database import insert_new
from alflow.store.rows import CampaignRow, CampaignState, Severity, StopMode, Workers
from alflow.store.schema import campaign, manager_lease, store_meta
from alflow.store.statement import Statement
from alflow.store.transaction import Transaction, utc_now

_DIRECTORY = "directory"
_WORKERS = "workers"
"""Keys in `store_meta`: they say nothing about what the campaign found out."""


def create(connection: Connection, name: str, config: Mapping[str, Any], seed: int) -> int:
    """Insert the campaign; one a database for now."""
    if not name:
        raise StoreError("a campaign needs a name")
    if connection.dialect.name == "postgresql":
        # Nobody has the lease yet: two who create it at the same time take turns here.
        connection.execute(store_meta.select().with_for_update())
    existing = connection.scalar(select(campaign.c.name).limit(1))
    if existing is not None:
        raise StoreError(f"the database holds campaign {existing!r} already")
    text, now = json_text(dict(config)), utc_now()
    number = (connection.scalar(select(func.max(campaign.c.id))) or 0) + 1
    values = {
        "id": number,
        "uuid": str(uuid.uuid4()),
        "name": name,
        "config_json": text,
        "config_sha": sha256_hex(text.encode()),
        "seed": seed,
        "state": CampaignState.RUNNING,
        "verdict": "",
        "created": now,
    }
    connection.execute(campaign.insert(), values)
    lease = {"campaign_id": number, "epoch": 0, "renewed": now, "expires": 0.0}
    connection.execute(manager_lease.insert(), lease)
    Transaction(connection, number, None, now).event(
        "campaign-created", name, {"seed": seed}
    )
    return number


def load(connection: Connection) -> CampaignRow:
    """The campaign of the store.

    Raises:
        StoreError: If there is none.
    """
    found = find(connection)
    if found is None:
        raise StoreError("the database holds no campaign yet")
    return found


def find(connection: Connection) -> CampaignRow | None:
    """The campaign of the store, or None."""
    row = connection.execute(
        select(campaign).order_by(campaign.c.id).limit(1)
    ).one_or_none()
    if row is None:
        return None
    return CampaignRow(
        row.id,
        row.name,
        from_json_text(row.config_json),
        row.config_sha,
        row.seed,
        CampaignState(row.state),
        row.verdict,
        row.created,
    )


def campaign_id(connection: Connection) -> int:
    """The id of the store's campaign."""
    return load(connection).id


def update_config(tx: Transaction, config: Mapping[str, Any]) -> None:
    """Replace the settings; the old ones are kept as an event."""
    old = load(tx.connection)
    text = json_text(dict(config))
    sha = sha256_hex(text.encode())
    if sha == old.config_sha:
        return
    _update(tx, {"config_json": text, "config_sha": sha})
    tx.event("config-changed", old.name, {"old": dict(old.config), "sha": sha})


def set_state(tx: Transaction, state: CampaignState, verdict: str) -> None:
    """Say where the campaign stands and why."""
    _update(tx, {"state": state, "verdict": verdict})
    severity = Severity.ERROR if state is CampaignState.FAILED else Severity.INFO
    tx.event("campaign-state", state, {"verdict": verdict}, severity)


def request_stop(tx: Transaction, mode: StopMode) -> None:
    """Ask the manager to stop; a request to stop now is not taken back by a milder one."""
    if stop_requested(tx.connection) == StopMode.NOW:
        return
    _update(tx, {"stop_mode": mode, "stop_requested": tx.now})
    tx.event("stop-requested", mode, {})


_STOP_MODE = Statement(select(campaign.c.stop_mode).order_by(campaign.c.id).limit(1))


def stop_requested(connection: Connection) -> StopMode | None:
    """How the campaign was asked to stop, if it was."""
    mode: str | None = _STOP_MODE.value(connection)
    return None if mode is None else StopMode(mode)


def clear_stop(tx: Transaction) -> None:
    """Forget the request to stop."""
    _update(tx, {"stop_mode": None, "stop_requested": None})


def directory(connection: Connection) -> Path | None:
    """Where the campaign's files are, if that has been recorded."""
    query = select(store_meta.c.value).where(store_meta.c.key == _DIRECTORY)
    found: str | None = connection.scalar(query)
    return None if found is None else Path(found)


def record_directory(tx: Transaction, path: Path) -> None:
    """Remember where the campaign's files are."""
    _record(tx, _DIRECTORY, str(path.absolute()))


def workers(connection: Connection) -> dict[str, Workers]:
    """What the last manager could hand work to, by pool; nothing if that was not recorded."""
    query = select(store_meta.c.value).where(store_meta.c.key == _WORKERS)
    found: dict[str, Any] = from_json_text(connection.scalar(query)) or {}
    return {
        pool: Workers(int(one["n"]), frozenset(one["kinds"])) for pool, one in found.items()
    }


def record_workers(tx: Transaction, pools: Mapping[str, Workers]) -> None:
    """Remember what there is to hand work to, for those who watch."""
    value = {pool: {"n": one.n, "kinds": sorted(one.kinds)} for pool, one in pools.items()}
    _record(tx, _WORKERS, json_text(value))


def _record(tx: Transaction, key: str, value: str) -> None:
    row = {"key": key, "value": value}
    tx.connection.execute(insert_new(tx.connection, store_meta), row)
    tx.connection.execute(
        store_meta.update().where(store_meta.c.key == key), {"value": value}
    )


def _update(tx: Transaction, values: Mapping[str, Any]) -> None:
    tx.connection.execute(
        campaign.update().where(campaign.c.id == tx.campaign_id), dict(values)
    )
