"""How labels are computed again, and whether the section `label.audit` makes sense."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from alflow.config.campaign import CampaignSettings
from alflow.config.layout import plugin_settings
from alflow.config.translation import findings_of
from alflow.core.findings import Finding
from alflow.core.labels import AUDIT
from alflow.labelers.level import merged, tightened
from alflow.registry import Settings


def audit_labeler(settings: CampaignSettings) -> Settings:
    """Settings of the labeler of the primary level for audits.

    Raises:
        pydantic.ValidationError: If the labeler refuses the changes.
    """
    label = settings.label
    return tightened(
        label.levels[label.primary], {} if label.audit is None else label.audit.changes
    )


def audit_findings(data: Mapping[str, Any]) -> Iterator[Finding]:
    """What is wrong with `label.audit` taken together with the levels, and with their names."""
    label = data.get("label")
    levels = label.get("levels") if isinstance(label, Mapping) else None
    if not isinstance(label, Mapping) or not isinstance(levels, Mapping):
        return
    for name in levels:
        if str(name).endswith(AUDIT):
            message = f"{name!r} would be taken for audits of another level"
            yield Finding(
                ("label", "levels", name), message, f"names end in {AUDIT!r} there"
            )
    audit, primary = label.get("audit"), str(label.get("primary"))
    changes = audit.get("changes") if isinstance(audit, Mapping) else None
    level = plugin_settings(data, ("label", "levels", primary))
    if isinstance(changes, Mapping) and isinstance(level, Settings):
        yield from _changes(primary, level, changes)


def _changes(
    primary: str, level: Settings, changes: Mapping[str, Any]
) -> Iterator[Finding]:
    place = ("label", "audit", "changes")
    if "kind" in changes:
        message = "an audit is computed by the labeler of the level"
        yield Finding((*place, "kind"), message, "leave it out", "AL121")
        return
    # As if the changed level stood in a file, so that the hints are those of its labeler.
    changed = merged(tightened(level).model_dump(mode="json"), changes)
    here = {"label": {"primary": primary, "levels": {primary: changed}}}
    try:
        CampaignSettings.model_validate(here)
    except ValidationError as error:
        level_path = ("label", "levels", primary)
        for one in findings_of(error, here):
            rest = one.path[len(level_path) :]
            if one.path[: len(level_path)] == level_path and rest and rest[0] in changes:
                yield Finding((*place, *rest), one.message, one.hint, one.code)
