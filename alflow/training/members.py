"""Where each member stands during training: its best weights, learning rate, rollbacks."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

EXPLODED = 100.0
"""A training loss this many times that of the first epoch counts as not finite."""
MAX_ROLLBACKS = 6
"""A member rolled back this often in a row has diverged for good."""


class MemberStates:
    """Bookkeeping of all members, by epoch.

    Attributes:
        factor: What multiplies the scheduled learning rate; halved on plateaus and after
            rollbacks, (members,).
        active: Members that still train, (members,).
        best_values: Parameters of the best epoch, (members, parameters).
        best_epoch: The best epoch, -1 before the first, (members,).
        last_epoch: The last epoch in which the member trained, (members,).
        rollbacks: How often the member was rolled back, (members,).
        rollbacks_in_a_row: How often since its last good epoch, (members,).
        diverged: Members that were rolled back too often in a row, and do not train any more,
            (members,).
    """

    def __init__(self, values: Float[Tensor, "members parameters"]) -> None:
        """Start from initial parameters."""
        n_members = len(values)
        self.factor = torch.ones(n_members, dtype=torch.float64)
        self.active = torch.ones(n_members, dtype=torch.bool)
        self.best_values = values.clone()
        self.best_epoch = torch.full((n_members,), -1)
        self.last_epoch = torch.full((n_members,), -1)
        self.rollbacks = torch.zeros(n_members, dtype=torch.long)
        self.rollbacks_in_a_row = torch.zeros(n_members, dtype=torch.long)
        self.diverged = torch.zeros(n_members, dtype=torch.bool)
        self._best_score = torch.full((n_members,), torch.inf, dtype=torch.float64)
        self._good_values = values.clone()
        self._first_loss = torch.full((n_members,), torch.inf, dtype=torch.float64)
        self._waited = torch.zeros(n_members, dtype=torch.long)

    def roll_back(
        self,
        values: Float[Tensor, "members parameters"],
        train_loss: Float[Tensor, " members"],
        score: Float[Tensor, " members"],
    ) -> Bool[Tensor, " members"]:
        """Put members whose numbers exploded back to their last good epoch, in place.

        Args:
            values: Parameters after the epoch, (members, parameters).
            train_loss: Training loss of the epoch, (members,).
            score: Loss on the hold-out after the epoch, (members,).

        Returns:
            Which members were put back, (members,).
        """
        sound = train_loss.isfinite() & score.isfinite() & values.isfinite().all(1)
        sound &= train_loss <= EXPLODED * self._first_loss
        is_first = sound & self._first_loss.isinf()
        self._first_loss = torch.where(is_first, train_loss, self._first_loss)
        bad = ~sound & self.active
        values[bad] = self._good_values[bad]
        self._good_values = values.clone()
        self.factor[bad] *= 0.5
        self.rollbacks += bad
        self.rollbacks_in_a_row = torch.where(bad, self.rollbacks_in_a_row + 1, 0)
        self.diverged |= self.rollbacks_in_a_row >= MAX_ROLLBACKS
        return bad

    def keep_best(
        self,
        epoch: int,
        values: Float[Tensor, "members parameters"],
        score: Float[Tensor, " members"],
        bad: Bool[Tensor, " members"],
    ) -> None:
        """Remember the members that are better than ever.

        Args:
            epoch: The epoch that has just ended.
            values: Parameters after it, (members, parameters).
            score: Loss on the hold-out after it, (members,).
            bad: Members that were put back and have no score, (members,).
        """
        better = self.active & ~bad & (score < self._best_score)
        self._best_score = torch.where(better, score, self._best_score)
        self.best_values[better] = values[better]
        self.best_epoch[better] = epoch
        self.last_epoch[self.active] = epoch
        self._waited = torch.where(better, 0, self._waited + 1)
        self.active &= ~self.diverged

    def halve_on_plateau(self, patience: int, rate: float, minimum: float) -> None:
        """Halve the learning rate of members that wait for too long; stop those at the minimum.

        Args:
            patience: Epochs without a better score.
            rate: Scheduled learning rate, which the factors multiply.
            minimum: Learning rate below which a member is done.
        """
        waiting = self.active & (self._waited > 0) & (self._waited % patience == 0)
        self.factor[waiting] *= 0.5
        self.active &= ~(waiting & (rate * self.factor < minimum))

    def stop_early(self, epochs: int) -> None:
        """Stop members that have not become better for this many epochs."""
        self.active &= self._waited < epochs

    def tensors(self) -> dict[str, Tensor]:
        """All of it by name, for a checkpoint."""
        return {name.lstrip("_"): tensor for name, tensor in vars(self).items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `tensors`."""
        for name in vars(self):
            setattr(self, name, tensors[name.lstrip("_")].clone())
