import sys

import pytest

from alflow.core.errors import SiteError
from alflow.execution.discovery import (
    Partition,
    parse_partitions,
    site_from_slurm,
    site_text,
)
from alflow.execution.placeholders import placeholders
from alflow.execution.scripts import submit_script
from alflow.execution.sites import load_site

SINFO = """\
cpu*|up|100|64|(null)|2-00:00:00
cpu*|up|4|128+|(null)|2-00:00:00
gpu|up|6|64|gpu:a100:4(S:0-3)|30:00
old|down|6|64|gpu:4|1:00:00
mixed|up|8|32|gpu:a:2,gpu:b:1,nvme:1|infinite
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Imitations of sinfo and sacctmgr, which print the content of files."""
    for name in ("sinfo", "sacctmgr"):
        command = tmp_path / name
        command.write_text(
            f"#!{sys.executable} -IS\nimport sys\n"
            f"try: print(open({str(tmp_path / name) + '.txt'!r}).read(), end='')\n"
            f"except FileNotFoundError: sys.exit('{name}: no accounting here')\n"
        )
        command.chmod(0o755)
    (tmp_path / "sinfo.txt").write_text(SINFO)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_partitions_are_read_as_slurm_prints_them():
    assert parse_partitions(SINFO) == [
        Partition("cpu", True, 104, 64, 0, 172800),
        Partition("gpu", False, 6, 64, 4, 1800),
        Partition("mixed", False, 8, 32, 3, None),
    ]


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_a_site_file_of_a_cluster_can_be_used_as_it_is(slurm, tmp_path):
    path = tmp_path / "site.py"
    path.write_text(site_from_slurm())
    assert placeholders(path) == []
    site = load_site(str(path))
    gpu, cpu = site.pool_of("train"), site.pool_of("label")
    assert site.pool_of("sample") is gpu
    assert (gpu.workers, gpu.threads, cpu.workers, cpu.threads) == (6, 10, 32, 4)
    assert "--gpus-per-node=3" in submit_script(gpu)
    assert "--partition=cpu" in submit_script(cpu)
    assert "--account" not in submit_script(cpu)


@pytest.mark.parametrize(("accounts", "n_placeholders"), [("one\none\n", 0), ("b\na\n", 1)])
def test_the_account_is_not_guessed(slurm, tmp_path, accounts, n_placeholders):
    (slurm / "sacctmgr.txt").write_text(accounts)
    path = tmp_path / "site.py"
    path.write_text(site_from_slurm())
    found = placeholders(path)
    assert len(found) == n_placeholders
    assert [one.meaning for one in found] == ["project that pays: one of b, a"][
        :n_placeholders
    ]


def test_a_cluster_without_gpus_and_one_with_nothing_else(tmp_path):
    cpu, gpu = Partition("c", True, 1, 2, 0, None), Partition("g", False, 9, 8, 4, 600)
    path = tmp_path / "site.py"
    path.write_text(site_text([cpu], []))
    site = load_site(str(path))
    assert site.pool_of("train") is site.pool_of("label")
    path.write_text(site_text([gpu], []))
    assert load_site(str(path)).pool_of("label").label == "cpu"
    assert 'walltime="00:10:00"' in path.read_text()


def test_a_machine_without_slurm_says_what_to_do(slurm, monkeypatch):
    (slurm / "sinfo.txt").write_text("x|down|1|1|(null)|1:00\n")
    with pytest.raises(SiteError, match="no partition"):
        site_from_slurm()
    (slurm / "sinfo.txt").unlink()
    with pytest.raises(SiteError, match="no accounting here"):
        site_from_slurm()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SiteError, match="login node"):
        site_from_slurm()
