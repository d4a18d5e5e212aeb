"""The sentences of a report, as pure functions of its content."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from alflow.core.metrics import rmse
from alflow.report.content import (
    CampaignReport,
    GenerationRow,
    IterationRow,
    LabelNoise,
    PropertyReport,
    Standing,
)
from alflow.report.estimates import rank_correlation
from alflow.report.quantities import count, grouped, milli, moment, percent, significant
from alflow.report.quantities import simulated as time_of
from alflow.report.samples import (
    CalibrationSample,
    SpreadSample,
    SurvivalCurve,
)
from alflow.store.traces import Trace
from alflow.store.yields import ArmYield

LABEL_FAILURE_LIMIT = 0.05
"""Share of labels that fail which is worth a look even if a few are normal."""

CALIBRATED = (0.75, 1.33)
"""Range of error over spread within which a spread counts as calibrated."""

USABLE = (0.5, 2.0)
"""Range of error over spread within which a spread that is not calibrated needs no attention."""

WITHIN_SPREADS = 2.0
"""An error of this many spreads is one that the ensemble knows of."""

TONES = {
    Standing.EMPTY: "idle",
    Standing.RUNNING: "busy",
    Standing.PAUSED: "warn",
    Standing.INTERRUPTED: "bad",
    Standing.CONVERGED: "good",
    Standing.BUDGET: "warn",
    Standing.TIME: "warn",
    Standing.ITERATIONS: "warn",
    Standing.STOPPED: "warn",
    Standing.FAILED: "bad",
}
"""Colour of the verdict box; the word is always there too."""

PHASES = {
    "build": "building structures",
    "sample": "sampling",
    "label": "labelling",
    "train": "training",
    "validate": "validating",
    "promote": "choosing structures to label at a better level",
    "relabel": "labelling at a better level",
    "transfer": "training at a better level",
    "compare": "testing at a better level",
    "audit": "computing labels again that are doubted",
    "audited": "through with its labels",
}
"""What the loop does in a phase."""


ENDINGS = {
    Standing.CONVERGED: "Converged",
    Standing.BUDGET: "Ended by the label budget",
    Standing.TIME: "Ended by the budget of time",
    Standing.ITERATIONS: "Ended by the iteration limit",
    Standing.STOPPED: "Stopped",
    Standing.FAILED: "Failed",
}
"""How a campaign ended."""

NEXT_STEPS = {
    Standing.EMPTY: "It starts with: alflow run campaign.yaml.",
    Standing.PAUSED: "Nothing finished is lost; it goes on with: alflow resume.",
    Standing.INTERRUPTED: "Nothing finished is lost; it goes on with: alflow resume.",
    Standing.BUDGET: "To go on, raise stop.budget.labels in the campaign file "
    "and run it again.",
    Standing.TIME: "To go on, raise what is spent of stop.budget in the campaign file "
    "and run it again.",
    Standing.ITERATIONS: "To go on, raise loop.max_iterations in the campaign file "
    "and run it again.",
    Standing.STOPPED: "Nothing finished is lost; it goes on with: alflow resume.",
    Standing.FAILED: "See what failed with: alflow ls failures. "
    "When the cause is mended, go on with: alflow resume.",
}
"""What to do next, where that is always the same."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The box at the top of a report.

    Attributes:
        word: How the campaign stands, in capitals or small letters as written.
        tone: idle, busy, good, warn or bad.
        state: A sentence: how it stands.
        why: A sentence: why.
        next_step: A sentence: what happens next.
    """

    word: str
    tone: str
    state: str
    why: str
    next_step: str


def verdict(report: CampaignReport) -> Verdict:
    """The three sentences of the verdict box, and its colour."""
    standing = report.outcome.standing
    return Verdict(
        str(standing), TONES[standing], _state(report), _why(report), _next_step(report)
    )


def _state(report: CampaignReport) -> str:
    outcome, iteration = report.outcome, report.header.iteration
    labels = count(report.n_labels_ok, "labelled structure")
    if outcome.standing is Standing.EMPTY:
        return "Nothing has been computed yet."
    if outcome.standing in UNDER_WAY:
        limit = outcome.max_iterations
        of_limit = "" if limit is None else f" of at most {limit}"
        phase = PHASES.get(outcome.phase, "between two steps")
        verb = "is" if outcome.standing is Standing.RUNNING else "was"
        return f"Iteration {iteration}{of_limit} {verb} {phase}; there are {labels}."
    when = (
        "before the first iteration"
        if iteration is None
        else f"after iteration {iteration}"
    )
    return f"{ENDINGS[outcome.standing]} {when}, with {labels}."


UNDER_WAY = (Standing.RUNNING, Standing.PAUSED, Standing.INTERRUPTED)
"""Of a campaign in the middle of an iteration."""


def _why(report: CampaignReport) -> str:
    return " ".join((_reason(report), *_caveats(report)))


def _caveats(report: CampaignReport) -> Iterator[str]:
    """What a reader of the verdict should know before trusting it."""
    outcome = report.outcome
    if outcome.last_sign is not None:
        how = (
            "left" if outcome.standing is Standing.PAUSED else "gave its last sign of life"
        )
        yield f"Nobody runs it: {outcome.manager} {how} at {moment(outcome.last_sign)}."
    total = report.n_labels_ok + report.n_labels_failed
    if total and report.n_labels_failed / total >= LABEL_FAILURE_LIMIT:
        yield f"{percent(report.n_labels_failed / total)} of the labels failed."
    if report.n_members_left_out:
        noun = "member" if report.n_members_left_out == 1 else "members"
        yield f"The newest ensemble lacks {report.n_members_left_out} {noun}."


def _reason(report: CampaignReport) -> str:
    if not report.outcome.reason:
        return (
            _trends(report) or "There is no test error and no trajectory to judge by yet."
        )
    parts = [sentence(report.outcome.reason)]
    if report.outcome.standing in LIMITS:
        parts += [part for part in (_trends(report), _not_converged(report)) if part]
    return " ".join(parts)


LIMITS = (Standing.BUDGET, Standing.TIME, Standing.ITERATIONS)
"""Ends that say nothing about whether the ensemble is good."""


def _trends(report: CampaignReport) -> str:
    """How good the ensemble is, a sentence; empty if nothing tells."""
    error = _error_trend(report.in_use) or _error_on_new_labels(report)
    text = "; ".join(filter(None, (error, _flag_trend(report))))
    return sentence(text) if text else ""


def _not_converged(report: CampaignReport) -> str:
    """What would have been enough for a campaign that ended at a limit."""
    rules = [_rule(name, value) for name, value in report.outcome.converged.items()]
    if not rules:
        return sentence(NO_RULE)
    return f"It is not converged: that would be when {', or '.join(rules)}."


NO_RULE = "no criterion of convergence is set"
"""What is said of a campaign with an empty stop.converged."""


SKEWED = 2.0
"""A root mean square beyond this many medians is ruled by a few."""


def _error_on_new_labels(report: CampaignReport) -> str:
    """For a campaign without a test set."""
    error, iteration = report.mistakes.force_rmse_new, report.mistakes.iteration
    if error is None:
        return ""
    text = f"forces of the new labels of i{iteration} were off by {milli(error)} meV/Å"
    median = report.median_error_new
    if median is None or error < SKEWED * median:
        return text
    return f"{text} (those of half of them by less than {milli(median)}: a few rule)"


def _error_trend(rows: Sequence[GenerationRow]) -> str:
    if not rows:
        return ""
    measure = _measure(rows[-1])
    now = f"the test {measure.noun} error is {milli(measure.of(rows[-1]))} {measure.unit}"
    return now if len(rows) == 1 else f"{now} (was {milli(measure.of(rows[-2]))})"


@dataclass(frozen=True, slots=True)
class _Measure:
    """The error by which generations are told apart: of forces, or of energies alone."""

    noun: str
    unit: str

    def of(self, row: GenerationRow) -> float | None:
        return row.force_rmse if self.noun == "force" else row.energy_rmse


def _measure(row: GenerationRow) -> _Measure:
    has_forces = row.force_rmse is not None
    return _Measure("force", "meV/Å") if has_forces else _Measure("energy", "meV/atom")


def _flag_trend(report: CampaignReport) -> str:
    rows = report.sampled
    if not rows:
        return ""
    now = f"{percent(rows[-1].flagged_fraction)} of the trajectories were flagged"
    return now if len(rows) == 1 else f"{now} (was {percent(rows[-2].flagged_fraction)})"


def _next_step(report: CampaignReport) -> str:
    if report.outcome.standing is Standing.RUNNING:
        return f"It goes on until {_rules(report)}."
    if report.outcome.standing is Standing.CONVERGED:
        return (
            f"Generation g{report.header.generation} is ready to use: alflow export model."
        )
    step = NEXT_STEPS[report.outcome.standing]
    if report.outcome.standing in LIMITS and _has_trouble(report):
        return f"First see to what went wrong, below: more of it is no use. {step}"
    return step


def _has_trouble(report: CampaignReport) -> bool:
    """Whether labels fail, or the last generation was refused."""
    total = report.n_labels_ok + report.n_labels_failed
    is_failing = total > 0 and report.n_labels_failed / total >= LABEL_FAILURE_LIMIT
    return is_failing or any(row.state == "rejected" for row in report.generations[-1:])


def _rules(report: CampaignReport) -> str:
    outcome = report.outcome
    rules = [f"{_rule(name, value)}" for name, value in outcome.converged.items()]
    if outcome.max_labels is not None:
        asked = grouped(outcome.n_requested)
        rules.append(f"{grouped(outcome.max_labels)} labels are spent ({asked} so far)")
    if outcome.max_core_hours is not None:
        rules.append(f"{outcome.max_core_hours:g} core-hours are spent")
    if outcome.max_wall_hours is not None:
        rules.append(f"{outcome.max_wall_hours:g} hours have passed")
    if outcome.max_iterations is not None:
        rules.append(f"iteration {outcome.max_iterations} ends")
    limits = ", or ".join(rules) if rules else "it is stopped"
    return limits if outcome.converged else f"{limits}; {NO_RULE}"


def _rule(name: str, value: float) -> str:
    if name == "force_rmse_eV_per_A":
        return f"the test force error is {1000 * value:g} meV/Å or less"
    if name == "survival_ps":
        return f"all trajectories survive {value:g} ps"
    if name == "audit":
        share = percent(value)
        return (
            f"surely less than {share} of frames drawn at random are beyond the tolerance"
        )
    if name == "plateau":
        return f"the test force error has not fallen for {count(int(value), 'iteration')}"
    if name == "stalled":
        n = count(int(value), "iteration")
        return f"fewer frames than places are beyond the tolerance for {n}"
    return f"{name.replace('_', ' ')} reaches {value:g}"


def sentence(text: str) -> str:
    """With a capital at the start and a full stop at the end."""
    text = text.strip()
    ending = "" if text.endswith((".", "!", "?")) else "."
    return text[:1].upper() + text[1:] + ending


def learning_title(rows: Sequence[GenerationRow]) -> str:
    """What the learning curve shows."""
    if len(rows) < 2:  # noqa: PLR2004
        return "How good is the first generation?"
    first, last = rows[0], rows[-1]
    measure = _measure(last)
    before, after = measure.of(first), measure.of(last)
    change = (after or 0.0) - (before or 0.0)
    verb = "fell" if change < 0 else "rose" if change > 0 else "stayed,"
    return (
        f"Test {measure.noun} error {verb} from {milli(before)} to {milli(after)} "
        f"{measure.unit} "
        f"between g{first.number} and g{last.number}"
    )


def spread_title(sample: SpreadSample) -> str:
    """What the histogram of spreads shows."""
    n_flagged = int((~sample.is_audit).sum())
    n_audit = int(sample.is_audit.sum())
    return (
        f"Iteration {sample.iteration} brought {count(n_flagged, 'flagged frame')} "
        f"and {count(n_audit, 'audit frame')}"
    )


FEW_LABELS = 10
"""With fewer labels nothing is said about whether a spread is calibrated."""
RANKS = 0.3
"""A spread whose rank correlation with the error is less hardly tells structures apart."""


def calibration_title(sample: CalibrationSample) -> str:
    """Whether the spread is calibrated, by how much it is off, and whether it ranks errors."""
    if sample.factor is None:
        return "Is the spread calibrated?"
    if sample.n_labels < FEW_LABELS:
        n = count(sample.n_labels, "label")
        return f"Is the spread of g{sample.generation} calibrated? {n}: too few to tell"
    word = "calibrated"
    if not is_calibrated(sample.factor):
        word = "overconfident" if sample.factor > 1 else "too cautious"
        if is_usable(sample.factor):
            word = f"a little {word}"
    factor = significant(sample.factor, 2)
    title = f"The spread of g{sample.generation} is {word}: error is {factor} × spread"
    rank = rank_correlation(sample.force_spread, sample.force_error)
    if rank is not None and rank < RANKS:
        return f"{title}, and large errors are not where it is large"
    return title


def is_calibrated(factor: float) -> bool:
    """Whether errors are about as large as the spread says."""
    return CALIBRATED[0] <= factor <= CALIBRATED[1]


def is_usable(factor: float) -> bool:
    """Whether errors are not so far from what the spread says that a person should look."""
    return USABLE[0] <= factor <= USABLE[1]


def calibration_note(sample: CalibrationSample) -> str:
    """How well the spread ranks structures, and how often it covers the energy error."""
    parts = []
    rank = rank_correlation(sample.force_spread, sample.force_error)
    if rank is not None:
        parts.append(f"Rank correlation of spread and error: {round(rank, 2) + 0.0:.2f}.")
    if sample.coverage:
        shares = ", ".join(
            f"{percent(seen)} (nominal {100 * nominal:.0f} %)"
            for nominal, seen in sample.coverage.items()
        )
        parts.append(f"Energy errors inside the interval: {shares}.")
    return " ".join(parts)


def parity_title(quantity: str, rows: Sequence[GenerationRow]) -> str:
    """What a parity plot of forces or energies shows: the error of first and last."""
    unit = "meV/Å" if quantity == "force" else "meV/atom"

    def error(row: GenerationRow) -> str:
        value = row.force_rmse if quantity == "force" else row.energy_rmse
        return f"{milli(value)} {unit} with g{row.number}"

    if not rows:
        return f"Predicted against true {quantity}"
    noun = "Force" if quantity == "force" else "Energy"
    ends = rows if len(rows) == 1 else (rows[0], rows[-1])
    return f"{noun} error on the test set: " + ", ".join(error(row) for row in ends)


def properties_title(found: PropertyReport) -> str:
    """What validation suites found."""
    known = [row.error_per_spread for row in found.rows if row.error_per_spread is not None]
    title = f"{count(len(found.rows), 'property', 'properties')} of g{found.generation}"
    if not known:
        return title
    within = sum(ratio <= WITHIN_SPREADS for ratio in known)
    return f"{title}; {within} of {len(known)} within two spreads of the reference"


def noise_title(noise: LabelNoise) -> str:
    """How far labels are off that were computed again."""
    if not noise.n:
        return "No label could be computed again"
    n = f"{noise.n - noise.n_refuted} of {count(noise.n, 'label')} held when computed again"
    if noise.failed:
        n = f"{n} ({sum(noise.failed.values())} more could not be)"
    if noise.n == noise.n_refuted:
        return n
    if not any(noise.energy):
        return f"{n}, and came out the same"
    energy = f"{significant(1000 * rmse(np.array(noise.energy)), 2)} meV/atom"
    if not noise.force:
        return f"{n}: energies differ by {energy}"
    force = f"{significant(1000 * rmse(np.array(noise.force)), 2)} meV/Å"
    return f"{n}: energies differ by {energy}, forces by {force}"


def refuted(noise: LabelNoise) -> str:
    """How many labels were found to be wrong."""
    if not noise.n_refuted:
        return "All of them held."
    n = noise.n_refuted
    which = "One of them" if n == 1 else f"{grouped(n)} of them"
    return f"{which} did not hold. What is put aside: alflow ls labels --state suspect."


def not_audited(noise: LabelNoise) -> str:
    """How many labels could not be computed again, and why; empty if all could."""
    if not noise.failed:
        return ""
    total = sum(noise.failed.values())
    kinds = ", ".join(f"{grouped(n)} {kind}" for kind, n in sorted(noise.failed.items()))
    verb = "keeps its label" if total == 1 else "keep their labels"
    return f"{count(total, 'structure')} could not be computed again ({kinds}) and {verb}."


def survival_title(curves: Sequence[SurvivalCurve]) -> str:
    """How long trajectories last, last generation against first."""
    last = curves[-1]
    now = f"Half of the trajectories last {_median(last)} with g{last.generation}"
    if last.median_fs is None:
        share = percent(last.fractions[-1])
        now = f"{share} of the trajectories last {_median(last)} with g{last.generation}"
    if len(curves) == 1:
        return now
    first = curves[0]
    if first.median_fs is None:
        share = percent(first.fractions[-1])
        return f"{now}; with g{first.generation} {share} lasted {_median(first)}"
    return f"{now}; with g{first.generation} half lasted {_median(first)}"


def traces_title(shown: Sequence[Trace], iteration: int) -> str:
    """How the trajectories that are shown ended."""
    ends = ", ".join(
        f"p\u2011{one.trajectory} {one.stop_reason} at {time_of(one.lasted_fs)}"
        for one in shown
    )
    return f"Trajectories of i{iteration}: {ends}"


def _median(curve: SurvivalCurve) -> str:
    if curve.median_fs is None:
        return time_of(curve.times_fs[-1])
    return time_of(curve.median_fs)


def decisions_title(rows: Sequence[IterationRow]) -> str:
    """How many candidates were chosen."""
    selected = sum(row.decisions.get("selected", 0) for row in rows)
    total = sum(sum(row.decisions.values()) for row in rows)
    return f"{grouped(selected)} of {count(total, 'candidate')} were selected for a label"


def arms_title(arms: Sequence[ArmYield]) -> str:
    """Which arm of a mixture brought in most for its cost in the last iteration."""
    last = [arm for arm in arms if arm.iteration == arms[-1].iteration and arm.atom_steps]
    best = max(last, key=lambda arm: arm.per_million, default=None)
    if best is None or not best.n_accepted:
        return f"No arm brought in a frame in i{arms[-1].iteration}"
    rate = significant(best.per_million, 3)
    return (
        f"In i{best.iteration} {best.arm} brought in most for its cost: "
        f"{rate} accepted frames per million atom-steps"
    )


def failures_title(report: CampaignReport) -> str:
    """How many labels and attempts failed."""
    attempts = count(report.n_attempts_failed, "failed attempt")
    return f"{count(report.n_labels_failed, 'failed label')}, {attempts}"


def fates_title(rows: Sequence[IterationRow]) -> str:
    """What share of the trajectories the ensemble vouched for, last iteration and first."""

    def share(row: IterationRow) -> str:
        return percent(row.fates["trusted"] / row.n_trajectories)

    last = f"{share(rows[-1])} of the trajectories of i{rows[-1].number} were trusted to their end"
    return last if len(rows) == 1 else f"{last}; of i{rows[0].number} {share(rows[0])}"
