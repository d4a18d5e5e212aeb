"""Commands that look at a campaign: status, ls, show, db info, report."""

import csv
import io
import sqlite3
from dataclasses import replace

import pytest

from alflow.cli.inspection import in_lines
from alflow.cli.moments import ago, moment, utc
from alflow.cli.status import needs_attention, screen, verdict
from alflow.core.errors import SettingsError
from alflow.store import open_store
from alflow.store.views import ManagerStatus, Status


def a_status(**changes):
    values = {
        "campaign": "water",
        "state": "running",
        "verdict": "",
        "stop_requested": None,
        "iteration": 3,
        "phase": "label",
        "generation": 2,
        "labels": {"ok": 5, "pending": 2, "failed": 1},
        "tasks": {"label": {"done": 4, "leased": 1}, "own": {"queued": 2}},
        "manager": ManagerStatus(alive=True, holder="node1 (pid 5)", silent_s=4.2),
        "events": [],
    }
    return Status(**{**values, **changes})


GONE = ManagerStatus(alive=False, holder="node1 (pid 5)", silent_s=7200.0)


@pytest.mark.parametrize(
    ("changes", "attention", "sentence"),
    [
        ({}, False, "running"),
        (
            {"stop_requested": "drain"},
            False,
            "stopping: what runs is finished first, nothing else is begun",
        ),
        (
            {"manager": GONE},
            True,
            "interrupted: no manager runs it. Go on: alflow resume w.db",
        ),
        (
            {"manager": replace(GONE, is_released=True)},
            True,
            "paused: no manager runs it. Go on: alflow resume w.db",
        ),
        (
            {"state": "converged", "verdict": "good", "manager": GONE},
            False,
            "converged: good",
        ),
        ({"state": "finished", "verdict": "spent"}, False, "finished: spent"),
        (
            {"state": "failed", "verdict": "bad"},
            True,
            (
                "failed: bad. Go on after a change of settings: alflow run campaign.yaml; else, "
                "once what failed is mended: alflow retry --failed --db w.db "
                "(alflow ls tasks --db w.db --state failed)"
            ),
        ),
        (
            {"state": "stopped", "verdict": "asked"},
            True,
            "stopped: asked. Go on: alflow resume w.db",
        ),
    ],
)
def test_verdicts(changes, attention, sentence):
    view = a_status(**changes)
    assert needs_attention(view) is attention
    assert verdict(view, "w.db") == sentence


def test_the_screen():
    trouble = {
        "ts": 0.0,
        "kind": "failed",
        "severity": "error",
        "subject": "t-8",
        "data": {"a": 1},
    }
    quiet = {**trouble, "severity": "info", "subject": "t-9"}
    assert screen(a_status(events=[trouble, quiet]), "w.db") == [
        "water · iteration 3 (label) · generation g2",
        "running",
        "manager: node1 (pid 5) alive, last sign of life 4 s ago",
        "labels: 5 done, 2 waiting, 1 failed",
        "",
        "stage  done  running  waiting  failed  cancelled",
        "label     4        1        0       0          0",
        "own       0        0        2       0          0",
        "",
        "latest warnings and errors:",
        '  1970-01-01T00:00:00Z error t-8 failed {"a": 1}',
    ]


def test_a_training_that_runs_has_a_line():
    training = {
        "task": "t-12",
        "key": "train/g3",
        "attempt": 2,
        "epoch": 57.0,
        "epochs": 200.0,
        "train_loss": 0.01234,
        "holdout_energy_rmse_meV_per_atom": 3.14159,
        "holdout_force_rmse_meV_per_A": 41.0,
        "active_members": 8.0,
        "seconds_left": 300.0,
        "resumed_at": 40.0,
    }
    silent = {"task": "t-13", "key": "train/g4", "attempt": 1}
    lines = screen(a_status(), "w.db", [training, silent])
    blank, line, other = lines[-3:]
    assert not blank
    assert line == (
        "train/g3 (t-12): epoch 58 of 200, loss 0.0123, hold-out 3.14 meV/atom, 41 meV/Å, "
        "8 members train, 5 min left, resumed after epoch 40"
    )
    assert other == "train/g4 (t-13): has not said anything yet"


def test_costs_have_lines():
    lines = screen(
        a_status(), "w.db", [], ["cost of a label at dft: 2 core-s", "labels left"]
    )
    assert lines[-3:] == ["", "cost of a label at dft: 2 core-s", "labels left"]


def test_the_screen_before_anything_happened():
    view = a_status(
        iteration=None, generation=None, manager=ManagerStatus(alive=False), tasks={}
    )
    lines = screen(view, "w.db")
    assert lines[0] == "water · not begun · generation none yet"
    assert lines[2] == "manager: none so far"


def test_status_of_a_campaign_that_was_left_asks_for_attention(alflow, database):
    result = alflow("status")
    assert result.code == 3
    assert "paused: no manager runs it" in result.out
    assert "labels: 2 done, 0 waiting, 1 failed" in result.out
    assert result.err == ""


def test_status_as_json(alflow, database):
    value = alflow("status", database, "--json").json
    assert value["campaign"] == "water"
    assert value["labels"]["failed"] == 1
    assert value["forecast"] == {"levels": [], "labels": [], "campaign": None}


def test_the_database_may_come_from_the_environment(
    alflow, database, monkeypatch, tmp_path
):
    other = tmp_path / "elsewhere"
    other.mkdir()
    monkeypatch.chdir(other)
    assert alflow("status").code == 2
    monkeypatch.setenv("ALFLOW_DB", str(database))
    assert alflow("status").code == 3


def test_which_database(alflow, database, tmp_path):
    nothing = alflow("status", "missing.db")
    assert nothing.code == 2
    assert "there is no database missing.db" in nothing.err
    (tmp_path / "second.db").touch()
    two = alflow("status")
    assert two.code == 2
    assert "there are 2 databases in this folder: second.db, water.db" in two.err
    (tmp_path / "empty").mkdir()
    assert "no database (*.db) in the folder empty" in alflow("status", "empty").err


def test_a_folder_stands_for_the_database_in_it(alflow, database, tmp_path):
    assert alflow("status", tmp_path).code == 3


def test_a_file_that_is_no_store_is_refused_and_left_alone(alflow, tmp_path):
    (tmp_path / "notes.db").write_text("my notes")
    result = alflow("status")
    assert result.code == 2
    assert "[AL302]" in result.err
    assert (tmp_path / "notes.db").read_text() == "my notes"


@pytest.mark.parametrize(
    ("what", "n_rows", "expected"),
    [
        ("iterations", 1, "i0"),
        ("generations", 1, "g0"),
        ("tasks", 3, "t-2"),
        ("attempts", 3, "t-3"),
        ("structures", 3, "s-3"),
        ("failures", 1, "not-converged"),
    ],
)
def test_lists(alflow, database, what, n_rows, expected):
    table = alflow("ls", what).out.splitlines()
    assert len(table) == n_rows + 1
    assert expected in "\n".join(table)
    assert len(alflow("ls", what, "--json").json) == n_rows
    rows = list(csv.DictReader(io.StringIO(alflow("ls", what, "--csv").out)))
    assert len(rows) == n_rows


def test_levels_of_theory(alflow, database):
    result = alflow("levels")
    assert result.err == ""
    told = result.out
    assert told.startswith("dft  ")
    assert "2 labels, 1 failed" in told
    assert "2 by PySCF" in told
    assert "wb97x" in told
    (level,) = alflow("levels", "--json").json
    assert (level["name"], level["labels"], level["failed"]) == ("dft", 2, 1)
    assert level["settings"]["basis"] == "6-31g*"
    assert sum(level["programs"].values()) == 2


def test_words_in_the_settings_of_a_level_are_told_as_they_are(alflow, database):
    settings = '{"kind":"ase","energy":"free","created":"by hand","number":"n","id":"x"}'
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE level_of_theory SET settings_json = ?", (settings,))
    connection.close()
    result = alflow("levels")
    assert result.code == 0
    told = [line.split(maxsplit=1) for line in result.out.splitlines()]
    for row in (["energy", "free"], ["created", "by hand"], ["number", "n"], ["id", "x"]):
        assert row in told


def test_levels_tell_what_a_label_costs(alflow, database):
    assert alflow("levels", "--json").json[0]["core_s"] is None
    with sqlite3.connect(database) as connection:
        connection.execute("""UPDATE label SET extras_json = '{"cores":4,"wall_s":2.5}'""")
    connection.close()
    assert "2 labels, 10 core-s each, 1 failed" in alflow("levels").out


def test_filters_of_lists(alflow, database):
    assert len(alflow("ls", "tasks", "--kind", "label", "--json").json) == 1
    assert len(alflow("ls", "structures", "--state", "ok", "--json").json) == 2
    assert len(alflow("ls", "structures", "--limit", "1", "--json").json) == 1
    nothing = alflow("ls", "tasks", "--iteration", "5")
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "no tasks\n")


def test_unknown_lists_and_two_formats_are_bad_input(alflow, database):
    wrong = alflow("ls", "task")
    assert wrong.code == 2
    assert "did you mean 'tasks'" in wrong.err
    assert alflow("ls", "tasks", "--json", "--csv").code == 2


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("s-1", ["structure s-1", "H2O", "-2078.500000", "molecules", "l-1", "t-2"]),
        ("t-2", ["task t-2", "label/i0/0", "attempts"]),
        ("g0", ["generation g0", "force_rmse", "snapshot", "d0"]),
        ("i0", ["iteration i0", "train"]),
        ("l-3", ["label l-3", "no convergence in 100 cycles"]),
        ("d0", ["snapshot d0", "g0", "labels      1: l-1"]),
        ("t-2#1", ["attempt t-2#1", "label/i0/0", "alflow logs t-2#1"]),
    ],
)
def test_show(alflow, database, name, parts):
    result = alflow("show", name)
    assert result.code == 0
    assert all(part in result.out for part in parts), result.out
    assert alflow("show", name, "--json", "--db", database).json["what"]


def test_show_tells_what_came_of_a_thing(alflow, database):
    assert "generations  1: g0" in alflow("show", "l-1").out
    assert alflow("show", "l-1", "--json").json["led_to"] == {
        "generations": {"n": 1, "first": ["g0"], "all": "alflow ls generations --of l-1"}
    }


def test_of_many_things_the_first_stand_there_with_the_command_that_lists_all():
    many = {"n": 7, "first": ["l-1", "l-2"], "all": "alflow ls labels --of d3"}
    assert in_lines({"labels": many, "made": {"n": 3}, "rows": [many]}) == {
        "labels": "7: l-1, l-2, ...  (alflow ls labels --of d3)",
        "made": 3,
        "rows": ["7: l-1, l-2, ...  (alflow ls labels --of d3)"],
    }


def test_show_of_nothing(alflow, database):
    assert "there is no structure s-99" in alflow("show", "s-99").err
    assert alflow("show", "hello").code == 2


def test_db_info(alflow, database):
    facts = alflow("db", "info", "--json", "--digest").json
    assert facts["campaign"] == "water"
    assert facts["labels"] == 2
    assert len(facts["content digest"]) == 64
    assert "written by alflow" in alflow("db", "info").out


def test_db_info_without_a_campaign(alflow, tmp_path):
    open_store(tmp_path / "empty.db", create=True).close()
    assert "campaign" not in alflow("db", "info", "--json").json


def test_stop_writes_a_request(alflow, database):
    result = alflow("stop", "--now")
    assert result.code == 0
    assert "No manager runs 'water'" in result.err
    with open_store(database, read_only=True) as store:
        assert store.stop_requested() == "now"


@pytest.mark.parametrize(
    ("flag", "words"), [([], "are finished"), (["--now"], "in seconds")]
)
def test_stop_of_a_running_campaign(alflow, database, flag, words):
    with open_store(database) as store, store.acquire_lease("node2 (pid 9)"):
        result = alflow("stop", *flag)
    assert "node2 (pid 9) will" in result.err
    assert words in result.err


def test_report(alflow, database, tmp_path):
    result = alflow("report", "-o", tmp_path / "r.html")
    assert result.code == 0
    assert "Report: " in result.out
    assert "<html" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize(
    ("options", "begins"),
    [
        ([], "<!DOCTYPE html>"),
        (["--format", "md"], "# water\n"),
        (["--format", "json"], "{\n"),
    ],
)
def test_report_to_stdout(alflow, database, options, begins):
    result = alflow("report", "-o", "-", *options)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(begins)
    assert alflow("report", "-o", "-", *options).out == result.out


def test_the_name_of_a_report_tells_its_format(alflow, database, tmp_path):
    assert alflow("report", "-o", tmp_path / "r.md").code == 0
    assert (tmp_path / "r.md").read_text().startswith("# water")
    assert alflow("report", "--format", "json").code == 0
    assert (tmp_path / "water" / "report.json").exists()


def test_the_report_of_an_iteration_that_has_not_ended(alflow, database):
    result = alflow("report", "--iteration", "0")
    assert result.code == 2
    assert "not ended: iteration i0" in result.err


def test_report_with_an_explorer_that_cannot_be(alflow, database, tmp_path, monkeypatch):
    monkeypatch.setattr("alflow.report.explorer.find_spec", lambda _: None)
    result = alflow("report", "--explorer", "-o", tmp_path / "r.html")
    assert result.code == 2
    assert 'pip install "alflow[explore]"' in result.err
    assert (tmp_path / "r.html").exists()
    assert not (tmp_path / "r-explorer.html").exists()


def test_moments():
    assert utc(None) is None
    assert utc(86400.5) == "1970-01-02T00:00:00Z"
    assert [ago(s) for s in (4.4, 180.0, 7300.0, 200_000.0)] == [
        "4 s ago",
        "3 min ago",
        "2 h ago",
        "2 days ago",
    ]


def test_moments_that_users_type():
    assert moment("1970-01-02") == moment("1970-01-02T01:00+01:00") == 86400.0
    assert moment("1970-01-02T00:00") == 86400.0
    assert 0 < moment("90m") - moment("2h") < 3600
    with pytest.raises(SettingsError, match="is no moment"):
        moment("yesterday")


def test_lists_by_age_and_by_what_they_belong_to(alflow, database):
    assert len(alflow("ls", "tasks", "--since", "1d", "--json").json) == 3
    assert alflow("ls", "tasks", "--since", "2099-01-01", "--json").json == []
    (row,) = alflow("ls", "labels", "--of", "g0", "--json").json
    assert row["id"] == 1
    assert alflow("ls", "failures", "--failure", "not-converged").code == 0
    assert "no trajectories" in alflow("ls", "trajectories").err
    assert alflow("ls", "labels", "--of", "nonsense").code == 2
