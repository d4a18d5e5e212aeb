"""Probes notice what does not work, with processes that really compete."""

import fcntl
import os
import shutil
import sqlite3
import subprocess
from types import SimpleNamespace

import pytest

from alflow.core.errors import StoreError
from alflow.store import probing
from alflow.store.checking import CheckState
from alflow.store.probing import probe_folder


def probed(folder):
    return {one.subject: one for one in probe_folder(folder)}


def test_a_disk_passes_and_is_left_as_it_was(tmp_path):
    found = probed(tmp_path)
    assert {one.state for one in found.values()} <= {CheckState.OK, CheckState.WARN}
    for name in (
        "fsync",
        "rename",
        "exclusive create",
        "hard links",
        "locks",
        "SQLite WAL",
    ):
        assert found[name].state is CheckState.OK, found[name]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_writable(tmp_path):
    with pytest.raises(StoreError, match="cannot be written"):
        probe_folder(tmp_path / "none")


def test_locks_that_do_not_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(probing.fcntl, "flock", lambda *_: None)
    monkeypatch.setattr(probing.fcntl, "lockf", fcntl.lockf)
    found = probed(tmp_path)["locks"]
    assert found.state is CheckState.FAIL
    assert found.detail == "another process gets what is locked by flock"


def test_names_that_are_had_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(probing, "_said", lambda child: ["0", "1"])
    found = probed(tmp_path)["exclusive create"]
    assert found.state is CheckState.FAIL
    assert "2 were had twice" in found.detail


def test_sqlite_without_wal(tmp_path, monkeypatch):
    class Connection(sqlite3.Connection):
        def execute(self, statement, *more):
            return super().execute(statement.replace("=WAL", "=MEMORY"), *more)

    connect = sqlite3.connect
    monkeypatch.setattr(
        probing.sqlite3, "connect", lambda *a, **k: connect(*a, factory=Connection, **k)
    )
    found = probed(tmp_path)["SQLite WAL"]
    assert found.state is CheckState.FAIL
    assert "cannot use WAL here, but memory" in found.detail


def test_a_rename_that_is_a_copy(tmp_path, monkeypatch):
    def copy(source, target):
        return shutil.copy(source, target)

    monkeypatch.setattr("pathlib.Path.replace", copy)
    assert probed(tmp_path)["rename"].state is CheckState.FAIL


def test_an_error_is_a_failure(tmp_path, monkeypatch):
    def fail(_descriptor):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    found = probed(tmp_path)["fsync"]
    assert found.state is CheckState.FAIL
    assert "Input/output error" in found.detail


def test_a_child_that_fails_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(probing.sys, "executable", shutil.which("false"))
    found = probed(tmp_path)["exclusive create"]
    assert found.state is CheckState.FAIL
    assert "no answer" in found.detail


def test_a_child_that_hangs_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(probing, "_CHILD_TIMEOUT_S", 0.1)
    program = tmp_path / "hangs"
    program.write_text("#!/bin/sh\necho ready\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(probing.sys, "executable", str(program))
    found = probed(tmp_path)["exclusive create"]
    assert found.state is CheckState.FAIL
    assert subprocess.TimeoutExpired.__name__ in found.detail


@pytest.mark.parametrize(
    ("free", "files", "state"),
    [
        (1e12, 1e9, CheckState.OK),
        (1e9, 1e9, CheckState.WARN),
        (1e12, 10, CheckState.WARN),
        (1e6, 1e9, CheckState.FAIL),
    ],
)
def test_space(tmp_path, monkeypatch, free, files, state):
    usage = SimpleNamespace(
        f_bavail=int(free), f_frsize=1, f_favail=int(files), f_files=10**9
    )
    monkeypatch.setattr(os, "statvfs", lambda _: usage)
    assert probing._space(tmp_path)[0] is state


@pytest.mark.parametrize(
    ("shift", "state"),
    [(0, CheckState.OK), (5, CheckState.WARN), (-60, CheckState.FAIL)],
)
def test_clocks(tmp_path, monkeypatch, shift, state):
    real = probing.time.time
    monkeypatch.setattr(probing.time, "time", lambda: real() + shift)
    assert probing._clock(tmp_path)[0] is state
