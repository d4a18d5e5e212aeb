"""The report as Markdown: the same content, readable as it is."""

import json
import re
from dataclasses import replace

import pytest

from alflow.report import ReportFormat, render
from alflow.report.content import Provenance
from alflow.report.markdown import grid, render_markdown
from alflow.report.sections import sections


@pytest.fixture(scope="module")
def written(running):
    return render_markdown(running)


def test_the_same_report_gives_the_same_text(running, written):
    assert render_markdown(running) == written
    assert render(running, ReportFormat.MARKDOWN) == written


def test_headings_are_those_of_the_page_in_its_order(running, written):
    headings = re.findall(r"^## (.+)$", written, re.MULTILINE)
    of_sections = [one.heading for one in sections(running) if one.panels]
    assert headings == ["Needs attention", "Key numbers", *of_sections, "Provenance"]
    assert written.startswith("# water\n")


def test_numbers_behind_figures_are_there(running, written):
    folded = written.count("<details>")
    assert folded == written.count("</details>") > 3
    for section in sections(running):
        for panel in section.panels:
            if panel.table is not None and panel.table.rows:
                assert f"| {panel.table.columns[0]}" in written


def test_columns_are_in_line_and_numbers_at_the_right():
    assert grid(("who", "n"), [("a", "1"), ("a|b", "200")], (True, False)).split("\n") == [
        "| who  |   n |",
        "| ---- | --: |",
        "| a    |   1 |",
        r"| a\|b | 200 |",
    ]


def test_words_of_others_stay_words(running):
    hostile = replace(running.header, campaign="<b>*a*</b> `x`\n# b")
    told = render_markdown(replace(running, header=hostile))
    assert told.startswith(r"# \<b>\*a\*\</b> \`x\` # b" + "\n")


def test_settings_cannot_leave_their_fence(running):
    settings = Provenance({"note": "```` # heading"}, "", (), "")
    told = render_markdown(replace(running, provenance=settings))
    assert "`````text\nnote: ```` # heading\n`````\n" in told


def test_a_campaign_without_data_says_what_is_missing(empty):
    told = render_markdown(empty)
    assert "**not started.**" in told
    assert "## Not there yet" in told


def test_json_is_json(running):
    assert json.loads(render(running, ReportFormat.JSON))["header"]["campaign"] == "water"
