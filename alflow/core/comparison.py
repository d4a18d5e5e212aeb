"""Properties of an ensemble beside what is known about them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from alflow.core.properties import SuiteResult, curve_differences

GIVEN = "given"
"""Where a reference comes from that the user wrote down."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One property, and how far it is off.

    Attributes:
        name: What it is.
        unit: Unit of all numbers.
        value: By the mean of the ensemble.
        spread: Population standard deviation over members; None where members were not asked.
        reference: What it should be; None if nothing is known.
        source: Where the reference comes from: `given`, or the name of a level of theory.
    """

    name: str
    unit: str
    value: float
    spread: float | None = None
    reference: float | None = None
    source: str = ""

    @property
    def error(self) -> float | None:
        """Value minus reference."""
        return None if self.reference is None else self.value - self.reference

    @property
    def error_per_spread(self) -> float | None:
        """Size of the error in spreads; None without either, or where all members agree."""
        error, spread = self.error, self.spread
        if error is None or not spread or not math.isfinite(spread):
            return None
        return abs(error) / spread

    def to_json(self) -> dict[str, Any]:
        """A JSON-like dict."""
        more = {"error": self.error, "error_per_spread": self.error_per_spread}
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in {**asdict(self), **more}.items()
        }


def compared(
    ours: Sequence[SuiteResult],
    reference: Sequence[SuiteResult],
    level: str,
    given: Mapping[str, float],
) -> list[Compared]:
    """All properties of an ensemble in their order, then what the comparison of curves says.

    Args:
        ours: Results of suites for the ensemble.
        reference: Results of the same suites for the reference.
        level: Name of the reference.
        given: Known values by the name of the property; they go before those of the reference.
    """
    theirs = {one.name: one for result in reference for one in result.properties}
    rows = []
    for one in (one for result in ours for one in result.properties):
        known, source = given.get(one.name), GIVEN
        other = theirs.get(one.name)
        if known is None and other is not None and math.isfinite(other.value):
            known, source = other.value, level
        source = source if known is not None else ""
        rows.append(Compared(one.name, one.unit, one.value, one.spread, known, source))
    differences = curve_differences(
        [curve for result in ours for curve in result.curves],
        [curve for result in reference for curve in result.curves],
    )
    return rows + [Compared(one.name, one.unit, one.value) for one in differences]
