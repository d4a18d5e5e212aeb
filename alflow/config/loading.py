"""Reads a campaign file, or says everything that is wrong with it at once."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from alflow.config.campaign import CampaignSettings
from alflow.config.document import Document, child, leaves, read_document
from alflow.config.layout import type_at
from alflow.config.physics import find_problems
from alflow.config.problems import CampaignFileError, Problem
from alflow.config.translation import findings_of
from alflow.core.findings import Finding


def load_campaign(path: Path | str) -> CampaignSettings:
    """The validated settings of a campaign file.

    Raises:
        CampaignFileError: If it has problems; the error (AL102) lists every one of them, each
            with line, column and what to write instead.
    """
    document = read_document(Path(path))
    _anchor(document.data, Path(path).absolute().parent)
    settings, findings = _validate(document.data)
    findings = _complete(document.data, findings)
    problems = _sorted(document, findings)
    if problems or settings is None:
        raise CampaignFileError(document.file, problems)
    return settings


def content_findings(data: Any) -> list[Finding]:
    """Everything that is wrong with the content of a campaign file."""
    return _complete(data, _validate(data)[1])


def _complete(data: Any, findings: list[Finding]) -> list[Finding]:
    findings = _merged(data, findings, _booleans_for_numbers(data))
    return _merged(data, findings, find_problems(data))


def _anchor(data: dict[str, Any], folder: Path) -> None:
    """Make paths absolute that count from the folder of the campaign file."""
    model = data.get("model")
    if isinstance(model, dict) and isinstance(named := model.get("pretrained"), str):
        model["pretrained"] = str(folder / named)
    label = data.get("label")
    levels = label.get("levels") if isinstance(label, dict) else None
    for level in levels.values() if isinstance(levels, dict) else ():
        if isinstance(level, dict) and isinstance(named := level.get("file"), str):
            level["file"] = str(folder / named)


def _validate(data: Any) -> tuple[CampaignSettings | None, list[Finding]]:
    try:
        return CampaignSettings.model_validate(data), []
    except ValidationError as error:
        return None, findings_of(error, data)


def _booleans_for_numbers(data: Any) -> Iterator[Finding]:
    """Booleans where a number is meant: Python would take `true` for 1."""
    for path, value in leaves(data):
        if isinstance(value, bool) and type_at(data, path) in (int, float):
            yield Finding(path, f"must be a number, not {str(value).lower()}")


def _merged(data: Any, known: list[Finding], new: Iterable[Finding]) -> list[Finding]:
    """Findings and further ones, without further ones that come from the same mistake.

    Of two findings that say the same, the one with the more exact place stays.
    """
    merged = list(known)
    for finding in new:
        above = [other for other in known if _is_above(other, finding)]
        if any(_is_about_value(data, other, finding) for other in above):
            continue
        same = [other for other in above if finding.message in other.message]
        merged = [other for other in merged if other not in same] + [finding]
    return merged


def _is_above(other: Finding, finding: Finding) -> bool:
    return not other.at_key and finding.path[: len(other.path)] == other.path


def _is_about_value(data: Any, other: Finding, finding: Finding) -> bool:
    """Whether the other finding is about this very value, or the list that it is in."""
    node = data
    for step in other.path:
        node = child(node, step)
    return other.path == finding.path or not isinstance(node, Mapping)


def _sorted(document: Document, findings: list[Finding]) -> list[Problem]:
    problems = document.findings + [document.problem(finding) for finding in findings]
    distinct = {(p.line, p.column, p.path, p.message): p for p in problems}
    return [distinct[key] for key in sorted(distinct)]
