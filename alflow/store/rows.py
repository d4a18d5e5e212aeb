"""What goes into a store and what comes out: plain frozen rows, no SQL."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np
from jaxtyping import Float

from alflow.core.batches import LabelledStructure
from alflow.core.sampling import Trajectory
from alflow.core.structures import Structure
from alflow.core.tasks import AttemptRef, Outcome, TaskSpec, TaskState


class CampaignState(StrEnum):
    """Where a campaign stands."""

    RUNNING = "running"
    """There is work to do; whether a manager does it is the lease's matter."""
    CONVERGED = "converged"
    """It is as good as it was asked to be."""
    FINISHED = "finished"
    """A budget is spent."""
    STOPPED = "stopped"
    """A person asked it to stop."""
    FAILED = "failed"
    """It cannot go on."""


class StopMode(StrEnum):
    """How a campaign was asked to stop."""

    DRAIN = "drain"
    """Running tasks are finished first."""
    NOW = "now"
    """Running tasks are given back."""


class Severity(StrEnum):
    """How much an event matters."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Split(StrEnum):
    """What a labelled structure is used for."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


class SightingKind(StrEnum):
    """How a structure came to be."""

    BUILDER = "builder"
    IMPORT = "import"
    START = "start"
    """Start of a trajectory."""
    SAMPLER = "sampler"
    """A frame of a trajectory."""
    RELAX = "relax"
    AUGMENT = "augment"


class ItemState(StrEnum):
    """Where one requested label stands."""

    PENDING = "pending"
    OK = "ok"
    FAILED = "failed"


class Quality(StrEnum):
    """How far a label is trusted. Only `ok` is trained on."""

    OK = "ok"
    SUSPECT = "suspect"
    REJECTED = "rejected"


class EnsembleState(StrEnum):
    """Where a generation stands."""

    PLANNED = "planned"
    TRAINING = "training"
    READY = "ready"
    REJECTED = "rejected"
    RETIRED = "retired"


class AttemptState(StrEnum):
    """Where one try of a task stands."""

    OPEN = "open"
    """Handed out, no result yet."""
    DONE = "done"
    """Its result is the task's result."""
    FAILED = "failed"
    """It ended without a result."""


@dataclass(frozen=True, slots=True)
class Workers:
    """A pool, as those who watch a campaign need it.

    Attributes:
        n: Attempts that it runs at the same time.
        kinds: Kinds of tasks that it runs.
    """

    n: int
    kinds: frozenset[str]


@dataclass(frozen=True, slots=True)
class CampaignRow:
    """The campaign of a store.

    Attributes:
        id: Its number.
        name: Its name.
        config: Resolved settings (JSON-like).
        config_sha: SHA-256 of their canonical JSON.
        seed: Seed that all others derive from.
        state: Where it stands.
        verdict: Why it stands there, a sentence; empty while it runs.
        created: When it was created [s since 1970, UTC].
    """

    id: int
    name: str
    config: Mapping[str, Any]
    config_sha: str
    seed: int
    state: CampaignState
    verdict: str
    created: float


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task to publish.

    Attributes:
        spec: What a worker needs to know; its key is unique in the campaign.
        iteration: Number of the iteration that it belongs to.
        priority: Higher runs first.
        lot: Name of the level of theory, for label tasks.
    """

    spec: TaskSpec
    iteration: int
    priority: int = 0
    lot: str | None = None


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task as it stands.

    Attributes:
        id: Its number.
        spec: What a worker needs to know.
        iteration: Number of its iteration.
        state: Where it stands.
        priority: Higher runs first.
        attempts: How often it was tried.
        charged: How many failed attempts were its own fault.
        lot: Name of its level of theory, for label tasks.
        outcome: What it ended with; None if it has not ended, or ended without a result.
        last_attempt: The last try; of a task that is done, the one whose result it is.
    """

    id: int
    spec: TaskSpec
    iteration: int
    state: TaskState
    priority: int
    attempts: int
    charged: int
    lot: str | None = None
    outcome: Outcome | None = None
    last_attempt: AttemptRef | None = None


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """An attempt that has not ended.

    Attributes:
        ref: Its name, as the execution layer knows it.
        task: The task that it tries.
        epoch: Epoch of the manager that handed it out.
        started: When that was [s since 1970, UTC].
    """

    ref: AttemptRef
    task: TaskRow
    epoch: int
    started: float


@dataclass(frozen=True, slots=True)
class Glance:
    """Where the work stands, in numbers.

    Attributes:
        stop: How the manager was asked to stop, if it was.
        queued: Number of tasks that wait for a worker, or for their time, by kind.
        leased: Number of attempts that have not ended, by kind.
        is_retry_asked: Whether somebody asked that failed work be tried again.
    """

    stop: StopMode | None
    queued: Mapping[str, int]
    leased: Mapping[str, int]
    is_retry_asked: bool = False

    @property
    def has_work(self) -> bool:
        """Whether some task has not ended."""
        return bool(self.queued or self.leased)

    def after(self, started: Sequence[AttemptRef]) -> "Glance":
        """The same after some queued tasks have been started."""
        kinds = Counter(attempt.kind for attempt in started)
        queued = {kind: n - kinds[kind] for kind, n in self.queued.items()}
        leased = Counter(self.leased) + kinds
        return replace(
            self, queued={kind: n for kind, n in queued.items() if n}, leased=leased
        )


@dataclass(frozen=True, slots=True)
class NewStructure:
    """A structure to add.

    Attributes:
        structure: The geometry.
        group: Name of what it came from; a hold-out takes whole groups.
        split: train, val or test.
        source: Name of the builder or sampler that made it.
        parent: Hash of the structure that it was made from, if any.
        kind: How it came to be.
    """

    structure: Structure
    group: str
    split: str
    source: str
    parent: str | None = None
    kind: SightingKind = SightingKind.BUILDER


@dataclass(frozen=True, slots=True)
class TrajectoryRow:
    """A trajectory to record.

    Attributes:
        trajectory: What the sampler brought back.
        task_key: Key of the sample task that ran it.
        position: Its place among the trajectories of that task.
        sampler: Name of the sampler, with that of the arm where it is one of a mixture.
        source: Name of the builder that made its start.
    """

    trajectory: Trajectory
    task_key: str
    position: int
    sampler: str
    source: str = ""

    @property
    def group(self) -> str:
        """Name of the group of all its frames."""
        return f"{self.task_key}/{self.position}"


@dataclass(frozen=True, slots=True)
class PredictionRow:
    """What a generation says about a labelled structure.

    Numbers that are not finite are stored as missing.

    Attributes:
        label_id: Number of the label.
        energy: Mean energy over members [eV].
        energy_spread: Spread of the energy divided by the square root of the atoms [eV].
        force_rmse: Error of the mean forces, per component [eV/Å]; None without force labels.
        force_spread_mean: Mean over atoms of the force spread [eV/Å].
        force_spread_max: Largest force spread of any atom [eV/Å].
        force_scale: Mean over atoms of the norm of the mean force [eV/Å].
        forces: Mean forces [eV/Å], (atoms, 3), if they are to be kept.
    """

    label_id: int
    energy: float
    energy_spread: float
    force_rmse: float | None
    force_spread_mean: float
    force_spread_max: float
    force_scale: float
    forces: Float[np.ndarray, "atoms 3"] | None = None


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """Whether a new generation may replace the one that served so far.

    Attributes:
        generation: Number of the new one.
        is_refused: Whether it may not.
        message: Why, a sentence with numbers.
    """

    generation: int
    is_refused: bool
    message: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A numbered, immutable set of labelled structures.

    Attributes:
        number: Its number, that of the generation trained on it.
        digest: SHA-256 over structures, labels and their roles: what trained a model.
        n_train: Labels to train on.
        n_val: Labels held out for good.
        items: The labels to train on, ordered by label id.
    """

    number: int
    digest: str
    n_train: int
    n_val: int
    items: Sequence[LabelledStructure] = field(default=(), repr=False)
