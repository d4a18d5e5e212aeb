"""A site file made of what a real Slurm says."""

import pytest

from alflow.execution.discovery import site_from_slurm
from alflow.execution.placeholders import placeholders
from alflow.execution.sites import load_site

pytestmark = pytest.mark.slurm


@pytest.mark.parametrize("slurm", ["no-accounting"], indirect=True)
def test_a_site_file_is_made_of_what_slurm_says(slurm, tmp_path, monkeypatch):
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "site.py"
    path.write_text(site_from_slurm())
    text = path.read_text()
    assert "gpu: 1 nodes of 16 cores, 4 GPUs, at most 01:00:00" in text
    assert "cpu (default): 1 nodes of 16 cores, at most 01:00:00" in text
    assert placeholders(path) == []
    site = load_site(str(path))
    assert (site.pool_of("train").workers, site.pool_of("label").workers) == (4, 4)
