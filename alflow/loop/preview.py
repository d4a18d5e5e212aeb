"""What a run would do next, without doing it."""

from dataclasses import replace
from pathlib import Path

from alflow.config.campaign import CampaignSettings
from alflow.config.resolution import settings_from_resolved
from alflow.core.urls import without_secrets
from alflow.loop.campaign import allowed_changes, goes_on_with
from alflow.loop.plan import plan
from alflow.store import CampaignState, open_store
from alflow.store.opening import is_blank
from alflow.store.views import Progress, progress

_CHANGED = (
    "go on with the changed settings where the campaign failed: a training that failed is planned "
    "anew"
)


def preview(
    database: str | Path, settings: CampaignSettings, file: str = "campaign.yaml"
) -> list[str]:
    """Lines for a person: open tasks, then the next actions, each with its reason.

    Args:
        database: File or URL.
        settings: Content of the campaign file.
        file: Name of the campaign file, for messages.

    Raises:
        CampaignChanged: If the campaign cannot run on with these settings.
        StoreError: If the database cannot be used.
    """
    if is_blank(database):
        return _lines(Progress.empty(), settings)
    with open_store(database, read_only=True) as store:
        view = progress(store)
        if view == Progress.empty():
            return _lines(view, settings)
        changes = allowed_changes(store, settings, without_secrets(database), file)
        if view.state == CampaignState.FAILED and changes:
            return [_CHANGED]
        return _lines(_going_on(view, matters=goes_on_with(changes)), settings)


def preview_stored(database: str | Path) -> list[str]:
    """The same by the settings that a database holds."""
    with open_store(database, read_only=True) as store:
        settings = settings_from_resolved(store.campaign().config)
        return _lines(_going_on(progress(store)), settings)


def _going_on(view: Progress, *, matters: bool = False) -> Progress:
    """What a manager would find: requests to stop are lifted, and ends by what has changed."""
    if matters or view.state == CampaignState.STOPPED:
        view = replace(view, state=CampaignState.RUNNING)
    return replace(view, stop_requested=None)


def _lines(view: Progress, settings: CampaignSettings) -> list[str]:
    lines = []
    for one in view.iterations:
        for kind, states in one.tasks.items():
            waiting = states.get("queued", 0) + states.get("leased", 0)
            if waiting:
                lines.append(f"i{one.number}  finish {waiting} {kind} tasks")
    lines += [f"i{a.iteration}  {a.kind}: {a.reason}" for a in plan(view, settings)]
    return lines or [f"nothing: the campaign is {view.state}"]
