"""What to do next: a pure function of what the store says and what the campaign file asks.

An iteration walks through phases; each arrow is one transaction:

    0:  build ─→ label ─→ train ─→ validate ─→ audit ─→ ended
    k:  sample ─→ label ─→ train ─→ validate ─→ audit ─→ ended
    last, at another level of theory, if the campaign asks for it:
        promote ─→ relabel ─→ transfer ─→ compare ─→ ended

In generational mode one iteration is open at a time. In asynchronous mode several are: while labels
of one are computed and the networks of another are trained, the next one samples (`loop.overlap`).

Nothing here knows about time, processes or the order in which results arrived. Start, resume
and every turn of the manager are the same call.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from alflow.config.campaign import CampaignSettings
from alflow.loop import bandit, overlap
from alflow.loop.batches import Batches
from alflow.loop.gate import Comparison, from_statistics
from alflow.loop.promotion import Phase, is_due, is_promotion, ordinary, outcome
from alflow.loop.publish import sample_keys
from alflow.loop.serving import serving, why_from_scratch
from alflow.loop.stopping import judge
from alflow.store.views import IterationProgress, Progress


class ActionKind(StrEnum):
    """What the manager can be told to do."""

    BEGIN_ITERATION = "begin-iteration"
    """Open an iteration and publish its first tasks."""
    ADD_STRUCTURES = "add-structures"
    """Take in what the builders made and publish its label tasks."""
    SAMPLE_MORE = "sample-more"
    """Publish another round of sample tasks."""
    SCORE = "score"
    """Ask the newest generation about the frames that an older one flagged."""
    SELECT = "select"
    """Take in trajectories, decide about candidates, publish label tasks."""
    TRAIN = "train"
    """Close a snapshot and publish training on it; check the old generation on new labels."""
    JOIN = "join"
    """Leave training on new labels to a later iteration; check the old generation on them."""
    VALIDATE = "validate"
    """Publish the new generation's predictions on the test set."""
    AUDIT = "audit"
    """Put aside labels that were refuted, and publish those to compute again that are doubted."""
    END_ITERATION = "end-iteration"
    """Write the iteration's statistics."""
    BEGIN_PROMOTION = "begin-promotion"
    """Open a last iteration, at another level of theory, and publish predictions for it."""
    PROMOTE = "promote"
    """Choose stored structures and publish their labels at the other level."""
    TRANSFER = "transfer"
    """Close a snapshot of that level and publish training on it."""
    COMPARE = "compare"
    """Publish the new generation's predictions on held-out labels of that level."""
    END_PROMOTION = "end-promotion"
    """Write what came of it."""
    STOP = "stop"
    """End the campaign."""


AUDIT, AUDITED = "audit", "audited"
"""Phases of an iteration: labels that are doubted are computed again; no label is doubted."""

BEGINNINGS = (ActionKind.BEGIN_ITERATION, ActionKind.BEGIN_PROMOTION)
"""Actions that open an iteration."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do, and why.

    Attributes:
        kind: What to do.
        iteration: In which iteration.
        reason: A sentence for the person who asks "why is it doing that?".
        state: For STOP: final state of the campaign.
    """

    kind: ActionKind
    iteration: int
    reason: str
    state: str = ""


def plan(progress: Progress, settings: CampaignSettings) -> list[Action]:
    """The next actions; an empty list means: wait for running tasks, or nothing is left.

    Args:
        progress: What the store says.
        settings: What the campaign file asks.
    """
    if progress.state != "running":
        return []
    if not progress.iterations:
        return [Action(ActionKind.BEGIN_ITERATION, 0, _bootstrap(progress, settings))]
    is_failing = False
    for one in progress.iterations:
        if one.ended or overlap.has_open_tasks(one):
            continue
        action = _PHASES[one.phase](one, progress, settings)
        if action is not None and action.kind is ActionKind.STOP and _is_busy(progress):
            is_failing = True  # but what runs for other iterations is finished first
        elif action is not None:
            return [action]
    return [] if is_failing else _next(progress, settings)


def _next(progress: Progress, settings: CampaignSettings) -> list[Action]:
    """The next iteration, or the end; nothing while open iterations have to be waited for."""
    ended = overlap.ended(progress)
    is_between = len(ended.iterations) == len(progress.iterations)
    if not is_between and not overlap.may_begin(progress, settings):
        return []
    number = progress.iterations[-1].number + 1
    action = _after(ended.iterations[-1], number, ended, settings)
    if action.kind is ActionKind.BEGIN_ITERATION:
        return [action]
    # what the last generation is asked beside the next iteration has none at the end
    return [action] if is_between and not _is_busy(progress) else []


def _is_busy(progress: Progress) -> bool:
    return any(overlap.has_open_tasks(one) for one in progress.iterations)


def missing_structures(progress: Progress, settings: CampaignSettings) -> tuple[int, int]:
    """How many structures to build for the bootstrap and for the test set.

    Labelled structures that were imported before the campaign began stand for built ones.
    """
    wanted = settings.test.count if settings.test is not None else 0
    n_train, n_test = progress.n_train, progress.n_test
    return max(0, settings.loop.bootstrap - n_train), max(0, wanted - n_test)


def _bootstrap(progress: Progress, settings: CampaignSettings) -> str:
    n_train, n_test = missing_structures(progress, settings)
    if not progress.n_train and not progress.n_test:
        return f"bootstrap with {n_train} structures"
    imported = f"{progress.n_train} to train on, {progress.n_test} to test on"
    return f"imported labels ({imported}): build {n_train} and {n_test} more structures"


def _after(
    last: IterationProgress, number: int, progress: Progress, settings: CampaignSettings
) -> Action:
    """What follows the last iteration that has ended: one of this number, or the end."""
    verdict = judge(progress, settings)
    if verdict is not None and verdict.state != "failed" and is_due(progress, settings):
        why = f"{verdict.state}: {verdict.sentence}{_refusal(last, progress)}; "
        why += _to_promote(settings)
        return Action(ActionKind.BEGIN_PROMOTION, number, why)
    if verdict is not None:
        reason = verdict.sentence
        if is_promotion(last) and settings.promote is not None:
            reason += f"; {outcome(last, settings.promote.level)}"
        else:
            reason += _refusal(last, progress)
        return Action(ActionKind.STOP, last.number, reason, verdict.state)
    last = ordinary(progress).iterations[-1]
    reason = _about(last, number, progress) + ": look for frames that it does not know"
    reason += _arms(number, 0, progress, settings)
    return Action(ActionKind.BEGIN_ITERATION, number, reason)


def _about(last: IterationProgress, number: int, progress: Progress) -> str:
    """What the next iteration works with, and what the gate said about the last generation."""
    best = serving(progress, number)
    comparison = from_statistics(last.stats)
    if comparison is None:
        return f"generation {best} is ready"
    return f"{_gate(comparison, last, progress)}; sample with generation {best}"


def _refusal(last: IterationProgress, progress: Progress) -> str:
    """What to add to the reason for an end if the last generation was refused."""
    comparison = from_statistics(last.stats)
    if comparison is None or serving(progress, last.number + 1) == last.number:
        return ""
    return f"; {_gate(comparison, last, progress)}"


def _gate(comparison: Comparison, last: IterationProgress, progress: Progress) -> str:
    """What the gate said about the generation of an iteration."""
    is_refused = serving(progress, last.number + 1) != last.number
    old = serving(progress, last.number)
    return comparison.sentence(last.number, old, is_refused=is_refused)


def _arms(
    number: int, sampling_round: int, progress: Progress, settings: CampaignSettings
) -> str:
    """What to add to the reason for a round where tasks are given to arms of a mixture."""
    keys = sample_keys(settings, number, sampling_round)
    arms = bandit.arms_of(settings, keys, progress.iterations)
    return f"; {bandit.why(settings, arms, progress.iterations)}" if arms else ""


def _after_build(
    last: IterationProgress, _progress: Progress, settings: CampaignSettings
) -> Action:
    if _count(last, "build", "failed"):
        return _failed(last, "build", "the builders failed")
    reason = f"label the bootstrap and test structures at level {settings.label.primary!r}"
    return Action(ActionKind.ADD_STRUCTURES, last.number, reason)


def _after_sample(
    last: IterationProgress, progress: Progress, settings: CampaignSettings
) -> Action | None:
    if _count(last, "sample", "done") == 0:
        return _failed(last, "sample", "every sample task failed")
    budget = label_budget(progress, settings)
    if last.n_flagged < budget and last.n_rounds < settings.sample.rounds:
        reason = (
            f"{last.n_flagged} flagged frames do not fill the budget of {budget} labels"
        )
        reason += _arms(last.number, last.n_rounds, progress, settings)
        return Action(ActionKind.SAMPLE_MORE, last.number, reason)
    if overlap.has_enough_waiting(progress, settings):
        return None
    newest = serving(progress, last.number)
    if last.n_flagged and last.generation is not None and newest > last.generation:
        reason = (
            f"generation {newest} is ready: ask it about the {last.n_flagged} frames that "
            f"generation {last.generation} flagged"
        )
        return Action(ActionKind.SCORE, last.number, reason)
    return _after_score(last, progress, settings)


def _after_score(
    last: IterationProgress, progress: Progress, settings: CampaignSettings
) -> Action:
    budget, n = label_budget(progress, settings), last.n_flagged
    reason = f"choose up to {min(budget, n)} of {n} flagged frames"
    return Action(ActionKind.SELECT, last.number, reason)


def _after_label(
    last: IterationProgress, progress: Progress, settings: CampaignSettings
) -> Action | None:
    if last.number > 0 and last.n_selected == 0:
        return Action(ActionKind.END_ITERATION, last.number, "no frame was selected")
    is_seeded = last.number == 0 and progress.n_train > 0
    if last.n_labelled == 0 and not is_seeded:
        return _failed(last, "label", f"none of {last.n_failed} labels succeeded")
    if not progress.n_train:
        return _failed(last, "label", "no label is left that can be trusted")
    if overlap.must_wait(last, progress):
        return None
    if (later := overlap.later_labels(last, progress)) is not None:
        reason = f"{last.n_labelled} new labels, to train on with those of i{later}"
        return Action(ActionKind.JOIN, last.number, reason)
    reason = f"{last.n_labelled} new labels; {progress.n_train} structures to train on"
    scratch = why_from_scratch(progress, settings, last.number)
    if scratch and last.number > 0:
        reason += f"; {scratch}"
    return Action(ActionKind.TRAIN, last.number, reason)


def _after_train(
    last: IterationProgress, progress: Progress, settings: CampaignSettings
) -> Action:
    if _count(last, "train", "failed"):
        stop = _failed(last, "train", f"training of generation {last.number} failed")
        return replace(stop, reason=f"{stop.reason}; {_TRAIN_AGAIN}")
    if progress.n_test == 0:
        return _after_validate(last, progress, settings)
    reason = f"predict {progress.n_test} test structures with generation {last.number}"
    return Action(ActionKind.VALIDATE, last.number, reason)


_TRAIN_AGAIN = (
    "after a change of its settings `alflow run` trains again, after new labels "
    "`alflow retry` does"
)


def _after_validate(
    last: IterationProgress, progress: Progress, settings: CampaignSettings
) -> Action:
    if settings.label.audit is None:
        return _after_audits(last, progress, settings)
    reason = f"ask which labels generation {last.number} contradicts"
    return Action(ActionKind.AUDIT, last.number, reason)


def _after_doubts(
    last: IterationProgress, _progress: Progress, _settings: CampaignSettings
) -> Action:
    reason = "labels that were doubted are computed again: compare"
    return Action(ActionKind.AUDIT, last.number, reason)


def _after_join(
    last: IterationProgress, _progress: Progress, _settings: CampaignSettings
) -> Action:
    reason = "a later iteration trains on its labels"
    return Action(ActionKind.END_ITERATION, last.number, reason)


def _after_audits(
    last: IterationProgress, progress: Progress, _settings: CampaignSettings
) -> Action:
    if progress.n_test == 0:
        return Action(ActionKind.END_ITERATION, last.number, "there is no test set")
    is_tested = _count(last, "validate", "failed") == 0
    end = "and tested" if is_tested else "but could not be tested"
    reason = f"generation {last.number} is trained {end}"
    return Action(ActionKind.END_ITERATION, last.number, reason)


def _to_promote(settings: CampaignSettings) -> str:
    if settings.promote is None:
        return ""
    level, labels = settings.promote.level, settings.promote.labels
    return f"choose up to {labels} structures to label at level {level!r}"


def _after_pool(
    last: IterationProgress, _progress: Progress, settings: CampaignSettings
) -> Action:
    if _count(last, "validate", "failed"):
        return _failed(last, "validate", "no structure could be chosen for promotion")
    return Action(ActionKind.PROMOTE, last.number, _to_promote(settings))


def _after_relabel(
    last: IterationProgress, progress: Progress, _settings: CampaignSettings
) -> Action:
    if last.n_failed and not last.n_labelled:
        return _failed(last, "label", f"none of {last.n_failed} labels succeeded")
    parent = serving(progress, last.number)
    reason = f"{last.n_labelled} new labels; train on them from generation {parent}"
    return Action(ActionKind.TRANSFER, last.number, reason)


def _after_transfer(
    last: IterationProgress, _progress: Progress, _settings: CampaignSettings
) -> Action:
    if _count(last, "train", "failed"):
        stop = _failed(last, "train", f"training of generation {last.number} failed")
        return replace(stop, reason=f"{stop.reason}; {_TRAIN_AGAIN}")
    reason = f"predict the held-out structures with generation {last.number}"
    return Action(ActionKind.COMPARE, last.number, reason)


def _after_compare(
    last: IterationProgress, _progress: Progress, _settings: CampaignSettings
) -> Action:
    reason = f"generation {last.number} is trained and compared with its parent"
    return Action(ActionKind.END_PROMOTION, last.number, reason)


_PHASES: Mapping[
    str, Callable[[IterationProgress, Progress, CampaignSettings], Action | None]
] = {
    "build": _after_build,
    "sample": _after_sample,
    overlap.SCORE: _after_score,
    "label": _after_label,
    overlap.JOINED: _after_join,
    "train": _after_train,
    "validate": _after_validate,
    AUDIT: _after_doubts,
    AUDITED: _after_audits,
    Phase.PROMOTE: _after_pool,
    Phase.RELABEL: _after_relabel,
    Phase.TRANSFER: _after_transfer,
    Phase.COMPARE: _after_compare,
}


def label_budget(progress: Progress, settings: CampaignSettings) -> int:
    """How many labels the current iteration may ask for."""
    return Batches.of(settings).places(progress.n_requested)


def _failed(last: IterationProgress, kind: str, what: str) -> Action:
    reason = f"{what} in iteration {last.number}; see: alflow ls tasks --kind {kind} --state failed"
    return Action(ActionKind.STOP, last.number, reason, "failed")


def _count(iteration: IterationProgress, kind: str, state: str) -> int:
    return iteration.tasks.get(kind, {}).get(state, 0)
