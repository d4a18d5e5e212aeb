"""What passes between manager and workers: files of the campaign directory, nothing else.

    CAMPAIGN/
      blobs/<aa>/<sha256>              immutable inputs
      tasks/<id>/spec.json             what to do; written before the task is dispatched
      tasks/<id>/checkpoint            where an attempt stood, for the next one; until one is done
      tasks/<id>/attempts/<n>-<token>/
        claim.json                     created by exactly one: the worker, or the manager to revoke
        heartbeat                      touched while the worker lives
        progress.json                  how far it is; may be lost
        out/<name>                     output files
        out/items/<item>.json          finished parts of a batch, each durable by itself
        stdout, stderr                 what the body printed
        result.json                    written last: the commit point of the attempt

A file is whole or absent (`alflow.execution.durable`). The functions that read never trust
what they find: a file that is damaged counts as absent or as a failure, never as a result.
"""

import contextlib
import json
import mmap
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from alflow.core.arrays import Buffer
from alflow.core.canonical import canonical_json, digest_of, sha256_hex
from alflow.core.errors import AlflowError
from alflow.core.labels import Failure, FailureKind
from alflow.core.tasks import AttemptRef, Outcome, TaskSpec
from alflow.execution.devices import devices_of_worker, visible_devices
from alflow.execution.durable import create_exclusive, make_directory, write_atomic
from alflow.execution.processes import machine_identity, start_time

HEARTBEAT_PERIOD_S = 30.0
"""How often a worker touches the heartbeat of its attempt [s]."""
STALE_AFTER_S = 150.0
"""Age at which a heartbeat means that the worker is gone [s]."""

_SHA256_BYTES = 32
_HASH = re.compile(r"[0-9a-f]{64}")
_WORD = re.compile(r"[0-9A-Za-z_-]{1,128}")
_FILE_NAME = re.compile(r"[0-9A-Za-z_][0-9A-Za-z._-]{0,127}")
_JOB_VARIABLES = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID")


@dataclass(frozen=True, slots=True)
class Claim:
    """Who runs an attempt.

    Attributes:
        host: Host name, for people.
        machine: `machine_identity()` of the worker; empty if unknown.
        pid: Process number of the worker on that machine; 0 if unknown.
        started: `start_time()` of that process.
        job: Job number of the batch scheduler, or empty.
        devices: Accelerators that the worker may use, as the driver names them.
        is_revoked: Whether the manager took the claim so that nobody else can.
    """

    host: str = ""
    machine: str = ""
    pid: int = 0
    started: str = ""
    job: str = ""
    devices: str = ""
    is_revoked: bool = False

    @classmethod
    def of_this_process(cls) -> "Claim":
        """The claim that this process may lay."""
        job = next((os.environ[name] for name in _JOB_VARIABLES if name in os.environ), "")
        return cls(
            host=platform.node(),
            machine=machine_identity(),
            pid=os.getpid(),
            started=start_time(os.getpid()),
            job=job,
            devices=visible_devices({**os.environ, **devices_of_worker(os.environ)}),
        )


class CampaignFiles:
    """The campaign directory as manager and workers see it.

    Attributes:
        root: The campaign directory.
    """

    def __init__(self, root: Path, *, stale_after_s: float = STALE_AFTER_S) -> None:
        """Look at a campaign directory; nothing is created.

        Args:
            root: The campaign directory, on a file system that all workers see.
            stale_after_s: Age at which a heartbeat means that the worker is gone [s].
        """
        # Not resolved: where a link leads may be called differently on another host.
        self.root = root.absolute()
        self._stale_after_s = stale_after_s

    # Blobs ---------------------------------------------------------------------------------

    def write_blob(self, content: bytes) -> str:
        """Store immutable content durably; returns its SHA-256, by which it is found again."""
        name = sha256_hex(content)
        path = self._blob_path(name)
        if path.is_file() and path.read_bytes() == content:
            return name
        make_directory(path.parent)
        write_atomic(path, content, kind="blob")
        return name

    def read_blob(self, sha256: str) -> bytes:
        """Content of a blob, its checksum verified.

        Raises:
            AlflowError: If it is missing or damaged.
        """
        path = self._blob_path(sha256)
        content = _read(path)
        found = sha256_hex(content)
        if found != sha256:
            raise AlflowError(
                f"{path}: damaged: {len(content)} bytes with SHA-256 {found[:12]}…, "
                f"expected {sha256[:12]}…",
                code="AL103",
                consequence="The file is not used.",
            )
        return content

    def map_blob(self, sha256: str) -> Buffer:
        """Content of a blob as it lies on disk, its checksum verified; changes stay private.

        Raises:
            AlflowError: If it is missing or damaged.
        """
        path = self._blob_path(sha256)
        try:
            with path.open("rb") as file:
                content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except (OSError, ValueError):  # not there, or empty
            return self.read_blob(sha256)
        if sha256_hex(content) != sha256:
            content.close()
            return self.read_blob(sha256)
        return content

    def has_blob(self, sha256: str, *, compare: bool) -> bool:
        """Whether a blob is there; with `compare` its checksum is verified."""
        if not compare:
            return self._blob_path(sha256).is_file()
        try:
            self.map_blob(sha256)
        except AlflowError:
            return False
        return True

    # Tasks, manager ------------------------------------------------------------------------

    def write_spec(self, task_id: int, spec: TaskSpec) -> None:
        """Write the specification of a task; must precede its dispatch.

        The store has it too, and every dispatch writes it again: it need not outlive a power
        failure, unlike the directory, in which results will lie.
        """
        path = self._task(task_id) / "spec.json"
        make_directory(path.parent)
        content = canonical_json(spec.to_json()).encode()
        write_atomic(path, content, durable=False, kind="spec")

    def read_spec(self, task_id: int) -> TaskSpec:
        """The specification of a task.

        Raises:
            AlflowError: If it is missing or cannot be understood.
        """
        path = self._task(task_id) / "spec.json"
        try:
            return TaskSpec.from_json(json.loads(_read(path)))
        except (ValueError, TypeError, KeyError) as error:
            raise AlflowError(
                f"{path}: not a task specification: {error}", code="AL103"
            ) from error

    def has_result(self, attempt: AttemptRef) -> bool:
        """Whether the attempt has committed a result, good or bad."""
        return (self.attempt_directory(attempt) / "result.json").is_file()

    def read_result(self, attempt: AttemptRef) -> Outcome | None:
        """What the attempt ended with, its outputs verified; None if it has not ended.

        A result that is damaged comes back as a failure of kind LOST.
        """
        path = self.attempt_directory(attempt) / "result.json"
        try:
            outcome = Outcome.from_json(json.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            return _damaged(path, f"cannot be read: {error}")
        for name, expected in outcome.outputs.items():
            try:
                found = sha256_hex(self.read_output(attempt, name))
            except (AlflowError, ValueError) as error:
                return _damaged(path, f"output {name!r} cannot be read: {error}")
            if found != expected:
                return _damaged(path, f"output {name!r} does not have its checksum")
        return outcome

    def read_items(self, task_id: int) -> dict[str, dict[str, Any]]:
        """Finished parts of a batch, from all attempts of the task; the earliest wins.

        A part that is damaged is left out: it will be computed again.
        """
        items: dict[str, dict[str, Any]] = {}
        for directory in self._attempt_directories(task_id):
            for path in sorted((directory / "out" / "items").glob("[!.]*.json")):
                if path.stem not in items and (result := _read_item(path)) is not None:
                    items[path.stem] = result
        return items

    def read_output(self, attempt: AttemptRef, name: str) -> bytes:
        """Content of a named output of an attempt.

        Raises:
            AlflowError: If there is no such output.
            ValueError: If `name` is not a plain file name.
        """
        return _read(self._output_path(attempt, name))

    def read_progress(self, attempt: AttemptRef) -> dict[str, Any] | None:
        """What the body last said about how far it is, or None."""
        try:
            value = json.loads(
                (self.attempt_directory(attempt) / "progress.json").read_bytes()
            )
        except (OSError, ValueError):
            return None
        return value if isinstance(value, dict) else None

    def claim_of(self, attempt: AttemptRef) -> Claim | None:
        """Who runs or ran the attempt; None if nobody ever did.

        A claim that cannot be read was laid by somebody: all that is known about its holder
        is then the heartbeat.
        """
        return _read_claim(self.attempt_directory(attempt))

    def revoke(self, attempt: AttemptRef) -> bool:
        """Make sure that an attempt nobody has claimed can never start.

        Returns:
            True if it can never start; False if a worker was first.
        """
        if self.claim(attempt, Claim(is_revoked=True)):
            return True
        claim = self.claim_of(attempt)
        return claim is not None and claim.is_revoked

    def is_alive(self, attempt: AttemptRef) -> bool:
        """Whether a worker is at this attempt right now.

        On the machine of the worker its process is looked at, so that a death is seen at once.
        From elsewhere the age of the heartbeat decides, measured against a file touched now
        on the same file system: clocks of different hosts are never compared.
        """
        claim = self.claim_of(attempt)
        if claim is None or claim.is_revoked or self.has_result(attempt):
            return False
        is_here = claim.machine != "" and claim.machine == machine_identity()
        if is_here and start_time(claim.pid) != claim.started:
            return False
        return self._heartbeat_age_s(attempt) < self._stale_after_s

    # Attempts, worker ----------------------------------------------------------------------

    def attempt_directory(self, attempt: AttemptRef) -> Path:
        """Where everything about one attempt lies."""
        name = f"{int(attempt.number)}-{_checked(_WORD, attempt.token, 'attempt token')}"
        return self._task(attempt.task_id) / "attempts" / name

    def claim(self, attempt: AttemptRef, claim: Claim) -> bool:
        """Take an attempt; True for exactly one caller ever."""
        directory = self.attempt_directory(attempt)
        make_directory(directory / "out" / "items")
        return create_exclusive(
            directory / "claim.json", canonical_json(asdict(claim)).encode(), kind="claim"
        )

    def beat(self, attempt: AttemptRef) -> None:
        """Show that the worker of an attempt lives."""
        (self.attempt_directory(attempt) / "heartbeat").touch()

    def write_output(self, attempt: AttemptRef, name: str, content: bytes) -> str:
        """Write a named output durably; returns its SHA-256.

        Raises:
            ValueError: If `name` is not a plain file name.
        """
        write_atomic(self._output_path(attempt, name), content, kind="output")
        return sha256_hex(content)

    def write_item(self, attempt: AttemptRef, item: str, result: Mapping[str, Any]) -> None:
        """Commit one part of a batch durably.

        Raises:
            ValueError: If `item` is not a plain word, or `result` holds a number that is not
                finite.
        """
        word = _checked(_WORD, item, "item")
        content = canonical_json(
            {"result": dict(result), "sha256": digest_of(dict(result))}
        )
        path = self.attempt_directory(attempt) / "out" / "items" / f"{word}.json"
        write_atomic(path, content.encode(), kind="item")

    def write_checkpoint(self, task_id: int, content: bytes) -> None:
        """Keep durably where a task stands, instead of what was kept before."""
        path = self._task(task_id) / "checkpoint"
        write_atomic(path, bytes.fromhex(sha256_hex(content)) + content, kind="checkpoint")

    def read_checkpoint(self, task_id: int) -> bytes | None:
        """Where an attempt of a task stood when it was last kept; None if nothing was.

        Raises:
            AlflowError: If it is damaged, or cannot be read.
        """
        path = self._task(task_id) / "checkpoint"
        if not path.exists():
            return None
        content = _read(path)
        checksum, content = content[:_SHA256_BYTES], content[_SHA256_BYTES:]
        if bytes.fromhex(sha256_hex(content)) != checksum:
            raise AlflowError(
                f"{path}: damaged: {len(content)} bytes do not have their checksum",
                code="AL103",
            )
        return content

    def drop_checkpoint(self, task_id: int) -> None:
        """Keep nothing of where a task stands: it is done."""
        folder = self._task(task_id)
        # With it goes what a killed attempt had half written.
        for path in [folder / "checkpoint", *folder.glob(".checkpoint.*")]:
            path.unlink(missing_ok=True)

    def write_progress(self, attempt: AttemptRef, values: Mapping[str, Any]) -> None:
        """Say how far an attempt is; cheap, and lost in a power failure."""
        path = self.attempt_directory(attempt) / "progress.json"
        write_atomic(path, json.dumps(dict(values)).encode(), durable=False)

    def commit_result(self, attempt: AttemptRef, outcome: Outcome) -> None:
        """End an attempt: what stands in `result.json` is what happened.

        Raises:
            ValueError: If a number in it is not finite.
            TypeError: If a value in it is not JSON-like.
        """
        path = self.attempt_directory(attempt) / "result.json"
        write_atomic(path, canonical_json(outcome.to_json()).encode(), kind="result")

    # Paths ---------------------------------------------------------------------------------

    def _task(self, task_id: int) -> Path:
        return self.root / "tasks" / str(int(task_id))

    def _blob_path(self, sha256: str) -> Path:
        return self.root / "blobs" / _checked(_HASH, sha256, "blob name")[:2] / sha256

    def _output_path(self, attempt: AttemptRef, name: str) -> Path:
        if name == "items":
            raise ValueError(
                "an output cannot be called 'items': the parts of a batch lie there"
            )
        return (
            self.attempt_directory(attempt)
            / "out"
            / _checked(_FILE_NAME, name, "output name")
        )

    def _attempt_directories(self, task_id: int) -> list[Path]:
        """Directories of all attempts of a task, the first attempt first."""
        found = [
            (int(number), path.name, path)
            for path in (self._task(task_id) / "attempts").glob("*-*")
            if (number := path.name.partition("-")[0]).isdecimal()
        ]
        return [path for _, _, path in sorted(found)]

    def _heartbeat_age_s(self, attempt: AttemptRef) -> float:
        directory = self.attempt_directory(attempt)
        clock = self.root / "tasks" / ".clock"
        clock.touch()
        beats = []
        for name in ("heartbeat", "claim.json"):
            with contextlib.suppress(OSError):
                beats.append((directory / name).stat().st_mtime)
        return clock.stat().st_mtime - max(beats, default=0.0)


def _checked(pattern: re.Pattern[str], name: str, what: str) -> str:
    """`name` itself, if it can be nothing but a name: no separator, no way out of a folder."""
    if pattern.fullmatch(name) is None:
        raise ValueError(f"{what} {name[:200]!r} may hold only {pattern.pattern}")
    return name


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise AlflowError(
            f"{path}: cannot be read: {error.strerror}", code="AL103"
        ) from error


def _read_claim(directory: Path) -> Claim | None:
    try:
        return Claim(**json.loads((directory / "claim.json").read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError):
        return Claim()


def _read_item(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_bytes())
        result = value["result"]
        is_whole = isinstance(result, dict) and value["sha256"] == digest_of(result)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return dict(result) if is_whole else None


def _damaged(path: Path, why: str) -> Outcome:
    failure = Failure(
        FailureKind.LOST,
        f"the result of this attempt is damaged: {why}",
        {"path": str(path)},
    )
    return Outcome(failure=failure)
