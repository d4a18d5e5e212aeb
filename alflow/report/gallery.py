"""The structures that were chosen last, as pictures that can be turned, and as a table."""

from collections.abc import Mapping
from itertools import accumulate

from alflow.report import tables
from alflow.report.content import CampaignReport, SelectedStructure
from alflow.report.panels import Card, Panel, Section
from alflow.report.quantities import count, milli
from alflow.report.quantities import simulated as time_of
from alflow.report.thumbnails import Thumbnail, legend, model, still

MAX_ATOMS_DRAWN = 2000
"""Atoms of all pictures of a page together: each takes some forty bytes of it."""

LABEL_STATES = {"ok": "labelled", "failed": "label failed", "pending": "label on its way"}


def structures(report: CampaignReport) -> Section:
    """The last structures that were chosen for a label; nothing before there are any."""
    section = Section("structures", "Selected structures")
    if not report.selected:
        return section
    iteration = report.selected[0].iteration
    title = f"Chosen in i{iteration}, largest force spread first"
    caption = _use(report, iteration)
    listed = Panel(title, caption=caption, table=tables.selected(report), is_wide=True)
    cards = _cards(report.selected)
    if not cards:
        return Section(section.name, section.heading, (listed,))
    n = count(len(cards), "structure")
    shown = Panel(
        f"What g{report.selected[0].generation} was least sure of in i{iteration}: {n}",
        caption=_caption(report.selected),
        cards=cards,
        is_wide=True,
    )
    return Section(section.name, section.heading, (shown, listed))


def _decided(report: CampaignReport, iteration: int) -> Mapping[str, int]:
    """Number of candidates of an iteration by what was decided about them."""
    return {row.number: row.decisions for row in report.iterations}.get(iteration, {})


def _use(report: CampaignReport, iteration: int) -> str:
    """How many there are of which some are shown, and who learns from their labels."""
    total = max(len(report.selected), _decided(report, iteration).get("selected", 0))
    learns = [row.number for row in report.generations if row.number >= iteration]
    who = f"g{learns[0]} is" if learns else "the next generation will be"
    text = (
        f"{len(report.selected)} of {total}; {who} the first to learn from their labels. All of "
        f"them: alflow ls candidates --iteration {iteration}."
    )
    before = iteration - 1
    if not _decided(report, before):
        return text
    return (
        f"{text} This page for what an earlier generation learnt from, g{before} for example: "
        f"alflow report --iteration {before}."
    )


def _cards(chosen: tuple[SelectedStructure, ...]) -> tuple[Card, ...]:
    """A card for each structure that can be drawn, as long as the page does not grow too much."""
    drawn = [(one, one.thumbnail) for one in chosen if one.thumbnail is not None]
    totals = accumulate(len(picture.numbers) for _, picture in drawn)
    return tuple(
        _card(one, picture)
        for (one, picture), total in zip(drawn, totals, strict=True)
        if total <= MAX_ATOMS_DRAWN
    )


def _card(one: SelectedStructure, picture: Thumbnail) -> Card:
    name = f"s-{one.structure_id}"
    spread = f"largest force spread {milli(one.force_spread)} meV/Å"
    words = f"{name}, {one.formula}, {spread}"
    is_built = one.source not in ("", one.sampler)
    origin = f"{one.sampler} from {one.source}" if is_built else one.sampler
    when = f" at {time_of(one.time_fs)}" if one.time_fs else ""
    why = "drawn at random" if one.reason == "audit" else one.measure.replace("_", " ")
    facts = (
        one.formula,
        spread,
        f"{origin}{when}",
        f"{one.reason}: {why}",
        LABEL_STATES.get(one.label_state, one.label_state),
    )
    return Card(name, still(picture, words), model(picture), legend(picture.numbers), facts)


def _caption(chosen: tuple[SelectedStructure, ...]) -> str:
    parts = [
        "Drag, or use the arrow keys, to turn a structure; alflow show tells all about it."
    ]
    if any(one.thumbnail and len(one.thumbnail.edges) for one in chosen):
        parts.append("Atoms are wrapped into their cell, whose edges are drawn.")
    if any(one.thumbnail and one.thumbnail.ringed is not None for one in chosen):
        parts.append(
            "Ringed: the atom about whose force the generation was most wrong, where the "
            "label is there to tell; the spread of single atoms is not stored."
        )
    else:
        parts.append("The spread of single atoms is not stored: no atom is ringed.")
    return " ".join(parts)
