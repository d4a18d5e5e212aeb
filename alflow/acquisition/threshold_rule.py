"""Selection by fixed limits."""

from collections.abc import Sequence

from alflow.acquisition.selecting import Choice, chosen
from alflow.acquisition.threshold import ThresholdSettings
from alflow.core.past import PastIteration
from alflow.core.sampling import Candidate, Gate, Selection


class ThresholdRule:
    """The rule behind `ThresholdSettings`."""

    def __init__(self, settings: ThresholdSettings) -> None:
        """Keep the settings."""
        self._settings = settings
        self._gate = settings.base_gate()

    def gate(
        self,
        generation: int,
        past: Sequence[PastIteration] = (),  # noqa: ARG002 - limits are fixed
        sampling_round: int = 0,  # noqa: ARG002
    ) -> Gate:
        """The gate for sampling with this generation, relaxed for the first ones."""
        relax = self._settings.relax
        return self._gate.scaled(relax[generation] if generation < len(relax) else 1.0)

    def select(
        self,
        candidates: Sequence[Candidate],
        budget: int,
        seed: int,
        gate: Gate | None = None,  # noqa: ARG002 - not relaxed
    ) -> Selection:
        """Give every candidate a verdict; at most `budget` are selected.

        Args:
            candidates: Candidates in any order.
            budget: Largest number to select.
            seed: Seed of the random choice among the audit candidates.
            gate: The gate that they were sampled with; limits are those that are not relaxed.
        """
        settings = self._settings
        how = Choice(
            self._gate,
            settings.rejected_factor,
            settings.audit_fraction,
            settings.min_distance,
            settings.cost_power,
        )
        return chosen(candidates, budget, seed, how)
