"""`alflow sites`, and what other commands do with a site that is not filled in."""

import sys

import pytest

from alflow.execution.sites import site_file


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch):
    monkeypatch.setenv("ALFLOW_SITES", str(tmp_path / "own"))
    return tmp_path / "own"


def test_sites_are_listed(alflow):
    rows = {row["site"]: row for row in alflow("sites", "list", "--json").json}
    assert rows["local"]["to fill in"] == 0
    assert rows["perlmutter"]["from"] == "alflow"
    assert rows["perlmutter"]["to fill in"] == 1
    assert "NERSC" in rows["perlmutter"]["what it is"]
    assert "polaris" in alflow("sites", "list").out


def test_a_site_is_shown_with_what_is_to_be_filled_in(alflow):
    out = alflow("sites", "show", "polaris").out
    assert "Not run on a live scheduler yet" in out
    assert "train, sample" in out
    assert "all others" in out
    assert ": YOUR_ACCOUNT: project that pays" in out
    told = alflow("sites", "show", "polaris", "--json").json
    assert [pool["pool"] for pool in told["pools"]] == ["gpu", "cpu"]
    assert told["to fill in"][0]["word"] == "YOUR_ACCOUNT"


# Parsl leaves sockets open when it looks for the addresses of this machine.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_what_would_be_submitted_is_shown(alflow):
    assert "#PBS -A YOUR_ACCOUNT" in alflow("sites", "show", "polaris", "--scripts").out
    assert "no scheduler" in alflow("sites", "show", "local", "--scripts").out
    told = alflow("sites", "show", "polaris", "--scripts", "--json").json
    assert told["scripts"].keys() == {"gpu", "cpu"}


def test_a_site_is_copied_to_be_filled_in(alflow, own, tmp_path):
    result = alflow("sites", "copy", "frontier")
    assert result.code == 0
    assert result.out.strip() == str(own / "frontier.py")
    assert "YOUR_ACCOUNT" in result.err
    assert "--site frontier" in result.err
    assert site_file("frontier") == own / "frontier.py"
    rows = {row["site"]: row["from"] for row in alflow("sites", "list", "--json").json}
    assert rows["frontier"] == "yours"
    assert "exists already" in alflow("sites", "copy", "frontier").err
    assert alflow("sites", "copy", "frontier", tmp_path / "site.py").code == 0
    (tmp_path / "file").touch()
    assert "[AL103]" in alflow("sites", "copy", "local", tmp_path / "file" / "x.py").err


def test_no_command_begins_anything_on_a_site_that_is_not_filled_in(alflow, tmp_path):
    assert alflow("init", "al", "-t", "aluminum-gupta").code == 0
    path = site_file("kubernetes")
    result = alflow("check", "al/campaign.yaml", "--site", "kubernetes")
    assert result.code == 2
    for word in ("YOUR_IMAGE", "YOUR_CLAIM", "YOUR_MOUNT_PATH"):
        [line] = [
            number
            for number, text in enumerate(path.read_text().splitlines(), 1)
            if word in text
        ]
        assert f"{path}:{line}: {word}: " in result.out
    before = sorted(tmp_path.iterdir())
    result = alflow("run", "al/campaign.yaml", "--site", "kubernetes")
    assert result.code == 2
    assert "YOUR_IMAGE: image with alflow in it" in result.err
    assert "alflow sites copy kubernetes" in result.err
    assert sorted(tmp_path.iterdir()) == before
    assert "FAIL" in alflow("check", "al/campaign.yaml", "--site", "nowhere").out


def test_a_site_file_is_made_from_what_slurm_says(alflow, tmp_path, monkeypatch):
    command = tmp_path / "bin" / "sinfo"
    command.parent.mkdir()
    line = "gpu*|up|6|64|gpu:a100:4|30:00"
    command.write_text(f"#!{sys.executable} -IS\nprint({line!r})\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent))
    result = alflow("init", "here", "--site-from-slurm")
    assert result.code == 0
    assert "--site here/site.py" in result.err
    assert "gpus_per_node=4" in (tmp_path / "here" / "site.py").read_text()
    assert "exists already" in alflow("init", "here", "--site-from-slurm").err
    result = alflow("init", "there", "-t", "water", "--site-from-slurm")
    assert result.code == 0
    assert "gpus_per_node=4" in (tmp_path / "there" / "site.py").read_text()
    command.unlink()
    assert "login node" in alflow("init", "other", "-t", "water", "--site-from-slurm").err
    assert not (tmp_path / "other").exists()
