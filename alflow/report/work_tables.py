"""Tables about the work: hours, where they went, and what labels cost."""

from collections.abc import Sequence

from alflow.loop.outlook import LevelCost
from alflow.report.attribution import Use
from alflow.report.quantities import grouped, percent, significant
from alflow.report.samples import Timeline, WorkerTime
from alflow.report.tables import Table, table


def hours(work: Timeline) -> Table:
    """Worker-hours by kind of task."""
    total = sum(work.hours.values())
    rows = [
        (
            kind,
            grouped(work.counts.get(kind, 0)),
            significant(spent, 3),
            percent(spent / total if total else None),
        )
        for kind, spent in work.hours.items()
    ]
    rows.append(("all", grouped(sum(work.counts.values())), significant(total, 3), ""))
    return table("worker-hours", ("kind", "attempts", "worker-hours", "share"), rows)


def label_costs(rows: Sequence[LevelCost]) -> Table:
    """What labels cost, by level."""
    cells = [
        (
            row.level,
            grouped(row.n_measured),
            significant(row.median_core_s, 3),
            significant(row.upper_core_s, 3),
            significant(row.ratio, 3),
        )
        for row in rows
    ]
    numbers = ("measured", "median, core-s", "90 % below, core-s", "measured / predicted")
    return table("label-costs", ("level", *numbers), cells)


def worker_time(time: WorkerTime) -> Table:
    """Slot-hours by kind of task and by what they were used for."""
    total = time.by_use()
    uses = [use for use in Use if use in total]
    everything = {**time.seconds, "all": total}
    rows = [
        (
            kind,
            *(significant(named.get(use, 0.0) / 3600, 3) for use in uses),
            significant(sum(named.values()) / 3600, 3),
        )
        for kind, named in everything.items()
    ]
    rows.append(
        (
            "share",
            *(percent(total[use] / sum(total.values())) for use in uses),
            percent(1.0),
        )
    )
    return table("worker-time", ("stage", *(f"{use}, h" for use in uses), "all, h"), rows)


def per_label(time: WorkerTime, n_labels: int) -> Table:
    """Time of worker slots over the number of labels, by kind of task."""
    total = time.by_use()
    rows = [
        (
            kind,
            significant(named.get(Use.COMPUTING, 0.0) / n_labels, 3),
            significant(sum(named.values()) / n_labels, 3),
            percent(sum(named.values()) / sum(total.values())),
        )
        for kind, named in {**time.seconds, "all": total}.items()
    ]
    columns = ("stage", "computing, s per label", "in all, s per label", "share")
    return table("cost-per-label", columns, rows)
