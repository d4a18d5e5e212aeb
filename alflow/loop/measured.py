"""How long the tasks of a campaign took, as a simulation needs it: read from its database."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from alflow.config.times import ByIteration, Empirical, Times
from alflow.core.cost import Measured, compositions, fit
from alflow.core.errors import StoreError
from alflow.loop.promotion import is_promotion
from alflow.loop.serving import TRANSFER
from alflow.store import Store
from alflow.store.durations import (
    Duration,
    LabelDuration,
    TrainingDuration,
    durations,
    failed_labels,
    label_durations,
    training_durations,
)
from alflow.store.past import N_PLACES
from alflow.store.views import IterationProgress, Progress, progress

PLAIN_KINDS = ("build", "sample", "validate", "property")
"""Kinds of tasks whose time is that of the whole task."""

WARM = "warm_start"
"""Relation of a generation that was trained from the weights of its parent."""

Grouped = Mapping[int, Sequence[float]]
"""Values by number of the iteration."""


def measured_times(store: Store) -> Times:
    """What the tasks of a campaign took and brought in, iteration by iteration.

    Audits and promotions do not count.

    Raises:
        StoreError: If there is no campaign, or none of its tasks has ended.
    """
    view = progress(store)
    config = store.campaign().config if view != Progress.empty() else {}
    primary = str(config.get("label", {}).get("primary", ""))
    left_out = {one.number for one in view.iterations if is_promotion(one)}
    with store.read() as connection:
        tasks = [one for one in durations(connection) if one.iteration not in left_out]
        labels = label_durations(connection, primary)
        trainings = training_durations(connection)
        n_failed, n_labels = failed_labels(connection, primary)
    tasks = [one for one in tasks if one.kind != "label" or one.level == primary]
    if not tasks:
        raise StoreError(
            "no task of this campaign has ended: there are no times to take from it",
            next_step="give the times themselves by --times",
        )
    fresh = [one for one in trainings if one.relation not in (WARM, TRANSFER)]
    warm = [one for one in trainings if one.relation == WARM]
    found: dict[str, object] = {
        **{f"{kind}_s": _by_iteration(_seconds(tasks, kind)) for kind in PLAIN_KINDS},
        "label_s": _label_times(labels),
        "label_start_s": _by_iteration(_label_starts(tasks, labels)),
        **fitted_trainings("train_s", fresh),
        **fitted_trainings("warm_train_s", warm),
        "flagged_frames": _by_iteration(_flagged(tasks)),
        "chosen_share": _by_iteration(_chosen(tasks, view.iterations)),
        "failed_labels_share": n_failed / n_labels if n_failed < n_labels else None,
        "lost_attempts_share": _lost(tasks),
    }
    return Times.model_validate({k: v for k, v in found.items() if v is not None})


def _by_iteration(found: Grouped) -> ByIteration | None:
    """The values of each iteration; one without has those of the one before, else of the next."""
    if not found:
        return None
    numbers = sorted(found)
    return tuple(
        Empirical(values=tuple(found[max([k for k in numbers if k <= n] or numbers[:1])]))
        for n in range(numbers[-1] + 1)
    )


def _seconds(tasks: Sequence[Duration], kind: str) -> Grouped:
    found = defaultdict(list)
    for one in tasks:
        if one.kind == kind and one.is_done and one.wall_s is not None:
            found[one.iteration].append(one.wall_s)
    return found


def _label_times(labels: Sequence[LabelDuration]) -> ByIteration | None:
    """What labels took beside what the model of costs says, which orders and groups them."""
    model = fit([Measured(one.numbers, one.wall_s, one.cores) for one in labels])
    if model is None:
        return None
    foretold = (
        model.median_core_s(compositions(one.numbers for one in labels)) / model.cores
    )
    pairs = defaultdict(list)
    for one, expected in zip(labels, foretold.tolist(), strict=True):
        pairs[one.iteration].append((one.wall_s, expected))
    numbers = sorted(pairs)
    nearest = [
        max([k for k in numbers if k <= n] or numbers[:1]) for n in range(numbers[-1] + 1)
    ]
    columns = [tuple(zip(*pairs[k], strict=True)) for k in nearest]
    return tuple(Empirical(values=wall, expected=told) for wall, told in columns)


def _label_starts(tasks: Sequence[Duration], labels: Sequence[LabelDuration]) -> Grouped:
    """What label tasks took beside the labels themselves."""
    told: dict[int, float] = defaultdict(float)
    for label in labels:
        told[label.task_id] += label.wall_s
    found = defaultdict(list)
    for one in tasks:
        if one.kind == "label" and one.is_done and one.wall_s is not None:
            found[one.iteration].append(max(0.0, one.wall_s - told[one.task_id]))
    return found


def fitted_trainings(name: str, trainings: Sequence[TrainingDuration]) -> dict[str, object]:
    """A straight line through times over numbers of labels, and how they scatter around it.

    Neither part is negative. With one number of labels the time is proportional to it.

    Args:
        name: Name of the time in `Times`.
        trainings: What was measured.
    """
    if not trainings:
        return {}
    n = np.array([one.n_train for one in trainings], np.float64)
    wall_s = np.array([one.wall_s for one in trainings])
    spread = n - n.mean()
    is_line = bool(np.any(spread))
    slope = float((spread * wall_s).sum() / (spread**2).sum()) if is_line else np.inf
    most = float(wall_s.sum() / max(1.0, n.sum()))
    slope = min(max(0.0, slope), most)
    rest = np.maximum(0.0, wall_s - slope * n)
    each = (Empirical(values=tuple(rest.tolist())),)
    return {name: each, f"{name}_per_label": slope}


def _flagged(tasks: Sequence[Duration]) -> Grouped:
    found = defaultdict(list)
    for one in tasks:
        if one.kind == "sample" and one.is_done:
            found[one.iteration].append(float(one.n_flagged))
    return found


def _chosen(
    tasks: Sequence[Duration], iterations: Sequence[IterationProgress]
) -> dict[int, list[float]]:
    """Share of the frames that could have been chosen which were."""
    flagged = _flagged(tasks)
    found = {}
    for one in iterations:
        most = min(one.stats.get(N_PLACES, 0.0), sum(flagged.get(one.number, ())))
        if one.ended and most:
            found[one.number] = [one.n_selected / most]
    return found


def _lost(tasks: Sequence[Duration]) -> dict[str, float]:
    """Share of attempts that were made in vain, by kind."""
    counts: dict[str, list[bool]] = defaultdict(list)
    for one in tasks:
        counts[one.kind].append(one.is_done)
    lost = {kind: 1 - sum(done) / len(done) for kind, done in counts.items()}
    return {kind: share for kind, share in lost.items() if 0 < share < 1}
