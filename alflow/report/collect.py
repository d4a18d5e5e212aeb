"""Reads a whole campaign from its store, at any time, into one `CampaignReport`."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from alflow.loop.forecast import forecast
from alflow.loop.promotion import Phase
from alflow.report import readings
from alflow.report.attribution import attributed
from alflow.report.content import (
    CampaignReport,
    FailedAttempt,
    GenerationRow,
    Header,
    IterationRow,
    LabelFailures,
    LabelNoise,
    Outcome,
    SelectedStructure,
    Standing,
)
from alflow.report.estimates import packed, survival_curve, timeline
from alflow.report.labeling import labeling
from alflow.report.mistakes import Mistakes, by_element
from alflow.report.moments import Moment, end_of, seen_at
from alflow.report.provenance import Provenance
from alflow.report.samples import Parity, SpreadSample, SurvivalCurve, Timeline
from alflow.store import CampaignState, Split, Store, audits, history, mistakes, predictions
from alflow.store.campaigns import workers
from alflow.store.chosen import chosen, force_pairs
from alflow.store.lifetimes import lifetimes, path_counts
from alflow.store.past import coverages, gates_of
from alflow.store.properties import found
from alflow.store.told import told
from alflow.store.traces import Trace, examples
from alflow.store.views import manager_status
from alflow.store.yields import all_yields

MAX_SELECTED = 12
MAX_ATTEMPTS = 20
MAX_IDS = 8
MAX_MESSAGES = 3
MAX_WORST = 10
MAX_TRACES = 3
MAX_TOLD = 20_000
"""Labels that are asked how long they took."""
MAX_FORCES = 1000
"""Labels of a set whose forces are looked at atom by atom."""
NO_CAMPAIGN = Header("(no campaign)", None, None, "", "", 0, "", "", 0.0, 0.0)


def collect(store: Store, iteration: int | None = None) -> CampaignReport:
    """Everything a report shows, as of one moment; works while the campaign runs too.

    Args:
        store: The store.
        iteration: As of the end of this iteration; None for now. Labels that were asked for by
            then and came later are there, and labels have the quality that they have now.

    Raises:
        SettingsError: If there is no such iteration, or it has not ended.
        StoreError: If the database cannot be read.
    """
    with store.read() as connection:
        overview = history.overview(connection)
        if overview is None:
            return CampaignReport(NO_CAMPAIGN, Outcome(Standing.EMPTY))
        then = Moment() if iteration is None else end_of(connection, iteration)
        reader = _Reader(connection, then)
        report = reader.report(seen_at(connection, overview, then), store.name)
    if then.time is not None:
        return report  # what is left to do is known for now only
    return replace(report, costs=forecast(store, report.header.as_of))


class _Reader:
    """One read transaction and what several parts of the report need from it."""

    def __init__(self, connection: Any, then: Moment) -> None:
        # The type of a connection is the store's business: no SQL is spoken here.
        self._connection = connection
        self._then = then
        self._labels = then.of(history.label_counts(connection))
        self._paths = then.of(path_counts(connection))
        self._candidates = then.of(history.candidate_counts(connection))

    def report(self, overview: history.Overview, database: str) -> CampaignReport:
        """Read all that a report shows, on one connection."""
        generations = self._generations()
        iterations = self._iterations()
        sampled = sorted({count.iteration for count in self._candidates})
        then = self._then
        failures = history.failed_attempts(self._connection, MAX_ATTEMPTS, then.time)
        return CampaignReport(
            header=self._header(overview, database, iterations, generations),
            outcome=self._attended(self._outcome(overview, iterations)),
            n_labels_new=next(
                (r.n_labels_ok for r in iterations[::-1] if r.n_labels_ok), 0
            ),
            generations=generations,
            iterations=iterations,
            spreads=tuple(self._spread(number) for number in sampled[-2:]),
            calibration=readings.calibration(
                then.of(predictions.new_label_predictions(self._connection))
            ),
            coverage={
                number: named
                for number, named in coverages(self._connection).items()
                if then.has(number)
            },
            parity=self._parity(generations),
            mistakes=self._mistakes(generations),
            properties=readings.properties(
                [one for one in found(self._connection) if then.has(one.generation)],
                overview.config,
            ),
            survival=self._survival(),
            traces=self._traces(),
            arms=tuple(then.of(all_yields(self._connection))),
            noise=self._noise(overview),
            labeling=labeling(told(self._connection, MAX_TOLD, then.time)),
            label_failures=self._label_failures(),
            attempts_failed=tuple(_failed(attempt) for attempt in failures),
            n_attempts_failed=history.n_failed_attempts(self._connection, then.time),
            timeline=self._timeline(overview.as_of),
            selected=self._selected(sampled),
            notes=tuple(
                (note.subject, note.message)
                for note in history.notes(
                    self._connection,
                    max((row.number for row in generations), default=None),
                    iterations[-1].number if iterations else 0,
                )
            ),
            provenance=Provenance(
                overview.config,
                overview.config_sha,
                tuple(history.environments(self._connection)),
                overview.store_uuid,
                readings.changes(
                    [
                        one
                        for one in history.replaced_settings(self._connection)
                        if one.ts <= overview.as_of
                    ],
                    overview.config,
                    [(row.started, row.number) for row in iterations],
                ),
                tuple(
                    (one.ts, one.name)
                    for one in history.managers(self._connection)
                    if one.ts <= overview.as_of
                ),
            ),
        )

    def _header(
        self,
        overview: history.Overview,
        database: str,
        iterations: Sequence[IterationRow],
        generations: Sequence[GenerationRow],
    ) -> Header:
        level = readings.text_at(overview.config, "label", "primary")
        ready = [row.number for row in generations if row.state == "ready"]
        return Header(
            campaign=overview.name,
            iteration=iterations[-1].number if iterations else None,
            generation=ready[-1] if ready else None,
            level=level,
            level_detail=" ".join(history.level_words(self._connection, level)),
            seed=overview.seed,
            version=overview.alflow_version,
            database=database,
            started=overview.created,
            as_of=overview.as_of,
        )

    def _outcome(
        self, overview: history.Overview, iterations: Sequence[IterationRow]
    ) -> Outcome:
        config = overview.config
        promotions = {row.number for row in iterations if row.phase in set(Phase)}
        requested = sum(
            count.n
            for count in self._labels
            if count.split != Split.TEST and count.iteration not in promotions
        )
        budget = readings.numbers_at(config, "stop", "budget")
        standing = Standing.STOPPED
        match overview.state:
            case CampaignState.RUNNING:
                standing = Standing.RUNNING if iterations else Standing.EMPTY
            case CampaignState.CONVERGED:
                standing = Standing.CONVERGED
            case CampaignState.FAILED:
                standing = Standing.FAILED
            case CampaignState.FINISHED:
                last = iterations[-1].number if iterations else None
                standing = readings.standing_at_end(requested, last, config)
        return Outcome(
            standing=standing,
            reason=overview.verdict,
            phase=iterations[-1].phase if iterations and not iterations[-1].ended else "",
            n_requested=requested,
            max_iterations=readings.whole_at(config, "loop", "max_iterations"),
            max_labels=readings.whole_at(config, "stop", "budget", "labels"),
            max_core_hours=budget.get("core_hours"),
            max_wall_hours=budget.get("wall_hours"),
            converged=readings.convergence(config),
            n_members=readings.members_asked_for(config),
            has_test=readings.at(config, "test") is not None,
        )

    def _noise(self, overview: history.Overview) -> LabelNoise:
        level, then = readings.text_at(overview.config, "label", "primary"), self._then.time
        # When a calculation failed is not recorded.
        failed = audits.failed(self._connection, level) if then is None else {}
        return readings.noise(audits.audits(self._connection, level, then), failed)

    def _attended(self, outcome: Outcome) -> Outcome:
        """The same, told apart from what nobody runs now."""
        manager = manager_status(self._connection)
        if outcome.standing is not Standing.RUNNING or self._then.time is not None:
            return outcome
        if manager.alive or not manager.holder:
            return outcome
        is_left = manager.is_released
        return replace(
            outcome,
            standing=Standing.PAUSED if is_left else Standing.INTERRUPTED,
            manager=manager.holder,
            last_sign=manager.renewed,
        )

    def _iterations(self) -> tuple[IterationRow, ...]:
        labels: dict[int, Counter[str]] = defaultdict(Counter)
        for label in self._labels:
            labels[label.iteration][label.state] += label.n
        stops: dict[int, dict[str, int]] = defaultdict(dict)
        sampled_fs: dict[int, float] = defaultdict(float)
        for path in self._paths:
            stops[path.iteration][path.stop_reason] = path.n
            sampled_fs[path.iteration] += path.time_fs
        origins: dict[int, Counter[str]] = defaultdict(Counter)
        decisions: dict[int, Counter[str]] = defaultdict(Counter)
        for one in self._candidates:
            origins[one.iteration][one.reason] += one.n
            decisions[one.iteration][one.decision] += one.n
        return tuple(
            IterationRow(
                number=row.number,
                phase=row.phase,
                started=row.started,
                ended=row.ended,
                n_trajectories=sum(stops[row.number].values()),
                stop_reasons=stops[row.number],
                sampled_ps=sampled_fs[row.number] / 1000,
                n_flagged=origins[row.number]["flagged"],
                n_audit=origins[row.number]["audit"],
                decisions=dict(decisions[row.number]),
                n_labels_ok=labels[row.number]["ok"],
                n_labels_failed=labels[row.number]["failed"],
                n_labels_pending=labels[row.number]["pending"],
            )
            for row in history.iterations(self._connection)
            if self._then.has(row.number)
        )

    def _generations(self) -> tuple[GenerationRow, ...]:
        tested = {
            error.generation: error
            for error in predictions.errors_on_test(self._connection)
        }
        nothing = predictions.ErrorOnTest(-1, 0, None, None)
        return tuple(
            GenerationRow(
                number=row.number,
                state=row.state,
                n_members=len(row.seeds),
                n_labels=row.n_train,
                n_test=tested.get(row.number, nothing).n_labels,
                force_rmse=readings.root(tested.get(row.number, nothing).force),
                energy_rmse=readings.root(tested.get(row.number, nothing).energy),
                snapshot=row.digest,
                weights=() if row.weights_sha is None else (row.weights_sha,),
                seeds=row.seeds,
            )
            for row in predictions.generations(self._connection)
            if self._then.has(row.number)
        )

    def _spread(self, number: int) -> SpreadSample:
        rows = predictions.candidate_spreads(self._connection, number)
        return readings.spread_sample(number, rows, gates_of(self._connection, number))

    def _parity(self, generations: Sequence[GenerationRow]) -> tuple[Parity, ...]:
        tested = [
            row.number for row in generations if row.n_test and row.state != "rejected"
        ]
        ends = sorted({tested[0], tested[-1]}) if tested else []
        return tuple(
            readings.parity(n, predictions.predictions_on_test(self._connection, n))
            for n in ends
        )

    def _mistakes(self, generations: Sequence[GenerationRow]) -> Mistakes:
        tested = [
            row.number for row in generations if row.n_test and row.state != "rejected"
        ]
        labelled = predictions.iterations_with_predictions(self._connection)
        sets = mistakes.Sets(
            tested[-1] if tested else None, labelled[-1] if labelled else None
        )
        return Mistakes(
            sets.generation,
            sets.iteration,
            by_element(mistakes.atom_errors(self._connection, sets, MAX_FORCES)),
            tuple(mistakes.errors_by_origin(self._connection, sets)),
            tuple(mistakes.worst_labels(self._connection, sets, MAX_WORST)),
        )

    def _survival(self) -> tuple[SurvivalCurve, ...]:
        return tuple(
            survival_curve(generation, lasted.time_fs, lasted.has_ended)
            for generation, lasted in lifetimes(
                self._connection, self._then.iteration
            ).items()
            if (lasted.time_fs > 0).any()
        )

    def _traces(self) -> tuple[Trace, ...]:
        last = max((path.iteration for path in self._paths), default=None)
        if last is None:
            return ()
        return tuple(examples(self._connection, last, MAX_TRACES))

    def _label_failures(self) -> tuple[LabelFailures, ...]:
        found = []
        last = self._then.iteration
        for kind, count in history.label_failure_counts(self._connection, last).items():
            latest = history.label_failures(self._connection, kind, MAX_IDS, last)
            found.append(
                LabelFailures(
                    kind,
                    count,
                    tuple(row.structure_id for row in latest),
                    tuple(row.task_id for row in latest if row.task_id is not None),
                    "; ".join(
                        list(dict.fromkeys(row.message for row in latest))[:MAX_MESSAGES]
                    ),
                )
            )
        return tuple(found)

    def _timeline(self, as_of: float) -> Timeline:
        attempts = self._then.of_attempts(history.attempts(self._connection))
        queued = [one for one in history.queued(self._connection) if one.since <= as_of]
        done, waiting = readings.work(attempts, queued, as_of)
        n_workers = sum(pool.n for pool in workers(self._connection).values())
        work = packed(done, n_workers)
        drawn = timeline(work)
        return replace(drawn, time=attributed(work, waiting, len(drawn.lanes)))

    def _selected(self, sampled: Sequence[int]) -> tuple[SelectedStructure, ...]:
        for number in reversed(sampled):
            rows = chosen(self._connection, number, MAX_SELECTED)
            if rows:
                ids = [row.structure_id for row in rows]
                return readings.selected(
                    number, rows, force_pairs(self._connection, number, ids)
                )
        return ()


def _failed(attempt: history.Try) -> FailedAttempt:
    return FailedAttempt(
        task_id=attempt.task_id,
        number=attempt.number,
        kind=attempt.kind,
        failure=attempt.failure or "",
        message=attempt.message,
        host=attempt.host or "",
        ended=attempt.ended,
        is_given_up=attempt.task_state == "failed",
    )
