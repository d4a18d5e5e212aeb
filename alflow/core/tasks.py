"""The unit of work: a task, its specification, and what a worker hands back."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from alflow.core.labels import Failure

MOST_ATOMS = "most_atoms"
"""Value of a sample task that ran out of memory, and parameter of those after it: largest number of
atoms to evaluate together, by device. It changes how fast a task is, never what comes of it, and is
no part of the published specification."""


NOTES = "notes"
"""Key of the environment of an outcome: sentences for the user about how the attempt went."""


class TaskState(StrEnum):
    """Where a task stands in the store."""

    QUEUED = "queued"
    """Published, waiting for a free worker."""
    LEASED = "leased"
    """An attempt has been handed to the executor."""
    DONE = "done"
    """Its effects are in the store. Final."""
    FAILED = "failed"
    """It ended without a result and will not be tried again. Final."""
    CANCELLED = "cancelled"
    """No longer needed. Final."""

    @property
    def is_final(self) -> bool:
        """Whether the task will never run again."""
        return self in (TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED)


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """Everything a worker needs to know; JSON on disk, pure data.

    Attributes:
        kind: Which body runs it: build, sample, train, label, validate.
        key: Natural key, unique in a campaign, for example `train/g3`.
        seed: Seed of everything random in it.
        settings: Parameters of the body (JSON-like).
        inputs: Name to SHA-256 of a blob under the campaign's `blobs/`.
        items: Names of the parts of a batch; each part is committed when it is done. Empty if
            the task is one whole.
    """

    kind: str
    key: str
    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    items: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A JSON-like dict."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "TaskSpec":
        """The inverse of `to_json`."""
        return cls(**{**value, "items": tuple(value["items"])})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one attempt ended with; the content of `result.json`.

    Attributes:
        values: Small results (JSON-like).
        outputs: Name to SHA-256 of each file under the attempt's `out/`.
        failure: Why there is no result; None on success.
        wall_s: Time the body ran [s].
        environment: Versions, host and device it ran with (JSON-like).
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    failure: Failure | None = None
    wall_s: float = 0.0
    environment: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A JSON-like dict."""
        failure = None if self.failure is None else self.failure.to_json()
        return {
            "values": dict(self.values),
            "outputs": dict(self.outputs),
            "failure": failure,
            "wall_s": self.wall_s,
            "environment": dict(self.environment),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Outcome":
        """The inverse of `to_json`."""
        failure = value["failure"]
        return cls(
            values=value["values"],
            outputs=value["outputs"],
            failure=None if failure is None else Failure.from_json(failure),
            wall_s=value["wall_s"],
            environment=value["environment"],
        )


@dataclass(frozen=True, slots=True)
class AttemptRef:
    """Names one try of one task, as the execution layer knows it.

    Attributes:
        task_id: Number of the task in the store.
        number: Which try, 1 first.
        token: Random word that makes the attempt's directory unique.
        kind: Task kind, by which a pool of workers is chosen.
    """

    task_id: int
    number: int
    token: str
    kind: str
