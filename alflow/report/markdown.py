"""A report as Markdown: the same content as the page, for a terminal, an issue or a README.

Figures are left out; what they were drawn from stands as a table, as on the page.
"""

import re
from collections.abc import Iterator, Sequence

from alflow import __version__
from alflow.report import provenance_tables, wording
from alflow.report.attention import bullets
from alflow.report.content import CampaignReport
from alflow.report.panels import Panel
from alflow.report.quantities import NONE
from alflow.report.render import facts, outline
from alflow.report.sections import sections, tiles
from alflow.report.tables import Table

_SPECIAL = re.compile(r"([\\|<*`\[])")
"""What Markdown would take for more than it is."""


def render_markdown(report: CampaignReport) -> str:
    """The report as Markdown; the same report gives the same text."""
    blocks = [
        f"# {text(report.header.campaign)}",
        grid(("", ""), [(name, value) for name, value in facts(report)]),
        *_verdict(report),
        *_attention(report),
        *_tiles(report),
        *_sections(report),
        *_provenance(report),
    ]
    return "\n\n".join(blocks) + "\n"


def text(value: str) -> str:
    """Words that stand as they are, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(value.split()))


def grid(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    is_word: Sequence[bool] = (),
) -> str:
    """A table whose columns are in line as text, too; numbers stand at the right."""
    cells = [[text(cell) for cell in row] for row in (columns, *rows)]
    words = is_word or [True] * len(columns)
    widths = [max(3, *(len(row[k]) for row in cells)) for k in range(len(columns))]

    def line(row: Sequence[str]) -> str:
        parts = [
            cell.ljust(width) if word else cell.rjust(width)
            for cell, width, word in zip(row, widths, words, strict=True)
        ]
        return f"| {' | '.join(parts)} |"

    rule = [
        "-" * width if word else "-" * (width - 1) + ":"
        for width, word in zip(widths, words, strict=True)
    ]
    return "\n".join([line(cells[0]), line(rule), *map(line, cells[1:])])


def _verdict(report: CampaignReport) -> Iterator[str]:
    found = wording.verdict(report)
    yield f"**{text(found.word)}.** {text(found.state)}"
    for sentence in (found.why, found.next_step):
        if sentence:
            yield text(sentence)


def _attention(report: CampaignReport) -> Iterator[str]:
    found = bullets(report)
    if found:
        yield "## Needs attention"
        yield "\n".join(
            f"- {text(one.subject)}: {text(one.text)} `{one.command}`" for one in found
        )


def _tiles(report: CampaignReport) -> Iterator[str]:
    yield "## Key numbers"
    yield grid(
        ("number", "value", "unit", "note"),
        [
            (one.caption, one.value, "" if one.value == NONE else one.unit, one.note)
            for one in tiles(report)
        ],
        (True, False, True, True),
    )


def _sections(report: CampaignReport) -> Iterator[str]:
    found = sections(report)
    for one in found:
        if one.panels:
            yield f"## {text(one.heading)}"
        for panel in one.panels:
            yield from _panel(panel)
    missing = [one.empty for one in found if one.empty]
    if missing:
        yield "## Not there yet"
        yield "\n".join(f"- {text(sentence)}" for sentence in missing)


def _panel(panel: Panel) -> Iterator[str]:
    yield f"### {text(panel.title)}"
    if panel.caption:
        yield text(panel.caption)
    if panel.figure:
        yield f"*In the HTML report:* {text(panel.alt)}"
    if panel.table is not None and panel.figure:
        yield "<details><summary>Numbers</summary>"
        yield from _table(panel.table)
        yield "</details>"
    elif panel.table is not None:
        yield from _table(panel.table)


def _table(table: Table) -> Iterator[str]:
    yield grid(table.columns, table.rows, table.is_word)
    if table.n_all > len(table.rows):
        yield f"{len(table.rows)} of {table.n_all} rows."


def _provenance(report: CampaignReport) -> Iterator[str]:
    provenance = report.provenance
    yield "## Provenance"
    artefacts = provenance_tables.artefacts(report.generations)
    if artefacts.rows:
        yield "### Snapshots, weights and seeds"
        yield from _table(artefacts)
    changes = provenance_tables.changes(provenance.changes)
    if changes.rows:
        yield "### What changed in the settings"
        yield from _table(changes)
    yield "### Settings"
    yield fenced(outline(provenance.settings))
    yield f"SHA-256 {provenance.settings_sha or NONE}"
    if provenance.environments:
        yield "### Software and machines"
        yield fenced("\n".join(outline(one) for one in provenance.environments))
    yield f"Store {provenance.store_uuid or NONE} · report by alflow {__version__}"


def fenced(content: str, language: str = "text") -> str:
    """Text as it is; the fence is longer than any in it."""
    ticks = max((len(run) for run in re.findall(r"`+", content)), default=0)
    fence = "`" * max(3, ticks + 1)
    return f"{fence}{language}\n{content}\n{fence}"
