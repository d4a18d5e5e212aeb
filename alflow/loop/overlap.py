"""Iterations that overlap, in asynchronous mode: what may begin, and what waits for what.

Three stages, and at most one iteration in the first and in the last: one looks for frames, several
wait for labels, one trains. Generations are trained in the order of their iterations, so that each
has learnt from all labels that were asked for before it; iterations whose labels are all there when
training becomes free are trained on together. All functions are pure, and say for generational
mode, where one iteration is open at a time, that nothing waits.
"""

from dataclasses import replace

from alflow.config.campaign import CampaignSettings
from alflow.store.views import IterationProgress, Progress

SCORE, JOINED = "score", "joined"
"""Phases of an iteration: a newer generation judges the frames that were flagged; a later iteration
trains on its labels."""

_SAMPLING = ("sample", SCORE)
_TRAINING = ("train", "validate", "audit", "audited")


def ended(progress: Progress) -> Progress:
    """What is known of iterations that have ended, and of their generations."""
    under_way = {one.number for one in progress.iterations if not one.ended}
    return replace(
        progress,
        iterations=tuple(one for one in progress.iterations if one.ended),
        generations=tuple(g for g in progress.generations if g.number not in under_way),
    )


def may_begin(progress: Progress, settings: CampaignSettings) -> bool:
    """Whether another iteration may begin beside those that are open."""
    under_way = [one for one in progress.iterations if not one.ended]
    return (
        is_asynchronous(settings)
        and 0 not in [one.number for one in under_way]
        and len(under_way) < settings.loop.open_iterations
        and not any(one.phase in _SAMPLING for one in under_way)
        and len(progress.iterations) <= settings.loop.max_iterations
    )


def has_enough_waiting(progress: Progress, settings: CampaignSettings) -> bool:
    """Whether so many labels are still to come that choosing frames can wait."""
    most = settings.loop.waiting_labels
    if most is None:
        most = max(1, int(settings.acquire.per_iteration) // 2)
    n_waiting = sum(one.n_pending for one in progress.iterations)
    return is_asynchronous(settings) and n_waiting > most


def must_wait(one: IterationProgress, progress: Progress) -> bool:
    """Whether training on the labels of an iteration waits for other iterations."""
    under_way = [other for other in progress.iterations if not other.ended]
    return any(
        other.phase in _TRAINING or (other.number < one.number and other.phase != JOINED)
        for other in under_way
    )


def later_labels(one: IterationProgress, progress: Progress) -> int | None:
    """Number of a later iteration whose labels are all there, too; None if there is none."""
    found = [
        other.number
        for other in progress.iterations[one.number + 1 :]
        if other.phase == "label" and other.n_labelled and not has_open_tasks(other)
    ]
    return found[-1] if found else None


def has_open_tasks(iteration: IterationProgress) -> bool:
    """Whether tasks of an iteration wait or run."""
    return any(
        states.get(state, 0)
        for states in iteration.tasks.values()
        for state in ("queued", "leased")
    )


def is_asynchronous(settings: CampaignSettings) -> bool:
    """Whether iterations overlap."""
    return bool(settings.loop.mode == "asynchronous")
