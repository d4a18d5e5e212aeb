"""The sentences about the work: how busy workers were, and what a label cost. Pure."""

from alflow.report.attribution import Use
from alflow.report.quantities import count, duration, percent
from alflow.report.samples import Timeline, WorkerTime

LOSSES = {
    Use.FAILED: "went into attempts without a result",
    Use.START_UP: "went into starting tasks",
    Use.QUEUE: "was lost while tasks waited to be handed out",
    Use.BARRIER: "was spent waiting for the last tasks of a stage",
    Use.STRAGGLER: "was spent waiting for stragglers",
    Use.BETWEEN: "passed between stages",
}
"""What became of the time in which workers did not compute."""


def timeline_title(work: Timeline) -> str:
    """How busy the workers were."""
    if work.busy_fraction is None:
        return "Who worked when?"
    slots = count(len(work.lanes), "worker slot")
    hours = duration(sum(work.hours.values()) * 3600)
    return (
        f"{slots} did {hours} of work in {duration(work.span_s - work.paused_s)}: "
        f"busy {percent(work.busy_fraction)} of the time"
    )


def worker_time_title(time: WorkerTime) -> str:
    """What share of the time was computing, and where most of the rest went."""
    total = time.by_use()
    everything = sum(total.values())
    share = percent(total.get(Use.COMPUTING, 0.0) / everything)
    computing = f"Workers computed {share} of the time"
    lost = {Use(use): spent for use, spent in total.items() if use != Use.COMPUTING}
    if not lost:
        return computing
    worst = max(lost, key=lambda use: lost[use])
    return f"{computing}; most of the rest, {percent(lost[worst] / everything)}, {LOSSES[worst]}"


def cost_title(time: WorkerTime, n_labels: int) -> str:
    """What a label cost in worker time, all stages together."""
    each = sum(time.by_use().values()) / max(n_labels, 1)
    return f"A label cost {duration(each)} of worker time, all stages together"
