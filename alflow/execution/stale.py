"""Ends the blocks that earlier managers of a campaign left behind, when nobody needs them."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path

from alflow.core.errors import SiteError
from alflow.execution.batch import queue_of
from alflow.execution.blocks import Block, BlockFiles, Scheduler
from alflow.execution.slurm_queue import slurm_queue

_PERIOD_S = 10.0

_logger = logging.getLogger(__name__)


def scheduler_of(name: str) -> Scheduler | None:
    """The scheduler that a block's file names; None for one that cannot be asked from here."""
    kind, _, cluster = name.partition(":")
    return slurm_queue(cluster) if kind == "slurm" else queue_of(name)


class StaleBlocks:
    """Blocks that were there before this manager.

    A job that runs an attempt of an earlier manager is left to finish it; all others are ended.
    """

    def __init__(
        self,
        files: BlockFiles,
        scheduler_of: Callable[[str], Scheduler | None] = scheduler_of,
    ) -> None:
        """Take stock of the blocks of earlier managers."""
        self._files = files
        self._scheduler_of = scheduler_of
        self._blocks = files.open()
        self._looked = float("-inf")
        self._news: list[str] = []
        self._thread: threading.Thread | None = None

    def release(self, jobs_in_use: Collection[str]) -> None:
        """End all but these jobs, in the background; calls in quick succession do nothing."""
        is_busy = self._thread is not None and self._thread.is_alive()
        if not self._blocks or is_busy or time.monotonic() - self._looked < _PERIOD_S:
            return
        self._looked = time.monotonic()
        kept = frozenset(jobs_in_use)
        self._thread = threading.Thread(
            target=self._end_all_but, args=(kept,), name="stale-blocks", daemon=True
        )
        self._thread.start()

    def news(self) -> list[str]:
        """Sentences about what was ended since the last call."""
        news, self._news = self._news, []
        return news

    def _end_all_but(self, kept: Collection[str]) -> None:
        for block in [
            block for block in self._blocks if block.job not in kept or not block.job
        ]:
            try:
                is_settled = self._end(block, kept)
            except SiteError as error:
                _logger.warning("block %s is left for now: %s", block.name, error.message)
                continue
            if is_settled:
                self._blocks.remove(block)

    def _end(self, block: Block, kept: Collection[str]) -> bool:
        scheduler = self._scheduler_of(block.scheduler)
        if scheduler is None:
            _logger.warning("block %s: no way to ask %s", block.name, block.scheduler)
            return True
        # By name: numbers come round again, names do not.
        job = scheduler.find([block.name]).get(block.name)
        if job in kept:
            return False
        if job is not None:
            scheduler.cancel([job])
            self._news.append(f"job {job} of an earlier manager was cancelled")
        self._files.end(block, "STALE")
        return True


def withdraw(files: BlockFiles, manager: int) -> None:
    """Cancel those blocks of a manager that is gone which have not begun.

    Args:
        files: The blocks of its campaign.
        manager: Its process number.

    Raises:
        SiteError: If a scheduler does not answer.
    """
    for block in files.open():
        scheduler = scheduler_of(block.scheduler)
        if block.manager == manager and block.job and scheduler is not None:
            _logger.info("block %s is withdrawn if it has not begun", block.name)
            scheduler.cancel([block.job], pending_only=True)


def main() -> None:
    """Do that for the campaign directory and the process number on the command line."""
    withdraw(BlockFiles(Path(sys.argv[1])), int(sys.argv[2]))


if __name__ == "__main__":
    main()
