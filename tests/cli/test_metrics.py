"""Numbers for Prometheus, in its text format."""

import re

import pytest

from alflow.cli.metrics import exposition

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"({NAME})\{{({LABEL}(?:,{LABEL})*)\}} (\S+)")


def parsed(text):
    """Samples by name and labels; fails where the text is not in the format."""
    assert text.endswith("\n")
    helped, typed, found = set(), {}, {}
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name = line.split(" ", 3)[2]
            assert name not in helped
            helped.add(name)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name in helped
            assert kind in ("gauge", "counter")
            assert (kind == "counter") == name.endswith("_total")
            typed[name] = kind
        else:
            name, labels, value = SAMPLE.fullmatch(line).groups()
            assert name == list(typed)[-1], "samples stand below their type"
            key = (name, *re.findall(r'(\w+="(?:[^"\\]|\\.)*")', labels)[1:])
            assert key not in found
            found[key] = float(value)
    assert helped == typed.keys()
    return found


def test_the_numbers_of_a_campaign(a_view):
    tasks = {"label": {"done": 12, "leased": 3}}
    found = parsed(exposition(a_view(), tasks, {"label": 120.5, "train": 8.0}))
    assert found["alflow_info", 'state="running"'] == 1
    assert found["alflow_iteration",] == 7
    assert found["alflow_generation",] == 6
    assert found["alflow_labels", 'state="pending"'] == 26
    assert found["alflow_tasks", 'kind="label"', 'state="done"'] == 12
    assert found["alflow_tasks", 'kind="label"', 'state="queued"'] == 0
    error = found["alflow_test_error", 'quantity="force_rmse_eV_per_A"']
    assert error == pytest.approx(0.1 / 7)
    assert found["alflow_flagged_share",] == 0.1
    assert (found["alflow_manager_up",], found["alflow_manager_age_seconds",]) == (1, 4)
    assert found["alflow_workers", 'pool="cpu"'] == 28
    assert found["alflow_workers_busy", 'pool="cpu"'] == 20
    assert found["alflow_core_seconds_total", 'kind="label"'] == 120.5
    assert found["alflow_needs_attention",] == 0


def test_what_is_not_known_has_no_sample(a_view):
    curves = {"test_force_rmse_eV_per_A": {3: float("nan")}}
    view = a_view((), iteration=None, generation=None, curves=curves)
    text = exposition(view, {}, {})
    parsed(text)
    for name in ("iteration", "generation", "test_error", "flagged_share", "tasks", "core"):
        assert f"alflow_{name}" not in text


def test_a_name_cannot_break_the_format(a_view):
    text = exposition(a_view(campaign='a "b"\\\n'), {}, {})
    parsed(text)
    assert r'campaign="a \"b\"\\\n"' in text


def test_the_command_prints_them(alflow, database):
    result = alflow("status", "--metrics")
    assert result.code == 3
    found = parsed(result.out)
    assert found["alflow_labels", 'state="ok"'] == 2
    assert found["alflow_tasks", 'kind="train"', 'state="done"'] == 1
    assert found["alflow_core_seconds_total", 'kind="label"'] == 2.0
    assert found["alflow_manager_up",] == 0


def test_the_command_writes_a_file_all_at_once(alflow, database, tmp_path):
    path = tmp_path / "alflow.prom"
    path.write_text("old\n")
    old = path.open()
    result = alflow("status", database, "--metrics-file", path)
    assert (result.code, result.out) == (3, "")
    parsed(path.read_text())
    assert old.read() == "old\n", "who reads the old file has all of it"
    old.close()
    assert sorted(one.name for one in tmp_path.glob("*.prom")) == ["alflow.prom"]


def test_no_other_file_is_replaced(alflow, database, tmp_path):
    before = database.read_bytes()
    wrong = alflow("status", database, "--metrics-file", database)
    assert wrong.code == 2
    assert "does not end in .prom" in wrong.err
    assert database.read_bytes() == before
    assert alflow("status", "--metrics-file", tmp_path / "no" / "a.prom").code == 2
