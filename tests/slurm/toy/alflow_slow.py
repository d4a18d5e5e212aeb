"""A labeler for tests that takes its time; installed by `conftest.py` as a distribution."""

import os
import time
from pathlib import Path
from typing import Any, Literal

from alflow.labelers.analytic import AnalyticSettings
from alflow.registry import Settings


class SlowSettings(Settings):
    """The analytic potential, with a pause before each label while a file says so."""

    kind: Literal["slow"] = "slow"
    pause_file: str
    """A file with the length of the pause [s]; without it there is none."""

    def level_identity(self) -> dict[str, Any]:
        """The potential alone: how long it takes changes no number."""
        return AnalyticSettings().level_identity()

    def create(self) -> "SlowLabeler":
        """Make the labeler."""
        return SlowLabeler(Path(self.pause_file))


class SlowLabeler:
    """Waits, then computes."""

    def __init__(self, pause_file: Path) -> None:
        self._pause_file = pause_file
        self._labeler = AnalyticSettings().create()

    def label(self, structure):
        if self._pause_file.exists():
            time.sleep(float(self._pause_file.read_text()))
        return self._labeler.label(structure)

    def version(self) -> str:
        return self._labeler.version()


def sleep(spec, context):
    """A task that does nothing but tell where it is."""
    names = ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", "ALFLOW_BLOCK_END")
    context.progress({name: os.environ.get(name, "") for name in names})
    for item in spec.items or ("",):
        if item not in context.done_items():
            time.sleep(spec.settings["seconds"])
            if item:
                context.commit_item(item, {})
    return {name: os.environ.get(name, "") for name in names}
