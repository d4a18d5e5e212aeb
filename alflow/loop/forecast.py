"""What labels cost, and when the rest will be done: told as far as it was measured, no further."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from alflow.core.cost import Measured, compositions, fit
from alflow.loop.batches import Batches
from alflow.loop.outlook import CampaignLeft, Forecast, LabelsLeft, LevelCost
from alflow.store import CampaignState, Store
from alflow.store.costs import (
    LabelStage,
    MeasuredLabel,
    has_manager,
    label_stages,
    level_names,
    measured_labels,
    pending,
)
from alflow.store.views import Progress, progress

ENOUGH = 3
"""Fewest measured labels from which anything is foretold."""


@dataclass(frozen=True, slots=True)
class Basis:
    """What a forecast is made from.

    Attributes:
        now: As of when [s since 1970, UTC].
        is_run: Whether somebody runs the campaign.
        progress: How far it is.
        primary: Name of its primary level.
        measured: Measured labels by level, by id.
        pending: Atomic numbers of what waits for a label, by level.
        stages: When iterations were labelled, by level, by number.
        batches: How many labels iterations may ask for.
        max_iterations: Number of the last iteration.
    """

    now: float
    is_run: bool
    progress: Progress
    primary: str
    measured: Mapping[str, Sequence[MeasuredLabel]]
    pending: Mapping[str, Sequence[UInt8[np.ndarray, " atoms"]]]
    stages: Mapping[str, Sequence[LabelStage]]
    batches: Batches
    max_iterations: int


def forecast(store: Store, now: float | None = None) -> Forecast:
    """What the measured costs of a campaign say, as of now or another moment."""
    view = progress(store, with_cost=False)
    if view == Progress.empty():
        return Forecast()
    config = store.campaign().config
    primary = str(config.get("label", {}).get("primary", ""))
    with store.read() as connection:
        levels = level_names(connection)
        waiting = pending(connection)
        return foretell(
            Basis(
                now=time.time() if now is None else now,
                is_run=view.state == CampaignState.RUNNING and has_manager(connection),
                progress=view,
                primary=primary,
                measured={name: measured_labels(connection, name) for name in levels},
                pending=waiting,
                stages={
                    name: label_stages(connection, name) for name in {primary, *waiting}
                },
                batches=Batches(
                    int(config.get("acquire", {}).get("per_iteration", 0)),
                    config.get("loop", {}).get("growth"),
                    config.get("stop", {}).get("budget", {}).get("labels"),
                ),
                max_iterations=int(config.get("loop", {}).get("max_iterations", 0)),
            )
        )


def foretell(basis: Basis) -> Forecast:
    """The forecast; pure."""
    levels = {name: ms for name, ms in basis.measured.items() if len(ms) >= ENOUGH}
    left = tuple(_labels_left(level, basis) for level in basis.pending)
    return Forecast(
        tuple(_cost(name, [one.measured for one in ms]) for name, ms in levels.items()),
        left,
        _campaign_left(left, basis),
    )


def _cost(level: str, measured: Sequence[Measured]) -> LevelCost:
    cost = np.array([one.core_s for one in measured])
    n_old = len(measured) - len(measured) // 4
    newest, model = measured[n_old:], fit(measured[:n_old])
    ratio = None
    if model is not None and len(newest) >= ENOUGH:
        foretold = model.mean_core_s(compositions(one.numbers for one in newest)).sum()
        ratio = float(sum(one.core_s for one in newest) / foretold)
    median, upper = (float(np.quantile(cost, share)) for share in (0.5, 0.9))
    return LevelCost(level, len(measured), median, upper, ratio)


def _labels_left(level: str, basis: Basis) -> LabelsLeft:
    waiting, measured = basis.pending[level], basis.measured.get(level, ())
    begun = basis.progress.iterations
    asking = [one.number for one in begun if one.n_pending] or [one.number for one in begun]
    last = asking[-1] if asking else 0
    model = fit([one.measured for one in measured]) if len(measured) >= ENOUGH else None
    if model is None:
        return LabelsLeft(last, level, len(waiting))
    core_s = float(model.mean_core_s(compositions(waiting)).sum())
    stages = basis.stages.get(level, ())
    stage = next((one for one in stages if one.iteration == last), None)
    since = None if stage is None or not basis.is_run else stage.since
    here = [one for one in measured if one.iteration == last]
    # Labels of an earlier manager tell nothing about the workers that there are now.
    done = [one for one in here if since is not None and one.created >= since]
    if since is None or len(done) < ENOUGH or basis.now <= since:
        return LabelsLeft(last, level, len(waiting), core_s)
    share = sum(one.measured.core_s for one in done) / sum(
        one.measured.core_s for one in here
    )
    cores = share * _spent(here, basis.progress)[last] / (basis.now - since)
    done_by = basis.now + core_s / cores
    return LabelsLeft(last, level, len(waiting), core_s, cores, done_by)


def _campaign_left(left: Sequence[LabelsLeft], basis: Basis) -> CampaignLeft | None:
    """What is left if no criterion ends the campaign, by the pace of the iterations that ended.

    The time for labels is their cost over the cores that were busy with them; that of the other
    stages is what it was, in the median.
    """
    view, measured = basis.progress, basis.measured.get(basis.primary, ())
    paces = _paces(measured, basis)
    if view.state != CampaignState.RUNNING or not paces:
        return None
    last = view.iterations[-1]
    stages = basis.stages.get(basis.primary, ())
    is_asked = last.ended or any(one.iteration == last.number for one in stages)
    n_open = basis.max_iterations - last.number + (not is_asked)
    batches = basis.batches.to_come(view.n_requested, n_open)
    if not batches:
        return None
    n, n_iterations = sum(batches), len(batches)
    each = float(np.mean([one.measured.core_s for one in measured if one.iteration > 0]))
    before, after, cores = (float(np.median(values)) for values in zip(*paces, strict=True))
    core_s = n * each
    rest = after if is_asked and not last.ended else 0.0
    waiting = sum(one.core_s or 0.0 for one in left if one.level == basis.primary)
    labels_s = (core_s + waiting) / cores
    end = basis.now + labels_s + n_iterations * (before + after) + rest
    return CampaignLeft(n, n_iterations, core_s, end if basis.is_run else None, len(paces))


def _paces(
    measured: Sequence[MeasuredLabel], basis: Basis
) -> list[tuple[float, float, float]]:
    """How fast the sampled iterations were that have ended.

    Of each the time before its labels, and after them [s], and the cores that were busy with them.
    """
    spent = _spent(measured, basis.progress)
    return [
        (
            one.first - one.began,
            one.ended - one.last,
            spent[one.iteration] / (one.last - one.first),
        )
        for one in basis.stages.get(basis.primary, ())
        if one.iteration > 0
        and one.ended is not None
        and one.last is not None
        and one.last > one.first
        and one.iteration in spent
    ]


def _spent(measured: Sequence[MeasuredLabel], view: Progress) -> dict[int, float]:
    """Core-seconds of all labels of each iteration of which some were measured."""
    by_iteration: dict[int, list[float]] = defaultdict(list)
    for one in measured:
        by_iteration[one.iteration].append(one.measured.core_s)
    n_labelled = {one.number: one.n_labelled for one in view.iterations}
    # The oldest ones are not looked at, where there are very many.
    return {
        number: sum(costs) * max(1.0, n_labelled.get(number, 0) / len(costs))
        for number, costs in by_iteration.items()
    }
