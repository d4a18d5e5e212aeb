"""A labeler that takes its time, as a plug-in of a package of its own."""

import os
import sys

import pytest

from alflow import registry
from alflow.execution.worker import close_forkserver

LABELER = '''
"""The analytic potential, with a pause that grows with the structure and differs by chance."""

import time
from typing import Literal

from alflow.labelers.analytic import AnalyticSettings
from alflow.registry import Settings


class SleepySettings(Settings):
    kind: Literal["sleepy"] = "sleepy"

    def level_identity(self):
        return AnalyticSettings().level_identity()

    def create(self):
        return Sleepy()


class Sleepy:
    def __init__(self):
        self._labeler = AnalyticSettings().create()

    def label(self, structure):
        chance = int(structure.hash[:4], 16) / 0xFFFF
        time.sleep(0.06 * structure.n_atoms * (0.5 + chance))
        return self._labeler.label(structure)

    def version(self):
        return self._labeler.version()
'''


@pytest.fixture
def sleepy(tmp_path, monkeypatch):
    """Make a labeler that sleeps known here and in every process started from here."""
    folder = tmp_path / "plugin"
    metadata = folder / "alflow_sleepy-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / "alflow_sleepy.py").write_text(LABELER)
    text = "Metadata-Version: 2.1\nName: alflow-sleepy\nVersion: 1.0\n"
    (metadata / "METADATA").write_text(text)
    points = "[alflow.labelers]\nsleepy = alflow_sleepy:SleepySettings\n"
    (metadata / "entry_points.txt").write_text(points)
    path = [str(folder), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, path)))
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    registry.available.cache_clear()
    close_forkserver()
    yield
    close_forkserver()
    registry.available.cache_clear()
