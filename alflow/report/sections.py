"""The parts of the page in order: each a heading, panels, or one sentence if it is empty."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from alflow.report import figures, mistake_panels, spread_tables, tables, wording
from alflow.report.content import CampaignReport
from alflow.report.gallery import structures
from alflow.report.label_panels import labels
from alflow.report.panels import Panel, Section, Tile
from alflow.report.quantities import (
    NONE,
    count,
    grouped,
    milli,
    percent,
    significant,
)
from alflow.report.quantities import simulated as time_of
from alflow.report.samples import SpreadSample, SurvivalCurve
from alflow.report.work_sections import timeline


def tiles(report: CampaignReport) -> tuple[Tile, ...]:
    """The numbers at the top of the page."""
    energy = _change(report, "energy_rmse")
    flagged, flagged_note = _flagged(report)
    pending = sum(row.n_labels_pending for row in report.iterations)
    hours = report.timeline.hours
    return (
        Tile(
            "labelled structures",
            grouped(report.n_labels_ok),
            "",
            f"+{grouped(report.n_labels_new)} in the last iteration",
        ),
        _force_error(report),
        Tile("test energy RMSE", energy[0], "meV/atom", energy[1]),
        Tile("trajectories flagged", flagged, "", flagged_note),
        Tile(
            "labels ok / failed",
            f"{grouped(report.n_labels_ok)} / {grouped(report.n_labels_failed)}",
            "",
            f"{grouped(pending)} on the way",
        ),
        Tile(
            "worker-hours",
            significant(sum(hours.values()), 3) if hours else NONE,
            "h",
            f"busy {percent(report.timeline.busy_fraction)} of the time" if hours else "",
        ),
    )


def _force_error(report: CampaignReport) -> Tile:
    """The error on the test set; on new labels where there is no test set."""
    found = report.mistakes
    if report.validated or report.outcome.has_test or found.force_rmse_new is None:
        value, note = _change(report, "force_rmse")
        return Tile("test force RMSE", value, "meV/Å", note)
    note = f"of i{found.iteration}, before they were learnt from"
    return Tile("force RMSE, new labels", milli(found.force_rmse_new), "meV/Å", note)


def _change(report: CampaignReport, name: str) -> tuple[str, str]:
    rows = report.in_use or report.validated
    rows = tuple(row for row in rows if getattr(row, name) is not None)
    if not rows:
        has_test = report.outcome.has_test
        return NONE, "no test set evaluated yet" if has_test else "there is no test set"
    now = milli(getattr(rows[-1], name))
    if len(rows) == 1:
        return now, f"g{rows[-1].number}"
    return now, f"g{rows[-1].number}; was {milli(getattr(rows[-2], name))}"


def _flagged(report: CampaignReport) -> tuple[str, str]:
    rows = report.sampled
    if not rows:
        return NONE, "no trajectory yet"
    now = f"i{rows[-1].number}"
    if len(rows) > 1:
        now = f"{now}; was {percent(rows[-2].flagged_fraction)}"
    return percent(rows[-1].flagged_fraction), now


def sections(report: CampaignReport) -> tuple[Section, ...]:
    """All parts of the page, those without data as one sentence or left out."""
    parts = (
        _learning(report),
        _spread(report),
        _calibration(report),
        _accuracy(report),
        _properties(report),
        _sampling(report),
        _decisions(report),
        structures(report),
        labels(report),
        timeline(report),
    )
    return tuple(part for part in parts if part.panels or part.empty)


def _learning(report: CampaignReport) -> Section:
    section = Section("learning", "Learning")
    rows = report.validated
    fates = _fates(report)
    if not rows:
        text = "No generation has been validated on the test set yet."
        if not report.outcome.has_test:
            text = (
                "There is no test set (test in the campaign file): no curve of its error."
            )
        return replace(section, panels=fates, empty=text)
    caption = (
        f"Errors of the ensemble mean on the same {count(rows[-1].n_test, 'test structure')} "
        "throughout, never trained on. Forces: root mean square over Cartesian components."
    )
    alt = f"Line chart of test force and energy error for {count(len(rows), 'generation')}."
    curve = Panel(
        wording.learning_title(report.in_use or rows),
        figures.learning(rows),
        alt,
        caption,
        tables.generations(report.generations),
    )
    return replace(section, panels=(curve, *fates))


def _fates(report: CampaignReport) -> tuple[Panel, ...]:
    rows = report.sampled
    if not rows:
        return ()
    caption = (
        "Trusted: ran to its end without a frame that the gate flags. The limits of the gate "
        "may change from one iteration to the next."
    )
    title = wording.fates_title(rows)
    return (
        Panel(
            title,
            figures.fates(rows),
            f"Stacked bars by iteration. {title}.",
            caption,
            tables.fates(rows),
        ),
    )


def _spread(report: CampaignReport) -> Section:
    section = Section("spread", "Spread of the candidates")
    if not report.spreads:
        return replace(section, empty="No candidate has been found yet.")
    *earlier, sample = report.spreads
    before = earlier[-1] if earlier else None
    panels = [
        Panel(
            title,
            figures.spread_histogram(sample, measure, before),
            f"Histogram of {title.lower()}.",
            caption,
            spread_tables.histogram(sample, measure),
        )
        for measure, title, caption in _measures(sample)
    ]
    return replace(section, panels=tuple(panels))


BEYOND = (
    "Of what the gate looks at, the spread that is largest in units of its limit: beyond 1 a frame "
    "is flagged. Limits are those of the round in which it was met; later rounds have tighter ones."
)
GROWS = (
    "Its limit grows with the forces in a frame: the dashed line is that of the first round for "
    "the median force, the band for the 5th to 95th percentile."
)


def _measures(sample: SpreadSample) -> Iterator[tuple[str, str, str]]:
    """Measures of the spread that are drawn, with title and caption."""
    title = wording.spread_title(sample)
    about = f"Spread of g{sample.generation} over its members, on a log axis."
    is_mean = sample.gate is not None and sample.gate.force_mean is not None
    force, word = ("force_mean", "mean") if is_mean else ("force_max", "largest")
    if not np.isfinite(sample.excess).any():
        yield force, title, f"{about} The acquisition rule does not tell its limits."
        yield "energy", "Their energy spread, by the root of the number of atoms", about
        return
    yield (
        "excess",
        title,
        f"{about} {BEYOND}",
    )
    yield (
        force,
        f"Their {word} force spread",
        f"{about} {GROWS}",
    )


def _calibration(report: CampaignReport) -> Section:
    section = Section("calibration", "Is the spread calibrated?")
    if not report.calibration:
        text = "There are no predictions on new labels yet: they come with the next generation."
        return replace(section, empty=text)
    sample = report.calibration[-1]
    caption = (
        f"New labels of i{sample.iteration}, predicted by g{sample.generation} before it saw "
        "them. Error: root mean square over atoms of the length of the force error. "
        f"{wording.calibration_note(sample)}"
    )
    points = Panel(
        wording.calibration_title(sample),
        figures.calibration(sample),
        f"Scatter of force error against spread of {sample.n_labels} new labels.",
        caption,
        spread_tables.calibration_points(sample),
    )
    note = (
        "Median of error over spread for forces, and the share of energy errors within the "
        "interval that should hold 50, 80 and 95 % of them. Flagged frames are chosen for "
        "their spread; audit frames are drawn at random."
    )
    history = Panel(
        "Calibration by iteration",
        caption=note,
        table=spread_tables.calibration(report.calibration),
    )
    panels: tuple[Panel, ...] = (points, history)
    if report.coverage:
        covered = Panel(
            "Were errors below their bounds?",
            caption="Labels of earlier iterations bound the error by a multiple of the spread; "
            "these are the shares of the new labels, and of those drawn at random alone, whose "
            "error was below. Errors in units of the spread: of forces in the median over the new "
            "labels, of energies their root mean square; and, corrected, by what the earlier ones "
            "had shown: 1 is right.",
            table=spread_tables.coverage(report.coverage),
            is_wide=True,
        )
        panels = (*panels, covered)
    return replace(section, panels=panels)


def _accuracy(report: CampaignReport) -> Section:
    section = Section("accuracy", "Accuracy")
    noise = (*mistake_panels.panels(report.mistakes), *_noise(report))
    if not report.parity:
        empty = "There are no predictions on the test set yet."
        return replace(section, panels=noise, empty="" if noise else empty)
    rows = report.in_use
    captions = {
        "force": "Cartesian components; of very many an even selection is drawn.",
        "energy": "Energies per atom, the mean of the labels subtracted.",
    }
    panels = [
        Panel(
            wording.parity_title(quantity, rows),
            figures.parity(report.parity, quantity),
            f"Predicted {quantity} against labelled {quantity}, first and last generation.",
            caption,
            tables.parity(report.parity, quantity),
        )
        for quantity, caption in captions.items()
    ]
    return replace(section, panels=(*panels, *noise))


def _noise(report: CampaignReport) -> tuple[Panel, ...]:
    found = report.noise
    if not found.n and not found.failed:
        return ()
    last = report.in_use[-1] if report.in_use else None
    caption = (
        "A random share of the labels, and those that the model contradicts, are computed again, "
        "with more care where the labeler can (label.audit in the guide); the numbers are of those "
        "that held. No model can be tested to be better than its labels."
    )
    told = (wording.refuted(found) if found.n else "", wording.not_audited(found))
    return (
        Panel(
            wording.noise_title(found),
            caption=" ".join(filter(None, (caption, *told))),
            table=tables.noise(found, last) if found.energy else None,
        ),
    )


def _properties(report: CampaignReport) -> Section:
    found = report.properties
    if found.generation is None:
        section = Section("properties", "Properties")
        wanted = report.provenance.settings.get("validate") or {}
        n = len(wanted.get("suites") or ())
        if not n:
            return section
        text = f"{count(n, 'suite')} of properties in the campaign file (validate)"
        return replace(section, empty=f"None is known of {text}: alflow validate.")
    caption = (
        "By the mean of the ensemble, with the standard deviation over members beside it, at the "
        "same geometries. An error of few spreads is one that the ensemble knows of."
    )
    if found.notes:
        caption += f" Missing: {'; '.join(found.notes)}."
    panel = Panel(
        wording.properties_title(found),
        caption=caption,
        table=tables.properties(found.rows),
        is_wide=True,
    )
    return Section("properties", "Properties", (panel,))


def _sampling(report: CampaignReport) -> Section:
    section = Section("sampling", "Sampling")
    if not report.sampled:
        return replace(section, empty="No trajectory has been run yet.")
    reasons = Panel("Why trajectories ended", table=tables.stop_reasons(report.sampled))
    if not report.survival:
        return replace(section, panels=(reasons, *_traces(report), *_arms(report)))
    caption = (
        "Kaplan-Meier estimate: a trajectory is lost when the gate flags a frame or it becomes "
        "unphysical; those that ran to their end count as long as they lasted."
    )
    curves = _shown(report.survival)
    if len(curves) < len(report.survival):
        caption += (
            f" Drawn: {len(curves)} of {len(report.survival)} generations, evenly chosen."
        )
    if len(curves) > 1:
        caption += (
            " Where the limits of the gate changed between them, so did what is trusted."
        )
    gates = [one.gate for one in report.spreads if one.gate is not None]
    if gates and gates[-1].grace_fs:
        caption += (
            f" In the first {time_of(gates[-1].grace_fs)} no frame is flagged (grace_fs): a "
            "trajectory that was lost then was lost at the first look."
        )
    curve = Panel(
        wording.survival_title(report.survival),
        figures.survival(curves),
        "Step curves of the share of trajectories still trusted, by simulated time.",
        caption,
        tables.survival(curves),
    )
    return replace(section, panels=(curve, reasons, *_traces(report), *_arms(report)))


def _traces(report: CampaignReport) -> tuple[Panel, ...]:
    if not report.traces:
        return ()
    title = wording.traces_title(report.traces, report.sampled[-1].number)
    caption = (
        "Of each way to end, a trajectory of median length, if that is long enough to be drawn: "
        "kinetic temperature, which in a small system swings about what the schedule asks for, "
        "and the largest force spread of an atom. What flagged the frame at the end may be "
        "another measure, or a limit that fell with the forces: "
        f"alflow show p-{report.traces[0].trajectory}."
    )
    return (
        Panel(
            title,
            figures.traces(report.traces),
            f"Lines of temperature and force spread by simulated time. {title}.",
            caption,
            tables.traces(report.traces),
        ),
    )


def _arms(report: CampaignReport) -> tuple[Panel, ...]:
    if not report.arms:
        return ()
    caption = (
        "Accepted: flagged frames that were chosen and labelled. An atom-step is a step of one "
        "atom. Arms that bring in more for their cost get more of the next tasks."
    )
    title, table = wording.arms_title(report.arms), tables.arms(report.arms)
    return (Panel(title, caption=caption, table=table, is_wide=True),)


def _shown(items: Sequence[SurvivalCurve], limit: int = 6) -> tuple[SurvivalCurve, ...]:
    """First, last and evenly between, so that a long campaign stays readable."""
    if len(items) <= limit:
        return tuple(items)
    step = (len(items) - 1) / (limit - 1)
    return tuple(items[round(step * k)] for k in range(limit))


def _decisions(report: CampaignReport) -> Section:
    rows = [row for row in report.iterations if row.decisions]
    if not rows:
        return Section("selection", "Selection")
    caption = (
        "Candidates are the frames that the gate flagged, and some drawn at random (audit). "
        "Selected: to be labelled. Over budget: no place was left. Duplicate: closer to a selected "
        "one than min_distance, or known. Filtered: unphysical, or too far beyond the limits."
    )
    title, table = wording.decisions_title(rows), tables.decisions(rows)
    panel = Panel(title, caption=caption, table=table, is_wide=True)
    return Section("selection", "Selection", (panel,))
