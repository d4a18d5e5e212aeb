"""Selection by fixed limits: pure, and the same for any order of the candidates."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from alflow.acquisition.diversity import FarthestPoints, farthest_points, standardised
from alflow.acquisition.threshold import ThresholdSettings
from alflow.core.sampling import Candidate, Decision, Gate, Selection, Spread, Verdict
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

    @property
    def preference(self) -> tuple[float, str]:
        """Larger excess first; the id decides between equals, never the order of arrival."""
        return -self.excess.ratio, self.candidate.id


class ThresholdRule:
    """The rule behind `ThresholdSettings`."""

    def __init__(self, settings: ThresholdSettings) -> None:
        """Keep the settings."""
        self._settings = settings
        self._gate = settings.base_gate()

    def gate(self, generation: int) -> Gate:
        """The gate for sampling with this generation, relaxed for the first ones."""
        relax = self._settings.relax
        return self._gate.scaled(relax[generation] if generation < len(relax) else 1.0)

    def select(self, candidates: Sequence[Candidate], budget: int, seed: int) -> Selection:
        """Give every candidate a verdict; at most `budget` are selected.

        Of several candidates with the same id, which are the same structure, one stands for all.

        Args:
            candidates: Candidates in any order.
            budget: Largest number to select.
            seed: Seed of the random choice among the audit candidates.
        """
        verdicts: dict[str, Verdict] = {}
        entries: list[_Entry] = []
        for candidate in _merged(candidates):
            screened = self._screen(candidate)
            if isinstance(screened, Verdict):
                verdicts[candidate.id] = screened
            else:
                entries.append(screened)
        audit = [entry for entry in entries if entry.candidate.reason == "audit"]
        flagged = [entry for entry in entries if entry.candidate.reason != "audit"]
        n_audit = min(len(audit), budget, self._audit_places(budget))
        chosen = self._select_flagged(flagged, budget - n_audit)
        n_flagged = sum(verdict.rank is not None for verdict in chosen.values())
        return {**verdicts, **chosen, **_select_audit(audit, n_audit, n_flagged, seed)}

    def _audit_places(self, budget: int) -> int:
        # a product such as 0.07 * 100 = 7.000000000000001 means 7
        return math.ceil(self._settings.audit_fraction * budget - 1e-9)

    def _screen(self, candidate: Candidate) -> _Entry | Verdict:
        if candidate.is_known:
            return Verdict(
                Decision.DUPLICATE, "a label for this structure exists or is on its way"
            )
        numbers = [*candidate.spread.to_json().values(), *candidate.fingerprint.tolist()]
        if not np.isfinite(numbers).all():
            return Verdict(Decision.FILTERED, "its spread or its fingerprint is not finite")
        found = excess(self._gate, candidate.spread)
        if found.ratio > self._settings.rejected_factor:
            factor = self._settings.rejected_factor
            return Verdict(Decision.FILTERED, f"too far off: {found}, more than {factor:g}")
        return _Entry(candidate, found)

    def _select_flagged(self, entries: list[_Entry], places: int) -> dict[str, Verdict]:
        if not entries:
            return {}
        entries = sorted(entries, key=lambda entry: entry.preference)
        fingerprints = np.stack([entry.candidate.fingerprint for entry in entries])
        points = standardised(fingerprints.astype(np.float64))
        chosen = farthest_points(points, places, self._settings.min_distance)
        ranks = {int(index): rank for rank, index in enumerate(chosen.order)}
        return {
            entry.candidate.id: self._verdict(
                entry, index, ranks.get(index), chosen, entries
            )
            for index, entry in enumerate(entries)
        }

    def _verdict(
        self,
        entry: _Entry,
        index: int,
        rank: int | None,
        chosen: FarthestPoints,
        entries: list[_Entry],
    ) -> Verdict:
        if rank == 0:
            return Verdict(
                Decision.SELECTED, f"{entry.excess}, the largest factor of all", rank
            )
        distance = float(chosen.distances[index])
        if rank is not None:
            where = f"fingerprint distance {distance:.3g} to the nearest selected before it"
            return Verdict(Decision.SELECTED, f"{entry.excess}; {where}", rank)
        if distance < self._settings.min_distance:
            other = entries[int(chosen.nearest[index])].candidate.id
            return Verdict(
                Decision.DUPLICATE,
                f"fingerprint distance {distance:.3g} to the selected {other[:12]}, "
                f"less than {self._settings.min_distance:g}",
            )
        return Verdict(
            Decision.OVER_BUDGET,
            f"{len(entries)} flagged candidates for {len(chosen.order)} places; {entry.excess}",
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

    def preference(candidate: Candidate) -> tuple[bool, list[float], str, bytes]:
        spread = [
            -v if math.isfinite(v) else -math.inf
            for v in candidate.spread.to_json().values()
        ]
        fingerprint = candidate.fingerprint.tobytes()
        return candidate.reason == "audit", spread, candidate.measure, fingerprint

    copies: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        copies.setdefault(candidate.id, []).append(candidate)
    return [
        replace(
            min(copies[name], key=preference),
            is_known=any(c.is_known for c in copies[name]),
        )
        for name in sorted(copies)
    ]
