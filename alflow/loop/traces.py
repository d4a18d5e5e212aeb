"""What the attempts of a task left in the campaign directory, for people who look into one."""

import codecs
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alflow.core.tasks import AttemptRef
from alflow.execution.files import CampaignFiles
from alflow.loop.campaign import campaign_directory
from alflow.store import Store
from alflow.store.attempts import AttemptRecord

STREAMS = ("stdout", "stderr")
"""Files that hold what a body printed."""


def add_traces(task: dict[str, Any], store: Store, database: str) -> None:
    """Add to each attempt of a task, or to one, who ran it, where its files are, what with.

    The database knows what the attempts ran with that counted; of the others only their files tell,
    as long as these are there.

    Args:
        task: What the store tells about the task, or about one of its attempts (JSON-like).
        store: The store.
        database: The database, as a user types it.
    """
    files = CampaignFiles(campaign_directory(database, store.campaign().name, store))
    number = task["task"] if task["what"] == "attempt" else task["id"]
    for attempt in task.get("attempts", [task]):
        ref = AttemptRef(number, attempt["number"], attempt["token"], task["kind"])
        folder = files.attempt_directory(ref)
        if not folder.is_dir():
            continue
        attempt["directory"] = str(folder)
        claim = files.claim_of(ref)
        if claim is not None and not claim.is_revoked:
            attempt["host"] = attempt["host"] or claim.host
            attempt |= {"pid": claim.pid, "job": claim.job, "devices": claim.devices}
        outcome = None if attempt["environment"] else files.read_result(ref)
        if outcome is not None:
            attempt["environment"] = dict(outcome.environment)
    state = task.get("task_state", task["state"])
    repeat = f"alflow task rerun t-{number} --local"
    task["again"] = (
        repeat if state != "failed" else f"{repeat}, or: alflow retry t-{number}"
    )


@dataclass(frozen=True, slots=True)
class Trace:
    """What there is of an attempt besides its rows in the database.

    Attributes:
        files: The campaign directory.
        ref: The attempt.
    """

    files: CampaignFiles
    ref: AttemptRef

    @property
    def directory(self) -> Path:
        """Folder of the attempt, whether it is there or not."""
        return self.files.attempt_directory(self.ref)

    @property
    def streams(self) -> dict[str, Path]:
        """What it printed goes there."""
        return {name: self.directory / name for name in STREAMS}

    @property
    def host(self) -> str | None:
        """Where it runs or ran; None if no worker has taken it, or its files are gone."""
        claim = self.files.claim_of(self.ref)
        return None if claim is None or claim.is_revoked else claim.host or None

    def traceback(self) -> str:
        """Where it failed; empty if it did not, or its files do not tell."""
        outcome = self.files.read_result(self.ref)
        if outcome is None or outcome.failure is None:
            return ""
        return str(outcome.failure.details.get("traceback", ""))

    def has_ended(self) -> bool:
        """Whether nothing will be printed any more: it has a result, or its worker is gone."""
        if self.files.has_result(self.ref):
            return True
        if self.files.claim_of(self.ref) is None:
            return False
        try:
            return not self.files.is_alive(self.ref)
        except OSError:  # the folder of another user: only the result tells
            return False


def trace_of(store: Store, database: str, record: AttemptRecord) -> Trace:
    """Where the files of an attempt are, or were.

    Args:
        store: The store.
        database: The database, as a user types it.
        record: The attempt.
    """
    root = campaign_directory(database, store.campaign().name, store)
    return Trace(CampaignFiles(root), record.ref)


def printed(paths: Mapping[str, Path]) -> dict[str, str]:
    """What the streams of an attempt hold, by name; a file that is not there holds nothing."""
    return dict(follow(paths, has_ended=lambda: True, wait=lambda: None))


def follow(
    paths: Mapping[str, Path], has_ended: Callable[[], bool], wait: Callable[[], None]
) -> Iterator[tuple[str, str]]:
    """What is printed, by name of the stream and as it comes, until nothing more will come.

    Args:
        paths: The files by name; they may appear later.
        has_ended: Whether nothing is written any more.
        wait: Called between two looks.
    """
    decoders = {name: codecs.getincrementaldecoder("utf-8")("replace") for name in paths}
    offsets = dict.fromkeys(paths, 0)
    while True:
        is_last = has_ended()  # before the look: what came before the end is not missed
        for name, path in paths.items():
            new = _read_from(path, offsets[name])
            offsets[name] += len(new)
            if text := decoders[name].decode(new, final=is_last):
                yield name, text
        if is_last:
            return
        wait()


def _read_from(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read()
    except FileNotFoundError:
        return b""
