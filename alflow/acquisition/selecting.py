"""Selection by a gate: pure, and the same for any order of the candidates."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from alflow.acquisition.diversity import farthest_points, standardised
from alflow.core.sampling import (
    Candidate,
    Decision,
    Gate,
    Selection,
    Spread,
    Verdict,
    standing_for_all,
)
from alflow.core.seeds import generator

_UNITS = {"energy": "eV", "force_mean": "eV/Å", "force_max": "eV/Å"}
"""Unit of each measure of a gate; the energy is per square root of the number of atoms."""


@dataclass(frozen=True, slots=True)
class Excess:
    """By how much a spread exceeds its limits.

    Attributes:
        measure: The measure with the largest ratio.
        value: Its value [eV or eV/Å].
        limit: Its limit [eV or eV/Å].
    """

    measure: str
    value: float
    limit: float

    @property
    def ratio(self) -> float:
        """Value divided by limit."""
        return self.value / self.limit

    def __str__(self) -> str:
        """Words with numbers and units."""
        unit = _UNITS[self.measure]
        return (
            f"{self.measure} spread {self.value:.3g} {unit} is {self.ratio:.3g} times "
            f"its limit of {self.limit:.3g} {unit}"
        )


def excess(gate: Gate, spread: Spread) -> Excess:
    """The measure that is largest in units of its limit, below or beyond."""
    found = []
    for measure in _UNITS:
        limit = getattr(gate, measure)
        if limit is not None:
            found.append(
                Excess(measure, getattr(spread, measure), limit.at(spread.force_scale))
            )
    return max(found, key=lambda one: one.ratio)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A candidate that may be selected."""

    candidate: Candidate
    excess: Excess
    weight: float = 1.0

    @property
    def preference(self) -> tuple[float, str]:
        """Larger excess first; the id decides between equals, never the order of arrival."""
        return -self.excess.ratio * self.weight, self.candidate.id

    @property
    def told(self) -> str:
        """How large its spread is, and its cost where that counted."""
        cost = self.candidate.cost_core_s
        told = str(self.excess)
        if self.candidate.reason == "flagged" and self.excess.ratio <= 1:
            told += " in the first round, and beyond that of its own"
        if cost is None or self.weight == 1.0:
            return told
        return f"{told}, {cost:.3g} core-seconds expected"


@dataclass(frozen=True, slots=True)
class Choice:
    """How candidates are chosen.

    Attributes:
        gate: Limits that tell by how much a spread is beyond them.
        rejected_factor: Candidates beyond this multiple of a limit are turned down.
        audit_fraction: Share of the places for candidates drawn at random.
        min_distance: Flagged candidates closer than this to a selected one are turned down; root
            mean square distance of standardised fingerprints.
        cost_power: Power of the expected cost that what a label teaches is divided by.
    """

    gate: Gate
    rejected_factor: float
    audit_fraction: float
    min_distance: float
    cost_power: float = 0.0


def chosen(
    candidates: Sequence[Candidate], budget: int, seed: int, how: Choice
) -> Selection:
    """Give every candidate a verdict; at most `budget` are selected.

    Of several candidates with the same id, which are the same structure, one stands for all.

    Args:
        candidates: Candidates in any order.
        budget: Largest number to select.
        seed: Seed of the random choice among the audit candidates.
        how: How to choose.
    """
    verdicts: dict[str, Verdict] = {}
    entries: list[_Entry] = []
    merged = _merged(candidates)
    for candidate in merged:
        screened = _screen(candidate, how)
        if isinstance(screened, Verdict):
            verdicts[candidate.id] = screened
        else:
            entries.append(screened)
    audit = [entry for entry in entries if entry.candidate.reason == "audit"]
    flagged = [entry for entry in entries if entry.candidate.reason != "audit"]
    # a product such as 0.07 * 100 = 7.000000000000001 means 7
    places = math.ceil(how.audit_fraction * budget - 1e-9)
    n_audit = min(len(audit), budget, places)
    flagged = _weighted(flagged, how.cost_power)
    taken = _select_flagged(flagged, budget - n_audit, how.min_distance)
    n_flagged = sum(verdict.rank is not None for verdict in taken.values())
    verdicts |= taken | _select_audit(audit, n_audit, n_flagged, seed)
    return {
        one.id: replace(verdicts[one.id], cost_core_s=one.cost_core_s) for one in merged
    }


def _screen(candidate: Candidate, how: Choice) -> _Entry | Verdict:
    if candidate.is_known:
        return Verdict(
            Decision.DUPLICATE, "a label for this structure exists or is on its way"
        )
    numbers = [*candidate.spread.to_json().values(), *candidate.fingerprint.tolist()]
    if not np.isfinite(numbers).all():
        return Verdict(Decision.FILTERED, "its spread or its fingerprint is not finite")
    found = excess(how.gate, candidate.spread)
    if found.ratio > how.rejected_factor:
        return Verdict(
            Decision.FILTERED, f"too far off: {found}, more than {how.rejected_factor:g}"
        )
    return _Entry(candidate, found)


def _weighted(entries: list[_Entry], power: float) -> list[_Entry]:
    """Dearer candidates weigh less; all weigh the same where costs do not count, or are unknown."""
    costs = [one.candidate.cost_core_s for one in entries]
    known = [cost for cost in costs if cost is not None]
    if not power or not known or len(known) < len(costs):
        return entries
    usual = float(np.median(known))
    return [
        replace(one, weight=(usual / cost) ** power)
        for one, cost in zip(entries, known, strict=True)
    ]


def _select_flagged(
    entries: list[_Entry], places: int, min_distance: float
) -> dict[str, Verdict]:
    if not entries:
        return {}
    entries = sorted(entries, key=lambda entry: entry.preference)
    fingerprints = np.stack([entry.candidate.fingerprint for entry in entries])
    points = standardised(fingerprints.astype(np.float64))
    weights = np.array([entry.weight for entry in entries])
    found = farthest_points(points, places, min_distance, weights)
    ranks = {int(index): rank for rank, index in enumerate(found.order)}
    verdicts = {}
    for index, entry in enumerate(entries):
        distance, rank = float(found.distances[index]), ranks.get(index)
        if rank is None and distance < min_distance:
            other = entries[int(found.nearest[index])]
            verdict = _near_duplicate(distance, other, min_distance)
        else:
            verdict = _verdict(entry, distance, rank, len(entries), len(ranks))
        verdicts[entry.candidate.id] = verdict
    return verdicts


def _verdict(
    entry: _Entry, distance: float, rank: int | None, n_entries: int, n_places: int
) -> Verdict:
    if rank == 0:
        return Verdict(Decision.SELECTED, f"{entry.told}, the largest factor of all", rank)
    if rank is not None:
        where = f"fingerprint distance {distance:.3g} to the nearest selected before it"
        return Verdict(Decision.SELECTED, f"{entry.told}; {where}", rank)
    return Verdict(
        Decision.OVER_BUDGET,
        f"{n_entries} flagged candidates for {n_places} places; {entry.told}",
    )


def _near_duplicate(distance: float, other: _Entry, min_distance: float) -> Verdict:
    return Verdict(
        Decision.DUPLICATE,
        f"fingerprint distance {distance:.3g} to the selected {other.candidate.id[:12]}, "
        f"less than {min_distance:g}",
    )


def _select_audit(
    entries: list[_Entry], places: int, first_rank: int, seed: int
) -> dict[str, Verdict]:
    """Draw audit candidates at random; entries come sorted by id."""
    drawn = generator(seed, "audit").permutation(len(entries))[:places].tolist()
    verdicts = {}
    for index, entry in enumerate(entries):
        if index in drawn:
            rank = first_rank + drawn.index(index)
            reason = f"drawn for audit, {places} of {len(entries)}; {entry.excess}"
            verdicts[entry.candidate.id] = Verdict(Decision.SELECTED, reason, rank)
        else:
            reason = f"not among the {places} of {len(entries)} drawn for audit"
            verdicts[entry.candidate.id] = Verdict(Decision.OVER_BUDGET, reason)
    return verdicts


def _merged(candidates: Sequence[Candidate]) -> list[Candidate]:
    """One candidate for each id, sorted by id; flagged beats audit, then the worse spread."""
    copies: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        copies.setdefault(candidate.id, []).append(candidate)
    return [
        replace(
            standing_for_all(copies[name]),
            is_known=any(c.is_known for c in copies[name]),
        )
        for name in sorted(copies)
    ]
