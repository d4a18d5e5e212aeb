"""Selection by learnt limits: the limits are learnt, the choice is that of fixed limits."""

from collections.abc import Sequence

import numpy as np

from alflow.acquisition.calibrated import CalibratedSettings
from alflow.acquisition.calibration import Calibration, calibrate
from alflow.acquisition.selecting import Choice, chosen
from alflow.core.past import PastIteration
from alflow.core.sampling import Candidate, Gate, Limit, Selection

ROOM = 1.2
"""Flagged frames for each place that looser limits must leave: there is something to choose."""


class CalibratedRule:
    """The rule behind `CalibratedSettings`."""

    def __init__(self, settings: CalibratedSettings) -> None:
        """Keep the settings."""
        self._settings = settings

    def gate(
        self,
        generation: int,  # noqa: ARG002 - what counts is in the past
        past: Sequence[PastIteration] = (),
        sampling_round: int = 0,
    ) -> Gate:
        """The gate for a round: tolerances by learnt ratios, times the factor.

        Each further round of an iteration, for there were too few flagged frames, is tighter.
        """
        settings, known = self._settings, self.calibration(past)
        ratios = [min(one, settings.largest_ratio) for one in (known.force, known.energy)]
        force = settings.force_tolerance_eV_per_A.limit(1 / ratios[0])
        energy = settings.energy_tolerance_meV.limit(1e-3 / ratios[1])
        atom = Limit(
            force.base * settings.atom_factor, force.per_force * settings.atom_factor
        )
        factor = self.factor(past) * settings.step**sampling_round
        factor = max(factor, settings.smallest_factor)
        return Gate(energy, force, atom, settings.grace_fs).scaled(factor)

    def calibration(self, past: Sequence[PastIteration]) -> Calibration:
        """What the past says about errors beside spreads."""
        settings = self._settings
        return calibrate(
            past,
            coverage=settings.coverage,
            window=settings.window,
            energy_window=settings.energy_window,
            prior_ratio=settings.prior_ratio,
            adaptation=settings.adaptation,
        )

    def factor(self, past: Sequence[PastIteration]) -> float:
        """Factor on the limits: looser where all is flagged, tighter where too little is."""
        settings = self._settings
        factor = settings.start_factor
        for one in past:
            factor *= self._change(one)
            factor = min(max(factor, settings.smallest_factor), settings.largest_factor)
        return factor

    def _change(self, one: PastIteration) -> float:
        """What an iteration's yield says about its factor, to which excesses refer.

        Frames of further rounds, whose limits were tighter, may have an excess below 1.
        """
        settings = self._settings
        ordered = np.sort(one.excess)[::-1]
        tightest = min(1.0, float(ordered[-1])) if len(ordered) else 1.0
        if one.is_short:
            is_far_short = 2 * one.n_flagged < one.n_places
            return tightest * settings.step ** (2 if is_far_short else 1)
        wanted = max(settings.flagged_share * one.n_trajectories, ROOM * one.n_places)
        if not wanted < len(ordered):
            return tightest
        # The ensemble that comes next has learnt from these frames: it needs less.
        return min(float(ordered[int(wanted)]), settings.step**-2)

    def select(
        self,
        candidates: Sequence[Candidate],
        budget: int,
        seed: int,
        gate: Gate | None = None,
    ) -> Selection:
        """Give every candidate a verdict; at most `budget` are selected.

        Args:
            candidates: Candidates in any order.
            budget: Largest number to select.
            seed: Seed of the random choice among the audit candidates.
            gate: The gate that they were sampled with.
        """
        settings = self._settings
        how = Choice(
            self.gate(0) if gate is None else gate,
            settings.rejected_factor,
            settings.audit_fraction,
            settings.min_distance,
            settings.cost_power,
        )
        return chosen(candidates, budget, seed, how)
