"""What a person should look at: at most five bullets, each with id and command. Pure."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice

from alflow.core.sampling import StopReason
from alflow.report.attribution import Use
from alflow.report.content import CampaignReport
from alflow.report.quantities import count, milli, percent, significant
from alflow.report.samples import Timeline
from alflow.report.wording import FEW_LABELS, LABEL_FAILURE_LIMIT, is_usable, sentence

MAX_BULLETS = 5
IDLE_LIMIT = 0.30
"""Share of worker time without work that is worth a look."""
UNPHYSICAL_LIMIT = 0.10
"""Share of unphysical trajectories that is worth a look."""
WORSE_LIMIT = 1.10
"""Growth of the test error from one generation to the next that is worth a look."""
MIN_SPAN_S = 600.0
"""Shorter campaigns are mostly start-up: idle workers are not worth a bullet."""
LONG = 3
"""Iterations in a row in which the same thing is no accident."""
UNPHYSICAL = tuple(str(reason) for reason in StopReason if reason.is_unphysical)


@dataclass(frozen=True, slots=True)
class Bullet:
    """One thing to look at.

    Attributes:
        subject: Id of the object.
        text: What is the matter, a sentence.
        command: What to type to see more.
    """

    subject: str
    text: str
    command: str


def bullets(report: CampaignReport) -> tuple[Bullet, ...]:
    """The most urgent things first, at most five."""
    found = chain.from_iterable(check(report) for check in _CHECKS)
    return tuple(islice(found, MAX_BULLETS))


def _given_up(report: CampaignReport) -> Iterator[Bullet]:
    lost = [attempt for attempt in report.attempts_failed if attempt.is_given_up]
    if lost:
        first = lost[0]
        more = "" if len(lost) == 1 else f", and {count(len(lost) - 1, 'more task')}"
        text = (
            f"The {first.kind} task t-{first.task_id} was given up: {first.failure}{more}."
        )
        yield Bullet(f"t-{first.task_id}", text, f"alflow show t-{first.task_id}")


def _rejected(report: CampaignReport) -> Iterator[Bullet]:
    for row in report.generations[-1:]:
        if row.state == "rejected":
            name = f"g{row.number}"
            text = f"Generation {name} was refused: it is worse on the test set."
            yield Bullet(name, text, f"alflow show {name}")


def _not_finite(report: CampaignReport) -> Iterator[Bullet]:
    for row in report.generations[-1:]:
        if row.n_test and row.force_rmse is None and row.energy_rmse is None:
            name = f"g{row.number}"
            text = f"Predictions of {name} on the test set are not all finite numbers."
            yield Bullet(name, text, f"alflow show {name}")


def _members(report: CampaignReport) -> Iterator[Bullet]:
    lost = report.n_members_left_out
    if not lost:
        return
    told = [one for one in report.notes if _is_of_training(one)]
    if told:
        yield from map(_note, told)
        return
    trained = [row for row in report.generations if row.n_members]
    row = trained[-1]
    text = (
        f"g{row.number} has {row.n_members} of {row.n_members + lost} members: the others "
        "diverged, or copied one another, at every try."
    )
    yield Bullet(f"g{row.number}", text, f"alflow show g{row.number}")


def _notes(report: CampaignReport) -> Iterator[Bullet]:
    is_told = report.n_members_left_out > 0
    for one in report.notes:
        if not (is_told and _is_of_training(one)):
            yield _note(one)


def _is_of_training(note: tuple[str, str]) -> bool:
    return note[0].startswith("t-")


def _note(note: tuple[str, str]) -> Bullet:
    subject, message = note
    return Bullet(subject, sentence(message), f"alflow show {subject}")


def _failed_labels(report: CampaignReport) -> Iterator[Bullet]:
    total = report.n_labels_ok + report.n_labels_failed
    if not total or report.n_labels_failed / total < LABEL_FAILURE_LIMIT:
        return
    for failures in report.label_failures[:2]:
        name = f"s-{failures.structure_ids[0]}"
        text = (
            f"{count(failures.count, 'label')} of {total} failed with {failures.kind}; "
            f"the latest is {name}."
        )
        yield Bullet(name, text, f"alflow show {name}")


def _worse(report: CampaignReport) -> Iterator[Bullet]:
    if len(report.validated) < 2:  # noqa: PLR2004
        return
    before, after = report.validated[-2:]
    if after.state == "rejected":
        return  # told already, and not in use
    if (after.force_rmse or 0.0) > WORSE_LIMIT * (before.force_rmse or 0.0):
        text = (
            f"g{after.number} is worse than g{before.number} on the test set: "
            f"{milli(after.force_rmse)} against {milli(before.force_rmse)} meV/Å."
        )
        name = f"g{after.number}"
        yield Bullet(name, text, f"alflow show {name}")


def _uncalibrated(report: CampaignReport) -> Iterator[Bullet]:
    for sample in report.calibration[-1:]:
        if (
            sample.factor is None
            or sample.n_labels < FEW_LABELS
            or is_usable(sample.factor)
        ):
            continue
        name = f"g{sample.generation}"
        text = (
            f"The spread of {name} is not calibrated: errors of new labels are "
            f"{significant(sample.factor, 2)} times the spread."
        )
        yield Bullet(name, text, f"alflow show {name}")


def _unphysical(report: CampaignReport) -> Iterator[Bullet]:
    for row in report.sampled[-1:]:
        wild = sum(row.stop_reasons.get(reason, 0) for reason in UNPHYSICAL)
        if wild / row.n_trajectories > UNPHYSICAL_LIMIT:
            share = percent(wild / row.n_trajectories)
            text = f"{share} of the trajectories of i{row.number} became unphysical."
            yield Bullet(f"i{row.number}", text, f"alflow show i{row.number}")


def _all_flagged(report: CampaignReport) -> Iterator[Bullet]:
    last = report.sampled[-LONG:]
    if len(last) == LONG and all(row.flagged_fraction == 1 for row in last):
        name = f"i{last[-1].number}"
        text = (
            f"All trajectories of the last {LONG} iterations were flagged, as if nothing were "
            "learnt: the limits (acquire) may be below what labels and ensemble can reach."
        )
        yield Bullet(name, text, f"alflow show {name}")


def _idle(report: CampaignReport) -> Iterator[Bullet]:
    work = report.timeline
    if work.busy_fraction is None or work.span_s < MIN_SPAN_S:
        return
    if 1 - work.busy_fraction > IDLE_LIMIT:
        text = f"Workers were idle {percent(1 - work.busy_fraction)} of the time{_mostly(work)}."
        name = f"i{report.header.iteration or 0}"
        yield Bullet(name, text, "alflow ls tasks")


def _mostly(work: Timeline) -> str:
    """What idle workers waited for, if that is known."""
    lost = {Use(use): spent for use, spent in work.time.by_use().items() if use in IDLE}
    return f", most of it {IDLE[max(lost, key=lambda use: lost[use])]}" if lost else ""


IDLE = {
    Use.START_UP: "while tasks were started",
    Use.QUEUE: "while tasks waited to be handed out",
    Use.BARRIER: "waiting for the last tasks of a stage",
    Use.STRAGGLER: "waiting for stragglers",
    Use.BETWEEN: "between stages",
}
"""What a worker without work may wait for."""

_CHECKS: tuple[Callable[[CampaignReport], Iterator[Bullet]], ...] = (
    _given_up,
    _rejected,
    _not_finite,
    _members,
    _failed_labels,
    _worse,
    _uncalibrated,
    _unphysical,
    _all_flagged,
    _idle,
    _notes,
)
