"""The live view as lines, without a terminal."""

import pytest

from alflow.cli.moments import clock, coarse
from alflow.cli.screen import BLOCKS, Room, screen, sparkline
from alflow.loop.watching import Stage
from alflow.store.standing import Trouble
from alflow.store.views import ManagerStatus

NOW = 100_000.0
GONE = ManagerStatus(alive=False, holder="login3 (pid 41201)", silent_s=400.0)


def drawn(seen, width=80, height=24, **more):
    return [
        line.plain.rstrip() for line in screen(seen, "al.db", Room(width, height), **more)
    ]


def test_the_view_of_a_campaign_that_runs(a_view):
    assert drawn(a_view(n_running=2)) == [
        "ethanol-burst · iteration 7 of ≤ 20 (label, 73 min) · g6 · 538 labels, 2 failed",
        "running · manager login3 (pid 41201) alive 4 s ago",
        "force RMSE █▅▃▃▂▂▂ 14.3 meV/Å (aim ≤ 15)",
        "flagged █▇▆▅▄▃▂ 10 % (aim 0 % in 10 ps)",
        "",
        " stage       done                   running  waiting  failed   typical      left",
        " sample    96/128 ████████████░░░░       16       16       1      0:41    ~2 min",
        " label      38/64 █████████░░░░░░░        8       18       2      2:05    ~7 min",
        " train        4/4 ████████████████        0        0       0      3:10         —",
        " workers  24 of 32 busy (cpu 20/28, gpu 4/4)",
        "",
        " now   t-0 label/i7/0 · cpu-07 · 1:32",
        "       t-1 label/i7/1 · cpu-07 · 1:33",
        " last  03:46:10Z t-905 tried again: SCF not conv… → alflow show t-905 --db al.db",
        "       03:46:30Z i7 spread-drifts: 19 of 46 errors … → alflow show i7 --db al.db",
    ]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 200])
@pytest.mark.parametrize("height", [5, 12, 24, 60])
@pytest.mark.parametrize("manager", [None, GONE])
def test_it_fits(width, height, manager, a_view):
    changes = {} if manager is None else {"manager": manager}
    lines = screen(a_view(**changes), "a folder/al.db", Room(width, height), "a problem")
    assert len(lines) <= height
    assert max(line.cell_len for line in lines) <= width


def test_a_large_terminal_shows_more(a_view):
    small, large = drawn(a_view()), drawn(a_view(), 200, 60)
    assert len(large) > len(small)
    assert "… and 9 more" in large[25]
    assert max(map(len, large)) > 120


def test_nothing_but_ascii_where_that_is_asked_for(a_view):
    lines = screen(a_view(campaign="naïve"), "al.db", Room(80, 24, is_ascii=True))
    text = "\n".join(line.plain for line in lines)
    assert text.isascii()
    assert text.startswith("na?ve - iteration 7 of <= 20")
    assert "###" in text
    assert "meV/A" in text
    assert max(line.cell_len for line in lines) <= 80


def test_a_manager_that_was_killed(a_view):
    lines = drawn(a_view(manager=GONE))
    assert lines[1] == (
        "interrupted · login3 (pid 41201) is gone, last sign of life 7 min ago"
    )
    assert lines[2] == "Nothing finished is lost. Go on: alflow resume al.db"
    assert not any("busy" in line or line.startswith(" now") for line in lines)


def test_a_manager_that_left_and_one_that_never_came(a_view):
    left = ManagerStatus(alive=False, holder="x", silent_s=9.0, is_released=True)
    assert drawn(a_view(manager=left))[1].startswith("paused: no manager runs it. Go on:")
    never = a_view((), manager=ManagerStatus(alive=False), iteration=None, curves={})
    lines = drawn(never)
    assert lines[0] == "ethanol-burst · not begun"
    assert lines[1].startswith("not begun: no manager runs it. Begin: alflow resume al.db")
    assert "no tasks yet" in lines[3]


def test_a_long_verdict_takes_a_few_lines(a_view):
    lines = drawn(a_view(state="converged", verdict="word " * 200, manager=GONE))
    assert lines[1].startswith("converged: word")
    assert lines[3].endswith("…")
    assert lines[4].startswith("force RMSE")


def test_the_newest_failure_comes_before_later_notes(a_view):
    label = Trouble(0, NOW - 5, "not-converged", "warning", "s-88", "no convergence")
    lines = drawn(a_view(n_running=0, failed_label=label), 120)
    (last,) = [line for line in lines if line.startswith(" last")]
    assert "s-88 not-converged: no convergence → alflow show s-88 --db al.db" in last
    assert any("t-905" in line for line in lines)


def test_a_failure_is_cut_before_its_command(a_view):
    lost = Trouble(7, NOW - 30, "task-failed", "error", "t-905", "no " * 90)
    lines = drawn(a_view(troubles=(lost,)), 60)
    assert lines[-1].endswith("… → alflow show t-905")


def test_a_narrow_terminal_keeps_what_fails_and_what_is_left(a_view):
    wide, narrow, least = (drawn(a_view(), width) for width in (80, 60, 40))
    head = next(line for line in wide if line.startswith(" stage"))
    assert head.split() == [
        "stage",
        "done",
        "running",
        "waiting",
        "failed",
        "typical",
        "left",
    ]
    head = next(line for line in narrow if line.startswith(" stage"))
    assert head.split() == ["stage", "done", "running", "waiting", "failed", "left"]
    head = next(line for line in least if line.startswith(" stage"))
    assert head.split() == ["stage", "done", "failed", "left"]
    assert next(line for line in least if line.startswith(" label")).split()[-2:] == [
        "~7",
        "min",
    ]


def test_a_long_name_is_cut_before_the_numbers(a_view):
    line = drawn(a_view(campaign="aluminium-vacancies-production"))[0]
    assert line.endswith("· 538 labels, 2 failed")
    assert line.startswith("alumi")
    assert "…" in line


def test_a_pool_without_workers_is_told(a_view):
    lines = drawn(a_view(closed={"gpu": "the account is empty"}))
    assert " pool gpu gets no workers: the account is empty" in lines


def test_a_training_tells_its_epoch(a_view):
    view = a_view(n_running=1)
    view.running[0].said.update({"epoch": 11.0, "epochs": 200.0})
    assert any(line.endswith("1:32 · epoch 12 of 200") for line in drawn(view))


def test_what_cannot_be_told_is_a_dash(a_view):
    (row,) = [
        line
        for line in drawn(a_view((Stage("label", 2, 0, 1, 9),)))
        if line.startswith(" label")
    ]
    assert row.split()[-2:] == ["—", "—"]


def test_a_bar_is_full_only_when_all_is_done(a_view):
    lines = drawn(a_view((Stage("label", 9999, 0, 1, 0), Stage("train", 1, 0, 0, 0))))
    label, train = (line for line in lines if line.startswith((" label", " train")))
    assert label.count("░") == 1
    assert "░" not in train


def test_energies_alone_have_a_curve(a_view):
    view = a_view(curves={"test_energy_rmse_eV_per_atom": {0: 2.0, 1: 0.002}})
    assert drawn(view)[2] == "energy RMSE █▁ 2 meV/atom"


@pytest.mark.parametrize(
    ("values", "width", "expected"),
    [
        ([], 5, ""),
        ([0.0, 0.0], 5, "▁▁"),
        ([1.0, 2.0, 4.0, 8.0], 9, "▂▃▅█"),
        ([9.0, 1.0, 1.0], 2, "██"),
        ([1.0], 0, ""),
    ],
)
def test_sparklines(values, width, expected):
    assert sparkline(values, width) == expected
    assert len(BLOCKS) == 8


@pytest.mark.parametrize(
    ("seconds", "measured", "estimated"),
    [
        (0.0, "0 s", "<1 min"),
        (0.021, "0.021 s", "<1 min"),
        (9.99, "10 s", "<1 min"),
        (41.0, "0:41", "<1 min"),
        (125.0, "2:05", "~3 min"),
        (1500.0, "25:00", "~25 min"),
        (4364.0, "1:12:44", "~1 h"),
        (200_000.0, "55:33:20", "~2.5 days"),
    ],
)
def test_times(seconds, measured, estimated):
    assert clock(seconds) == measured
    assert coarse(seconds) == estimated
