"""Tables about the spread: how it is distributed, and how right it is."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from alflow.report.figures import SPREADS, bin_edges, spread_values
from alflow.report.quantities import grouped, milli, percent, significant
from alflow.report.samples import CalibrationSample, SpreadSample
from alflow.report.tables import Table, table


def histogram(sample: SpreadSample, measure: str) -> Table:
    """Candidates by bin of spread."""
    values = spread_values(sample, measure)
    edges = bin_edges(values)
    usable = np.isfinite(values)
    clipped = np.clip(values, edges[0], edges[-1])
    flagged, _ = np.histogram(clipped[usable & ~sample.is_audit], edges)
    audit, _ = np.histogram(clipped[usable & sample.is_audit], edges)
    _, unit, _ = SPREADS[measure]
    unit = f", {unit}" if unit else ""
    rows = [
        (significant(low, 3), significant(high, 3), str(a), str(b))
        for low, high, a, b in zip(edges, edges[1:], flagged, audit, strict=False)
        if a or b
    ]
    columns = (f"from{unit}", f"to{unit}", "flagged", "audit")
    return table(f"spread-{measure}", columns, rows)


def calibration(samples: Sequence[CalibrationSample]) -> Table:
    """Factor and coverage by iteration, last first."""
    shares = (0.50, 0.80, 0.95)
    leading = ("new labels of", "predicted by", "labels", "at random", "error / spread")
    columns = (*leading, *(f"within {100 * share:.0f} %" for share in shares))
    rows = [
        (
            f"i{sample.iteration}",
            f"g{sample.generation}",
            grouped(sample.n_labels),
            grouped(sample.n_audit),
            significant(sample.factor, 3),
            *(percent(sample.coverage.get(share)) for share in shares),
        )
        for sample in reversed(samples)
    ]
    return table("calibration", columns, rows)


def coverage(found: Mapping[int, Mapping[str, float]]) -> Table:
    """Share of errors below their bound, and errors in units of the spread; last first."""
    shares = ("nominal", "force", "energy", "force_audit", "energy_audit")
    scales = (
        *("error_per_spread_force", "error_per_calibrated_spread_force"),
        *("error_per_spread_energy", "error_per_calibrated_spread_energy"),
    )
    columns = (
        *("new labels of", "below bound, stated", "forces", "energies"),
        *("forces, at random", "energies, at random"),
        *("force error / spread", "corrected", "energy error / spread", "corrected"),
    )
    rows = [
        (
            f"i{number}",
            *(percent(named.get(f"coverage_{name}")) for name in shares),
            *(significant(named.get(name, math.nan), 3) for name in scales),
        )
        for number, named in sorted(found.items(), reverse=True)
    ]
    return table("coverage", columns, rows)


def calibration_points(sample: CalibrationSample) -> Table:
    """Spread and error of new labels, largest error first."""
    order = np.argsort(-np.nan_to_num(sample.force_error), kind="stable")
    rows = [
        (
            milli(float(sample.force_spread[k])),
            milli(float(sample.force_error[k])),
            milli(float(sample.energy_spread[k])),
            milli(float(sample.energy_error[k])),
            "audit" if sample.is_audit[k] else "flagged",
        )
        for k in order
    ]
    columns = (
        "force spread, meV/Å",
        "force error, meV/Å",
        "energy spread/√N, meV",
        "energy error/√N, meV",
        "origin",
    )
    return table("calibration-points", columns, rows)
