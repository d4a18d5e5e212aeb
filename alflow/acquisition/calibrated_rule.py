"""Selection by learnt limits: the limits are learnt, the choice is that of fixed limits."""

from collections.abc import Sequence

from alflow.acquisition.calibrated import CalibratedSettings
from alflow.acquisition.calibration import Calibration, calibrate
from alflow.acquisition.selecting import Choice, chosen
from alflow.core.past import PastIteration
from alflow.core.sampling import Candidate, Gate, Limit, Selection

SATURATED = 0.8
"""Share of trajectories that are flagged beyond which limits are too tight to explore."""


class CalibratedRule:
    """The rule behind `CalibratedSettings`."""

    def __init__(self, settings: CalibratedSettings) -> None:
        """Keep the settings."""
        self._settings = settings

    def gate(self, generation: int, past: Sequence[PastIteration] = ()) -> Gate:  # noqa: ARG002 - what counts is in the past
        """The gate for the next iteration: tolerances by learnt ratios, times the factor."""
        settings, known = self._settings, self.calibration(past)
        force = settings.force_tolerance_eV_per_A.limit(1 / known.force)
        energy = settings.energy_tolerance_meV.limit(1e-3 / known.energy)
        atom = Limit(
            force.base * settings.atom_factor, force.per_force * settings.atom_factor
        )
        return Gate(energy, force, atom, settings.grace_fs).scaled(self.factor(past))

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
                factor = max(factor * settings.step, settings.smallest_factor)
            elif one.n_flagged > SATURATED * one.n_trajectories:
                factor = min(factor / settings.step, settings.largest_factor)
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
