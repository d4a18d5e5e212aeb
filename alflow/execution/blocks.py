"""What a campaign has asked schedulers for: one small file for each block of workers.

    CAMPAIGN/blocks/<name>.json         a block that may be there; written before it is asked for
    CAMPAIGN/blocks/ended/<name>.json   a block that is over

The name of a block is the name of its job, so that a manager which died between asking and
hearing the answer leaves a job that the next one can find.
"""

import json
import os
import re
import secrets
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from alflow.core.canonical import canonical_json
from alflow.execution.durable import make_directory, write_atomic

_UNNAMED = re.compile(r"[^0-9A-Za-z_]+")
_LONGEST_CAMPAIGN = 24


@dataclass(frozen=True, slots=True)
class Block:
    """A block of workers that was asked for.

    Attributes:
        name: Name of its job, unique.
        pool: Label of its pool.
        scheduler: Which scheduler was asked, as `Scheduler.name`.
        job: The scheduler's number for it; empty until the scheduler has answered.
        asked: When it was asked for [s since 1970].
        state: What the scheduler last called it, in the scheduler's own word; `asked` before.
        reason: Why it is in that state, in the scheduler's own words.
        manager: Process number of the manager that asked.
    """

    name: str
    pool: str
    scheduler: str
    job: str = ""
    asked: float = 0.0
    state: str = "asked"
    reason: str = ""
    manager: int = 0


@runtime_checkable
class Scheduler(Protocol):
    """What the end of a stale block needs of a scheduler."""

    @property
    def name(self) -> str:
        """Names the scheduler in the files of blocks."""
        ...

    def find(self, names: Sequence[str]) -> dict[str, str]:
        """Job numbers of the jobs with these names that are queued or running.

        Raises:
            SiteError: If the scheduler does not answer.
        """
        ...

    def cancel(self, jobs: Sequence[str], *, pending_only: bool = False) -> None:
        """End jobs; those that have ended already are passed over.

        Raises:
            SiteError: If the scheduler does not answer.
        """
        ...


@runtime_checkable
class BatchBlocks(Protocol):
    """A provider whose blocks wait in queues, fail and end: it decides itself what to do then."""

    @property
    def is_shut(self) -> bool:
        """Whether there is no block and none may be asked for now."""
        ...

    def attach(self, files: "BlockFiles", pool: str) -> None:
        """Say whose blocks these are; before the first is asked for."""
        ...

    def observe(self, status: Mapping[str, Any], connected: Sequence[str]) -> None:
        """Learn from what became of blocks whether to ask for more.

        Args:
            status: State of each block, by Parsl's name for it.
            connected: Names of the blocks whose workers have reported to the dispatcher.
        """
        ...

    def news(self) -> list[str]:
        """Sentences about what happened to the blocks since the last call."""
        ...

    def refusal(self) -> str | None:
        """Why there will be no workers, or None."""
        ...

    def exclude(self, hosts: Sequence[str]) -> None:
        """Use these hosts no more for blocks from now on."""
        ...

    def close(self, *, cancel: bool) -> None:
        """Ask for no more, and end all blocks, or only those that have not begun."""
        ...


class BlockFiles:
    """The blocks of a campaign, as files."""

    def __init__(self, root: Path) -> None:
        """Look at a campaign directory; nothing is created."""
        self._campaign = _UNNAMED.sub("-", root.name)[:_LONGEST_CAMPAIGN]
        self._folder = root / "blocks"
        self._lock = threading.Lock()

    def intend(self, pool: str, scheduler: str) -> Block:
        """Name a block durably; must precede asking for it."""
        name = f"alflow-{self._campaign}-{pool}-{secrets.token_hex(4)}"
        block = Block(name, pool, scheduler, asked=time.time(), manager=os.getpid())
        self.save(block)
        return block

    def save(self, block: Block) -> None:
        """Keep what is known about a block that may be there."""
        with self._lock:
            make_directory(self._folder)
            write_atomic(self._path(block), canonical_json(asdict(block)).encode())

    def end(self, block: Block, state: str, reason: str = "") -> None:
        """A block is over, or never came to be."""
        ended = replace(block, state=state, reason=reason)
        with self._lock:
            make_directory(self._folder / "ended")
            target = self._folder / "ended" / self._path(block).name
            write_atomic(target, canonical_json(asdict(ended)).encode())
            self._path(block).unlink(missing_ok=True)

    def open(self) -> list[Block]:
        """Blocks that may be there, the oldest first."""
        return sorted(
            self._read(self._folder.glob("[!.]*.json")), key=lambda block: block.asked
        )

    def ended(self) -> list[Block]:
        """Blocks that are over, the oldest first."""
        found = self._read((self._folder / "ended").glob("[!.]*.json"))
        return sorted(found, key=lambda block: block.asked)

    def _path(self, block: Block) -> Path:
        return self._folder / f"{block.name}.json"

    @staticmethod
    def _read(paths: Iterable[Path]) -> list[Block]:
        found = []
        for path in paths:
            try:
                found.append(Block(**json.loads(path.read_bytes())))
            except (OSError, ValueError, TypeError):
                # Ended in this moment, or damaged: then its job ends by itself, unused.
                continue
        return found
