"""Parts of the page about labels: what became of them, how long they took, what failed."""

from dataclasses import replace

import numpy as np

from alflow.report import tables, work_figures
from alflow.report.content import CampaignReport
from alflow.report.labeling import Labeling, time_edges
from alflow.report.panels import Panel, Section
from alflow.report.quantities import NONE, count, duration, grouped, percent, significant
from alflow.report.tables import Table, table


def labels(report: CampaignReport) -> Section:
    """What became of the labels that were asked for, and what gave no result."""
    section = Section("labeling", "Labeling")
    panels = [*_outcomes(report), *_times(report.labeling), *_rungs(report.labeling)]
    if report.label_failures:
        title = "Labels that failed, by kind"
        panels.append(Panel(title, table=tables.label_failures(report), is_wide=True))
    if report.attempts_failed:
        panels.append(_attempts(report))
    elif report.timeline.bars and not report.label_failures:
        panels.append(Panel("No label and no attempt has failed."))
    return replace(section, panels=tuple(panels))


def _attempts(report: CampaignReport) -> Panel:
    n, n_shown = report.n_attempts_failed, len(report.attempts_failed)
    title = f"{count(n, 'attempt')} gave no result"
    if n_shown < n:
        title = f"{title}; the latest {n_shown}"
    caption = (
        "An attempt is one try of a task. The task was tried again, or waits for it, unless it "
        "was given up. Lost: its worker, or the manager that had handed it out, was gone."
    )
    table = tables.failed_attempts(report)
    return Panel(title, caption=caption, table=table, is_wide=True)


def _outcomes(report: CampaignReport) -> tuple[Panel, ...]:
    pending = sum(row.n_labels_pending for row in report.iterations)
    total = report.n_labels_ok + report.n_labels_failed + pending
    if not total:
        return ()
    outcomes = [
        ("ok", report.n_labels_ok),
        *((f"failed: {one.kind}", one.count) for one in report.label_failures),
        ("on the way", pending),
    ]
    rows = [(name, grouped(n), percent(n / total)) for name, n in outcomes if n]
    title = (
        f"{percent(report.n_labels_ok / total)} of {count(total, 'label')} came out well"
    )
    return (Panel(title, table=table("outcomes", ("outcome", "labels", "share"), rows)),)


def _times(found: Labeling) -> tuple[Panel, ...]:
    if not len(found.wall_s):
        return ()
    half, most = (duration(float(np.quantile(found.wall_s, q))) for q in (0.5, 0.9))
    title = f"Half of the labels took less than {half}, one in ten more than {most}"
    caption = (
        f"Wall time of {count(len(found.wall_s), 'label')} that tell it; of very many an even "
        "selection. Time on a log axis."
    )
    return (
        Panel(
            title,
            work_figures.label_times(found.wall_s),
            f"Histogram of the wall time of labels. {title}.",
            caption,
            _histogram(found),
        ),
    )


def _histogram(found: Labeling) -> Table:
    edges = time_edges(found.wall_s)
    counts, _ = np.histogram(found.wall_s, edges)
    rows = [
        (significant(low, 3), significant(high, 3), grouped(int(n)))
        for low, high, n in zip(edges, edges[1:], counts, strict=False)
        if n
    ]
    return table("label-times", ("from, s", "to, s", "labels"), rows)


def _rungs(found: Labeling) -> tuple[Panel, ...]:
    if not found.rungs:
        return ()
    total = sum(one.n_labels for one in found.rungs)
    levels = {one.level for one in found.rungs}
    usual = sum(
        max(one.n_labels for one in found.rungs if one.level == level) for level in levels
    )
    title = (
        f"All {count(total, 'label')} converged in the usual way"
        if usual == total
        else f"{percent((total - usual) / total)} of the labels needed another way to converge"
    )
    caption = (
        "The method that converged a label in the end; cycles and time are of the median label. "
        "The ladder of methods is in the guide."
    )
    rows = [
        (
            one.name,
            one.level,
            grouped(one.n_labels),
            percent(one.n_labels / total),
            NONE if one.cycles is None else significant(one.cycles, 3),
            NONE if one.wall_s is None else significant(one.wall_s, 3),
        )
        for one in found.rungs
    ]
    columns = ("method", "level", "labels", "share", "cycles", "time, s")
    return (Panel(title, caption=caption, table=table("rungs", columns, rows)),)
