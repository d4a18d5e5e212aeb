"""The report of a campaign: collected from the store, drawn, written as one file."""

from pathlib import Path

from alflow.core.errors import SettingsError
from alflow.report.collect import collect
from alflow.report.content import CampaignReport
from alflow.report.explorer import render_explorer
from alflow.report.render import render_html, report_json
from alflow.store import Store

__all__ = [
    "CampaignReport",
    "collect",
    "render_html",
    "report_json",
    "write_explorer",
    "write_report",
]


def write_report(store: Store, path: Path) -> Path:
    """Write the report of a campaign as one HTML file that needs nothing else.

    Args:
        store: The campaign's store; read-only is enough.
        path: Where to; directories are made, an older report is replaced as a whole.

    Returns:
        The path.

    Raises:
        SettingsError: If the file cannot be written.
        StoreError: If the database cannot be read.
    """
    return _written(render_html(collect(store)), path)


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
