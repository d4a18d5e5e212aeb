"""`alflow doctor` tries things out and tidies up."""

import pytest

from alflow.cli import doctor
from alflow.execution import machine


def test_a_fit_folder(alflow, tmp_path):
    before = sorted(tmp_path.iterdir())
    result = alflow("doctor", tmp_path)
    assert result.code == 0
    assert "FAIL" not in result.out
    assert result.err.endswith("Fit for a campaign.\n")
    assert sorted(tmp_path.iterdir()) == before
    subjects = {row["what"] for row in alflow("doctor", "--json").json}
    assert subjects == {
        *("file system", "free space", "fsync", "rename", "exclusive create", "hard links"),
        *("locks", "SQLite WAL", "clock", "packages", "extras", "threads"),
        *("shared memory", "GPUs", "site"),
    }


def test_what_fails_is_named(alflow, tmp_path, monkeypatch):
    monkeypatch.setattr("alflow.store.probing.filesystem_type", lambda _folder: "nfs4")
    monkeypatch.setattr(machine, "PACKAGES", ("numpy", "no-such-package"))
    result = alflow("doctor", tmp_path, "--site", "nowhere")
    assert result.code == 3
    assert "Not fit for a campaign: file system, packages, site. [AL210]" in result.err
    assert "nfs4, a network: it is not written there" in result.out
    assert "missing: no-such-package" in result.out
    assert "there is no site 'nowhere'" in result.out


def test_a_promise_makes_a_network_a_warning(alflow, tmp_path, monkeypatch):
    monkeypatch.setattr("alflow.store.probing.filesystem_type", lambda _folder: "nfs4")
    monkeypatch.setenv("ALFLOW_ALLOW_NETWORK_SQLITE", "1")
    result = alflow("doctor", tmp_path)
    assert result.code == 0
    assert "warn  file system" in result.out


def test_folders_that_cannot_be(alflow, tmp_path, monkeypatch):
    assert alflow("doctor", tmp_path / "none").code == 2

    def refuse(**_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    result = alflow("doctor", tmp_path)
    assert result.code == 3
    assert "cannot be written: Permission denied" in result.out


@pytest.mark.parametrize(
    ("variable", "state"), [(None, "ok"), ("1", "ok"), ("4096", "warn"), ("x", "ok")]
)
def test_threads(monkeypatch, variable, state):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert doctor._threads().state == state


@pytest.mark.parametrize(("free", "state"), [(None, "warn"), (1000, "warn"), (1e9, "ok")])
def test_shared_memory(monkeypatch, free, state):
    monkeypatch.setattr(machine, "shared_memory", lambda: free and int(free))
    assert doctor._shared_memory().state == state


@pytest.mark.parametrize(
    ("found", "state", "words"),
    [(None, "warn", "does not answer"), ([], "ok", "none"), (["A", "B"], "ok", "2: A; B")],
)
def test_gpus(monkeypatch, found, state, words):
    monkeypatch.setattr(machine, "gpus", lambda: found)
    diagnosis = doctor._gpus()
    assert diagnosis.state == state
    assert words in diagnosis.detail
