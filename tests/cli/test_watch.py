"""`alflow watch`, and the view beside `run`, on a terminal and without one."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from types import SimpleNamespace

import pytest

from alflow.cli import following
from alflow.cli.changes import Changes
from alflow.cli.following import Lines, follow
from alflow.core.errors import StoreError
from alflow.execution.files import CampaignFiles
from alflow.store import open_store

CODE = "import sys; from alflow.cli.main import main; sys.exit(main())"
DEADLINE_S = 60.0
SHOW_CURSOR, HIDE_CURSOR, OTHER_SCREEN = b"\x1b[?25h", b"\x1b[?25l", b"\x1b[?1049h"


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, folder, *arguments, **environment):
        """Start it."""
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(theirs)
        self.theirs = theirs
        unwanted = ("NO_COLOR", "COLUMNS", "LINES", "ALFLOW_DB", "FORCE_COLOR")
        clean = {name: v for name, v in os.environ.items() if name not in unwanted}
        self.process = subprocess.Popen(
            [sys.executable, "-c", CODE, *map(str, arguments)],
            cwd=folder,
            env={**clean, "TERM": "xterm-256color", "PYTHONUTF8": "1", **environment},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        self.said = b""

    def wait_for(self, text, seconds=DEADLINE_S):
        """Read until it has said so."""
        end = time.monotonic() + seconds
        while text.encode() not in self.said:
            assert time.monotonic() < end, self.said.decode(errors="replace")
            self._read()

    def type(self, text):
        os.write(self.ours, text.encode())

    def end(self):
        """Its exit code, once all it has said is read."""
        end = time.monotonic() + DEADLINE_S
        while self.process.poll() is None:
            assert time.monotonic() < end, self.said.decode(errors="replace")
            self._read()
        while self._read():
            pass
        return self.process.returncode

    def is_sane(self):
        """Whether the terminal is as it was: echo, lines, cursor, its own screen."""
        hidden, shown = self.said.rfind(HIDE_CURSOR), self.said.rfind(SHOW_CURSOR)
        same = termios.tcgetattr(self.theirs) == self.before
        return same and hidden <= shown and OTHER_SCREEN not in self.said

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.ours)
        os.close(self.theirs)

    def _read(self):
        if not select.select([self.ours], [], [], 0.2)[0]:
            return False
        self.said += os.read(self.ours, 65536)
        return True


@pytest.fixture
def terminal(tmp_path):
    opened = []

    def start(*arguments, **environment):
        opened.append(Terminal(tmp_path, *arguments, **environment))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def test_the_view_is_drawn_and_q_leaves_it(terminal, database):
    watch = terminal("watch", database)
    watch.wait_for("paused: no manager runs it")
    watch.wait_for("█")
    assert b"\x1b[1;33m" in watch.said, "in colour"
    watch.type("xq")
    assert watch.end() == 3
    assert watch.is_sane()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 3), (signal.SIGTERM, 143)])
def test_a_signal_leaves_the_terminal_as_it_was(terminal, database, number, code):
    watch = terminal("watch", database)
    watch.wait_for("no manager runs it")
    watch.process.send_signal(number)
    assert watch.end() == code
    assert watch.is_sane()


def test_no_colour_and_no_signs_where_they_are_not_wanted(terminal, database):
    watch = terminal(
        "watch", database, NO_COLOR="1", PYTHONUTF8="0", PYTHONIOENCODING="ascii"
    )
    watch.wait_for("no manager runs it")
    watch.wait_for("####")
    watch.type("q")
    watch.end()
    assert watch.said.isascii()
    for color in range(30, 38):
        assert f"{color}m".encode() not in watch.said


def test_it_ends_with_the_campaign_and_sees_managers_come_and_go(terminal, database):
    with open_store(database) as store:
        lease = store.acquire_lease("node1 (pid 1)")
        watch = terminal("watch", database)
        watch.wait_for("running")
        lease.release()
        watch.wait_for("paused: no manager runs it")
        with store.acquire_lease("node2 (pid 2)"):
            watch.wait_for("node2 (pid 2) alive")
            store.set_state("converged", "it is good")
            watch.wait_for("converged: it is good")
    assert watch.end() == 0
    assert watch.is_sane()


def test_without_a_terminal_there_are_lines(alflow, database):
    with open_store(database) as store, store.acquire_lease("node1 (pid 1)"):
        store.set_state("finished", "enough")
    result = alflow("watch")
    assert (result.code, result.err) == (0, "")
    (line,) = result.out.splitlines()
    assert line[8:].startswith("Z i0 · finished: enough · node1 (pid 1), last sign")


def test_what_cannot_be_read_is_tried_again(a_view, capsys):
    class Watcher:
        looks = iter([a_view(()), None, a_view((), state="converged", verdict="good")])

        def look(self, _now):
            found = next(self.looks)
            if found is None:
                raise StoreError("the server is gone")
            return found

    view = Lines(sys.stdout, Changes("al.db"))
    seen = follow(Watcher(), view, lambda _seconds: False)
    assert seen.standing.state == "converged"
    _first, problem, end = capsys.readouterr().out.splitlines()
    assert problem.endswith("tries again: the server is gone")
    assert end.endswith("converged: good")


def test_a_file_gets_a_line_now_and_then_though_nothing_happens(
    a_view, capsys, monkeypatch
):
    monkeypatch.setattr(following, "HEARTBEAT_S", 0.0)
    view = Lines(sys.stdout, Changes("al.db"))
    view.show(a_view(()))
    capsys.readouterr()
    view.show(a_view(()))
    (line,) = capsys.readouterr().out.splitlines()
    assert line[10:].startswith("i7 · running")


def test_a_log_of_run_gets_one_too(database, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(following, "HEARTBEAT_S", 0.05)
    said = ""
    with open_store(database) as store:
        files = CampaignFiles(tmp_path / "water")
        campaign = SimpleNamespace(store=store, files=files)
        with following.beside(campaign, "water.db"):
            end = time.monotonic() + DEADLINE_S
            while "paused: no manager runs it" not in said and time.monotonic() < end:
                time.sleep(0.05)
                said += capsys.readouterr().err
    assert "Z i0 · paused: no manager runs it. Go on: alflow resume water.db" in said


CAMPAIGN = """
name: small
seed: 7
system:
  elements: [Al]
  builders:
    - {kind: random_box, composition: {Al: 1}, atoms: [4, 8], density_g_per_cm3: [1.6, 2.4]}
label: {primary: gupta, batch_size: 2, levels: {gupta: {kind: analytic}}}
model: {kind: ani, members: 2, hidden: [4], radial_cutoff_A: 4.0, angular_cutoff_A: 3.5}
train: {epochs: 1, warm_epochs: 1, minimum_steps: 0, folds: 2}
sample:
  kind: nemd
  replicas: 2
  duration_ps: 0.01
  temperature_K: {start: [50, 600], end: [50, 1000]}
acquire: {kind: threshold, per_iteration: 2}
loop: {bootstrap: 6, max_iterations: 0}
"""


@pytest.mark.slow
@pytest.mark.parsl
def test_run_draws_the_view_below_its_lines(terminal, tmp_path):
    (tmp_path / "campaign.yaml").write_text(CAMPAIGN)
    run = terminal("run", "campaign.yaml", ALFLOW_LOCAL_WORKERS="1")
    run.wait_for("iteration 0 of ≤ 0")
    assert run.end() == 0
    said = run.said.decode()
    assert "small starts on site local" in said
    assert "begin-iteration" in said
    assert "finished: the limit of 0 iterations is reached" in said
    assert "of 1 busy" in said
    assert "Report: " in said
    assert run.is_sane()
