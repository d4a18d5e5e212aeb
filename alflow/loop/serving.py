"""Which generation the campaign works with, and whether the next one begins anew: pure functions.

A generation serves from the end of its iteration until another one passes the gate: it samples, is
checked on the labels that it asked for, and is the parent of the next one. Generations at
another level of theory never serve.
"""

from alflow.config.campaign import CampaignSettings
from alflow.core.errors import StoreError
from alflow.store.rows import EnsembleState
from alflow.store.views import GenerationProgress, Progress

TRANSFER = "transfer"
"""Relation of a generation at another level of theory to the one that it comes from."""


def serving(progress: Progress, iteration: int) -> int:
    """Number of the generation that an iteration works with.

    Args:
        progress: What the store says.
        iteration: Number of the iteration; what it trains itself does not count.

    Raises:
        StoreError: If no generation before it is fit for use.
    """
    ready = [g.number for g in _before(progress, iteration) if _is_ready(g)]
    if not ready:
        raise StoreError(f"there is no generation that iteration {iteration} could use")
    return ready[-1]


def n_refused(progress: Progress, iteration: int) -> int:
    """How many generations in a row were refused just before an iteration."""
    count = 0
    for generation in reversed(_before(progress, iteration)):
        if generation.state != EnsembleState.REJECTED:
            break
        count += 1
    return count


def why_from_scratch(progress: Progress, settings: CampaignSettings, iteration: int) -> str:
    """Why the generation of an iteration is not trained from its parent; empty if it is."""
    if iteration and getattr(settings.train, "warm_start", True) is False:
        return "from scratch, as train.warm_start is false"
    refused = n_refused(progress, iteration)
    if refused >= settings.loop.gate.scratch_after:
        which = "the last one was" if refused == 1 else f"the last {refused} were"
        return f"from scratch, as {which} refused"
    parent = next((g for g in reversed(_before(progress, iteration)) if _is_ready(g)), None)
    if parent is not None and parent.n_put_aside:
        n = parent.n_put_aside
        labels = (
            f"{n} label{'s' if n > 1 else ''} that generation {parent.number} learnt from"
        )
        return f"from scratch, as {labels} {'were' if n > 1 else 'was'} put aside"
    every = settings.loop.scratch_every
    if iteration and every is not None and iteration % every == 0:
        return f"from scratch, as every {every} iterations"
    return ""


def _before(progress: Progress, iteration: int) -> list[GenerationProgress]:
    unjudged = {one.number for one in progress.iterations if not one.ended}
    return [
        g
        for g in progress.generations
        if g.number < iteration and g.number not in unjudged and g.relation != TRANSFER
    ]


def _is_ready(generation: GenerationProgress) -> bool:
    return generation.state == EnsembleState.READY
