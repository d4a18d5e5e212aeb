import json
import re
import subprocess
import sys
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from importlib.resources import files
from urllib.parse import unquote

import numpy as np
import pytest

from alflow.loop.outlook import Forecast, LabelsLeft, LevelCost
from alflow.report import figures, mistake_panels, provenance_tables
from alflow.report.content import Standing
from alflow.report.gallery import MAX_ATOMS_DRAWN
from alflow.report.mistakes import ElementError, Mistakes
from alflow.report.provenance import Provenance, SettingChange
from alflow.report.render import outline, render_html, report_json, unbroken
from alflow.report.samples import Timeline
from alflow.report.sections import sections
from alflow.report.tables import Table, plain
from alflow.report.work_tables import label_costs
from alflow.store.mistakes import NEW, TEST

MAX_BYTES = 300_000
VIEWER = files("alflow.report").joinpath("templates/viewer.js").read_text("utf-8").strip()
VOID = {"meta", "link", "br", "img", "input", "hr"}
HOSTILE = "<script>alert('x')</script>\"&"


class Page(HTMLParser):
    """Collects what the tests ask about, and that tags are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.tags = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append((tag, values))
        if "id" in values:
            self.ids.append(values["id"])
        self.links += [values[key] for key in ("href", "src") if key in values]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def scripts_of(text):
    return re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL | re.IGNORECASE)


@pytest.fixture(scope="module")
def page(running):
    return render_html(running)


@pytest.fixture(scope="module")
def large_page(large):
    return render_html(large)


def test_a_page_is_well_formed_and_its_ids_are_unique(page):
    parsed = Page(page)
    assert len(parsed.ids) == len(set(parsed.ids))
    inside = {link[1:] for link in parsed.links if link.startswith("#")}
    inside |= set(re.findall(r"url\(#([^)]+)\)", page))
    assert inside <= set(parsed.ids)


def test_nothing_is_fetched_and_only_the_viewer_is_run(page, large_page):
    for text in (page, large_page):
        assert not re.search(r"https?:|[\"'(]//|url\((?!#)", text)
        assert "@import" not in text
        parsed = Page(text)
        assert not {"link", "iframe", "object"} & {tag for tag, _ in parsed.tags}
        assert scripts_of(text) == [VIEWER]
        policy = dict(parsed.tags)["meta"]["content"]
        assert "default-src 'none'" in policy
        assert b64encode(sha256(VIEWER.encode()).digest()).decode() in policy
        assert {link.partition(",")[0] for link in parsed.links if link[0] != "#"} <= {
            "data:text/csv;charset=utf-8",
            "data:image/png;base64",
        }


def test_the_size_stays_small(page, large_page):
    assert len(page.encode()) < MAX_BYTES
    assert len(large_page.encode()) < MAX_BYTES


def test_the_same_report_gives_the_same_bytes(page, running):
    assert render_html(running) == page


def test_another_process_gives_the_same_bytes(failed, tmp_path):
    code = (
        "import runpy, sys; from alflow.report.render import render_html;"
        "made = runpy.run_path(sys.argv[1]);"
        "sys.stdout.buffer.write(render_html(made['failed_campaign']()).encode())"
    )
    where = __file__.replace("test_render.py", "conftest.py")
    done = subprocess.run(
        [sys.executable, "-c", code, where], capture_output=True, check=True, cwd=tmp_path
    )
    assert done.stdout.decode() == render_html(failed)


def test_sections_come_in_the_order_of_questions(page):
    order = [
        'class="verdict busy"',
        'class="attention"',
        'class="tiles"',
        'id="learning"',
        'id="spread"',
        'id="calibration"',
        'id="accuracy"',
        'id="sampling"',
        'id="selection"',
        'id="structures"',
        'id="labeling"',
        'id="timeline"',
        'id="provenance"',
    ]
    places = [page.index(mark) for mark in order]
    assert places == sorted(places)


def test_every_figure_has_words_and_numbers(running):
    figures = [p for s in sections(running) for p in s.panels if p.figure]
    assert len(figures) == 11
    for panel in figures:
        assert panel.alt
        assert panel.caption
        assert panel.table.rows
        assert panel.table.csv.startswith("data:text/csv")
        assert "aria-label" not in panel.figure


def test_a_refused_generation_is_marked_in_the_learning_curve(running):
    rows = running.generations
    assert "refused" not in figures.learning(rows)
    refused = replace(rows[-1], state="rejected")
    assert "refused" in figures.learning((*rows[:-1], refused))
    assert "refused" in figures.learning((refused,))


def test_costs_of_labels_are_told_with_what_is_left(running):
    costs = Forecast(
        (LevelCost("dft", 240, 12.0, 31.0, 1.04), LevelCost("cc", 5, 900.0, 950.0, None)),
        (LabelsLeft(7, "dft", 24, 432.0, 3.9, 1_790_000_000.0),),
    )
    assert "What labels cost" not in render_html(running)
    told = render_html(replace(running, costs=costs))
    assert "What labels cost" in told
    assert "Labels left in i7 at dft: 24, about 0.12 core-hours, done by 2026-09-21" in told
    table = label_costs(costs.levels)
    assert table.rows == (
        ("dft", "240", "12.0", "31.0", "1.04"),
        ("cc", "5", "900", "950", "–"),
    )


def test_hostile_words_stay_words(running):
    row = replace(running.selected[0], formula=HOSTILE, decision_reason=HOSTILE)
    report = replace(
        running,
        header=replace(running.header, campaign=HOSTILE, database=HOSTILE, level=HOSTILE),
        outcome=replace(running.outcome, reason=HOSTILE, standing=Standing.FAILED),
        selected=(row,),
        attempts_failed=(replace(running.attempts_failed[0], message=HOSTILE),),
        label_failures=(replace(running.label_failures[0], kind=HOSTILE, message=HOSTILE),),
        timeline=replace(
            running.timeline,
            lanes=(HOSTILE[:20], "$x_1$", *running.timeline.lanes[2:]),
            hours={HOSTILE: 1.0},
        ),
        provenance=Provenance({HOSTILE: HOSTILE}, "", ({HOSTILE: HOSTILE},), HOSTILE),
    )
    text = render_html(report)
    assert scripts_of(text) == [VIEWER]
    assert "&lt;script&gt;" in text
    assert "$x_1$" in text
    assert [tag for tag, _ in Page(text).tags].count("script") == 1


def test_an_empty_campaign_has_a_sentence_for_what_is_missing(empty):
    text = render_html(empty)
    assert "not started" in text
    assert "<svg" not in text
    for words in ("No candidate has been found yet.", "No attempt has been made yet."):
        assert words in text
    assert 'id="structures"' not in text
    assert 'class="attention"' not in text
    Page(text)


def test_a_failed_campaign_says_so_first(failed):
    text = render_html(failed)
    assert 'class="verdict bad"' in text
    assert "Training of generation 0 failed in iteration 0." in text
    assert text.index("t-77") < text.index('class="tiles"')
    assert "alflow resume" in text


def test_half_a_campaign_renders(running):
    last = running.spreads[-1]
    report = replace(
        running,
        generations=running.generations[:1],
        parity=running.parity[:1],
        calibration=(),
        survival=running.survival[:1],
        spreads=(replace(last, gate=None, excess=np.full_like(last.excess, np.nan)),),
        timeline=Timeline(),
        selected=(),
    )
    text = render_html(report)
    Page(text)
    assert "The acquisition rule does not tell its limits." in text
    assert "There are no predictions on new labels yet" in text
    assert 'id="calibration"' not in text


def test_work_before_the_first_label_renders(running):
    before = replace(running, iterations=())
    assert before.timeline.bars
    assert before.n_labels_ok == 0
    assert "per label" not in render_html(before)


def test_without_simulated_time_there_is_no_survival(running):
    text = render_html(replace(running, survival=()))
    Page(text)
    assert "Why trajectories ended" in text
    assert "Kaplan-Meier" not in text
    assert "Kaplan-Meier" in render_html(running)


def test_numbers_that_are_not_finite_do_not_stop_a_report(running):
    spread = running.spreads[-1]
    n = len(spread.energy)
    broken = replace(spread, energy=np.full(n, np.nan), force_scale=np.full(n, np.nan))
    sample = running.calibration[-1]
    lost = replace(
        sample, force_error=np.full(sample.n_labels, np.nan), factor=None, coverage={}
    )
    zero = replace(running.generations[-1], energy_rmse=None, force_rmse=0.0)
    report = replace(
        running,
        spreads=(broken,),
        calibration=(lost,),
        generations=(*running.generations, zero),
    )
    text = render_html(report)
    assert "Is the spread calibrated?" in text
    assert "nan" not in text.replace("Provenance", "").replace("provenance", "")


def test_json_holds_the_whole_tree(running):
    value = report_json(running)
    text = json.dumps(value, allow_nan=False)
    assert json.loads(text) == value
    assert value["header"]["campaign"] == "water"
    assert value["outcome"]["standing"] == "running"
    assert len(value["spreads"][-1]["energy"]) == 220
    assert value["spreads"][0]["gate"]["energy"]["base"] == 0.006
    assert value["calibration"][0]["coverage"].keys() == {"0.5", "0.8", "0.95"}


def test_json_has_null_for_what_is_not_finite(running):
    spread = running.spreads[-1]
    broken = replace(spread, energy=np.full(len(spread.energy), np.inf))
    value = report_json(replace(running, spreads=(broken,)))
    assert set(value["spreads"][0]["energy"]) == {None}


def test_a_table_is_csv_that_a_spreadsheet_does_not_compute():
    table = Table("t", ("a", "b, c"), (("=1+1", "1\u202f200"), ("-2.5", "–")))
    content = unquote(table.csv.partition(",")[2])
    assert content == 'a,"b, c"\n\'=1+1,1200\n-2.5,\n'
    assert plain("@x") == "'@x"


def test_settings_read_like_yaml_without_secrets():
    settings = {
        "system": {"elements": ["H", "O"], "builders": [{"kind": "a", "count": 2}]},
        "empty": {},
        "db_password": "hunter2",
        "flag": True,
        "none": None,
        "text": "two\nlines",
    }
    assert outline(settings).splitlines() == [
        "system:",
        "  elements: [H, O]",
        "  builders:",
        "    - kind: a",
        "      count: 2",
        "empty: {}",
        "db_password: (not shown)",
        "flag: true",
        "none: null",
        'text: "two\\nlines"',
    ]


def test_importing_the_report_does_not_import_matplotlib():
    code = "import sys, alflow.report; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_chosen_structures_can_be_turned_and_are_there_in_print(running):
    text = render_html(running)
    assert text.count("data-model=") == len(running.selected)
    parsed = Page(text)
    models = [json.loads(v["data-model"]) for _, v in parsed.tags if "data-model" in v]
    assert [one["ring"] for one in models[:2]] == [3, -1]
    assert "Ringed: the atom" in text
    assert "s-3100, H6O3, largest force spread 310 meV/Å" in text


def test_the_viewer_is_left_out_where_there_is_nothing_to_turn(running):
    large = tuple(replace(one, thumbnail=None) for one in running.selected)
    text = render_html(replace(running, selected=large))
    assert scripts_of(text) == []
    assert "data-model" not in text
    assert "s-3100" in text


def test_pictures_end_before_the_page_gets_large(running):
    one = running.selected[0]
    many = tuple(replace(one, structure_id=k) for k in range(1000))
    text = render_html(replace(running, selected=many))
    assert text.count("data-model=") == MAX_ATOMS_DRAWN // 6


def test_what_changed_on_the_way_is_in_the_provenance(running):
    text = render_html(running)
    assert "Settings that changed" not in text
    assert "Who ran it" not in text
    changed = (
        SettingChange(1_790_000_000.0, 3, "acquire.per_iteration", 32, 48),
        SettingChange(1_790_000_100.0, None, "label.db_password", "hunter1", "hunter2"),
    )
    who = ((1_790_000_000.0, "login3 (pid 1)"), (1_790_000_500.0, "login4 (pid 2)"))
    report = replace(
        running, provenance=replace(running.provenance, changes=changed, managers=who)
    )
    text = render_html(report)
    Page(text)
    assert "Settings that changed on the way: 2" in text
    assert "hunter" not in text
    assert provenance_tables.changes(changed).rows[1] == (
        "2026-09-21 14:13:20 UTC",
        "i3",
        "acquire.per_iteration",
        "32",
        "48",
    )
    assert [row[1:] for row in provenance_tables.managers(who).rows] == [
        ("login4 (pid 2)", "resumed"),
        ("login3 (pid 1)", "began"),
    ]
    assert provenance_tables.setting({"a": [1]}) == '{"a": [1]}'


def test_units_are_not_parted_from_their_numbers():
    assert unbroken("75 % of 3 ps, 1.5 s; 4 samples") == (
        "75\xa0% of 3\xa0ps, 1.5\xa0s; 4 samples"
    )
    assert unbroken("12 meV/Å, core-s") == "12\xa0meV/\u2060Å, core\u2011s"


def test_a_picture_that_turns_keeps_its_words():
    assert 'place.setAttribute("aria-label", words)' in VIEWER


def test_chosen_structures_say_who_learns_from_them(running):
    (panel,) = [
        p for s in sections(running) for p in s.panels if p.title.startswith("Chosen")
    ]
    assert panel.caption.startswith(
        "10 of 48; g7 is the first to learn from their labels. All of them: alflow ls "
        "candidates --iteration 7."
    )
    asked = replace(running, generations=running.generations[:-1])
    (panel,) = [
        p for s in sections(asked) for p in s.panels if p.title.startswith("Chosen")
    ]
    assert "the next generation will be the first" in panel.caption


def test_failed_attempts_say_how_many_are_left_out(running):
    report = replace(running, n_attempts_failed=150)
    titles = [panel.title for section in sections(report) for panel in section.panels]
    assert "150 attempts gave no result; the latest 3" in titles


def test_forces_on_the_only_element_are_not_most_wrong_there(running):
    rows = (
        ElementError(NEW, "Al", 40, 0.0769, 1.4),
        ElementError(TEST, "Al", 9, 0.05, 1.0),
    )
    (first, *_) = mistake_panels.panels(Mistakes(7, 7, rows))
    assert first.title == "Forces on Al are wrong by 76.9 meV/Å on new labels"
