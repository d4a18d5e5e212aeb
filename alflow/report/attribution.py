"""Where the time of workers went: computing, or why not. Pure.

Every worker slot counts from the first attempt to the last, but for pauses of the campaign. At
each moment some slots compute; each of the others is explained by one thing, tried in this order:
a task that was handed out and does not compute yet (start-up), a task that waits to be handed out
(queue), other slots that still work on a stage (barrier, or straggler if all that still runs has
been running far longer than its like). What is left is time in which nothing ran (between stages).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Bool, Float

from alflow.report.estimates import PAUSE_S, Work
from alflow.report.samples import WorkerTime

STRAGGLER_FACTOR = 2.0
"""An attempt straggles after this many medians of the attempts of its kind in its iteration."""

MIN_LIKE = 4
"""With fewer attempts of its kind in its iteration nobody can tell whether one straggles."""


class Use(StrEnum):
    """What a worker slot did, or waited for."""

    COMPUTING = "computing"
    FAILED = "failed"
    START_UP = "start-up"
    QUEUE = "queue wait"
    BARRIER = "barrier"
    STRAGGLER = "straggler"
    BETWEEN = "between stages"


MEANINGS = {
    Use.COMPUTING: "the body of a task that gave a result",
    Use.FAILED: "attempts that gave no result",
    Use.START_UP: "a task was handed out and did not compute: its process started, a batch "
    "system had it, or its result was taken in",
    Use.QUEUE: "a task waited to be handed out",
    Use.BARRIER: "nothing to do until others had done the last tasks of a stage",
    Use.STRAGGLER: f"the same, when all of these took more than {STRAGGLER_FACTOR:g} times the "
    "median of their iteration",
    Use.BETWEEN: "nothing ran: the manager chose, wrote or planned",
}
"""What each use of a slot means, for the reader of a report."""


NO_KIND = "no task"
"""Stands for the kind of task where nothing ran and nothing waited."""


STAGES = ("build", "sample", "score", "label", "train", "validate", "property")
"""Kinds of task in the order of the loop."""


def in_order(kinds: Iterable[str]) -> list[str]:
    """Kinds of task in the order of the loop, unknown ones last."""
    return sorted(kinds, key=lambda kind: (kind not in STAGES, _place(kind), kind))


def _place(kind: str) -> int:
    return STAGES.index(kind) if kind in STAGES else 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """A task that waits, or waited, to be handed out.

    Attributes:
        kind: Kind of task.
        start: Since when [s].
        end: Until when [s].
    """

    kind: str
    start: float
    end: float


Counts = Float[np.ndarray, "stretches kinds"]


def attributed(
    work: Sequence[Work], waiting: Sequence[Waiting], n_slots: int
) -> WorkerTime:
    """Slot-seconds by kind of task and by use; they add up to all slots times the span.

    The span is that from the first beginning to the last end, without pauses of the campaign.

    Args:
        work: All attempts.
        waiting: Times in which tasks waited to be handed out.
        n_slots: Number of worker slots, at least as many as ever computed at once.
    """
    if not work:
        return WorkerTime()
    spans = _spans(work, waiting)
    kinds = in_order({kind for rows in spans.values() for kind, _, _ in rows})
    first, last = min(w.start for w in work), max(w.end for w in work)
    ends = {t for rows in spans.values() for _, *both in rows for t in both}
    times = np.array(sorted({min(max(t, first), last) for t in ends}))
    counts = {use: _counted(rows, times, kinds) for use, rows in spans.items()}
    known = [t for item in work for t in (item.handed_out, item.end)]
    is_pause = _is_pause(times, counts, np.isin(times[:-1], known))
    lengths = np.where(is_pause, 0.0, np.diff(times))
    uses = _uses(counts, n_slots)
    seconds: dict[str, dict[str, float]] = {kind: {} for kind in kinds}
    for use, shares in uses.items():
        for kind, spent in zip(kinds, (lengths @ shares).tolist(), strict=True):
            if spent > 0:
                seconds[kind][use] = spent
    explained = sum(shares.sum(axis=1) for shares in uses.values())
    between = float(lengths @ (n_slots - explained))
    if between > 1e-9 * n_slots * (last - first):
        seconds[NO_KIND] = {Use.BETWEEN: between}
    return WorkerTime({kind: named for kind, named in seconds.items() if named})


Span = tuple[str, float, float]
"""Kind of task, beginning and end [s]."""


def _spans(work: Sequence[Work], waiting: Sequence[Waiting]) -> dict[Use, list[Span]]:
    """What is known to have been under way, and when."""
    return {
        Use.COMPUTING: [(w.kind, w.start, w.end) for w in work if not w.is_failed],
        Use.FAILED: [(w.kind, w.start, w.end) for w in work if w.is_failed],
        Use.START_UP: [(w.kind, w.handed_out, w.start) for w in work],
        Use.QUEUE: [(w.kind, w.start, w.end) for w in waiting],
        Use.STRAGGLER: list(_late(work)),
    }


def _late(work: Sequence[Work]) -> Iterator[Span]:
    """When attempts were running for much longer than their like."""
    lengths: dict[tuple[int, str], list[float]] = defaultdict(list)
    for item in work:
        lengths[item.iteration, item.kind].append(item.end - item.start)
    usual = {
        like: float(np.median(found))
        for like, found in lengths.items()
        if len(found) >= MIN_LIKE
    }
    for item in work:
        median = usual.get((item.iteration, item.kind))
        if median is not None and item.end - item.start > STRAGGLER_FACTOR * median:
            yield item.kind, item.start + STRAGGLER_FACTOR * median, item.end


def _counted(
    rows: Sequence[Span], times: Float[np.ndarray, " times"], kinds: Sequence[str]
) -> Counts:
    """How many of the spans cover each stretch between two times, by kind."""
    change = np.zeros((len(times), len(kinds)))
    place = {kind: k for k, kind in enumerate(kinds)}
    columns = np.array([place[kind] for kind, _, _ in rows], int)
    for sign, which in ((1.0, 1), (-1.0, 2)):
        at = np.clip([row[which] for row in rows], times[0], times[-1])
        np.add.at(change, (np.searchsorted(times, at), columns), sign)
    found: Counts = np.cumsum(change, axis=0)[:-1]
    return found


def _is_pause(
    times: Float[np.ndarray, " times"],
    counts: Mapping[Use, Counts],
    is_seen: Bool[np.ndarray, " stretches"],
) -> Bool[np.ndarray, " stretches"]:
    """Which stretches belong to a long time in which no attempt was under way.

    An attempt breaks it, even one that took no time: `is_seen` says where a stretch begins with
    one.
    """
    busy = (Use.COMPUTING, Use.FAILED, Use.START_UP)
    is_quiet = ~np.any([counts[use].any(axis=1) for use in busy], axis=0)
    block = np.cumsum(~is_quiet | is_seen)  # all of one quiet time have one number
    lengths = np.bincount(block, np.diff(times) * is_quiet, len(times))
    pauses: Bool[np.ndarray, " stretches"] = is_quiet & (lengths[block] > PAUSE_S)
    return pauses


def _uses(counts: Mapping[Use, Counts], n_slots: int) -> dict[Use, Counts]:
    """Number of slots by what they did or waited for, and by the kind of task."""
    found = {use: counts[use] for use in (Use.COMPUTING, Use.FAILED)}
    running = found[Use.COMPUTING] + found[Use.FAILED]
    idle = n_slots - running.sum(axis=1)
    for use in (Use.START_UP, Use.QUEUE):
        taken = np.minimum(idle, counts[use].sum(axis=1))
        found[use] = _shared(taken, counts[use])
        idle = idle - taken
    under_way = running + counts[Use.START_UP]
    is_late = (under_way == counts[Use.STRAGGLER]).all(axis=1)
    found[Use.STRAGGLER] = _shared(idle * is_late, under_way)
    found[Use.BARRIER] = _shared(idle * ~is_late, under_way)
    return found


def _shared(slots: Float[np.ndarray, " stretches"], counts: Counts) -> Counts:
    """Slots shared out in proportion to counts; none where there is nothing to share with."""
    total = counts.sum(axis=1)
    shared: Counts = (slots / np.where(total > 0, total, np.inf))[:, None] * counts
    return shared
