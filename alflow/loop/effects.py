"""Carries out the actions of a plan: reads what tasks left, writes one transaction each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace

from alflow.config.campaign import CampaignSettings
from alflow.core.batches import (
    pack_dataset,
    pack_structures,
    read_arrays,
    unpack_structures,
)
from alflow.core.cost import compositions, fit
from alflow.core.datasets import Dataset
from alflow.core.past import Checked, PastIteration
from alflow.core.sampling import Candidate, Decision, Gate, Spread, Verdict
from alflow.core.structures import Structure
from alflow.core.tasks import TaskState
from alflow.execution.files import CampaignFiles
from alflow.loop import publish
from alflow.loop.auditing import Auditing
from alflow.loop.batching import ENOUGH, Known
from alflow.loop.calibration import calibration_statistics, drift
from alflow.loop.gate import Comparison, compare
from alflow.loop.ingest import Notice
from alflow.loop.overlap import JOINED, SCORE
from alflow.loop.plan import Action, ActionKind, label_budget, missing_structures
from alflow.loop.pretrained import starting_weights
from alflow.loop.promoting import Promoting
from alflow.loop.replay import selection_seed
from alflow.loop.scoring import judged_again, known_by_now
from alflow.loop.serving import serving, why_from_scratch
from alflow.loop.statistics import iteration_statistics
from alflow.store import (
    GateVerdict,
    NewStructure,
    NewTask,
    Severity,
    Snapshot,
    Split,
    Store,
    TaskRow,
    TrajectoryRow,
)
from alflow.store.costs import measured
from alflow.store.past import (
    N_FLAGGED,
    N_PLACES,
    N_TRAJECTORIES,
    checked_frames,
    past_iterations,
)
from alflow.store.predictions import errors_by_label
from alflow.store.views import IterationProgress, Progress
from alflow.store.yields import n_accepted
from alflow.tasks.trajectories import unpack_trajectories

PAST_READ = 10
"""Number of the last iterations whose labels a rule of acquisition is told about."""
FINE_TUNE = "fine_tune"
"""Relation of a generation without a parent to weights that the campaign begins from."""


class Effects:
    """What each kind of action does to the store and the campaign directory."""

    def __init__(
        self,
        store: Store,
        settings: CampaignSettings,
        files: CampaignFiles,
        notify: Callable[[Notice], None],
        labelers: Callable[[], int],
    ) -> None:
        """Act on `store` and `files` as `settings` ask.

        Tell `notify` what comes of it; `labelers` counts workers for labels.
        """
        self._store = store
        self._settings = settings
        self._files = files
        self._notify = notify
        self._labelers = labelers
        self._auditing = Auditing(store, settings, files, notify, self._known)
        promoting = Promoting(store, settings, files, self._known)
        self._verbs: dict[ActionKind, Callable[[Action, Progress], None]] = {
            ActionKind.BEGIN_ITERATION: self._begin_iteration,
            ActionKind.ADD_STRUCTURES: self._add_structures,
            ActionKind.SAMPLE_MORE: self._sample_more,
            ActionKind.SCORE: self._score,
            ActionKind.SELECT: self._select,
            ActionKind.TRAIN: self._train,
            ActionKind.JOIN: self._join,
            ActionKind.VALIDATE: self._validate,
            ActionKind.AUDIT: self._auditing.audit,
            ActionKind.END_ITERATION: self._end_iteration,
            ActionKind.STOP: self._end_campaign,
            ActionKind.BEGIN_PROMOTION: promoting.begin,
            ActionKind.PROMOTE: promoting.choose,
            ActionKind.TRANSFER: promoting.train,
            ActionKind.COMPARE: promoting.compare,
            ActionKind.END_PROMOTION: promoting.end,
        }

    def carry_out(self, action: Action, view: Progress) -> None:
        """Do what an action says; `view` is what it was planned from."""
        self._verbs[action.kind](action, view)

    def _begin_iteration(self, action: Action, view: Progress) -> None:
        if action.iteration == 0:
            missing = missing_structures(view, self._settings)
            tasks = publish.build_tasks(self._settings, *missing)
            # With enough imported labels there is nothing to build, and nothing to label.
            self._store.begin_iteration(0, "build" if tasks else "label", tasks)
        else:
            generation = serving(view, action.iteration)
            tasks = self._sample_tasks(action.iteration, 0, generation, view)
            self._store.begin_iteration(
                action.iteration, "sample", tasks, generation=generation
            )

    def _sample_more(self, action: Action, view: Progress) -> None:
        one = view.iterations[action.iteration]
        generation = _sampled_by(one, view)
        tasks = self._sample_tasks(one.number, one.n_rounds, generation, view)
        self._store.publish(tasks)

    def _sample_tasks(
        self, iteration: int, sampling_round: int, generation: int, view: Progress
    ) -> list[NewTask]:
        weights, past = self._weights_blob(generation), view.iterations
        taught = past_iterations(self._store, PAST_READ, iteration)
        rule = self._settings.acquire.create()
        gate: Gate = rule.gate(generation, taught, sampling_round)
        return publish.sample_tasks(
            self._settings, iteration, sampling_round, gate, weights, past
        )

    def _add_structures(self, action: Action, _view: Progress) -> None:
        new = [
            NewStructure(structure, f"{task.spec.key}/{position}", split, source)
            for task in self._done(action.iteration, "build")
            for split in [Split.TEST if task.spec.key == publish.TEST else Split.TRAIN]
            for position, (structure, source) in enumerate(self._built(task))
        ]
        # Test structures come first: one that is in both sets must never be trained on.
        new.sort(key=lambda item: item.split != Split.TEST)
        tasks = self._label_tasks(action.iteration, [item.structure for item in new])
        self._store.add_structures(
            new, iteration=action.iteration, publish=tasks, phase="label"
        )

    def _built(self, task: TaskRow) -> list[tuple[Structure, str]]:
        structures = unpack_structures(self._output(task, "structures"))
        sources = task.outcome.values["sources"] if task.outcome else []
        return list(zip(structures, sources, strict=True))

    def _score(self, action: Action, view: Progress) -> None:
        frames = self._frames(self._done(action.iteration, "sample"))
        generation = serving(view, action.iteration)
        task = publish.score_task(
            self._settings,
            generation,
            action.iteration,
            self._weights_blob(generation),
            self._files.write_blob(pack_structures(list(frames.values()))),
        )
        self._store.publish([task], phase=SCORE)

    def _frames(self, tasks: Sequence[TaskRow]) -> dict[str, Structure]:
        """Structures of all frames that sample tasks brought back, by hash, in order."""
        return {
            frame.structure.hash: frame.structure
            for task in tasks
            for item in unpack_trajectories(self._output(task, "trajectories"))
            for frame in item.trajectory.frames
        }

    def _scored(
        self, iteration: int, tasks: Sequence[TaskRow]
    ) -> tuple[int, Mapping[str, Spread]] | None:
        """The newer generation that judged the frames, and the spreads by hash."""
        done = self._done(iteration, "score")
        if not done:
            return None
        columns = read_arrays(self._output(done[-1], "spreads"))
        values = zip(
            *(columns[field.name].tolist() for field in fields(Spread)), strict=True
        )
        spreads = zip(self._frames(tasks), (Spread(*one) for one in values), strict=True)
        return int(done[-1].spec.settings["generation"]), dict(spreads)

    def _select(self, action: Action, view: Progress) -> None:
        tasks = self._done(action.iteration, "sample")
        generation = _sampled_by(view.iterations[action.iteration], view)
        spreads: Mapping[str, Spread] = {}
        if (scored := self._scored(action.iteration, tasks)) is not None:
            generation, spreads = scored
        rows: list[TrajectoryRow] = []
        resolved: dict[str, Verdict] = {}
        for task in tasks:
            found = unpack_trajectories(self._output(task, "trajectories"))
            gate = Gate.from_json(task.spec.settings["gate"])
            for position, item in enumerate(found):
                path = judged_again(item.trajectory, spreads)
                sampler = _sampler(task)
                rows.append(
                    TrajectoryRow(path, task.spec.key, position, sampler, item.source)
                )
                if spreads:
                    resolved |= known_by_now(path, gate, generation)
        frames = [frame for row in rows for frame in row.trajectory.frames]
        known = self._store.requested([frame.structure.hash for frame in frames])
        costs = self._expected_costs([frame.structure for frame in frames])
        verdicts = self._settings.acquire.create().select(
            [
                Candidate(
                    frame.structure.hash,
                    frame.spread,
                    frame.reason,
                    frame.measure,
                    frame.fingerprint,
                    frame.structure.hash in known,
                    costs.get(frame.structure.hash),
                )
                for frame in frames
                if frame.structure.hash not in resolved
            ],
            label_budget(view, self._settings),
            selection_seed(self._settings, action.iteration),
            Gate.from_json(tasks[0].spec.settings["gate"]),
        )
        verdicts = {**verdicts, **resolved}
        chosen = [
            frame.structure
            for frame in frames
            if verdicts[frame.structure.hash].decision is Decision.SELECTED
        ]
        self._store.record_selection(
            action.iteration,
            generation,
            rows,
            verdicts,
            [
                *self._label_tasks(action.iteration, chosen),
                *self._auditing.routine(action.iteration),
            ],
        )

    def _train(self, action: Action, view: Progress) -> None:
        iteration = action.iteration
        old = serving(view, iteration) if iteration else None
        is_new = bool(why_from_scratch(view, self._settings, iteration))
        parent = None if is_new else old
        initial = self._pretrained() if parent is None else self._weights_blob(parent)
        check = [self._calibration_task(iteration, view)] if iteration else []

        def tasks(snapshot: Snapshot) -> list[NewTask]:
            dataset = self._files.write_blob(pack_dataset(snapshot.items))
            train = publish.train_task(self._settings, iteration, dataset, initial)
            return [train, *check]

        self._store.begin_generation(
            iteration,
            iteration,
            self._settings.label.primary,
            self._settings.model.model_dump(mode="json"),
            tasks,
            parent=parent,
            relation=FINE_TUNE if initial is not None and parent is None else None,
        )

    def _pretrained(self) -> str | None:
        """Weights that generations without a parent start from, where there are some."""
        weights = starting_weights(self._store, self._settings)
        return None if weights is None else self._files.write_blob(weights)

    def _join(self, action: Action, view: Progress) -> None:
        self._store.publish([self._calibration_task(action.iteration, view)], phase=JOINED)

    def _calibration_task(self, iteration: int, view: Progress) -> NewTask:
        """Check the generation that asked for the new labels against them."""
        generation = _sampled_by(view.iterations[iteration], view)
        new = self._labelled(Split.TRAIN, iteration=iteration)
        return publish.validate_task(
            self._settings,
            generation,
            iteration,
            self._weights_blob(generation),
            self._files.write_blob(pack_dataset(new)),
        )

    def _validate(self, action: Action, _view: Progress) -> None:
        task = publish.validate_task(
            self._settings,
            action.iteration,
            action.iteration,
            self._weights_blob(action.iteration),
            self._files.write_blob(pack_dataset(self._labelled(Split.TEST))),
        )
        self._store.publish([task], phase="validate")

    def _end_iteration(self, action: Action, view: Progress) -> None:
        tasks = [
            *self._done(action.iteration, "sample"),
            *self._done(action.iteration, "validate"),
        ]
        accepted = n_accepted(self._store, action.iteration)
        one = view.iterations[action.iteration]
        statistics = iteration_statistics(tasks, one, accepted)
        if action.iteration:
            since = sum(other.n_selected for other in view.iterations[one.number :])
            before = replace(view, n_requested=view.n_requested - since)
            statistics[N_PLACES] = float(label_budget(before, self._settings))
            past = past_iterations(self._store, PAST_READ)
            now = self._taught(action.iteration, statistics)
            statistics |= calibration_statistics(past, now, self._settings)
            if alarm := drift(past, now.checked, statistics):
                self._warn(action.iteration, alarm)
        self._ask_for_properties(action.iteration, view)
        found = self._compare(action.iteration, view)
        if found is None:
            self._store.end_iteration(action.iteration, statistics)
            return
        old, comparison = found
        is_refused = comparison.is_worse(self._settings.loop.gate)
        message = comparison.sentence(action.iteration, old, is_refused=is_refused)
        self._store.end_iteration(
            action.iteration,
            statistics | comparison.to_statistics(),
            GateVerdict(action.iteration, is_refused, message),
        )

    def _warn(self, iteration: int, alarm: str) -> None:
        subject = f"i{iteration}"
        self._store.event("spread-drifts", Severity.WARNING, subject, {"message": alarm})
        self._notify(Notice("spread-drifts", subject, alarm))

    def _taught(self, iteration: int, statistics: Mapping[str, float]) -> PastIteration:
        """What an iteration that is about to end taught about the spread."""
        with self._store.read() as connection:
            checked = checked_frames(connection, [iteration])
        n_trajectories, n_flagged = (
            int(statistics.get(name, 0)) for name in (N_TRAJECTORIES, N_FLAGGED)
        )
        places = int(statistics[N_PLACES])
        known = checked.get(iteration, Checked.none())
        return PastIteration(iteration, n_trajectories, n_flagged, places, checked=known)

    def _ask_for_properties(self, iteration: int, view: Progress) -> None:
        """Let suites run beside the next iteration, where the campaign asks for it."""
        every = self._settings.validate.every
        is_trained = any(one.number == iteration for one in view.generations)
        if every is None or iteration % every or not is_trained:
            return
        ours = publish.property_tasks(
            self._settings, iteration, iteration, self._weights_blob(iteration)
        )
        self._store.publish([*publish.property_tasks(self._settings, 0, None), *ours])

    def _compare(self, iteration: int, view: Progress) -> tuple[int, Comparison] | None:
        """The generation that serves, and the new one beside it; None without test errors."""
        is_trained = any(one.number == iteration for one in view.generations)
        if iteration == 0 or not is_trained:
            return None
        old = serving(view, iteration)
        with self._store.read() as connection:
            errors = [errors_by_label(connection, one) for one in (old, iteration)]
        comparison = compare(*errors)
        return None if comparison is None else (old, comparison)

    def _end_campaign(self, action: Action, _view: Progress) -> None:
        self._store.set_state(action.state, action.reason)

    def _label_tasks(self, iteration: int, structures: list[Structure]) -> list[NewTask]:
        known = self._known(self._settings.label.primary)
        return publish.label_tasks(
            self._settings, iteration, structures, self._files.write_blob, known=known
        )

    def _known(self, level: str) -> Known:
        """What is known about the costs of labels at a level."""
        with self._store.read() as connection:
            return Known(fit(measured(connection, level)), self._labelers())

    def _expected_costs(self, structures: list[Structure]) -> dict[str, float]:
        """What labels of structures are expected to cost [core-seconds], as far as is known."""
        cost = self._known(self._settings.label.primary).cost
        if cost is None or cost.n_measured < ENOUGH or not structures:
            return {}
        expected = cost.median_core_s(compositions(one.numbers for one in structures))
        return {one.hash: float(s) for one, s in zip(structures, expected, strict=True)}

    def _labelled(self, split: Split, iteration: int | None = None) -> Dataset:
        return self._store.dataset(split, self._settings.label.primary, iteration=iteration)

    def _weights_blob(self, generation: int) -> str:
        """Put a generation's weights where workers find them; they may have been cleaned."""
        return self._files.write_blob(self._store.weights(generation))

    def _done(self, iteration: int, kind: str) -> list[TaskRow]:
        return self._store.tasks(iteration, kind, TaskState.DONE)

    def _output(self, task: TaskRow, name: str) -> bytes:
        if task.last_attempt is None:
            raise ValueError(f"task {task.id} is done without an attempt")
        return self._files.read_output(task.last_attempt, name)


def _sampled_by(one: IterationProgress, view: Progress) -> int:
    """The generation that an iteration asks for labels with."""
    return serving(view, one.number) if one.generation is None else one.generation


def _sampler(task: TaskRow) -> str:
    """What made the trajectories of a sample task: `udd`, or `hot (udd)` for the arm `hot`."""
    kind, arm = str(task.spec.settings["sample"]["kind"]), task.spec.settings.get("arm")
    return f"{arm} ({kind})" if arm else kind
