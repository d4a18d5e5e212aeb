"""Tables of where generations are wrong, as parts of the page."""

import math

from alflow.report.mistakes import ElementError, Mistakes
from alflow.report.panels import Panel
from alflow.report.quantities import count, grouped, milli
from alflow.report.tables import Table, table
from alflow.report.wording import sentence
from alflow.store.mistakes import NEW, TEST, LabelError, OriginError


def panels(found: Mistakes) -> tuple[Panel, ...]:
    """Tables of the errors; none where nothing is known."""
    sets = {
        TEST: f"test: the test set, by g{found.generation}",
        NEW: f"new: labels of i{found.iteration}, by the generation that chose them",
    }
    seen = {one.which for one in found.by_origin}
    told = "; ".join(text for which, text in sets.items() if which in seen)
    caption = sentence(told) if told else ""
    made = []
    if found.by_element:
        made.append(
            Panel(
                _element_title(found.by_element),
                caption=f"Cartesian components; of very many labels an even selection. {caption}",
                table=_elements(found.by_element),
            )
        )
    if found.by_origin:
        made.append(
            Panel(
                "Errors by builder and sampler",
                caption=f"Builder of a test structure, sampler of a new one. {caption}",
                table=_origins(found.by_origin),
            )
        )
    if found.worst:
        title = f"The {count(len(found.worst), 'label')} with the largest errors"
        text = f"To look at one: alflow show {_name(found.worst[0])}. {caption}"
        made.append(Panel(title, caption=text, table=_worst(found.worst), is_wide=True))
    return tuple(made)


def _name(one: LabelError) -> str:
    return f"l-{one.label_id}"


def _element_title(rows: tuple[ElementError, ...]) -> str:
    worst = max(rows, key=lambda row: row.force_rmse)
    if len({row.element for row in rows}) == 1:
        labels = "the test set" if worst.which == TEST else "new labels"
        return f"Forces on {worst.element} are wrong by {milli(worst.force_rmse)} meV/Å on {labels}"
    return f"Forces are most wrong on {worst.element}: {milli(worst.force_rmse)} meV/Å"


def _elements(rows: tuple[ElementError, ...]) -> Table:
    cells = [
        (
            row.element,
            row.which,
            grouped(row.n_atoms),
            milli(row.force_rmse),
            milli(row.largest),
        )
        for row in rows
    ]
    columns = ("element", "set", "atoms", "force RMSE, meV/Å", "largest on an atom, meV/Å")
    return table("errors-by-element", columns, cells)


def _origins(rows: tuple[OriginError, ...]) -> Table:
    cells = [
        (
            row.origin,
            row.which,
            grouped(row.n_labels),
            milli(None if row.force is None else math.sqrt(row.force)),
            milli(None if row.energy is None else math.sqrt(row.energy)),
        )
        for row in rows
    ]
    columns = ("origin", "set", "labels", "force RMSE, meV/Å", "energy RMSE, meV/atom")
    return table("errors-by-origin", columns, cells)


def _worst(rows: tuple[LabelError, ...]) -> Table:
    cells = [
        (
            _name(row),
            f"s-{row.structure_id}",
            row.formula,
            row.origin,
            row.which,
            # over atoms, of the length of the error: what the spread is, too
            milli(row.force_rmse * math.sqrt(3)),
            milli(row.force_spread),
            milli(row.energy_error),
        )
        for row in rows
    ]
    numbers = (
        "force error of an atom, RMS, meV/Å",
        "mean force spread of an atom, meV/Å",
        "energy error, meV/atom",
    )
    return table(
        "worst-labels", ("label", "structure", "formula", "origin", "set", *numbers), cells
    )
