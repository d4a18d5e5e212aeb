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
            prior_ratio=settings.prior_ratio,
        )

    def factor(self, past: Sequence[PastIteration]) -> float:
        """Factor on the limits: looser where all is flagged, tighter where too little is."""
        settings = self._settings
        factor = settings.start_factor
        for one in past:
            if one.is_short:
                is_far_short = 2 * one.n_flagged < one.n_places
                factor *= settings.step ** (2 if is_far_short else 1)
                factor = max(factor, settings.smallest_factor)
            else:
                # The ensemble that comes next has learnt from these frames: it needs less.
                looser = min(_loosening(one, settings.flagged_share), settings.step**-2)
                factor = min(factor * looser, settings.largest_factor)
        return factor

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
        )
        return chosen(candidates, budget, seed, how)


def _loosening(one: PastIteration, share: float) -> float:
    """Factor on the limits at which the stated share of its trajectories had been flagged."""
    wanted = max(share * one.n_trajectories, ROOM * one.n_places)
    ordered = np.sort(one.excess)[::-1]
    if not wanted < len(ordered):
        return 1.0
    return max(1.0, float(ordered[int(wanted)]))
