"""Tables of a report: what a figure was drawn from, as cells and as CSV in the page itself."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

import numpy as np
from jaxtyping import Float

from alflow.core.comparison import Compared
from alflow.core.metrics import mae, rmse
from alflow.core.properties import NO_UNIT
from alflow.core.sampling import StopReason
from alflow.report.content import (
    CampaignReport,
    GenerationRow,
    IterationRow,
    LabelNoise,
)
from alflow.report.estimates import fraction_at
from alflow.report.quantities import (
    NONE,
    THIN_SPACE,
    grouped,
    milli,
    percent,
    significant,
)
from alflow.report.quantities import simulated as time_of
from alflow.report.samples import (
    Parity,
    SurvivalCurve,
)
from alflow.store.traces import Trace
from alflow.store.yields import MILLION, ArmYield

MAX_ROWS = 60
"""Rows of a table; the store has all of them."""

STOP_REASONS = tuple(str(reason) for reason in StopReason)
WORDS = frozenset(
    (
        *(
            "arm",
            "attempt",
            "builder",
            "chosen as",
            "failure",
            "element",
            "formula",
            "set",
            "generation",
            "host",
            "iteration",
            "kind",
            "label",
        ),
        *(
            "latest",
            "level",
            "message",
            "method",
            "outcome",
            "new labels of",
            "origin",
            "predicted by",
            "property",
            "quantity",
            "reference by",
            "after",
            "before",
            "manager",
            "sampler",
            "setting",
            "what",
            "seeds of members",
        ),
        *(
            "snapshot digest",
            "stage",
            "state",
            "structure",
            "task",
            "time",
            "unit",
            "weights SHA-256",
            "why",
        ),
    )
)
"""Columns that hold words."""
DECISIONS = ("selected", "duplicate", "filtered", "over-budget", "pending")


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as text, with a heading for each column.

    Attributes:
        name: Name of the CSV file.
        columns: Headings, with units.
        rows: Cells.
        n_all: Number of rows before the table was cut.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    n_all: int = 0

    @property
    def is_word(self) -> tuple[bool, ...]:
        """Which columns hold words; those stand at the left, numbers at the right."""
        return tuple(column in WORDS for column in self.columns)

    @property
    def csv(self) -> str:
        """The table as a `data:` address."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([plain(cell) for cell in row] for row in self.rows)
        return "data:text/csv;charset=utf-8," + quote(buffer.getvalue(), safe=" ,;:/.-+()")


def plain(cell: str) -> str:
    """A cell for a spreadsheet: no thin spaces, and never something it would compute."""
    text = cell.replace(THIN_SPACE, "")
    if text == NONE:
        return ""
    is_number = text.replace(".", "", 1).lstrip("-+").isdigit()
    return f"'{text}" if text[:1] in "=+-@\t\r" and not is_number else text


def table(
    name: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    most: int = MAX_ROWS,
) -> Table:
    """A table; its name is that of its CSV file, and it has so many rows at most."""
    kept = tuple(tuple(row) for row in rows[:most])
    return Table(name, tuple(columns), kept, len(rows))


def generations(rows: Sequence[GenerationRow]) -> Table:
    """Test errors and labels by generation, last first."""
    columns = (
        "generation",
        "labels",
        "force RMSE, meV/Å",
        "energy RMSE, meV/atom",
        "state",
    )
    cells = [
        (
            f"g{row.number}",
            grouped(row.n_labels),
            milli(row.force_rmse),
            milli(row.energy_rmse),
            row.state,
        )
        for row in reversed(rows)
    ]
    return table("generations", columns, cells)


def parity(pair: Sequence[Parity], quantity: str) -> Table:
    """Error measures of the generations in a parity plot."""
    unit = "meV/Å" if quantity == "force" else "meV/atom"
    columns = (
        "generation",
        "points",
        *(f"{m}, {unit}" for m in ("RMSE", "MAE", "largest")),
    )
    rows = []
    for item in pair:
        error = (
            item.force_predicted - item.force_reference
            if quantity == "force"
            else item.energy_predicted - item.energy_reference
        )
        rows.append((f"g{item.generation}", grouped(len(error)), *_measures(error)))
    return table(f"parity-{quantity}", columns, rows)


def _measures(error: Float[np.ndarray, " n"]) -> tuple[str, str, str]:
    largest = float(np.abs(error).max()) if len(error) else None
    return milli(rmse(error)), milli(mae(error)), milli(largest)


def noise(found: LabelNoise, last: GenerationRow | None) -> Table:
    """How far labels that were computed again are off, beside the errors of the model."""
    columns = ("quantity", "labels", "label noise, RMS", "largest", "test error, RMSE")
    model = {
        "energy": None if last is None else last.energy_rmse,
        "force": None if last is None else last.force_rmse,
    }
    rows = [
        (
            f"{name}, {unit}",
            grouped(len(values)),
            _fine(rmse(np.array(values))),
            _fine(float(np.abs(values).max())),
            milli(model[name]),
        )
        for name, unit, values in (
            ("energy", "meV/atom", found.energy),
            ("force", "meV/Å", found.force),
        )
        if values
    ]
    return table("noise", columns, rows)


def _fine(value: float) -> str:
    """In thousandths, with two digits however small it is."""
    return significant(1000 * value, 2)


def properties(rows: Sequence[Compared]) -> Table:
    """Properties of a generation beside what is known about them."""
    columns = (
        *("property", "unit", "value", "spread", "reference", "error", "error / spread"),
        "reference by",
    )
    cells = [
        (
            row.name,
            "" if row.unit == NO_UNIT else row.unit,
            significant(row.value, 4),
            significant(row.spread, 2),
            significant(row.reference, 4),
            significant(row.error, 2),
            significant(row.error_per_spread, 2),
            row.source or NONE,
        )
        for row in rows
    ]
    return table("properties", columns, cells)


def survival(curves: Sequence[SurvivalCurve]) -> Table:
    """Fraction still trusted by time, one column for each of the last generations."""
    shown = list(curves)[-6:]
    longest = max(curve.times_fs[-1] for curve in shown)
    rows = []
    for time in np.linspace(0.0, longest, 11):
        shares = (percent(fraction_at(curve, float(time))) for curve in shown)
        rows.append((time_of(float(time)), *shares))
    rows.append(("median", *(time_of(curve.median_fs) for curve in shown)))
    columns = ("time", *(f"g{curve.generation}" for curve in shown))
    return table("survival", columns, rows)


def traces(shown: Sequence[Trace]) -> Table:
    """The points that are drawn of a few trajectories."""
    rows = [
        (
            f"p-{one.trajectory}",
            significant(float(one.time_fs[k]), 4),
            significant(float(one.temperature_K[k]), 3),
            milli(float(one.force_spread[k])),
        )
        for one in shown
        for k in range(len(one.time_fs))
    ]
    columns = ("trajectory", "time, fs", "temperature, K", "force spread, meV/Å")
    return table("traces", columns, rows, most=len(rows))


def stop_reasons(rows: Sequence[IterationRow]) -> Table:
    """Why trajectories ended, by iteration, last first."""
    seen = {reason for row in rows for reason in row.stop_reasons}
    reasons = [r for r in STOP_REASONS if r in seen] + sorted(seen - set(STOP_REASONS))
    cells = [
        (
            f"i{row.number}",
            grouped(row.n_trajectories),
            significant(row.sampled_ps, 3),
            *(grouped(row.stop_reasons.get(reason, 0)) for reason in reasons),
        )
        for row in reversed(rows)
    ]
    columns = ("iteration", "trajectories", "simulated, ps", *reasons)
    return table("stop-reasons", columns, cells)


def arms(rows: Sequence[ArmYield]) -> Table:
    """What the arms of a mixture brought in, by iteration, last first."""
    cells = [
        (
            f"i{row.iteration}",
            row.arm,
            *(grouped(int(n)) for n in (row.n_tasks, row.n_trajectories, row.n_flagged)),
            grouped(int(row.n_accepted)),
            significant(row.atom_steps / MILLION, 3),
            significant(row.per_million, 3),
        )
        for row in sorted(rows, key=lambda row: (-row.iteration, row.arm))
    ]
    counts = ("tasks", "trajectories", "flagged", "accepted")
    costs = ("million atom-steps", "accepted per million")
    return table("arms", ("iteration", "arm", *counts, *costs), cells)


def decisions(rows: Sequence[IterationRow]) -> Table:
    """What became of candidates, by iteration, last first."""
    seen = {decision for row in rows for decision in row.decisions}
    names = [d for d in DECISIONS if d in seen] + sorted(seen - set(DECISIONS))
    cells = [
        (
            f"i{row.number}",
            grouped(row.n_flagged),
            grouped(row.n_audit),
            *(grouped(row.decisions.get(name, 0)) for name in names),
            grouped(row.n_labels_ok),
            grouped(row.n_labels_failed),
        )
        for row in reversed(rows)
    ]
    columns = ("iteration", "flagged", "audit", *names, "labels ok", "labels failed")
    return table("decisions", columns, cells)


def label_failures(report: CampaignReport) -> Table:
    """Failed labels by kind, with the latest structures."""
    rows = [
        (
            item.kind,
            grouped(item.count),
            ", ".join(f"s-{number}" for number in item.structure_ids),
            item.message,
        )
        for item in report.label_failures
    ]
    return table("label-failures", ("kind", "labels", "latest", "message"), rows)


def failed_attempts(report: CampaignReport) -> Table:
    """Attempts without a result, newest first."""
    rows = [
        (
            f"t-{item.task_id}",
            item.kind,
            f"{item.number}{' (given up)' if item.is_given_up else ''}",
            item.failure,
            item.host,
            item.message,
        )
        for item in report.attempts_failed
    ]
    columns = ("task", "kind", "attempt", "failure", "host", "message")
    return table("failed-attempts", columns, rows)


def selected(report: CampaignReport) -> Table:
    """The last structures chosen for a label."""
    rows = [
        (
            f"s-{item.structure_id}",
            item.formula,
            item.sampler,
            item.source,
            item.reason if not item.measure else f"{item.reason} ({item.measure})",
            milli(item.force_spread),
            milli(item.energy_spread),
            item.label_state,
            item.decision_reason,
        )
        for item in report.selected
    ]
    columns = (
        "structure",
        "formula",
        "sampler",
        "builder",
        "chosen as",
        "force spread, meV/Å",
        "energy spread/√N, meV",
        "label",
        "why",
    )
    return table("selected", columns, rows)


def fates(rows: Sequence[IterationRow]) -> Table:
    """How many trajectories were trusted to their end, by iteration, last first."""
    cells = [
        (
            f"i{row.number}",
            grouped(row.n_trajectories),
            *(
                text
                for n in row.fates.values()
                for text in (grouped(n), percent(n / row.n_trajectories))
            ),
        )
        for row in reversed(rows)
    ]
    counts = ("trusted", "share", "flagged", "share", "unphysical", "share")
    return table("fates", ("iteration", "trajectories", *counts), cells)
