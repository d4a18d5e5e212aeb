"""Runs the body of one task in this process and commits what came of it."""

import errno
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alflow.core.arrays import Buffer
from alflow.core.canonical import canonical_json
from alflow.core.errors import AlflowError, PassingTrouble, PluginError, SettingsError
from alflow.core.labels import Failure, FailureKind
from alflow.core.protocols import TaskBody
from alflow.core.tasks import NOTES, AttemptRef, Outcome, TaskSpec
from alflow.execution import probe
from alflow.execution.files import CampaignFiles
from alflow.execution.surroundings import environment
from alflow.registry import find

_LONGEST_TRACEBACK = 20_000
_PASSING = frozenset(
    {
        *(errno.EAGAIN, errno.EBUSY, errno.EDQUOT, errno.EIO, errno.ENOLCK, errno.ENOSPC),
        *(errno.ESTALE, errno.ETIMEDOUT, errno.ECONNREFUSED, errno.ECONNRESET),
        *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH),
        *(errno.EMFILE, errno.ENFILE, errno.EREMOTEIO),
    }
)
"""What a file system or a licence server says while it is out of order."""


class FilesContext:
    """What a body may do to the world, through the files of its attempt.

    Attributes:
        outputs: Name to SHA-256 of each output so far.
        notes: What the user should be told, besides the result.
    """

    def __init__(self, files: CampaignFiles, attempt: AttemptRef) -> None:
        """Take stock of what earlier attempts of the task have finished."""
        self._files = files
        self._attempt = attempt
        self._done = set(files.read_items(attempt.task_id))
        self.outputs: dict[str, str] = {}
        self.notes: list[str] = []

    def blob(self, sha256: str) -> bytes:
        """Content of an input blob, its checksum verified."""
        return self._files.read_blob(sha256)

    def mapped(self, sha256: str) -> Buffer:
        """The same as `blob`, mapped into memory instead of read."""
        return self._files.map_blob(sha256)

    def output(self, name: str, content: bytes) -> None:
        """Write a named output file of this attempt."""
        self.outputs[name] = self._files.write_output(self._attempt, name, content)

    def done_items(self) -> frozenset[str]:
        """Items of this task that this or an earlier attempt has committed."""
        return frozenset(self._done)

    def commit_item(self, item: str, result: Mapping[str, Any]) -> None:
        """Commit one item of a batch durably; it is never computed again."""
        self._files.write_item(self._attempt, item, result)
        self._done.add(item)

    def progress(self, values: Mapping[str, Any]) -> None:
        """Tell how far the task is (JSON-like); cheap, lossy."""
        self._files.write_progress(self._attempt, values)

    def checkpoint(self) -> bytes | None:
        """What this or an earlier attempt of the task saved last; None for nothing whole."""
        try:
            return self._files.read_checkpoint(self._attempt.task_id)
        except AlflowError as error:
            self.note(f"a checkpoint was ignored, the task began anew: {error.message}")
        return None

    def save_checkpoint(self, content: bytes) -> None:
        """Keep this instead of what was saved before."""
        self._files.write_checkpoint(self._attempt.task_id, content)

    def note(self, text: str) -> None:
        """Tell the user something that is no failure, once the attempt has ended: a sentence."""
        self.notes.append(text)


def run_body(files: CampaignFiles, attempt: AttemptRef) -> None:
    """Run the body of a claimed attempt here and now, and commit its result.

    Whatever the body raises becomes a `Failure`; only Ctrl-C passes through.
    """
    begun = time.monotonic()
    context = FilesContext(files, attempt)
    values: Mapping[str, Any] = {}
    failure: Failure | None = None
    try:
        answer = _call(files.read_spec(attempt.task_id), context, attempt)
        if isinstance(answer, Failure):
            failure = answer
        else:
            values = dict(answer)
        canonical_json({"values": dict(values), "failure": failure and failure.to_json()})
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a body may raise anything
        values, failure = {}, _failure_of(error)
    outcome = Outcome(
        values=values,
        outputs=context.outputs,
        failure=failure,
        wall_s=time.monotonic() - begun,
        environment={**environment(), **({NOTES: context.notes} if context.notes else {})},
    )
    files.commit_result(attempt, outcome)
    if failure is None or not failure.is_retryable:
        files.drop_checkpoint(attempt.task_id)


def _call(
    spec: TaskSpec, context: FilesContext, attempt: AttemptRef
) -> Mapping[str, Any] | Failure:
    if spec.kind != attempt.kind:
        raise ValueError(
            f"attempt of kind {attempt.kind!r} at a task of kind {spec.kind!r}"
        )
    if spec.kind.startswith(f"{probe.KIND}:"):
        return probe.run(spec, context)
    body: TaskBody = find("tasks", spec.kind)
    return body(spec, context)


def _failure_of(error: BaseException) -> Failure:
    # torch raises an error of its own when an accelerator is out of memory; it is known here
    # by name, because importing torch to ask would cost seconds.
    is_out_of_memory = isinstance(error, MemoryError) or (
        type(error).__name__ == "OutOfMemoryError"
    )
    details = {
        "traceback": "".join(traceback.format_exception(error))[-_LONGEST_TRACEBACK:]
    }
    if isinstance(error, SettingsError | PluginError):  # the same settings fail again
        return Failure(FailureKind.INVALID_INPUT, f"[{error.code}] {error}", details)
    passes = isinstance(error, PassingTrouble) or (
        isinstance(error, OSError) and error.errno in _PASSING
    )
    if passes:
        message = f"{type(error).__name__}: {error}"
        return Failure(FailureKind.CRASH, message, {**details, "transient": True})
    kind = FailureKind.RESOURCE if is_out_of_memory else FailureKind.BUG
    return Failure(kind, f"{type(error).__name__}: {error}", details)


def main() -> None:
    """Run the body of an attempt in the foreground: directory, task, number, token, kind."""
    root, task_id, number, token, kind = sys.argv[1:]
    attempt = AttemptRef(int(task_id), int(number), token, kind)
    run_body(CampaignFiles(Path(root)), attempt)


if __name__ == "__main__":
    main()
