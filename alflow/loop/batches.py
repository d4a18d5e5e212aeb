"""How many labels an iteration may ask for."""

import math
from dataclasses import dataclass

from alflow.config.campaign import CampaignSettings


@dataclass(frozen=True, slots=True)
class Batches:
    """The rule for all iterations of a campaign.

    Attributes:
        per_iteration: Largest number in one iteration.
        growth: Largest number as a share of the labels asked for before it; None sets no limit.
        limit: Largest number in all iterations together; None sets no limit.
    """

    per_iteration: int
    growth: float | None = None
    limit: int | None = None

    @classmethod
    def of(cls, settings: CampaignSettings) -> "Batches":
        """The rule that settings state."""
        return cls(
            int(settings.acquire.per_iteration),
            settings.loop.growth,
            settings.stop.budget.labels,
        )

    def places(self, n_requested: int) -> int:
        """How many an iteration may ask for when so many have been asked for before it."""
        most = self.per_iteration
        if self.growth is not None:
            # a product such as 0.07 * 100 = 7.000000000000001 means 7
            most = min(most, max(1, math.ceil(self.growth * n_requested - 1e-9)))
        if self.limit is not None:
            most = min(most, self.limit - n_requested)
        return max(0, most)

    def to_come(self, n_requested: int, iterations: int) -> list[int]:
        """What so many more iterations may ask for, one after the other, until nothing is left."""
        found: list[int] = []
        for _ in range(iterations):
            n = self.places(n_requested + sum(found))
            if n == 0:
                break
            found.append(n)
        return found
