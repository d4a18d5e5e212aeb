"""What a pool would submit, without submitting it."""

from pathlib import Path
from typing import Protocol, runtime_checkable

from alflow.execution.sites import Pool


@runtime_checkable
class Scripted(Protocol):
    """A provider whose blocks are jobs."""

    def script(self, name: str, log: Path, command: str) -> str:
        """What it submits for a block."""
        ...


def submit_script(pool: Pool) -> str | None:
    """The text that the scheduler gets for a block of a pool; None if there is no scheduler.

    `NAME` stands for the name of the job, `WORKERS` for the command that starts the workers.
    """
    provider = pool.make().provider
    if isinstance(provider, Scripted):
        return provider.script("NAME", Path("NAME.log"), "WORKERS")
    return None
