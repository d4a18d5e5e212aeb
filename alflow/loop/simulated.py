"""A campaign that only pretends: what the planner would read of it, and what it would publish.

It stands for the store and for what carries actions out (`loop.effects`). Instead of structures,
labels and weights it has their numbers, and instead of results the times that they take, drawn from
`config.times`.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from alflow.config.campaign import CampaignSettings
from alflow.config.times import ByIteration, Distribution, Empirical, Lognormal, Times
from alflow.core.errors import SettingsError
from alflow.core.tasks import TaskState
from alflow.loop.batching import in_groups
from alflow.loop.overlap import JOINED, SCORE
from alflow.loop.plan import Action, ActionKind, label_budget, missing_structures
from alflow.loop.serving import serving, why_from_scratch
from alflow.loop.stopping import SIMULATED_PS
from alflow.store import CampaignState
from alflow.store.costs import Spent
from alflow.store.past import N_FLAGGED, N_PLACES, N_TRAJECTORIES
from alflow.store.rows import EnsembleState
from alflow.store.views import GenerationProgress, IterationProgress, Progress

SHORTEST_S = 1e-6
"""What a label is expected to take at least [s]."""


@dataclass(frozen=True, slots=True)
class PretendedLabel:
    """A structure that is to be labelled.

    Attributes:
        expected_s: What its label is expected to take [s].
        wall_s: What it will take [s].
        is_test: Whether it belongs to the test set.
        is_ok: Whether there will be a label.
    """

    expected_s: float
    wall_s: float
    is_test: bool
    is_ok: bool


@dataclass(frozen=True, slots=True)
class PretendedTask:
    """A task that was published.

    Attributes:
        kind: Its kind.
        iteration: Number of its iteration.
        wall_s: How long it will take [s].
        priority: Those with more go first.
        labels: What it labels, in this order, at its end.
        n_flagged: Flagged frames that it will find.
    """

    kind: str
    iteration: int
    wall_s: float
    priority: int = 0
    labels: tuple[PretendedLabel, ...] = ()
    n_flagged: int = 0


@dataclass(slots=True)
class _Iteration:
    """An iteration with its counts, as `views.IterationProgress` has them."""

    number: int
    phase: str
    tasks: dict[str, Counter[str]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    ended: bool = False
    n_candidates: int | None = None
    generation: int | None = None
    stats: dict[str, float] = field(default_factory=dict)

    def view(self) -> IterationProgress:
        """The same, as the planner sees it."""
        return IterationProgress(
            number=self.number,
            phase=self.phase,
            ended=self.ended,
            tasks={kind: dict(states) for kind, states in self.tasks.items()},
            n_rounds=0 if self.ended else self.counts["rounds"],
            n_flagged=self.counts["flagged"],
            n_candidates=self.n_candidates,
            n_selected=self.counts["selected"],
            n_pending=self.counts["pending"],
            n_labelled=self.counts["labelled"],
            n_failed=self.counts["failed"],
            stats=self.stats,
            generation=self.generation,
        )


def without_reruns(settings: CampaignSettings) -> CampaignSettings:
    """The settings without what is not simulated: audits of labels, and a promotion at the end."""
    label = settings.label.model_copy(update={"audit": None})
    return settings.model_copy(update={"label": label, "promote": None})


class PretendedCampaign:
    """What a store would say, and the tasks that each action of the plan publishes."""

    def __init__(
        self,
        settings: CampaignSettings,
        times: Times,
        labelers: int,
        rng: np.random.Generator,
    ) -> None:
        """Begin with an empty store.

        Args:
            settings: The campaign's settings.
            times: What tasks take and bring in.
            labelers: Number of workers for labels.
            rng: Draws both.
        """
        self._settings = settings
        self._times = times
        self._labelers = labelers
        self._rng = rng
        self._iterations: list[_Iteration] = []
        self._generations: list[GenerationProgress] = []
        self._counts: Counter[str] = Counter()
        self.state, self.verdict = str(CampaignState.RUNNING), ""
        self._verbs: dict[ActionKind, Callable[[Action, Progress], list[PretendedTask]]] = {
            ActionKind.BEGIN_ITERATION: self._begin_iteration,
            ActionKind.ADD_STRUCTURES: self._add_structures,
            ActionKind.SAMPLE_MORE: self._sample,
            ActionKind.SCORE: self._score,
            ActionKind.SELECT: self._select,
            ActionKind.TRAIN: self._train,
            ActionKind.JOIN: self._join,
            ActionKind.VALIDATE: self._validate,
            ActionKind.END_ITERATION: self._end_iteration,
            ActionKind.STOP: self._stop,
        }

    @property
    def n_labels(self) -> int:
        """Number of labels that are there."""
        return self._counts["train"] + self._counts["test"]

    def progress(self, spent: Spent) -> Progress:
        """What the planner reads."""
        return Progress(
            state=self.state,
            iterations=tuple(one.view() for one in self._iterations),
            generations=tuple(self._generations),
            n_train=self._counts["train"],
            n_test=self._counts["test"],
            n_requested=self._counts["requested"],
            spent=spent,
        )

    def carry_out(self, action: Action, view: Progress) -> list[PretendedTask]:
        """Do what an action says; the tasks that it publishes."""
        tasks = self._verbs[action.kind](action, view)
        for task in tasks:
            states = self._iterations[task.iteration].tasks.setdefault(task.kind, Counter())
            states[TaskState.QUEUED] += 1
        return tasks

    def take(self, task: PretendedTask) -> None:
        """A task has ended."""
        one = self._iterations[task.iteration]
        one.tasks[task.kind][TaskState.QUEUED] -= 1
        one.tasks[task.kind][TaskState.DONE] += 1
        one.counts["flagged"] += task.n_flagged
        for label in task.labels:
            one.counts["pending"] -= 1
            one.counts["labelled" if label.is_ok else "failed"] += 1
            if label.is_ok:
                self._counts["test" if label.is_test else "train"] += 1
        if task.kind == "train":
            number = len(self._generations) - 1
            ready = replace(self._generations[number], state=str(EnsembleState.READY))
            self._generations[number] = ready

    def _begin_iteration(self, action: Action, view: Progress) -> list[PretendedTask]:
        number = action.iteration
        if number:
            generation = serving(view, number)
            self._iterations.append(_Iteration(number, "sample", generation=generation))
            return self._sample(action, view)
        missing = missing_structures(view, self._settings)
        tasks = [self._task("build", 0, self._times.build_s) for n in missing if n]
        self._iterations.append(_Iteration(number, "build" if tasks else "label"))
        return tasks

    def _sample(self, action: Action, _view: Progress) -> list[PretendedTask]:
        number, times = action.iteration, self._times
        self._iterations[number].counts["rounds"] += 1
        flagged = at_iteration(times.flagged_frames, number, "flagged_frames")
        return [
            replace(
                self._task("sample", number, times.sample_s),
                n_flagged=round(draw(flagged, self._rng)),
            )
            for _ in range(self._settings.sample.tasks)
        ]

    def _add_structures(self, action: Action, view: Progress) -> list[PretendedTask]:
        n_train, n_test = missing_structures(view, self._settings)
        self._iterations[0].phase = "label"
        self._counts["requested"] += n_train
        return self._label(action.iteration, n_train, n_test)

    def _score(self, action: Action, view: Progress) -> list[PretendedTask]:
        one = self._iterations[action.iteration]
        one.phase, one.generation = SCORE, serving(view, action.iteration)
        task = self._task("score", action.iteration, self._times.validate_s)
        return [replace(task, priority=1)]

    def _join(self, action: Action, _view: Progress) -> list[PretendedTask]:
        self._iterations[action.iteration].phase = JOINED
        return [self._task("validate", action.iteration, self._times.validate_s)]

    def _select(self, action: Action, view: Progress) -> list[PretendedTask]:
        number = action.iteration
        one, budget = self._iterations[number], label_budget(view, self._settings)
        n = min(budget, one.counts["flagged"])
        if self._times.chosen_share is not None:
            share = at_iteration(self._times.chosen_share, number, "chosen_share")
            n = min(budget, round(n * draw(share, self._rng)))
        one.phase, one.n_candidates = "label", one.counts["flagged"]
        one.counts["selected"] = n
        one.stats[N_PLACES] = float(budget)
        self._counts["requested"] += n
        return self._label(number, n, 0)

    def _label(self, number: int, n_train: int, n_test: int) -> list[PretendedTask]:
        """Label tasks, in batches as the manager would make them."""
        times, given = self._times, self._settings.label
        source = at_iteration(times.label_s, number, "label_s")
        lost = times.failed_labels_share or 0.0
        fates = (self._rng.random(n_train + n_test) >= lost).tolist()
        labels = [
            PretendedLabel(*draw_label(source, self._rng), k < n_test, is_ok)
            for k, is_ok in enumerate(fates)
        ]
        labels.sort(key=lambda one: -one.expected_s)
        seconds = np.array([max(SHORTEST_S, one.expected_s) for one in labels])
        groups = in_groups(
            len(labels),
            given.batch_size,
            given.batch_s,
            seconds if self.n_labels else None,
            self._labelers,
        )
        self._iterations[number].counts["pending"] += len(labels)
        return [
            self._label_task(number, tuple(labels[k] for k in group)) for group in groups
        ]

    def _label_task(self, number: int, labels: tuple[PretendedLabel, ...]) -> PretendedTask:
        wall_s = sum(one.wall_s for one in labels)
        if self._times.label_start_s is not None:
            source = at_iteration(self._times.label_start_s, number, "label_start_s")
            wall_s += draw(source, self._rng)
        return PretendedTask("label", number, wall_s, labels=labels)

    def _train(self, action: Action, view: Progress) -> list[PretendedTask]:
        number, times = action.iteration, self._times
        is_warm = number > 0 and not why_from_scratch(view, self._settings, number)
        source, slope = times.train_s, times.train_s_per_label
        if is_warm:
            source = times.warm_train_s or source
            slope = (
                slope
                if times.warm_train_s_per_label is None
                else (times.warm_train_s_per_label)
            )
        wall_s = self._seconds("train", number, source) + (slope or 0.0) * view.n_train
        relation = "warm_start" if is_warm else "fresh"
        state = str(EnsembleState.TRAINING)
        self._generations.append(GenerationProgress(number, state, relation, view.n_train))
        self._iterations[number].phase = "train"
        tasks = [PretendedTask("train", number, wall_s, priority=1)]
        # the generation that asked for the new labels is checked against them
        if number:
            tasks.append(self._task("validate", number, times.validate_s))
        return tasks

    def _validate(self, action: Action, _view: Progress) -> list[PretendedTask]:
        self._iterations[action.iteration].phase = "validate"
        return [self._task("validate", action.iteration, self._times.validate_s)]

    def _end_iteration(self, action: Action, _view: Progress) -> list[PretendedTask]:
        number, settings = action.iteration, self._settings
        one = self._iterations[number]
        one.ended = True
        n = one.counts["rounds"] * settings.sample.tasks
        n *= getattr(settings.sample, "replicas", 0)
        if number and n:
            n_flagged = min(one.counts["flagged"], n)
            longest = getattr(settings.sample, "duration_ps", 0.0)
            one.stats |= {N_TRAJECTORIES: float(n), N_FLAGGED: float(n_flagged)}
            one.stats |= {"n_finished": float(n - n_flagged), SIMULATED_PS: longest}
        every = settings.validate.every
        is_trained = any(g.number == number for g in self._generations)
        if every is None or number % every or not is_trained:
            return []
        source = self._times.property_s
        return [self._task("property", number, source) for _ in settings.validate.suites]

    def _stop(self, action: Action, _view: Progress) -> list[PretendedTask]:
        self.state, self.verdict = action.state, action.reason
        return []

    def _task(self, kind: str, number: int, source: ByIteration | None) -> PretendedTask:
        return PretendedTask(kind, number, self._seconds(kind, number, source))

    def _seconds(self, kind: str, number: int, source: ByIteration | None) -> float:
        return draw(at_iteration(source, number, f"{kind}_s"), self._rng)


def at_iteration(
    source: Sequence[Distribution] | None, number: int, name: str
) -> Distribution:
    """The distribution that holds in an iteration.

    Raises:
        SettingsError: If there is none.
    """
    if source is None:
        raise SettingsError(
            f"nothing is known about {name}",
            consequence="Nothing was simulated.",
            next_step=f"write `{name}` into the file of --times, or give a database with such "
            "tasks by --like",
        )
    return source[min(number, len(source) - 1)]


def draw(source: Distribution, rng: np.random.Generator) -> float:
    """A number from a distribution."""
    return draw_label(source, rng)[1]


def draw_label(source: Distribution, rng: np.random.Generator) -> tuple[float, float]:
    """What is expected of a number from a distribution, and the number."""
    if isinstance(source, Lognormal):
        return source.median, float(source.median * np.exp(source.sigma * rng.normal()))
    if isinstance(source, Empirical):
        k = int(rng.integers(len(source.values)))
        told = source.expected
        expected = float(np.median(source.values)) if told is None else told[k]
        return expected, source.values[k]
    return source.value, source.value
