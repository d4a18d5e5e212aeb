"""What a report says about a campaign, as one tree of frozen values.

`collect` fills it from the store; figures, wording, HTML and JSON read nothing else.
Numbers are in eV, Å and fs unless a name says otherwise; times are UTC seconds since 1970.
A value that does not exist yet is None, and a part without data is an empty tuple.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from alflow.core.comparison import Compared
from alflow.loop.outlook import Forecast
from alflow.report.labeling import Labeling
from alflow.report.mistakes import Mistakes
from alflow.report.provenance import Provenance
from alflow.report.samples import (
    CalibrationSample,
    Parity,
    SpreadSample,
    SurvivalCurve,
    Timeline,
)
from alflow.report.thumbnails import Thumbnail
from alflow.store.traces import Trace
from alflow.store.yields import ArmYield


class Standing(StrEnum):
    """How a campaign stands; the word of the verdict box."""

    EMPTY = "not started"
    RUNNING = "running"
    PAUSED = "paused"
    INTERRUPTED = "interrupted"
    CONVERGED = "converged"
    BUDGET = "budget spent"
    TIME = "time spent"
    ITERATIONS = "iterations used up"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Header:
    """Which campaign this is, and of when the report is.

    Attributes:
        campaign: Its name.
        iteration: Number of the last iteration, None before the first.
        generation: Number of the last ensemble that is ready, None before the first.
        level: Name of the primary level of theory, empty while none is known.
        level_detail: Program, method and basis of that level.
        seed: Seed of the campaign.
        version: Version of alflow that made the store.
        database: Where the store is, without secrets.
        started: When the campaign was created [s].
        as_of: When the last thing was recorded [s].
    """

    campaign: str
    iteration: int | None
    generation: int | None
    level: str
    level_detail: str
    seed: int
    version: str
    database: str
    started: float
    as_of: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the campaign stands and what its rules are.

    Attributes:
        standing: How it stands.
        reason: What the loop wrote down when it stopped, a sentence or empty.
        phase: Phase of the last iteration, empty before the first.
        n_requested: Labels asked for so far, as the budget counts them.
        max_iterations: Largest number of iterations allowed, None if unknown.
        max_labels: Largest number of labels allowed, None if there is no such rule.
        max_core_hours: Largest number of core-hours allowed, None if there is no such rule.
        max_wall_hours: Longest time allowed [h], None if there is no such rule.
        converged: What counts as converged, by name of the rule.
        n_members: Members that the ensemble is to have, None if unknown.
        has_test: Whether there is a test set.
        manager: Who ran a campaign that is paused or interrupted, empty otherwise.
        last_sign: Last sign of life of that manager [s], None otherwise.
    """

    standing: Standing
    reason: str = ""
    phase: str = ""
    n_requested: int = 0
    max_iterations: int | None = None
    max_labels: int | None = None
    max_core_hours: float | None = None
    max_wall_hours: float | None = None
    converged: Mapping[str, float] = field(default_factory=dict)
    n_members: int | None = None
    has_test: bool = True
    manager: str = ""
    last_sign: float | None = None


@dataclass(frozen=True, slots=True)
class GenerationRow:
    """One generation of the ensemble and how well it does on the fixed test set.

    Attributes:
        number: Number of the generation.
        state: planned, training, ready, rejected or retired.
        n_members: Number of members.
        n_labels: Labels in the snapshot it was trained on.
        n_test: Labels of the test set it was validated on.
        force_rmse: Test error of the forces, per component [eV/Å], None if not validated.
        energy_rmse: Test error of the energy [eV/atom], None if not validated.
        snapshot: Digest of the snapshot.
        weights: SHA-256 of the weights, one for each distinct file.
        seeds: Seed of each member.
    """

    number: int
    state: str
    n_members: int
    n_labels: int
    n_test: int
    force_rmse: float | None
    energy_rmse: float | None
    snapshot: str
    weights: tuple[str, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class IterationRow:
    """One pass of the loop in numbers.

    Attributes:
        number: Number of the iteration.
        phase: Where it stands.
        started: When it began [s].
        ended: When it ended [s], None while it runs.
        n_trajectories: Trajectories that ended.
        stop_reasons: Number of trajectories by why they ended.
        sampled_ps: Simulated time of all trajectories [ps].
        n_flagged: Candidates that the gate flagged.
        n_audit: Candidates drawn at random.
        decisions: Number of candidates by decision.
        n_labels_ok: Structures labelled.
        n_labels_failed: Structures that could not be labelled.
        n_labels_pending: Structures whose label is on its way.
    """

    number: int
    phase: str
    started: float
    ended: float | None
    n_trajectories: int
    stop_reasons: Mapping[str, int]
    sampled_ps: float
    n_flagged: int
    n_audit: int
    decisions: Mapping[str, int]
    n_labels_ok: int
    n_labels_failed: int
    n_labels_pending: int

    @property
    def fates(self) -> dict[str, int]:
        """Number of trajectories that were trusted to their end, flagged, or unphysical."""
        trusted = self.stop_reasons.get("finished", 0)
        flagged = self.stop_reasons.get("flagged", 0)
        rest = self.n_trajectories - trusted - flagged
        return {"trusted": trusted, "flagged": flagged, "unphysical": rest}

    @property
    def flagged_fraction(self) -> float | None:
        """Share of trajectories that ended at a flagged frame; others ran on, or blew up."""
        if not self.n_trajectories:
            return None
        return self.stop_reasons.get("flagged", 0) / self.n_trajectories


@dataclass(frozen=True, slots=True)
class LabelNoise:
    """Labels that were computed again with more care, and how far they were off.

    Attributes:
        n: Number of labels that were computed again.
        n_refuted: Those of them that are not trusted any more; they are not in the other numbers.
        energy: Differences of the energy [eV/atom].
        force: Root mean square differences of force components [eV/Å], by label.
        failed: Number of labels that could not be computed again, by kind of failure.
    """

    n: int = 0
    n_refuted: int = 0
    energy: tuple[float, ...] = ()
    force: tuple[float, ...] = ()
    failed: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LabelFailures:
    """Structures that could not be labelled, of one kind of failure.

    Attributes:
        kind: Kind of failure.
        count: How many.
        structure_ids: The latest of them, newest first.
        task_ids: Their tasks, in the same order.
        message: Messages of the latest, each once; a few.
    """

    kind: str
    count: int
    structure_ids: tuple[int, ...]
    task_ids: tuple[int, ...]
    message: str


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """One attempt of a task that gave no result.

    Attributes:
        task_id: Number of the task.
        number: Which attempt.
        kind: Kind of the task.
        failure: Class of failure.
        message: What it said.
        host: Where it ran.
        ended: When [s].
        is_given_up: Whether the task will not be tried again.
    """

    task_id: int
    number: int
    kind: str
    failure: str
    message: str
    host: str
    ended: float | None
    is_given_up: bool


@dataclass(frozen=True, slots=True)
class SelectedStructure:
    """A candidate that was chosen for a label.

    Attributes:
        structure_id: Number of the structure.
        formula: Its formula.
        iteration: Iteration that chose it.
        generation: Generation that sampled it.
        sampler: Sampler that found it.
        source: Builder of the start of its trajectory.
        time_fs: Simulated time at which it was found [fs].
        reason: flagged or audit.
        measure: Measure that exceeded its limit, empty for an audit frame.
        energy_spread: Energy spread over the square root of the number of atoms [eV].
        force_spread: Largest force spread of any atom [eV/Å].
        decision_reason: Why it was chosen.
        label_state: ok, failed or pending.
        thumbnail: What it looks like, None if it has too many atoms to be drawn. The ringed atom
            is the one whose force the generation got most wrong, once the label is there.
    """

    structure_id: int
    formula: str
    iteration: int
    generation: int
    sampler: str
    source: str
    time_fs: float
    reason: str
    measure: str
    energy_spread: float | None
    force_spread: float | None
    decision_reason: str
    label_state: str
    thumbnail: Thumbnail | None = None


@dataclass(frozen=True, slots=True)
class PropertyReport:
    """What validation suites say.

    Attributes:
        generation: The last generation that answered; None if none was asked.
        rows: Its properties beside what is known about them.
        notes: Sentences on what it does not have.
    """

    generation: int | None = None
    rows: tuple[Compared, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CampaignReport:
    """Everything a report shows.

    Attributes:
        header: Which campaign, of when.
        outcome: How it stands.
        n_labels_new: Labels won in the last iteration that has any.
        generations: All generations, first to last.
        iterations: All iterations, first to last.
        spreads: Candidates of the last two iterations that have any, oldest first.
        calibration: New labels of each iteration against the generation that chose them.
        coverage: How right the spread was in each iteration, by statistic.
        parity: First and last validated generation on the test set.
        mistakes: Where generations are wrong.
        properties: What validation suites say about the last generation that was asked.
        survival: Curve of each generation that sampled, unless no time passed in any of its
            trajectories.
        traces: Examples of trajectories of the last iteration that sampled.
        arms: What each arm of a mixture did in each iteration, oldest first.
        noise: Labels that were computed again.
        labeling: How labels were computed.
        label_failures: Failed labels by kind, most frequent first.
        attempts_failed: Failed attempts, newest first; the latest few.
        n_attempts_failed: Number of all failed attempts.
        timeline: Work by worker.
        costs: What labels cost, and when the rest will be done.
        selected: Last selected candidates, largest spread first.
        notes: Id and sentence of what the last training, or the last iteration, warned of.
        provenance: What made the numbers.
    """

    header: Header
    outcome: Outcome
    n_labels_new: int = 0
    generations: tuple[GenerationRow, ...] = ()
    iterations: tuple[IterationRow, ...] = ()
    spreads: tuple[SpreadSample, ...] = ()
    calibration: tuple[CalibrationSample, ...] = ()
    coverage: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    parity: tuple[Parity, ...] = ()
    mistakes: Mistakes = field(default_factory=Mistakes)
    properties: PropertyReport = field(default_factory=PropertyReport)
    survival: tuple[SurvivalCurve, ...] = ()
    traces: tuple[Trace, ...] = ()
    arms: tuple[ArmYield, ...] = ()
    noise: LabelNoise = field(default_factory=LabelNoise)
    labeling: Labeling = field(default_factory=Labeling)
    label_failures: tuple[LabelFailures, ...] = ()
    attempts_failed: tuple[FailedAttempt, ...] = ()
    n_attempts_failed: int = 0
    timeline: Timeline = field(default_factory=Timeline)
    costs: Forecast = field(default_factory=Forecast)
    selected: tuple[SelectedStructure, ...] = ()
    notes: tuple[tuple[str, str], ...] = ()
    provenance: Provenance = field(default_factory=Provenance)

    @property
    def n_labels_ok(self) -> int:
        """Structures labelled in the whole campaign, test set included."""
        return sum(row.n_labels_ok for row in self.iterations)

    @property
    def n_labels_failed(self) -> int:
        """Structures that could not be labelled in the whole campaign."""
        return sum(row.n_labels_failed for row in self.iterations)

    @property
    def validated(self) -> tuple[GenerationRow, ...]:
        """Generations with a test error, of the energy at least."""
        return tuple(
            row
            for row in self.generations
            if row.force_rmse is not None or row.energy_rmse is not None
        )

    @property
    def n_members_left_out(self) -> int:
        """Members that the newest trained generation lacks of those that were asked for."""
        trained = [row.n_members for row in self.generations if row.n_members]
        asked = self.outcome.n_members or 0
        return max(asked, *trained) - trained[-1] if trained else 0

    @property
    def median_error_new(self) -> float | None:
        """Force RMSE that half of the last new labels stay below, per component [eV/Å]."""
        for sample in self.calibration[-1:]:
            known = sample.force_error[np.isfinite(sample.force_error)]
            if sample.iteration == self.mistakes.iteration and len(known):
                return float(np.median(known) / np.sqrt(3))
        return None

    @property
    def in_use(self) -> tuple[GenerationRow, ...]:
        """Validated generations, without those that were refused."""
        return tuple(row for row in self.validated if row.state != "rejected")

    @property
    def sampled(self) -> tuple[IterationRow, ...]:
        """Iterations with trajectories."""
        return tuple(row for row in self.iterations if row.n_trajectories)
