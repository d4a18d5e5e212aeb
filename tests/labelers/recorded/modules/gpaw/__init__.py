"""Stands for GPAW: its answer is the folder `$RECORDED`."""

import json
import os
import shutil
from pathlib import Path

import numpy as np

__version__ = "26.7.0"


class KohnShamConvergenceError(Exception):
    """As GPAW raises it."""


class GPAW:
    implemented_properties = ("energy", "free_energy", "forces", "stress")

    def __init__(self, **settings):
        self.folder = Path(os.environ["RECORDED"])
        Path("asked.json").write_text(json.dumps(settings))
        shutil.copy(self.folder / "gpaw.txt", settings["txt"])

    def get_property(self, name, atoms):
        results = self.folder / "results.json"
        if not results.exists():
            raise KohnShamConvergenceError
        return np.array(json.loads(results.read_text())[name])
