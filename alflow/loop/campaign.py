"""Opens a campaign to run it: a new one from its file, or one that is in a database already."""

import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from alflow.config.campaign import CampaignSettings
from alflow.config.resolution import (
    Change,
    campaign_changed,
    config_diff,
    resolved,
    settings_from_resolved,
)
from alflow.core.errors import StoreError
from alflow.core.labels import audit_level
from alflow.core.urls import is_server, without_secrets
from alflow.execution.files import CampaignFiles
from alflow.labelers.level import level_identity
from alflow.loop.pretrained import new_weights
from alflow.store import CampaignState, Lease, Store, open_store
from alflow.store.opening import is_blank
from alflow.store.views import Progress, progress


@dataclass(frozen=True, slots=True)
class OpenCampaign:
    """A campaign that this process may write to.

    Attributes:
        store: Its store.
        lease: The right to write to it.
        settings: Its settings.
        files: Its directory.
        changes: What the campaign file changed since the last time.
        is_new: Whether it has just been created.
    """

    store: Store
    lease: Lease
    settings: CampaignSettings
    files: CampaignFiles
    changes: tuple[Change, ...] = ()
    is_new: bool = False


def campaign_directory(database: str | Path, name: str, store: Store | None = None) -> Path:
    """Where a campaign's files live: beside a database file; for a server, where it began.

    Args:
        database: File or URL.
        name: Name of the campaign.
        store: The store; it knows where a campaign on a server began.
    """
    if is_server(database):
        known = None if store is None else store.directory()
        return known if known is not None and known.is_dir() else Path.cwd() / name
    path = Path(str(database).removeprefix("sqlite:///"))
    return path.with_suffix("") if path.suffix else path.with_name(path.name + "-files")


@contextmanager
def run_campaign(
    database: str | Path,
    settings: CampaignSettings,
    *,
    file: str = "campaign.yaml",
    goes_on: bool = True,
) -> Iterator[OpenCampaign]:
    """Open the database for a campaign file, creating both if they are not there.

    Args:
        database: File or URL.
        settings: Content of the campaign file.
        file: Name of the campaign file, for messages.
        goes_on: Whether one that has ended runs again where that makes sense; else its state stays
            what it is.

    Raises:
        CampaignChanged: If the database holds this campaign with settings that cannot change,
            or another campaign.
        StoreError: If the database cannot be used.
    """
    is_new = is_blank(database)
    with open_store(database, create=True) as store:
        if progress(store) == Progress.empty():
            weights = new_weights(settings)
            store.create_campaign(settings.name, resolved(settings), settings.seed, weights)
            is_new = True
        changes = allowed_changes(store, settings, without_secrets(database), file)
        with _held(
            store, settings, changes, database=database, is_new=is_new, goes_on=goes_on
        ) as campaign:
            yield campaign


@contextmanager
def resume_campaign(
    database: str | Path, *, goes_on: bool = True
) -> Iterator[OpenCampaign]:
    """Open a campaign with the settings that its database holds.

    Args:
        database: File or URL.
        goes_on: Whether one that was stopped runs again; else its state stays what it is.

    Raises:
        StoreError: If there is no such database, or it cannot be used.
    """
    with open_store(database) as store:
        settings = settings_from_resolved(store.campaign().config)
        with _held(
            store, settings, (), database=database, is_new=False, goes_on=goes_on
        ) as campaign:
            yield campaign


def check_unchanged(database: str | Path, settings: CampaignSettings, file: str) -> str:
    """State of the campaign in an existing database, if these settings may run on with it.

    Raises:
        CampaignChanged: If they differ in what cannot change, or it is another campaign.
        StoreError: If the database cannot be used.
    """
    with open_store(database, read_only=True) as store:
        if progress(store) == Progress.empty():
            return "empty"
        changes = allowed_changes(store, settings, without_secrets(database), file)
        row = store.campaign()
    changed = f", {len(changes)} settings changed" if changes else ""
    return f"campaign {row.name!r}, {row.state}{changed}"


def allowed_changes(
    store: Store, settings: CampaignSettings, database: str, file: str
) -> tuple[Change, ...]:
    """What a campaign file changes of a campaign that is in a store.

    Raises:
        CampaignChanged: If the campaign cannot run on with one of them.
    """
    old = settings_from_resolved(store.campaign().config)
    changes = config_diff(old, settings)
    if any(change.effect == "refused" for change in changes):
        iterations = progress(store).iterations
        number = iterations[-1].number if iterations else 0
        raise campaign_changed(database, old.name, number, changes, file=file)
    return tuple(changes)


def goes_on_with(changes: Iterable[Change]) -> bool:
    """Whether a campaign that has ended is asked anew whether it has, because of changes."""
    # what generations are asked changes nothing about how the campaign stands
    return any(not change.path.startswith("validate") for change in changes)


@contextmanager
def _held(
    store: Store,
    settings: CampaignSettings,
    changes: tuple[Change, ...],
    *,
    database: str | Path,
    is_new: bool,
    goes_on: bool = True,
) -> Iterator[OpenCampaign]:
    directory = make_writable(campaign_directory(database, settings.name, store))
    files = CampaignFiles(directory)
    lease = store.acquire_lease(f"{platform.node()} (pid {os.getpid()})")
    try:
        if is_server(database) and store.directory() != directory:
            store.record_directory(directory)
        for name, level in settings.label.levels.items():
            store.register_level(name, level_identity(level))
        primary = settings.label.primary
        audited = {"audit_of": level_identity(settings.label.levels[primary])}
        store.register_level(audit_level(primary), audited)
        if changes:
            store.update_config(resolved(settings))
            # What failed with the old settings is not repeated with them.
            store.withdraw_failed_trainings()
        if store.glance().is_retry_asked:
            store.take_up_retries()
        is_stopped = store.campaign().state == CampaignState.STOPPED
        if goes_on_with(changes) or (goes_on and is_stopped):
            store.set_state(CampaignState.RUNNING, "")
        store.clear_stop()
        yield OpenCampaign(store, lease, settings, files, changes, is_new)
    finally:
        lease.release()


def make_writable(directory: Path) -> Path:
    """Make a directory if it is not there, and see that it can be written.

    Raises:
        StoreError: If it cannot.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe = directory / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StoreError(
            f"the campaign directory {directory} cannot be written: {error.strerror}",
            code="AL103",
            consequence="Nothing was started.",
        ) from error
    return directory
