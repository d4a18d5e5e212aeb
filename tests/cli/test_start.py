"""Commands before a campaign runs, and how every command ends."""

import json
import subprocess
import sys

import pytest
import typer

from alflow import __version__
from alflow.cli import failures, terminal
from alflow.cli.main import app, run_command
from alflow.cli.plugins import type_text
from alflow.cli.terminal import Listing, plain_table
from alflow.config.campaign import CampaignSettings, LoopSettings
from alflow.core.errors import EXPLANATIONS, CampaignStopped, LeaseHeld, SettingsError
from alflow.models.ani.settings import AniSettings
from alflow.samplers.mixture import MixtureSettings

HEAVY = ("torch", "pyscf", "parsl", "sqlalchemy", "matplotlib", "ase")


def imported_by(*arguments: str, cwd) -> subprocess.CompletedProcess:
    code = (
        "import sys\n"
        "from alflow.cli.main import run_command\n"
        f"code = run_command({list(arguments)!r})\n"
        f"print('HEAVY', [m for m in {HEAVY!r} if m in sys.modules], code)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_imports_nothing_heavy(tmp_path):
    done = imported_by("--help", cwd=tmp_path)
    assert "HEAVY [] 0" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("template", "heavy"),
    [
        ("aluminum-gupta", ["ase"]),
        ("aluminum-pbe", ["ase"]),
    ],  # which builds crystals, and has the names of calculators
)
def test_check_imports_nothing_heavy(alflow, tmp_path, template, heavy):
    assert alflow("init", "al", "-t", template).code == 0
    done = imported_by("check", "al/campaign.yaml", cwd=tmp_path)
    assert f"HEAVY {heavy}" in done.stdout, done.stdout + done.stderr


def test_every_command_has_help(alflow):
    names = [
        command.name or command.callback.__name__ for command in app.registered_commands
    ]
    groups = {"db": ["info"], "export": ["structures", "model", "metrics"]}
    assert {"init", "check", "run", "resume", "demo", "try", "stop", "status", "ls"} <= set(
        names
    )
    lines = [[name] for name in names]
    lines += [[group, name] for group, members in groups.items() for name in members]
    for line in lines:
        result = alflow(*line, "--help")
        assert result.code == 0
        assert f"alflow {' '.join(line)}" in result.out


def test_version(alflow):
    assert alflow("--version").out == f"alflow {__version__}\n"


def test_usage_errors(alflow):
    assert alflow("nonsense").code == 2
    assert alflow("check").code == 2
    assert alflow("init", "somewhere").code == 2


def test_explain(alflow):
    assert alflow("explain", "al102").out.startswith(
        "AL102: The campaign file has problems"
    )
    assert len(alflow("explain").out.splitlines()) == len(EXPLANATIONS) + 1
    wrong = alflow("explain", "AL999")
    assert wrong.code == 2
    assert "there is no error code 'AL999'" in wrong.err


def test_init_makes_a_folder_that_an_editor_understands(alflow, tmp_path):
    assert "water" in alflow("init", "--list").out
    result = alflow("init", "mine", "--template", "water")
    assert result.code == 0
    assert "alflow check campaign.yaml" in result.err
    first = (tmp_path / "mine" / "campaign.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=campaign.schema.json"
    schema = json.loads((tmp_path / "mine" / "campaign.schema.json").read_text())
    assert "sample" in schema["properties"]
    again = alflow("init", "mine", "--template", "water")
    assert again.code == 2
    assert "exists already" in again.err


def test_init_of_an_unknown_template(alflow):
    assert "did you mean 'water'" in alflow("init", "mine", "--template", "watr").err


def test_init_into_a_file(alflow, tmp_path):
    (tmp_path / "file").touch()
    result = alflow("init", "file", "--template", "water")
    assert result.code == 2
    assert "[AL103]" in result.err


def test_check_tells_problems_with_their_place(alflow, tmp_path):
    (tmp_path / "c.yaml").write_text("name: x\nsed: 3\n")
    result = alflow("check", "c.yaml")
    assert result.code == 2
    assert result.out == ""
    assert result.err.splitlines()[0].endswith("[AL102]")
    assert "c.yaml:2:1  sed: unknown key 'sed'" in result.err
    as_json = alflow("check", "c.yaml", "--json")
    assert as_json.code == 2
    assert {problem["path"] for problem in as_json.json} >= {"sed", ""}


def test_check_prints_the_schema(alflow):
    assert alflow("check", "--schema").json["title"] == "CampaignSettings"


def test_plugins(alflow):
    everything = alflow("plugins").out
    assert "nemd" in everything
    assert "threshold" in everything
    samplers = alflow("plugins", "samplers").out
    assert len(samplers.splitlines()) >= 3
    assert "udd" in samplers
    rows = alflow("plugins", "sampler", "nemd", "--json").json
    by_name = {row["setting"]: row for row in rows}
    assert by_name["timestep_fs"]["type"] == "number > 0"
    assert by_name["timestep_fs"]["default"] == "0.5"
    assert "[fs]" in by_name["timestep_fs"]["meaning"]
    assert by_name["temperature_K.start"]["default"] == "required"
    assert alflow("plugins", "smplers").code == 2
    assert "did you mean 'nemd'" in alflow("plugins", "samplers", "nemdd").err
    assert "has no settings" in alflow("plugins", "tasks", "build").err


def test_types_in_words():
    assert type_text(dict[str, float]) == "{text: number}"
    assert type_text(tuple[int, ...] | None) == "[integer, ...] | null"
    assert type_text(list[str]) == "[text, ...]"
    for model, name, words in (
        (LoopSettings, "growth", "number > 0 | null"),
        (CampaignSettings, "acquire", "settings of an acquisition rule"),
        (AniSettings, "pretrained", "text | null"),
    ):
        field = model.model_fields[name]
        assert type_text(field.annotation, field.metadata) == words
    arms = MixtureSettings.model_fields["arms"]
    assert type_text(arms.annotation) == "{text length ≤ 32: settings of a sampler}"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError("bad"), 2),
        (CampaignStopped("left"), 3),
        (LeaseHeld("held"), 4),
        (KeyboardInterrupt(), 130),
        (RuntimeError("boom"), 1),
    ],
)
def test_exit_codes(alflow, monkeypatch, error, code):
    def fail(*_arguments):
        raise error

    monkeypatch.setattr("alflow.cli.explain.emit_listing", fail)
    assert alflow("explain").code == code


def test_a_bug_leaves_its_traceback_in_a_file_without_secrets(
    alflow, monkeypatch, tmp_path
):
    def fail(*_arguments):
        raise RuntimeError("cannot reach postgresql://me:secret@host/db")

    monkeypatch.setattr("alflow.cli.explain.emit_listing", fail)
    result = alflow("explain")
    assert result.code == 1
    assert "RuntimeError: cannot reach postgresql://***@host/db" in result.err
    assert "Traceback (most" not in result.err
    (path,) = tmp_path.glob("alflow-error-*.txt")
    text = path.read_text()
    assert "Traceback (most" in text
    assert "secret" not in text
    assert path.name in result.err


def test_a_bug_in_a_folder_that_cannot_be_written(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        failures.Path, "write_text", lambda *_a, **_k: (_ for _ in ()).throw(OSError())
    )
    assert failures.tell_bug(ValueError("x")) == 1
    assert "ValueError: x" in capsys.readouterr().err


def test_other_exits_pass_through(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for value, code in ((None, 0), (7, 7), ("words", 1)):
        monkeypatch.setattr("alflow.cli.main.app", lambda value=value, **_: sys.exit(value))
        assert run_command([]) == code


def test_an_error_shows_code_consequence_and_next_step():
    error = SettingsError("what", consequence="Nothing was started.", next_step="do this")
    first, *rest = failures.rendered(error).splitlines()
    assert first.startswith("what ")
    assert first.endswith("[AL101]")
    assert len(first) == failures.CODE_COLUMN
    assert rest == ["Nothing was started.", "do this"]


def test_main_in_a_process(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "from alflow.cli.main import main; main()", "status"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert "there is no database" in done.stderr


def test_quiet_and_verbose(alflow):
    assert alflow("-q", "init", "a", "-t", "water").err == ""
    assert alflow("-vv", "--no-color", "explain").code == 0
    assert terminal.PREFERENCES.verbosity == 2
    assert terminal.PREFERENCES.color is False


def test_tables_are_aligned_and_never_cut():
    listing = Listing(("name", "n"), [("x" * 200, 5), (None, True)], frozenset({"n"}))
    head, first, second = plain_table(listing)
    assert head == "name" + " " * 196 + "    n"
    assert first == "x" * 200 + "    5"
    assert second == "–" + " " * 199 + "  yes"


def test_a_table_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    terminal.emit_listing(Listing(("name", "[b]"), [("[x]", 0.123456)]))
    out = capsys.readouterr().out
    assert "[x]" in out
    assert "0.1235" in out


def test_formats_exclude_each_other():
    with pytest.raises(typer.BadParameter):
        terminal.chosen_format(as_json=True, as_csv=True)
