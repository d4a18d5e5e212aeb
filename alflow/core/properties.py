"""Properties of a potential: numbers and curves with a name, and how far two of them are apart."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, product
from typing import Any

import numpy as np
from jaxtyping import Float

NO_UNIT = "1"
"""Unit of a ratio."""


@dataclass(frozen=True, slots=True)
class Property:
    """One number that a potential gives.

    Attributes:
        name: What it is, stable: `fcc/lattice_constant`.
        value: By the mean of the ensemble, or by the reference; NaN if it came out as no number.
        unit: Unit of the value, `NO_UNIT` for a ratio.
        members: By each member, at the geometries of the mean; None where there is one potential
            alone, or where only the mean can be asked (dynamics).
    """

    name: str
    value: float
    unit: str
    members: tuple[float, ...] | None = None

    @property
    def spread(self) -> float | None:
        """Population standard deviation over members; None without members."""
        return None if self.members is None else float(np.std(self.members))

    def to_json(self) -> dict[str, Any]:
        """A JSON-like dict."""
        members = None if self.members is None else [_known(one) for one in self.members]
        return {**asdict(self), "value": _known(self.value), "members": members}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Property":
        """The inverse of `to_json`."""
        members = value["members"]
        return cls(
            value["name"],
            _number(value["value"]),
            value["unit"],
            None if members is None else tuple(_number(one) for one in members),
        )


@dataclass(frozen=True, slots=True)
class Curve:
    """A function that a potential gives, on a grid.

    Attributes:
        name: What it is, stable: `melt_1000K/rdf`.
        x: Grid, ascending.
        x_unit: Unit of the grid.
        runs: Values on the grid, one row for each independent run; a curve without noise has one.
        unit: Unit of the values.
        compared_from: Where on the grid a comparison starts; None for a curve to look at only.
    """

    name: str
    x: tuple[float, ...]
    x_unit: str
    runs: tuple[tuple[float, ...], ...]
    unit: str
    compared_from: float | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON-like dict."""
        return {**asdict(self), "x": list(self.x), "runs": [list(run) for run in self.runs]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Curve":
        """The inverse of `to_json`."""
        rows = {"x": tuple(value["x"]), "runs": tuple(tuple(run) for run in value["runs"])}
        return cls(**{**value, **rows})


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """What a validation suite found out about one potential.

    Attributes:
        properties: Numbers; names are unique.
        curves: Functions; names are unique.
        notes: Sentences on what could not be computed, and why.
    """

    properties: tuple[Property, ...]
    curves: tuple[Curve, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A JSON-like dict."""
        return {
            "properties": [one.to_json() for one in self.properties],
            "curves": [one.to_json() for one in self.curves],
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "SuiteResult":
        """The inverse of `to_json`."""
        return cls(
            tuple(Property.from_json(one) for one in value["properties"]),
            tuple(Curve.from_json(one) for one in value["curves"]),
            tuple(value["notes"]),
        )

    def joined(self, other: "SuiteResult") -> "SuiteResult":
        """This result with another one behind it."""
        return SuiteResult(
            self.properties + other.properties,
            self.curves + other.curves,
            self.notes + other.notes,
        )


def _known(value: float) -> float | None:
    """JSON has no word for what is not finite."""
    return value if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def properties_of(name: str, unit: str, columns: Float[np.ndarray, " columns"]) -> Property:
    """A property of values by the mean, and by the members behind it.

    Args:
        name: Name of the property.
        unit: Unit of the values.
        columns: Value by the mean first, then by each member if there is more than one,
            (columns,).
    """
    members = tuple(float(value) for value in columns[1:])
    return Property(name, float(columns[0]), unit, members or None)


def curve_differences(ours: Sequence[Curve], reference: Sequence[Curve]) -> list[Property]:
    """How far curves are from those of a reference, and how that compares with its noise.

    For each curve of both that is made for it: `NAME_mean_abs_difference`, the mean absolute
    difference of a run of ours and one of the reference, over the grid from `compared_from` on,
    averaged over all pairs of runs; and, where the reference has several runs,
    `NAME_difference_per_noise`: that divided by the same difference among runs of the reference.
    It is one for a potential that cannot be told from the reference.

    Args:
        ours: Curves of a potential.
        reference: Curves of the reference.
    """
    by_name = {curve.name: curve for curve in reference}
    found = []
    for curve in ours:
        other = by_name.get(curve.name)
        if other is None or curve.compared_from is None or other.x != curve.x:
            continue
        counts = np.array(curve.x) >= curve.compared_from
        mine, theirs = (np.array(one.runs)[:, counts] for one in (curve, other))
        apart = float(np.mean([np.abs(a - b).mean() for a, b in product(mine, theirs)]))
        found.append(Property(f"{curve.name}_mean_abs_difference", apart, curve.unit))
        noise = [np.abs(a - b).mean() for a, b in combinations(theirs, 2)]
        if noise and np.mean(noise) > 0:
            ratio = apart / float(np.mean(noise))
            found.append(Property(f"{curve.name}_difference_per_noise", ratio, NO_UNIT))
    return found
