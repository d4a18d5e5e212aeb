"""Problems of the content: each at its place, in plain words, and all at once."""

import pytest

from alflow.config.campaign import CampaignSettings
from alflow.config.loading import load_campaign
from alflow.config.problems import CampaignFileError, Problem


def only(problems: list[Problem]) -> Problem:
    assert len(problems) == 1, [str(problem) for problem in problems]
    return problems[0]


def test_the_good_file_has_defaults_and_plugins(tmp_path, good):
    path = tmp_path / "campaign.yaml"
    path.write_text(good)
    settings = load_campaign(str(path))
    assert isinstance(settings, CampaignSettings)
    assert settings.model.kind == "ani"
    assert settings.model.members == 8
    assert settings.train.epochs == 100
    assert settings.system.builders[0].count == 3
    assert settings.label.levels["dft"].basis == "big"
    assert settings.label.batch_size is None
    assert settings.label.timeout_s == "auto"
    assert settings.loop.bootstrap == 64
    assert settings.loop.max_iterations == 20
    assert settings.test is None
    assert settings.stop.budget.labels is None


@pytest.mark.parametrize(
    ("old", "new", "place", "path", "message", "hint"),
    [
        # unknown keys: at the key
        ("seed: 7", "sed: 1\nseed: 7", (2, 1), "sed", "unknown key 'sed'", "'seed'"),
        (
            "basis: big",
            "bases: big",
            (12, 26),
            "label.levels.dft.bases",
            "unknown key",
            "'basis'",
        ),
        (
            "count: 3",
            "cuont: 3",
            (8, 7),
            "system.builders[0].cuont",
            "unknown key",
            "'count'",
        ),
        ("seed: 7", "zz: 1\nseed: 7", (2, 1), "zz", "unknown key 'zz'", "known keys: name"),
        (
            "acquire:",
            "train: {epoch: 20}\nacquire:",
            (16, 9),
            "train.epoch",
            "unknown",
            "'epochs'",
        ),
        (
            "acquire:",
            "stop: {budget: {lable: 2}}\nacquire:",
            (16, 17),
            "stop.budget.lable",
            "unk",
            "'labels'",
        ),
        # wrong types: at the value
        ("seed: 7", "seed: abc", (2, 7), "seed", "must be a whole number, not 'abc'", ""),
        ("seed: 7", "seed: 1.5", (2, 7), "seed", "must be a whole number, not 1.5", ""),
        ("seed: 7", "seed: true", (2, 7), "seed", "must be a number, not true", ""),
        ("seed: 7", "seed:", (2, 1), "seed", "must be a whole number, but is empty", ""),
        ("seed: 7", "seed: -1", (2, 7), "seed", "must be at least 0, not -1", ""),
        ("name: water", "name: 12", (1, 7), "name", "must be text, not 12", "quotes"),
        (
            "name: water",
            "name: my water",
            (1, 7),
            "name",
            "'my water' has characters",
            "letters",
        ),
        (
            "name: water",
            "name: " + "x" * 65,
            (1, 7),
            "name",
            "at most 64 characters, not 65",
            "",
        ),
        ("[H, O]", "H", (4, 13), "system.elements", "must be a list, not 'H'", ""),
        ("[H, O]", "[]", (4, 13), "system.elements", "at least 1 entry, not 0", ""),
        (
            "[50, 600]",
            "[50, x]",
            (15, 31),
            "sample.temperature_K.start[1]",
            "must be a number",
            "",
        ),
        (
            "duration_ps: 2.0",
            "duration_ps: 0",
            (14, 16),
            "sample.duration_ps",
            "more than 0, not 0",
            "",
        ),
        (
            "duration_ps: 2.0",
            "duration_ps: .nan",
            (14, 16),
            "sample.duration_ps",
            "finite",
            "",
        ),
        (
            "acquire:",
            "train: 5\nacquire:",
            (16, 8),
            "train",
            "must be a mapping of keys",
            "",
        ),
        (
            "acquire:",
            "train: {schedule: sine}\nacquire:",
            (16, 19),
            "train.schedule",
            "'cosine' or 'plateau'",
            "",
        ),
        (
            "count: 3",
            "density_g_per_cm3: {a: 1}",
            (8, 26),
            "system.builders[0].density_g_per_cm3",
            "must be a number or a list",
            "",
        ),
        # sentences of validators, at the value that they name
        (
            "{start: [50, 600]}",
            "{start: [50, 600], period_ps: -1}",
            (15, 48),
            "sample.temperature_K.period_ps",
            "-1.0 ps is not above 0",
            "",
        ),
        (
            "per_iteration: 10",
            "per_iteration: 666",
            (16, 10),
            "acquire",
            "this number is not picked",
            "",
        ),
        # missing keys: at the parent
        (
            "seed: 7\n",
            "",
            (1, 1),
            "",
            "the required key 'seed' is missing",
            "Seed from which",
        ),
        (
            "  primary: dft\n",
            "",
            (9, 1),
            "label",
            "the required key 'primary' is missing",
            "primary",
        ),
        (
            "  duration_ps: 2.0\n",
            "",
            (13, 1),
            "sample",
            "the required key 'duration_ps'",
            "[ps]",
        ),
        (
            "{start: [50, 600]}",
            "{}",
            (15, 3),
            "sample.temperature_K",
            "the required key 'start'",
            "",
        ),
        (
            "acquire: {per_iteration: 10}\n",
            "",
            (1, 1),
            "acquire",
            "the required key 'per_iteration'",
            "",
        ),
        # plug-ins
        (
            "kind: blob",
            "kind: blub",
            (6, 13),
            "system.builders[0].kind",
            "no builder 'blub' is installed",
            "'blob'?  Fix this first",
        ),
        (
            "kind: program",
            "kind: 12",
            (12, 17),
            "label.levels.dft.kind",
            "no labeler '12'",
            "Fix this first",
        ),
        (
            "kind: blob\n      ",
            "",
            (6, 7),
            "system.builders[0]",
            "the required key 'kind' is missing",
            "one of: blob, third",
        ),
        (
            "acquire:",
            "model: {kind: broken}\nacquire:",
            (16, 15),
            "model.kind",
            "no module 'gone'",
            "Fix this first",
        ),
        (
            "- kind: blob\n      elements: [O, H]\n      count: 3",
            "- blob",
            (6, 7),
            "system.builders[0]",
            "must be a mapping",
            "",
        ),
        # elements and modes
        (
            "[H, O]",
            "[H, Oo]",
            (4, 17),
            "system.elements[1]",
            "there is no element 'Oo'",
            "did you mean 'O'?",
        ),
        ("[H, O]", "[H, O, H]", (4, 13), "system.elements", "H is here twice", ""),
        (
            "acquire:",
            "loop: {mode: fast}\nacquire:",
            (16, 14),
            "loop.mode",
            "must be 'generational' or 'asynchronous', not 'fast'",
            "",
        ),
        (
            "primary: dft",
            "primary: dftt",
            (10, 12),
            "label.primary",
            "no level 'dftt' is defined",
            "did you mean 'dft'?",
        ),
    ],
)
def test_one_mistake(problems_of, *, old, new, place, path, message, hint):
    problem = only(problems_of((old, new)))
    assert (problem.line, problem.column) == place
    assert problem.path == path
    assert message in problem.message
    assert hint in problem.hint


def test_empty_sections_take_their_defaults(problems_of):
    assert (
        problems_of(("acquire:", "train:\nloop:\nstop: {budget: , converged: }\nacquire:"))
        == []
    )


def test_a_page_of_mistakes_is_told_at_once(problems_of):
    page = """\
name: my water
sed: 12
system:
  elements: [H, Oo]
  builders: [{kind: blub}, {kind: blob, count: 0}]
label: {primary: dftt, levels: {dft: {kind: program, basis: 3}}}
train: {epoch: 20, schedule: sine}
sample: {kind: nmed, timestep_fs: 10, temperature_K: {start: [600, 50]}}
acquire: {per_iteration: none}
loop: {mode: parallel}
stop: {converged: {force_rmse_eV_per_A: 0.1}}
"""
    found = problems_of(text=page)
    assert [(p.line, p.column, p.path) for p in found] == [
        (1, 7, "name"),
        (2, 1, "sed"),
        (4, 17, "system.elements[1]"),
        (5, 21, "system.builders[0].kind"),
        (5, 48, "system.builders[1].count"),
        (6, 18, "label.primary"),
        (6, 61, "label.levels.dft.basis"),
        (7, 9, "train.epoch"),
        (7, 30, "train.schedule"),
        (8, 16, "sample.kind"),
        (8, 35, "sample.timestep_fs"),
        (8, 62, "sample.temperature_K.start"),
        (9, 26, "acquire.per_iteration"),
        (10, 14, "loop.mode"),
        (11, 41, "stop.converged.force_rmse_eV_per_A"),
    ]


def test_the_text_shows_line_caret_and_suggestion(tmp_path, good):
    path = tmp_path / "campaign.yaml"
    path.write_text(good.replace("acquire:", "train:\n  epoch: 20\nacquire:"))
    with pytest.raises(CampaignFileError) as caught:
        load_campaign(path)
    assert str(caught.value).splitlines() == [
        f"{path}: 1 problem; nothing was started.",
        f"{path}:17:3  train.epoch: unknown key 'epoch'",
        "   17 |   epoch: 20",
        "      |   ^  did you mean 'epochs'?",
    ]


def test_the_caret_stays_under_its_column_in_long_lines(problems_of):
    long = "train: {schedule: cosine, " + " " * 150 + "epochs: 0}\nacquire:"
    problem = only(problems_of(("acquire:", long)))
    _, line, caret = str(problem).splitlines()
    assert line[caret.index("^")] == "0"
    assert len(line) < 100


def test_problems_are_json(problems_of):
    value = only(problems_of(("seed: 7", "seed: x"))).to_json()
    assert value["line"] == 2
    assert value["snippet"] == "seed: x"
    assert value["code"] == "AL101"


def test_a_model_level_error_with_an_empty_location(monkeypatch, problems_of):
    from pydantic import ValidationError
    from pydantic_core import InitErrorDetails, PydanticCustomError

    def refuse(_raw):
        details = InitErrorDetails(
            type=PydanticCustomError("x", "it is all wrong"), input={}
        )
        raise ValidationError.from_exception_data("Campaign", [details])

    monkeypatch.setattr(CampaignSettings, "model_validate", refuse)
    problem = only(problems_of())
    assert (problem.line, problem.column, problem.path) == (1, 1, "")
    assert problem.message == "it is all wrong"
