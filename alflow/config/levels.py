"""Whether the levels of theory exist and can do what the system asks of them."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from alflow.config.chemistry import builders_of, known_elements
from alflow.config.layout import plugin_sections
from alflow.config.problems import did_you_mean
from alflow.core.errors import SettingsError, closest
from alflow.core.findings import Finding
from alflow.labelers.level import HasLevel
from alflow.registry import PluginSection

PERIODIC_BUILDERS = frozenset({"crystal", "melt", "molecular_box", "random_box", "slab"})
"""Builders of periodic structures, unless their settings say otherwise by `is_periodic`."""

Path = tuple[str | int, ...]


def level_findings(data: Mapping[str, Any]) -> Iterator[Finding]:
    """What is wrong with `label`, taken together with the rest of the file."""
    label = data.get("label")
    levels = label.get("levels") if isinstance(label, Mapping) else None
    if not isinstance(label, Mapping) or not isinstance(levels, Mapping):
        return
    yield from _primary(label.get("primary"), levels)
    for name, raw in levels.items():
        settings = _settings("labelers", raw)
        if settings is None:
            continue
        if name in _used(data, label) and not handles_periodic(settings):
            yield from _periodic(data, name, settings)
    for path, mark, raw in plugin_sections(data):  # parts of levels included
        if mark.point == "labelers" and (found := _settings("labelers", raw)) is not None:
            yield from _elements(path, found, known_elements(data))


def _used(data: Mapping[str, Any], label: Mapping[str, Any]) -> tuple[object, object]:
    """Names of the levels that structures of the builders are labelled at."""
    promote = data.get("promote")
    better = promote.get("level") if isinstance(promote, Mapping) else None
    return label.get("primary"), better


def handles_periodic(settings: BaseModel) -> bool:
    """Whether a labeler takes periodic structures: if it does not say that it does not."""
    return bool(getattr(settings, "handles_periodic", True))


def is_periodic(settings: BaseModel) -> bool:
    """Whether a builder makes periodic structures."""
    kind = getattr(settings, "kind", "")
    return bool(getattr(settings, "is_periodic", kind in PERIODIC_BUILDERS))


def _primary(primary: object, levels: Mapping[str, Any]) -> Iterator[Finding]:
    if isinstance(primary, str) and primary not in levels:
        hint = did_you_mean(
            closest(primary, levels), f"defined: {', '.join(levels) or 'none'}"
        )
        yield Finding(("label", "primary"), f"no level {primary!r} is defined", hint)


def _elements(path: Path, settings: BaseModel, elements: list[str]) -> Iterator[Finding]:
    known = getattr(settings, "elements", None)
    if isinstance(known, tuple | list | frozenset):
        missing = [symbol for symbol in elements if symbol not in known]
        if missing:
            message = (
                f"does not know {', '.join(missing)} (it knows {', '.join(sorted(known))})"
            )
            yield Finding((*path, "elements"), message, "add it to 'elements'", "AL121")
            return
    if isinstance(settings, HasLevel):
        try:
            settings.level_identity()
        except SettingsError as error:
            yield Finding(path, error.message, error.next_step, error.code)


def _periodic(data: Mapping[str, Any], name: str, settings: BaseModel) -> Iterator[Finding]:
    kind = getattr(settings, "kind", "")
    for path, raw in builders_of(data):
        builder = _settings("builders", raw)
        if builder is not None and is_periodic(builder):
            yield Finding(
                (*path, "kind"),
                f"makes periodic structures, but level {name!r} ({kind}) takes molecules only",
                "use the builder 'molecules', or another labeler",
                "AL121",
            )


def _settings(point: str, raw: object) -> BaseModel | None:
    """The settings of a plug-in section, or None if they are not valid."""
    section = PluginSection(point)
    if section.settings_class(raw) is None:
        return None
    try:
        found = section.resolve(raw)
    except (ValidationError, ValueError):
        return None
    return found if isinstance(found, BaseModel) else None
