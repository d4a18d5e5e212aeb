"""Runs the body of one task in this process and commits what came of it."""

import os
import platform
import sys
import time
import traceback
from collections.abc import Mapping
from typing import Any

import alflow
from alflow.core.arrays import Buffer
from alflow.core.canonical import canonical_json
from alflow.core.errors import PluginError, SettingsError
from alflow.core.labels import Failure, FailureKind
from alflow.core.protocols import TaskBody
from alflow.core.tasks import AttemptRef, Outcome, TaskSpec
from alflow.execution.files import CampaignFiles
from alflow.registry import find

_RECORDED_PACKAGES = ("numpy", "torch", "ase", "pyscf")
_LONGEST_TRACEBACK = 20_000


class FilesContext:
    """What a body may do to the world, through the files of its attempt.

    Attributes:
        outputs: Name to SHA-256 of each output so far.
    """

    def __init__(self, files: CampaignFiles, attempt: AttemptRef) -> None:
        """Take stock of what earlier attempts of the task have finished."""
        self._files = files
        self._attempt = attempt
        self._done = set(files.read_items(attempt.task_id))
        self.outputs: dict[str, str] = {}

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
        environment=environment(),
    )
    files.commit_result(attempt, outcome)


def environment() -> dict[str, Any]:
    """What the numbers of this process depend on besides their inputs (JSON-like)."""
    modules = {name: sys.modules.get(name) for name in _RECORDED_PACKAGES}
    return {
        "alflow": alflow.__version__,
        "python": platform.python_version(),
        "host": platform.node(),
        "devices": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
        "packages": {
            name: str(getattr(module, "__version__", "unknown"))
            for name, module in modules.items()
            if module is not None
        },
    }


def _call(
    spec: TaskSpec, context: FilesContext, attempt: AttemptRef
) -> Mapping[str, Any] | Failure:
    if spec.kind != attempt.kind:
        raise ValueError(
            f"attempt of kind {attempt.kind!r} at a task of kind {spec.kind!r}"
        )
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
        return Failure(FailureKind.INVALID_INPUT, str(error), details)
    kind = FailureKind.RESOURCE if is_out_of_memory else FailureKind.BUG
    return Failure(kind, f"{type(error).__name__}: {error}", details)
