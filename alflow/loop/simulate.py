"""A whole campaign on a site that need not exist, as a discrete-event run of the real plan.

The plan (`loop.plan`) is asked whenever tasks have ended, as the manager asks it; what it decides
is carried out on a campaign that only pretends (`loop.simulated`), on workers that only pretend
(`loop.machine`). Nothing here depends on the order in which the plan works.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count

import numpy as np
from jaxtyping import Float

from alflow.config.campaign import CampaignSettings
from alflow.config.times import Times
from alflow.core.seeds import generator
from alflow.loop.described import SiteModel
from alflow.loop.machine import Job, Machine, Run, Usage
from alflow.loop.plan import ActionKind, plan
from alflow.loop.simulated import PretendedCampaign, PretendedTask, without_reruns
from alflow.store import CampaignState
from alflow.store.costs import Spent

_HOUR_S = 3600.0
MOST_LABEL_COUNTS = 5
"""Numbers of labels of which the time is told."""


@dataclass(frozen=True, eq=False, slots=True)
class Course:
    """How a simulated campaign went.

    Attributes:
        state: How it ended.
        verdict: Why, a sentence.
        n_iterations: Number of its iterations.
        wall_s: Time from its beginning to its end [s].
        labels_s: When each label was there [s], in this order.
        tasks: Number of tasks by kind.
        usage: What the workers did, by pool.
        runs: Which task ran where and when.
        n_lost: Attempts that were lost or cut, and made again.
    """

    state: str
    verdict: str
    n_iterations: int
    wall_s: float
    labels_s: Float[np.ndarray, " labels"]
    tasks: Mapping[str, int]
    usage: Mapping[str, Usage]
    runs: Sequence[Run]
    n_lost: int


def simulate(
    settings: CampaignSettings, times: Times, site: SiteModel, repeat: int = 0
) -> Course:
    """Run a campaign from its beginning to its end.

    The same arguments give the same course.

    Args:
        settings: The campaign's settings.
        times: What tasks take and bring in.
        site: Where it runs.
        repeat: Which of its courses; each has random numbers of its own.

    Raises:
        SettingsError: If the time of a task that is needed is not known, or no pool runs it.
    """
    return _Simulation(without_reruns(settings), times, site, repeat).run()


@dataclass(slots=True)
class _Attempt:
    task: PretendedTask
    is_lost: bool


class _Simulation:
    """The manager of a campaign that only pretends."""

    def __init__(
        self, settings: CampaignSettings, times: Times, site: SiteModel, repeat: int
    ) -> None:
        def rng(what: str) -> np.random.Generator:
            return generator(settings.seed, "simulate", repeat, what)

        self._settings, self._site = settings, site
        self._lost_share = times.lost_attempts_share or {}
        self._losses = rng("losses")
        self._machine = Machine(site.pools, rng("blocks"))
        n_workers = site.pool_of("label").workers
        self._campaign = PretendedCampaign(settings, times, n_workers, rng("tasks"))
        self._attempts: dict[int, _Attempt] = {}
        self._numbers = count()
        self._tasks: Counter[str] = Counter()
        self._labels_s: list[float] = []
        self._n_lost = 0

    def run(self) -> Course:
        """Turn until the plan ends the campaign."""
        n_iterations = 0
        while self._campaign.state == CampaignState.RUNNING:
            view = self._campaign.progress(self._spent())
            n_iterations = len(view.iterations)
            actions = plan(view, self._settings)
            for action in actions:
                for task in self._campaign.carry_out(action, view):
                    self._tasks[task.kind] += 1
                    self._hand_out(task)
                if action.kind is ActionKind.STOP:
                    break
            if not actions:
                self._wait()
        machine = self._machine
        return Course(
            self._campaign.state,
            self._campaign.verdict,
            n_iterations,
            machine.now,
            np.sort(np.array(self._labels_s)),
            dict(self._tasks),
            machine.usage(),
            machine.runs,
            self._n_lost + sum(one.is_cut for one in machine.runs),
        )

    def _wait(self) -> None:
        """Let time pass until tasks have ended."""
        ended = self._machine.step()
        if not ended:
            raise RuntimeError("the plan waits for tasks, and there are none")
        for run in ended:
            self._take(run)

    def _hand_out(self, task: PretendedTask) -> None:
        share = self._lost_share.get(task.kind, 0.0)
        is_lost = bool(share) and self._losses.random() < share
        wall_s = task.wall_s * self._losses.random() if is_lost else task.wall_s
        number = next(self._numbers)
        self._attempts[number] = _Attempt(task, is_lost)
        pool = self._site.pool_of(task.kind).label
        self._machine.submit(Job(number, task.kind, pool, wall_s, task.priority))

    def _take(self, run: Run) -> None:
        attempt = self._attempts.pop(run.job.number)
        if attempt.is_lost:
            self._n_lost += 1
            self._hand_out(attempt.task)
            return
        moment = run.end - sum(label.wall_s for label in attempt.task.labels)
        for label in attempt.task.labels:
            moment += label.wall_s
            if label.is_ok:
                self._labels_s.append(moment)
        self._campaign.take(attempt.task)

    def _spent(self) -> Spent:
        usage = self._machine.usage()
        core_s = sum(
            pool.threads * usage[pool.label].all_busy_s for pool in self._site.pools
        )
        return Spent(core_s / _HOUR_S, self._machine.now / _HOUR_S)


@dataclass(frozen=True, slots=True)
class Range:
    """A number over several courses.

    Attributes:
        median: What half of them stay below.
        low: What a tenth of them stay below.
        high: What nine tenths of them stay below.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[int | float]) -> "Range":
        """Of some values."""
        low, median, high = (float(np.quantile(values, q)) for q in (0.1, 0.5, 0.9))
        return cls(median, low, high)


@dataclass(frozen=True, slots=True)
class PoolSummary:
    """What the workers of a pool did; the shares are of workers × time and add up to one.

    Attributes:
        workers: Number of its workers.
        busy: Share in which they worked.
        queue: Share in which they were not there and tasks waited for them.
        start: Share in which they started.
        barrier: Share in which there was nothing for them to do.
        held_core_hours: Time that their cores were held [h].
    """

    workers: int
    busy: Range
    queue: Range
    start: Range
    barrier: Range
    held_core_hours: Range


@dataclass(frozen=True, slots=True)
class Summary:
    """What several courses of a campaign have in common.

    Attributes:
        site: Name of the site.
        repeats: Number of courses.
        verdicts: How they ended, and how many of them so.
        wall_hours: Time that they took [h].
        iterations: Number of their iterations.
        labels: Number of their labels.
        lost: Number of attempts that were made again.
        label_hours: Time until a number of labels was there [h], by number.
        pools: What the workers did, by pool.
        tasks: Number of tasks by kind.
        worker_hours: Time that workers were busy with a kind of tasks [h].
        core_hours: The same times their cores [h].
    """

    site: str
    repeats: int
    verdicts: Mapping[str, int]
    wall_hours: Range
    iterations: Range
    labels: Range
    lost: Range
    label_hours: Mapping[int, Range] = field(default_factory=dict)
    pools: Mapping[str, PoolSummary] = field(default_factory=dict)
    tasks: Mapping[str, Range] = field(default_factory=dict)
    worker_hours: Mapping[str, Range] = field(default_factory=dict)
    core_hours: Mapping[str, Range] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """A JSON-like dict."""
        return asdict(self)


def summary(courses: Sequence[Course], site: SiteModel) -> Summary:
    """What some courses have in common."""
    kinds = sorted({kind for one in courses for kind in one.tasks})
    threads = {pool.label: pool.threads for pool in site.pools}

    def hours(course: Course, kind: str, *, of_cores: bool) -> float:
        return sum(
            use.busy_s.get(kind, 0.0) * (threads[label] if of_cores else 1) / _HOUR_S
            for label, use in course.usage.items()
        )

    return Summary(
        site.name,
        len(courses),
        dict(Counter(f"{one.state}: {one.verdict}" for one in courses).most_common()),
        Range.of([one.wall_s / _HOUR_S for one in courses]),
        Range.of([one.n_iterations for one in courses]),
        Range.of([len(one.labels_s) for one in courses]),
        Range.of([one.n_lost for one in courses]),
        _label_hours(courses),
        {pool.label: _pool_summary(courses, pool.label, site) for pool in site.pools},
        {kind: Range.of([one.tasks.get(kind, 0) for one in courses]) for kind in kinds},
        {k: Range.of([hours(one, k, of_cores=False) for one in courses]) for k in kinds},
        {k: Range.of([hours(one, k, of_cores=True) for one in courses]) for k in kinds},
    )


def _label_hours(courses: Sequence[Course]) -> dict[int, Range]:
    """Times of numbers of labels that every course has reached."""
    most = min(len(one.labels_s) for one in courses)
    counts = np.ceil(np.linspace(0, most, MOST_LABEL_COUNTS + 1)).astype(int)
    return {
        int(n): Range.of([float(one.labels_s[n - 1]) / _HOUR_S for one in courses])
        for n in np.unique(counts)
        if n
    }


def _pool_summary(courses: Sequence[Course], label: str, site: SiteModel) -> PoolSummary:
    pool = next(one for one in site.pools if one.label == label)
    used = [(one.usage[label], pool.workers * one.wall_s or 1.0) for one in courses]
    return PoolSummary(
        pool.workers,
        Range.of([use.all_busy_s / whole for use, whole in used]),
        Range.of([use.queue_s / whole for use, whole in used]),
        Range.of([use.start_s / whole for use, whole in used]),
        Range.of([use.barrier_s / whole for use, whole in used]),
        Range.of([use.held_s * pool.threads / _HOUR_S for use, _ in used]),
    )
