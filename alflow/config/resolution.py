"""Settings as the store keeps them: every default written out, and what may change later."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from alflow.config.campaign import CampaignSettings
from alflow.config.problems import dotted
from alflow.config.translation import findings_of, shown
from alflow.core.errors import CampaignChanged, SettingsError
from alflow.labelers.level import level_digest

Effect = Literal["allowed", "refused"]
ABSENT = object()
"""Stands for a setting that one side does not have."""

_NEXT = "allowed from the next generation on"
_RULES: tuple[tuple[str, Effect, str], ...] = (
    ("name", "refused", "names the campaign in the database"),
    ("seed", "refused", "every random number of the campaign derives from it"),
    ("system.elements", "refused", "the networks are made for these elements"),
    ("system.builders", "allowed", "allowed for structures that are not built yet"),
    (
        "label.primary",
        "refused",
        "old labels would be mixed with new ones of another level",
    ),
    ("label.batch_size", "allowed", "allowed for tasks that are not published yet"),
    ("label.batch_s", "allowed", "allowed for tasks that are not published yet"),
    ("label.timeout_s", "allowed", "allowed for tasks that are not published yet"),
    ("label.memory_MB", "allowed", "allowed for tasks that are not published yet"),
    ("label.audit", "allowed", _NEXT),
    (
        "label.levels",
        "refused",
        "changes the level of theory: old labels would be mixed with new",
    ),
    ("model.pretrained.file", "allowed", "the same weights in another place"),
    ("model.pretrained", "refused", "generation 0 was trained from other weights"),
    ("model", "refused", "the stored generations have another shape"),
    ("train", "allowed", _NEXT),
    ("sample", "allowed", _NEXT),
    ("acquire", "allowed", _NEXT),
    ("test", "refused", "generations would be tested on different sets"),
    ("loop.max_iterations", "allowed", "allowed at once"),
    (
        "loop.bootstrap",
        "refused",
        "the bootstrap structures belong to the start of the campaign",
    ),
    ("loop.gate", "allowed", _NEXT),
    ("loop.scratch_every", "allowed", _NEXT),
    ("loop.growth", "allowed", _NEXT),
    ("loop.open_iterations", "allowed", "allowed at once"),
    ("loop.waiting_labels", "allowed", "allowed at once"),
    ("loop.mode", "refused", "decides in which order everything happens"),
    ("stop", "allowed", "allowed at once"),
    (
        "promote.level",
        "refused",
        "the structures to label again were chosen for the other level",
    ),
    ("promote", "allowed", "allowed for what is not promoted yet"),
    ("validate", "allowed", "allowed at once"),
)


@dataclass(frozen=True, slots=True)
class Change:
    """One setting that differs between the file and the database.

    Attributes:
        path: Dotted path of the setting.
        old: Value in the database; None also where there was none.
        new: Value in the file.
        effect: Whether a running campaign may take it.
        reason: Why, or from when on.
    """

    path: str
    old: Any
    new: Any
    effect: Effect
    reason: str


def resolved(settings: CampaignSettings) -> dict[str, Any]:
    """All settings with every default, JSON-like; `settings_from_resolved` is the inverse."""
    return settings.model_dump(mode="json")


def settings_from_resolved(value: Mapping[str, Any]) -> CampaignSettings:
    """The settings that `resolved` wrote.

    Raises:
        SettingsError: If this alflow, or a plug-in that is installed now, does not take them.
    """
    try:
        return CampaignSettings.model_validate(value)
    except ValidationError as error:
        problems = [f"{dotted(f.path)}: {f.message}" for f in findings_of(error, value)]
        raise SettingsError(
            "the settings in the database are not valid for the alflow and the plug-ins that "
            "are installed now:\n  " + "\n  ".join(problems),
            next_step="install the versions that the campaign was started with: alflow db info",
        ) from error


def config_diff(old: CampaignSettings, new: CampaignSettings) -> list[Change]:
    """What differs between two versions of a campaign's settings, in the order of the file.

    A level of theory may change where its labels stay comparable (memory, time limits).

    Args:
        old: Settings in the database.
        new: Settings in the file.
    """
    same_level = _comparable_levels(old, new)
    changes = []
    for path, before, after in _differences(resolved(old), resolved(new), ()):
        name = dotted(path)
        effect, reason = _rule(name)
        if name.startswith("label.levels") and path[2:3]:
            effect, reason = _level_rule(str(path[2]), before, after, path, same_level)
        changes.append(
            Change(
                name,
                None if before is ABSENT else before,
                None if after is ABSENT else after,
                effect,
                reason,
            )
        )
    return changes


def settings_differences(
    first: Mapping[str, Any], second: Mapping[str, Any]
) -> list[tuple[str, Any, Any]]:
    """Dotted path and both values of all that differs; None stands where there is nothing.

    Args:
        first: Resolved settings; of plug-ins that are not installed here, too.
        second: Others.
    """
    return [
        (
            dotted(path),
            None if before is ABSENT else before,
            None if after is ABSENT else after,
        )
        for path, before, after in _differences(first, second, ())
    ]


def render_changes(changes: list[Change]) -> str:
    """A table of changes: path, old → new, effect."""
    rows = [(c.path, _short(c.old), _short(c.new), c.reason) for c in changes]
    widths = [max((len(row[k]) for row in rows), default=0) for k in range(3)]
    return "\n".join(
        f"  {path:<{widths[0]}}  {old:<{widths[1]}}  →  {new:<{widths[2]}}  {reason}"
        for path, old, new, reason in rows
    )


def campaign_changed(
    database: str,
    campaign: str,
    iteration: int,
    changes: list[Change],
    *,
    file: str = "campaign.yaml",
) -> CampaignChanged:
    """The error for a file whose changes a running campaign cannot take.

    Args:
        database: Name of the database, as a user would type it.
        campaign: Name of the campaign in it.
        iteration: Iteration that it has reached.
        changes: All changes, allowed ones too.
        file: Name of the campaign file, as the user typed it.
    """
    return CampaignChanged(
        f"{database} holds campaign {campaign!r} at iteration {iteration}, "
        f"started with other settings.\n{render_changes(changes)}",
        consequence="Nothing was started.",
        next_step=f"Continue as before:  alflow resume {database}\n"
        f"New campaign:        alflow run {file} --db {_other(database)}",
    )


def _differences(
    old: Any, new: Any, path: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], Any, Any]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from _differences(
                old.get(key, ABSENT), new.get(key, ABSENT), (*path, key)
            )
    elif _are_tables(old, new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _differences(before, after, (*path, index))
    elif old is ABSENT or new is ABSENT or old != new:
        yield path, old, new


def _are_tables(old: Any, new: Any) -> bool:
    """Lists of sections of equal length, which are compared entry by entry."""
    if not (isinstance(old, list) and isinstance(new, list) and len(old) == len(new)):
        return False
    return all(isinstance(entry, Mapping) for entry in [*old, *new])


def _rule(name: str) -> tuple[Effect, str]:
    for prefix, effect, reason in _RULES:
        if name == prefix or name.startswith((f"{prefix}.", f"{prefix}[")):
            return effect, reason
    return "refused", "changes what stored numbers mean"


def _level_rule(
    level: str, before: Any, after: Any, path: tuple[str | int, ...], same: frozenset[str]
) -> tuple[Effect, str]:
    is_whole_level = len(path) == 3  # noqa: PLR2004
    if is_whole_level and before is ABSENT:
        return "allowed", "a new level beside the others"
    if level in same:
        return "allowed", "does not change the numbers"
    if is_whole_level and after is ABSENT:
        return "refused", "labels of this level are in the database"
    return _rule("label.levels")


def _comparable_levels(old: CampaignSettings, new: CampaignSettings) -> frozenset[str]:
    """Names of levels whose labels stay comparable."""
    names = old.label.levels.keys() & new.label.levels.keys()
    return frozenset(
        name
        for name in names
        if level_digest(old.label.levels[name]) == level_digest(new.label.levels[name])
    )


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else shown(value)
    return "–" if value is None else text


def _other(database: str) -> str:
    """A name for another database like this one."""
    stem, dot, suffix = database.rpartition(".")
    return f"{stem}-2.{suffix}" if dot and "/" not in suffix else f"{database}-2"
