"""Puts a report together as one HTML page that needs nothing else, or as JSON."""

import math
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from hashlib import sha256
from importlib.resources import files
from typing import Any

import numpy as np

from alflow import __version__
from alflow.report import provenance_tables, wording
from alflow.report.attention import bullets
from alflow.report.content import CampaignReport
from alflow.report.quantities import is_secret, moment, scalar
from alflow.report.sections import sections, tiles

WORD_JOINER = "\u2060"
"""Has no width; no line breaks there."""


def render_html(report: CampaignReport) -> str:
    """The report as one HTML page; the same report gives the same bytes."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("alflow.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    # Figures are our own SVG, in which matplotlib has escaped all text.
    environment.filters["trusted"] = Markup
    environment.filters["unbroken"] = unbroken
    style, viewer = (_asset(name) for name in ("report.css", "viewer.js"))
    parts = sections(report)
    has_models = any(panel.cards for part in parts for panel in part.panels)
    return environment.get_template("report.html.j2").render(
        header=report.header,
        facts=facts(report),
        verdict=wording.verdict(report),
        bullets=bullets(report),
        tiles=tiles(report),
        sections=parts,
        provenance=report.provenance,
        settings=outline(report.provenance.settings),
        artefacts=provenance_tables.artefacts(report.generations),
        changes=provenance_tables.changes(report.provenance.changes),
        managers=provenance_tables.managers(report.provenance.managers),
        environments="\n".join(outline(item) for item in report.provenance.environments),
        version=__version__,
        style=Markup(style),  # noqa: S704
        viewer=Markup(viewer if has_models else ""),  # noqa: S704
        viewer_sha=f"sha256-{b64encode(sha256(viewer.encode()).digest()).decode()}",
    )


def _asset(name: str) -> str:
    """The text of a file that comes with the templates."""
    return files("alflow.report").joinpath("templates", name).read_text("utf-8").strip()


def unbroken(text: str) -> str:
    """A text in which no line ends inside a unit such as meV/Å, or before the unit of a number."""
    whole = text.replace("/Å", f"/{WORD_JOINER}Å").replace(
        "core-s", "core\N{NON-BREAKING HYPHEN}s"
    )
    return _UNIT.sub("\N{NO-BREAK SPACE}", whole)


_UNIT = re.compile(r" (?=meV)|(?<=\d) (?=(?:%|s|min|h|d|fs|ps)(?!\w))")
"""Spaces that belong to a unit."""


def facts(report: CampaignReport) -> list[tuple[str, str]]:
    """Which campaign it is, and of when the report is: names and values."""
    header = report.header
    level = (
        f"{header.level} ({header.level_detail})" if header.level_detail else header.level
    )
    found = [
        ("iteration", "" if header.iteration is None else f"i{header.iteration}"),
        ("generation", "" if header.generation is None else f"g{header.generation}"),
        ("level of theory", level),
        ("seed", str(header.seed)),
        ("alflow", header.version),
        ("database", header.database),
        ("created", moment(header.started)),
        ("as of", moment(header.as_of)),
    ]
    return [(name, value) for name, value in found if value]


def outline(value: Any, indent: int = 0) -> str:
    """Nested settings as indented lines, in the manner of YAML; for reading, not for parsing."""
    margin = "  " * indent
    if isinstance(value, Mapping):
        return "\n".join(_entry(str(key), value[key], indent) for key in value)
    if isinstance(value, list | tuple):
        return "\n".join(
            f"{margin}- {outline(item, indent + 1).lstrip()}" for item in value
        )
    return f"{margin}{scalar(value)}"


def _entry(key: str, value: Any, indent: int) -> str:
    margin = "  " * indent
    if is_secret(key):
        return f"{margin}{key}: (not shown)"
    if isinstance(value, Mapping | list | tuple) and value:
        if isinstance(value, list | tuple) and not any(_is_nested(item) for item in value):
            return f"{margin}{key}: [{', '.join(scalar(item) for item in value)}]"
        return f"{margin}{key}:\n{outline(value, indent + 1)}"
    return f"{margin}{key}: {scalar(value)}"


def _is_nested(value: Any) -> bool:
    return isinstance(value, Mapping | list | tuple)


def report_json(report: CampaignReport) -> dict[str, Any]:
    """The report as JSON-like values; a number that is not finite becomes null."""
    value = _jsonable(report)
    return dict(value)


def _jsonable(value: Any) -> Any:
    if is_dataclass(value):
        return {item.name: _jsonable(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _jsonable(value.tolist())
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
