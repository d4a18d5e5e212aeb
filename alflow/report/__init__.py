"""The report of a campaign: collected from the store, drawn, written as one file."""

import json
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path

from alflow.core.errors import SettingsError
from alflow.report.collect import collect
from alflow.report.content import CampaignReport
from alflow.report.explorer import render_explorer
from alflow.report.markdown import render_markdown
from alflow.report.render import render_html, report_json
from alflow.store import Store

__all__ = [
    "CampaignReport",
    "ReportFormat",
    "collect",
    "render",
    "render_html",
    "render_markdown",
    "report_json",
    "write_explorer",
    "write_report",
]


class ReportFormat(StrEnum):
    """How a report is written; the word is the suffix of its file, too."""

    HTML = "html"
    MARKDOWN = "md"
    JSON = "json"


def _render_json(report: CampaignReport) -> str:
    return json.dumps(report_json(report), indent=2, ensure_ascii=False) + "\n"


_RENDERERS: Mapping[ReportFormat, Callable[[CampaignReport], str]] = {
    ReportFormat.HTML: render_html,
    ReportFormat.MARKDOWN: render_markdown,
    ReportFormat.JSON: _render_json,
}


def render(report: CampaignReport, how: ReportFormat = ReportFormat.HTML) -> str:
    """The report as text; the same report gives the same bytes."""
    return _RENDERERS[how](report)


def write_report(
    store: Store,
    path: Path,
    how: ReportFormat = ReportFormat.HTML,
    iteration: int | None = None,
) -> Path:
    """Write the report of a campaign as one file that needs nothing else.

    Args:
        store: The campaign's store; read-only is enough.
        path: Where to; directories are made, an older report is replaced as a whole.
        how: As what.
        iteration: As the campaign stood after this iteration; None for now.

    Returns:
        The path.

    Raises:
        SettingsError: If the file cannot be written, or the iteration has not ended.
        StoreError: If the database cannot be read.
    """
    return _written(render(collect(store, iteration), how), path)


def write_explorer(store: Store, path: Path) -> Path:
    """Write the explorer: sampled structures on a map, in one HTML file of some megabytes.

    Args:
        store: The campaign's store; read-only is enough.
        path: Where to, like the report.

    Returns:
        The path.

    Raises:
        SettingsError: If the file cannot be written.
        SiteError: If chemiscope is not installed.
        StoreError: If the database cannot be read.
    """
    return _written(render_explorer(store), path)


def _written(page: str, path: Path) -> Path:
    """Replace a file as a whole."""
    partial = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(page.encode())
        partial.replace(path)
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be written: {error.strerror}", code="AL103"
        ) from error
    return path
