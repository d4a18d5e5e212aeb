"""Settings that are changed one by one on the command line: `acquire.per_iteration=32`."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from alflow.config.campaign import CampaignSettings, plugin_section
from alflow.config.loading import content_findings
from alflow.config.problems import dotted
from alflow.config.resolution import settings_from_resolved
from alflow.core.errors import SettingsError, closest
from alflow.core.findings import Finding

Override = tuple[tuple[str, ...], Any]
"""Path and value."""


def parse_override(text: str, allowed: Sequence[str]) -> Override:
    """Path and value of `KEY=VALUE`; the value is YAML.

    Args:
        text: What the user typed.
        allowed: Dotted paths at or below which settings may change.

    Raises:
        SettingsError: If it is something else, or names a setting that may not change.
    """
    key, sign, raw = (part.strip() for part in text.partition("="))
    path = tuple(key.split("."))
    if not sign or not all(path):
        raise SettingsError(
            f"--set {text}: KEY=VALUE is wanted",
            next_step=f"for example --set {allowed[0]}.per_iteration=32",
        )
    if not any(key == one or key.startswith(f"{one}.") for one in allowed):
        near = closest(path[0], [one.partition(".")[0] for one in allowed])
        hint = f"did you mean {'.'.join((near, *path[1:]))!r}?  " if near else ""
        raise SettingsError(
            f"--set {key}: only {', '.join(allowed)} can be asked about",
            next_step=f"{hint}other settings change what was computed, not what was decided",
        )
    try:
        value = YAML(typ="safe", pure=True).load(raw)
    except YAMLError as error:
        raise SettingsError(f"--set {text}: the value is not YAML: {raw!r}") from error
    return path, value


def overridden(
    config: Mapping[str, Any], overrides: Sequence[Override]
) -> CampaignSettings:
    """Settings with some of them changed; `kind` first, whatever the order.

    A section that gets another `kind` keeps what that one asks for without a default; all else
    takes the defaults of its plug-in.

    Args:
        config: Settings as the store keeps them.
        overrides: Paths and values.

    Raises:
        SettingsError: If the new settings are not valid; everything that is wrong is told.
    """
    if not overrides:
        return settings_from_resolved(config)
    data: dict[str, Any] = copy.deepcopy(dict(config))
    findings: list[Finding] = []
    for path, value in sorted(overrides, key=lambda one: one[0][-1] != "kind"):
        findings += _set(data, path, value)
    settings = None
    if not findings:
        try:
            settings = CampaignSettings.model_validate(data)
        except ValidationError:
            settings = None
        findings = content_findings(data)
        touched = {path[0] for path, _ in overrides}
        findings = [one for one in findings if one.path and one.path[0] in touched]
    if findings or settings is None:
        raise _refusal(findings)
    return settings


def _refusal(findings: Sequence[Finding]) -> SettingsError:
    lines = [_line(one) for one in findings] or ["these settings are not valid together"]
    code = next((one.code for one in findings), None)
    count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
    return SettingsError("\n  ".join([f"--set: {count}", *lines]), code=code)


def _line(finding: Finding) -> str:
    hint = f"  {finding.hint}" if finding.hint else ""
    return f"{dotted(finding.path)}: {finding.message}{hint}"


def _set(data: dict[str, Any], path: tuple[str, ...], value: Any) -> list[Finding]:
    """Put a value at its place, below sections that are made where they are missing."""
    if path[1:] == ("kind",) and data.get(path[0], {}).get("kind") != value:
        data[path[0]] = _of_another_kind(path[0], data.get(path[0]) or {}, value)
        return []
    node = data
    for depth, step in enumerate(path[:-1]):
        if node.get(step) is None:
            node[step] = {}
        if not isinstance(node[step], dict):
            message = "is a value, not a section with settings of its own"
            return [Finding(path[: depth + 1], message)]
        node = node[step]
    node[path[-1]] = value
    return []


def _of_another_kind(name: str, old: Mapping[str, Any], kind: Any) -> dict[str, Any]:
    """A section of another kind with what it needs from the old one."""
    mark = plugin_section(name)
    made = mark.settings_class({"kind": kind}) if mark is not None else None
    fields = {} if made is None else made.model_fields
    needed = {key for key, field in fields.items() if field.is_required()}
    return {"kind": kind} | {key: old[key] for key in needed & old.keys()}
