"""Parts of the page about the work: who worked when, and what it cost."""

from dataclasses import replace

from alflow.report import wording, work_figures, work_tables, work_wording
from alflow.report.attribution import MEANINGS, Use
from alflow.report.content import CampaignReport
from alflow.report.estimates import MAX_LANES
from alflow.report.panels import Panel, Section
from alflow.report.quantities import duration


def timeline(report: CampaignReport) -> Section:
    """Who worked when, where the time went, and what labels cost."""
    section = Section("timeline", "Cost and timeline")
    work = report.timeline
    if not work.bars:
        return replace(section, empty="No attempt has been made yet.")
    caption = (
        "Each row is one task at a time on one machine; neighbours of a kind are merged."
    )
    if len(work.lanes) > MAX_LANES:
        caption = f"{caption} The first {MAX_LANES} of {len(work.lanes)} rows are shown."
    if work.paused_s:
        caption = (
            f"{caption} Pauses of the campaign ({duration(work.paused_s)}) do not count."
        )
    title = work_wording.timeline_title(work)
    gantt = Panel(
        title,
        work_figures.timeline(work),
        f"Timeline. {title}.",
        caption,
        work_tables.hours(work),
        is_wide=True,
    )
    return replace(section, panels=(gantt, *_time(report), *_costs(report)))


def _time(report: CampaignReport) -> tuple[Panel, ...]:
    time = report.timeline.time
    if not time.seconds:
        return ()
    seen = time.by_use()
    meanings = "; ".join(f"{use}: {MEANINGS[use]}" for use in Use if use in seen)
    caption = (
        "All worker slots from the first attempt to the last, without pauses; a slot that was "
        f"not there yet counts as waiting. {wording.sentence(meanings)}"
    )
    title = work_wording.worker_time_title(time)
    table = work_tables.worker_time(time)
    drawn = Panel(
        title, work_figures.worker_time(time), f"Stacked bars. {title}.", caption, table
    )
    if not report.n_labels_ok:
        return (drawn,)
    per_label = Panel(
        work_wording.cost_title(time, report.n_labels_ok),
        caption="Time of all worker slots over the labels that there are, waiting included.",
        table=work_tables.per_label(time, report.n_labels_ok),
    )
    return (drawn, per_label)


def _costs(report: CampaignReport) -> tuple[Panel, ...]:
    costs = report.costs
    if not costs.levels:
        return ()
    caption = (
        "Core-seconds: time of a label, times the threads of its worker. Predicted: the newest "
        "quarter from those before it. "
    )
    caption += " ".join(f"{text[0].upper()}{text[1:]}." for text in costs.outlook())
    table = work_tables.label_costs(costs.levels)
    return (Panel("What labels cost", caption=caption.strip(), table=table),)
