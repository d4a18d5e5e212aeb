"""The plug-in points: what each kind of plug-in must do, in one verb each.

A plug-in is a frozen pydantic settings class with `kind: Literal["name"]` and a method
`create()` that imports and returns the implementation. It is found by entry point, for example

    [project.entry-points."alflow.samplers"]
    nemd = "alflow.samplers.nemd:NemdSettings"

so that `alflow check` and `alflow --help` import neither torch nor pyscf.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from alflow.core.arrays import Buffer
from alflow.core.batches import LabelledStructure
from alflow.core.errors import SiteError
from alflow.core.held_out import HeldOutErrors
from alflow.core.labels import Failure, Label
from alflow.core.past import PastIteration
from alflow.core.properties import SuiteResult
from alflow.core.sampling import Candidate, Gate, Selection, Trajectory
from alflow.core.structures import Structure
from alflow.core.tasks import AttemptRef, TaskSpec


@runtime_checkable
class Builder(Protocol):
    """Makes starting structures."""

    def build(self, rng: np.random.Generator, count: int) -> list[Structure]:
        """Build `count` structures; the same generator state gives the same ones."""
        ...


@runtime_checkable
class Labeler(Protocol):
    """Turns a structure into a label by a first-principles method.

    Runs in a worker. A calculation that does not converge is an answer, not an exception: it
    comes back as a `Failure`, so that the loop can count it, retry it or give it up.
    """

    def label(self, structure: Structure) -> Label | Failure:
        """Compute energy and, if the level has them, forces of one structure."""
        ...

    def version(self) -> str:
        """Name and version of the program; recorded on each label."""
        ...


@runtime_checkable
class ResumableLabeler(Labeler, Protocol):
    """A labeler whose labels are made of parts, each of which needs computing only once."""

    def resume(
        self,
        structure: Structure,
        finished: Mapping[str, Label],
        keep: Callable[[Mapping[str, Label]], None],
    ) -> Label | Failure:
        """The same as `label`, without the parts that were finished before.

        Args:
            structure: What is to be labelled.
            finished: Parts by name that were kept of this structure by these programs.
            keep: Called with all finished parts after each one.
        """
        ...


@runtime_checkable
class Sampler(Protocol):
    """Explores with an ensemble and stops each trajectory by itself."""

    def sample(
        self, starts: Sequence[Structure], potential: Any, gate: Gate, seed: int
    ) -> list[Trajectory]:
        """Run one trajectory from each start; `potential` is an `alflow.models.Potential`."""
        ...


@runtime_checkable
class ValidationSuite(Protocol):
    """Computes properties that a user can compare with what is known elsewhere."""

    def run(self, potential: Any, seed: int) -> SuiteResult:
        """Ask a potential; `potential` is an `alflow.models.Potential`.

        Geometries come from the mean of its members, which are all asked at the same ones. A
        reference computed by a labeler is a potential of one member. What the potential does not
        have is left out with a note.
        """
        ...


@runtime_checkable
class AcquisitionRule(Protocol):
    """Decides which candidates are worth a label. Pure."""

    def gate(
        self, generation: int, past: Sequence[PastIteration] = (), sampling_round: int = 0
    ) -> Gate:
        """The gate that samplers use with this generation of the ensemble.

        Args:
            generation: Its number.
            past: What the iterations so far did and learnt, in order.
            sampling_round: Number of the round, 0 first; there is another one where those before
                it flagged too few frames.
        """
        ...

    def select(
        self,
        candidates: Sequence[Candidate],
        budget: int,
        seed: int,
        gate: Gate | None = None,
    ) -> Selection:
        """Give every candidate a verdict; at most `budget` are selected.

        `gate` is the one that they were sampled with.
        """
        ...


@runtime_checkable
class TrainingContext(Protocol):
    """What a trainer may keep and say while it works."""

    def checkpoint(self) -> bytes | None:
        """What this or an earlier attempt of the task saved last; None for nothing whole."""
        ...

    def save_checkpoint(self, content: bytes) -> None:
        """Keep this instead of what was saved before; it is dropped when the task is done."""
        ...

    def note(self, text: str) -> None:
        """Tell the user something that is no failure, once the attempt has ended: a sentence."""
        ...


@runtime_checkable
class Trainer(Protocol):
    """Fits an ensemble to labelled structures."""

    def train(
        self,
        data: Sequence[LabelledStructure],
        seed: int,
        initial: bytes | None,
        progress: Callable[[Mapping[str, float]], None],
        context: TrainingContext | None = None,
    ) -> "TrainingResult | Failure":
        """Train all members; `initial` are the weights of the parent generation or None.

        `progress` gets metrics of each epoch by name, for example `epoch`, `epochs` (how many
        there will be) and `seconds_left`. A checkpoint kept in `context` may be of a training of
        something else, and must then be ignored. Numbers that stay non-finite come back as a
        `Failure` of kind `diverged`.
        """
        ...


@runtime_checkable
class TrainingResult(Protocol):
    """What training hands back.

    Attributes:
        weights: Bytes of a safetensors file with all members.
        members: For each trained member: its number (`member`), seed, best_epoch, and metrics on
            its hold-out.
        epochs: For each epoch: metrics, by name.
    """

    weights: bytes
    members: list[dict[str, Any]]
    epochs: list[dict[str, float]]


@runtime_checkable
class JudgesLabels(Protocol):
    """A training result that tells how far off members were on labels that they held out.

    From trainers without it the campaign learns nothing about labels that may be wrong.

    Attributes:
        held_out: Errors of members on labels that they were not trained on.
    """

    held_out: HeldOutErrors


@runtime_checkable
class TaskContext(TrainingContext, Protocol):
    """What a task body may do to the world."""

    def blob(self, sha256: str) -> bytes:
        """Content of an input blob, its checksum verified."""
        ...

    def mapped(self, sha256: str) -> Buffer:
        """The same as `blob`, mapped into memory instead of read."""
        ...

    def output(self, name: str, content: bytes) -> None:
        """Write a named output file of this attempt."""
        ...

    def done_items(self) -> frozenset[str]:
        """Items of this task that this or an earlier attempt has committed."""
        ...

    def commit_item(self, item: str, result: Mapping[str, Any]) -> None:
        """Commit one item of a batch durably; it is never computed again."""
        ...

    def progress(self, values: Mapping[str, Any]) -> None:
        """Tell how far the task is (JSON-like); cheap, lossy."""
        ...


@runtime_checkable
class TaskBody(Protocol):
    """The code of one task kind, found by entry point in the group `alflow.tasks`."""

    def __call__(self, spec: TaskSpec, context: TaskContext) -> Mapping[str, Any] | Failure:
        """Do the work; return small JSON-like values or why there are none."""
        ...


@dataclass(frozen=True, slots=True)
class News:
    """Something that happened to a group of workers.

    Attributes:
        pool: Name of the group.
        text: A sentence.
        is_closed: True if it gets no workers for now, False if it gets some again, None if
            neither has changed.
    """

    pool: str
    text: str
    is_closed: bool | None = None


@runtime_checkable
class Executor(Protocol):
    """Hands attempts to workers. Truth is in the attempt's files; an executor only wakes."""

    def start(self) -> None:
        """Bring up the workers."""
        ...

    def submit(self, attempt: AttemptRef, *, larger: bool = False) -> None:
        """Queue an attempt whose spec is on disk; `larger` if it failed for lack of resources."""
        ...

    def slots(self) -> Mapping[str, int]:
        """Number of workers that can run each task kind at the same time; 0 for not now."""
        ...

    def refusals(self) -> Mapping[str, SiteError]:
        """Task kinds that nothing will run any more, each with what to tell the user."""
        ...

    def news(self) -> Sequence[News]:
        """What happened to workers since the last call."""
        ...

    def exclude(self, hosts: Sequence[str]) -> Sequence[str]:
        """Give these hosts no more work; names of the pools where that can be done."""
        ...

    def pools(self) -> Mapping[str, str]:
        """Name of the group of workers that runs each task kind of `slots`."""
        ...

    def wait(self, timeout_s: float) -> Sequence[AttemptRef]:
        """Return when some attempts may have ended, or after `timeout_s`; which ones, if known.

        Whoever asks looks everywhere now and then: an attempt that is not named is not forgotten.
        """
        ...

    def lost(self) -> Sequence[tuple[AttemptRef, Failure]]:
        """Attempts that the executor knows to have ended without a result, each told once."""
        ...

    def adopted(self, attempts: Sequence[AttemptRef]) -> None:
        """Attempts of earlier managers that live on: leave what runs them, end the rest."""
        ...

    def close(self, *, cancel: bool) -> None:
        """Take the workers down; with `cancel` running attempts are killed first."""
        ...
