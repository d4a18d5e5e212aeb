"""What a run would do next, without doing it."""

from pathlib import Path

from alflow.config.campaign import CampaignSettings
from alflow.config.resolution import resolved, settings_from_resolved
from alflow.loop.plan import plan
from alflow.store import open_store
from alflow.store.opening import is_blank
from alflow.store.views import Progress, progress

_CHANGED = (
    "go on with the changed settings where the campaign failed: a training that failed is planned "
    "anew"
)


def preview(database: str | Path, settings: CampaignSettings) -> list[str]:
    """Lines for a person: open tasks, then the next actions, each with its reason."""
    if is_blank(database):
        return _lines(Progress.empty(), settings)
    with open_store(database, read_only=True) as store:
        view = progress(store)
        if view.state == "failed" and resolved(settings) != store.campaign().config:
            return [_CHANGED]
        return _lines(view, settings)


def preview_stored(database: str | Path) -> list[str]:
    """The same by the settings that a database holds."""
    with open_store(database, read_only=True) as store:
        settings = settings_from_resolved(store.campaign().config)
        return _lines(progress(store), settings)


def _lines(view: Progress, settings: CampaignSettings) -> list[str]:
    lines = []
    for one in view.iterations:
        for kind, states in one.tasks.items():
            waiting = states.get("queued", 0) + states.get("leased", 0)
            if waiting:
                lines.append(f"i{one.number}  finish {waiting} {kind} tasks")
    lines += [f"i{a.iteration}  {a.kind}: {a.reason}" for a in plan(view, settings)]
    return lines or [f"nothing: the campaign is {view.state}"]
