"""A campaign as somebody sees it who watches: its database, and which tasks workers have taken.

Nothing is written. The campaign directory may be out of sight, on another machine: then as many
tasks are taken to run as there are workers.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from alflow.core.tasks import AttemptRef
from alflow.execution.files import CampaignFiles
from alflow.loop.remaining import seconds_left
from alflow.store import Store, Workers
from alflow.store.standing import OpenAttempt, StageCounts, Standing, standing


@dataclass(frozen=True, slots=True)
class Taken:
    """An attempt that a worker has taken.

    Attributes:
        host: Where; empty if that is not known.
        since: When [s since 1970, UTC].
    """

    host: str
    since: float


@dataclass(frozen=True, slots=True)
class Running:
    """A task that runs.

    Attributes:
        task_id: Its number.
        key: Its key.
        kind: Its kind.
        host: Where it runs; empty if that is not known.
        since: Since when [s since 1970, UTC].
        said: What a training last said about how far it is, by name.
    """

    task_id: int
    key: str
    kind: str
    host: str
    since: float
    said: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stage:
    """A row of the table of stages.

    Attributes:
        kind: Kind of its tasks; the row of `label` counts labels.
        n_done: What was done, or failed for good.
        n_failed: Those of them that failed.
        n_running: Tasks that run.
        n_waiting: What waits.
        typical_s: What half of the latest ones stayed below [s]; None if none was measured.
        left_s: Time until it is done [s]; None if that cannot be told.
    """

    kind: str
    n_done: int
    n_failed: int
    n_running: int
    n_waiting: int
    typical_s: float | None = None
    left_s: float | None = None

    @property
    def n(self) -> int:
        """All of it."""
        return self.n_done + self.n_running + self.n_waiting


@dataclass(frozen=True, slots=True)
class Pool:
    """Workers of one pool: how many there may be, and how many of them have something to do."""

    name: str
    n: int
    n_busy: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What is seen at one moment.

    Attributes:
        standing: What the database says.
        stages: The stages, in the order in which they come.
        running: What runs, the oldest first.
        pools: The workers; none while nobody runs the campaign, or if they are not known.
        now: When that was [s since 1970, UTC].
    """

    standing: Standing
    stages: Sequence[Stage]
    running: Sequence[Running] = ()
    pools: Sequence[Pool] = ()
    now: float = 0.0


TRAIN = "train"
"""The kind of task that trains; it says how far it is."""
STAGES = ("build", "sample", "score", "label", TRAIN, "validate")
"""Kinds of tasks, in the order in which an iteration needs them; others follow."""


@dataclass(slots=True)
class Watcher:
    """Looks at a campaign again and again; what is known of an attempt is not looked up twice."""

    store: Store
    files: CampaignFiles
    _taken: dict[AttemptRef, Taken] = field(default_factory=dict)

    def look(self, now: float) -> Seen:
        """How it is, as of `now` [s since 1970, UTC].

        Raises:
            StoreError: If the database cannot be read, or holds no campaign.
        """
        with self.store.read() as connection:
            view = standing(connection)
        return seen(view, self._claims(view.attempts), self._said(view.attempts), now)

    def _claims(self, attempts: Sequence[OpenAttempt]) -> Mapping[AttemptRef, Taken] | None:
        """Which attempts workers have taken; None if the campaign directory is out of sight."""
        if not (self.files.root / "tasks").is_dir():
            return None
        known, self._taken = self._taken, {}
        for one in attempts:
            taken = known.get(one.ref) or self._claim(one.ref)
            if taken is not None:
                self._taken[one.ref] = taken
        return self._taken

    def _claim(self, ref: AttemptRef) -> Taken | None:
        path = self.files.attempt_directory(ref) / "claim.json"
        try:
            since = path.stat().st_mtime
        except OSError:
            return None
        claim = self.files.claim_of(ref)
        return None if claim is None or claim.is_revoked else Taken(claim.host, since)

    def _said(self, attempts: Sequence[OpenAttempt]) -> dict[int, dict[str, float]]:
        """What trainings say that run, by number of their task."""
        return {
            one.ref.task_id: {
                str(name): float(value)
                for name, value in (self.files.read_progress(one.ref) or {}).items()
                if isinstance(value, int | float) and math.isfinite(value)
            }
            for one in attempts
            if one.ref.kind == TRAIN and one.ref in self._taken
        }


def seen(
    view: Standing,
    claims: Mapping[AttemptRef, Taken] | None,
    said: Mapping[int, Mapping[str, float]],
    now: float,
) -> Seen:
    """What follows from what the database says; pure.

    Args:
        view: What the database says.
        claims: What workers have taken; None if that is not known.
        said: What trainings say that run, by number of their task.
        now: When that was [s since 1970, UTC].
    """
    if not view.manager.alive:
        claims = {}
    elif claims is None:
        claims = _as_many_as_workers(view)
    taken = [(one, claims[one.ref]) for one in view.attempts if one.ref in claims]
    running = [
        Running(
            ref.task_id, one.key, ref.kind, by.host, by.since, said.get(ref.task_id, {})
        )
        for one, by in taken
        for ref in (one.ref,)
    ]
    elapsed: dict[str, list[float]] = defaultdict(list)
    for one, by in taken:
        # Of a task about several labels it is not known when the present one was begun.
        since = by.since if one.n_parts == 1 else now
        elapsed[one.ref.kind].append(max(0.0, now - since))
    told = [one.said["seconds_left"] for one in running if "seconds_left" in one.said]
    stages = [
        _stage(counts, elapsed[counts.kind], told if counts.kind == TRAIN else ())
        for counts in view.stages
    ]
    pools = _pools(view.workers, running) if view.manager.alive else []
    return Seen(view, sorted(stages, key=_place), running, pools, now)


def _place(stage: Stage) -> tuple[int, str]:
    known = stage.kind in STAGES
    return (STAGES.index(stage.kind) if known else len(STAGES), stage.kind)


def _stage(counts: StageCounts, elapsed: Sequence[float], told_s: Sequence[float]) -> Stage:
    """A row; `told_s` is what those that run say themselves about the time that is left [s]."""
    n_running = min(len(elapsed), counts.n_open)
    n_waiting = counts.n_open - n_running
    left = seconds_left(counts.times_s, n_waiting, elapsed[:n_running])
    if n_running and len(told_s) == n_running and not n_waiting:
        left = max(told_s)
    return Stage(
        counts.kind,
        counts.n_done,
        counts.n_failed,
        n_running,
        n_waiting,
        median(counts.times_s) if counts.times_s else None,
        left,
    )


def _pools(workers: Mapping[str, Workers], running: Sequence[Running]) -> list[Pool]:
    busy = Counter(_pool_of(one.kind, workers) for one in running)
    return [
        Pool(name, one.n, min(one.n, busy[name])) for name, one in sorted(workers.items())
    ]


def _pool_of(kind: str, workers: Mapping[str, Workers]) -> str:
    return next((name for name, one in workers.items() if kind in one.kinds), "")


def _as_many_as_workers(view: Standing) -> dict[AttemptRef, Taken]:
    """The oldest attempts of each pool, one for each of its workers."""
    free = {name: one.n for name, one in view.workers.items()}
    taken = {}
    for one in view.attempts:
        pool = _pool_of(one.ref.kind, view.workers)
        if free.get(pool, 0) > 0:
            free[pool] -= 1
            taken[one.ref] = Taken("", one.started)
    return taken
