"""The epochs of training: minibatches, hold-outs, schedules, rollbacks."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from alflow.core.seeds import generator
from alflow.models.ani.network import StackedNetworks
from alflow.training.dataset import Minibatch, TrainingSet
from alflow.training.gradient import losses_and_gradient
from alflow.training.loss import Errors, Loss, member_errors
from alflow.training.members import MemberStates
from alflow.training.optimiser import FlatNetworks, Optimiser, StackedAdam, cosine
from alflow.training.settings import StackedSettings
from alflow.training.soap import StackedSoap

EVALUATION_BATCH = 64
"""Structures evaluated at a time outside of training."""

Progress = Callable[[Mapping[str, float]], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to train, and how fast.

    Attributes:
        epochs: Number of passes over the data.
        batch_size: Structures per optimiser step.
        learning_rate: Learning rate at the start.
        seed: Seed of the order of the structures.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int


@dataclass(frozen=True, slots=True)
class Score:
    """Errors of one member on some structures.

    Attributes:
        energy_rmse: Root mean square error of the energy per atom [eV]; NaN for no structures.
        force_rmse: Root mean square error of force components [eV/Å]; NaN for no forces.
        loss: Mean loss; NaN for no structures.
        stress_rmse: Root mean square error of stress components [eV/Å³]; NaN for no stresses.
    """

    energy_rmse: float
    force_rmse: float
    loss: float
    stress_rmse: float = np.nan


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What members get wrong when all is over.

    Attributes:
        trained: Errors of each member on what it trained on.
        held: Errors of each member on what it held out.
        energy: Error of the energy per atom [eV] by structure, the mean over the members that held
            it out; NaN where none did, (structures,).
        force: Root mean square error of its force components [eV/Å] over these members; NaN
            likewise, and without forces, (structures,).
    """

    trained: list[Score]
    held: list[Score]
    energy: Float[np.ndarray, " structures"]
    force: Float[np.ndarray, " structures"]


class EpochLoop:
    """Trains the members of one ensemble together.

    Attributes:
        flat: The networks.
        states: Where each member stands.
        history: Metrics of each epoch.
    """

    def __init__(
        self,
        settings: StackedSettings,
        data: TrainingSet,
        networks: StackedNetworks,
        held_out: Bool[np.ndarray, "members structures"],
        frozen_layers: Collection[int] = (),
    ) -> None:
        """Prepare; nothing is trained yet.

        Args:
            settings: Settings of the trainer.
            data: Descriptors and targets.
            networks: Where to start; they are copied.
            held_out: Structures that each member must not see, (members, structures).
            frozen_layers: Layers that stay as they are, 0 first.
        """
        self._settings = settings
        self._data = data
        self._may_train = torch.from_numpy(~held_out)
        self._held = [np.flatnonzero(row).tolist() for row in held_out]
        self._loss = Loss(
            settings.energy_weight,
            settings.force_weight,
            settings.stress_weight,
            settings.robust_energy_eV_per_atom,
            settings.robust_force_eV_per_A,
        )
        self._weights = frame_weights(data, settings.frame_force_scale_eV_per_A)
        self.flat = FlatNetworks(networks, frozen_layers)
        make = StackedSoap if settings.optimizer == "soap" else StackedAdam
        self._optimiser: Optimiser = make(self.flat, settings.gradient_clip)
        self.states = MemberStates(self.flat.values)
        self.history: list[dict[str, float]] = []
        # What is judged and kept: running means of the parameters, or the parameters themselves.
        self._mean = None if settings.ema_decay is None else self.flat.values.clone()

    def run(self, plan: Plan, progress: Progress) -> list[int]:
        """Train from where it stands, then restore the best weights of each member.

        Args:
            plan: How long to train, and how fast.
            progress: Called with the metrics of each epoch when it has ended.

        Returns:
            Members that diverged for good, whose weights mean nothing; empty if all is well.
        """
        while len(self.history) < plan.epochs and bool(self.states.active.any()):
            self.epoch(plan, len(self.history))
            progress(self.history[-1])
        self.flat.values.copy_(self.states.best_values)
        has_failed = self.states.diverged | (self.states.best_epoch < 0)
        return torch.nonzero(has_failed)[:, 0].tolist()

    def tensors(self) -> dict[str, Tensor]:
        """Everything that the next epoch depends on but `history`, by name."""
        return {
            "values": self.flat.values,
            **({} if self._mean is None else {"mean": self._mean}),
            **self._optimiser.tensors(),
            **self.states.tensors(),
        }

    def restore(
        self, tensors: Mapping[str, Tensor], history: list[dict[str, float]]
    ) -> None:
        """Go back to where a loop over the same data stood.

        Args:
            tensors: Its `tensors()`.
            history: Its `history`.
        """
        self.flat.values.copy_(tensors["values"])
        if self._mean is not None:
            self._mean.copy_(tensors["mean"])
        self._optimiser.restore(tensors)
        self.states.restore(tensors)
        self.history = list(history)

    def evaluate(self) -> Evaluation:
        """Errors of each member on what it trained on, and on what it held out."""
        parts = []
        for start in range(0, len(self._data), EVALUATION_BATCH):
            wanted = range(start, min(start + EVALUATION_BATCH, len(self._data)))
            batch = self._data.minibatch(list(wanted), with_forces=True)
            with torch.no_grad():
                parts.append(
                    (batch.structure_idx, member_errors(self.flat.networks, batch))
                )
        idx = torch.cat([part for part, _ in parts])
        errors = Errors.joined([errors for _, errors in parts])
        found = Evaluation([], [], *_on_held_out(errors, ~self._may_train[:, idx], idx))
        for member in range(len(self._may_train)):
            mask = self._may_train[member, idx]
            one = errors.of_member(member)
            found.trained.append(self._score(one, mask, self._weights[idx]))
            found.held.append(self._score(one, ~mask, self._weights[idx]))
        return found

    def epoch(self, plan: Plan, epoch: int) -> None:
        """One pass over the data: steps, hold-out errors, rollbacks, learning rates, history.

        Args:
            plan: How long to train, and how fast.
            epoch: Number of the epoch, 0 first.
        """
        rate = self._rate(plan, epoch)
        rates = torch.where(self.states.active, self.states.factor * rate, 0.0)
        train_loss = self._train(plan, epoch, rates)
        held = [self._held_out_score(member) for member in range(len(train_loss))]
        score = torch.tensor([one.loss for one in held], dtype=torch.float64)
        # A member without a hold-out is judged by what it trains on.
        empty = torch.tensor([not rows for rows in self._held])
        score = torch.where(empty, train_loss, score)
        bad = self.states.roll_back(self.flat.values, train_loss, score)
        self._optimiser.forget(bad)
        if self._mean is not None:
            self._mean[bad] = self.flat.values[bad]
        kept = self.flat.values if self._mean is None else self._mean
        self.states.keep_best(epoch, kept, score, bad)
        if self._settings.schedule == "plateau":
            self.states.halve_on_plateau(
                self._settings.patience_epochs, rate, self._settings.minimum_learning_rate
            )
        if self._settings.early_stop_epochs is not None:
            self.states.stop_early(self._settings.early_stop_epochs)
        self._record(epoch, train_loss, held, rates)

    def _rate(self, plan: Plan, epoch: int) -> float:
        if self._settings.schedule == "plateau":
            return plan.learning_rate
        floor = min(self._settings.minimum_learning_rate, plan.learning_rate)
        return cosine(plan.learning_rate, floor, epoch, plan.epochs)

    def _train(
        self, plan: Plan, epoch: int, rates: Float[Tensor, " members"]
    ) -> Float[Tensor, " members"]:
        order = generator(plan.seed, "order", epoch).permutation(len(self._data)).tolist()
        total = torch.zeros(len(rates), dtype=torch.float64)
        with_forces = self._settings.force_weight > 0
        for start in range(0, len(order), plan.batch_size):
            wanted = order[start : start + plan.batch_size]
            batch = self._data.minibatch(wanted, with_forces=with_forces)
            may_train = self._may_train[:, batch.structure_idx]
            losses, gradient = self._losses(batch, may_train)
            self._optimiser.step(gradient, rates)
            self._average(rates, epoch * len(order) + start, plan.batch_size)
            total += losses.to(torch.float64) * may_train.sum(1)
        return total / self._may_train.sum(1).clamp(min=1)

    def _average(
        self, rates: Float[Tensor, " members"], n_seen: int, batch_size: int
    ) -> None:
        """Move the running means of members that train towards their parameters."""
        if self._mean is None or self._settings.ema_decay is None:
            return
        # At the beginning a long memory would hold on to random weights.
        n_steps = n_seen / batch_size
        decay = min(self._settings.ema_decay, (1 + n_steps) / (10 + n_steps))
        is_moving = (rates > 0)[:, None]
        moved = torch.lerp(self.flat.values, self._mean, decay)
        self._mean = torch.where(is_moving, moved, self._mean)

    def _losses(
        self, batch: Minibatch, may_train: Bool[Tensor, "members structures"]
    ) -> tuple[Float[Tensor, " members"], Float[Tensor, "members parameters"]]:
        """Loss of each member, and the derivative of their sum."""
        weights = self._weights[batch.structure_idx]

        def loss_of(errors: Errors) -> Float[Tensor, " members"]:
            return self._loss.of_members(errors, may_train, weights)

        way, step_A = self._settings.force_gradient, self._settings.finite_difference_step_A
        return losses_and_gradient(self.flat, batch, loss_of, way, step_A)

    @torch.no_grad()
    def _held_out_score(self, member: int) -> Score:
        rows = self._held[member]
        kept = self.flat.values if self._mean is None else self._mean
        networks = self.flat.over(kept[member : member + 1])
        parts, idx = [], []
        for start in range(0, len(rows), EVALUATION_BATCH):
            batch = self._data.minibatch(
                rows[start : start + EVALUATION_BATCH], with_forces=True
            )
            parts.append(member_errors(networks, batch))
            idx.append(batch.structure_idx)
        if not parts:
            return Score(np.nan, np.nan, np.nan)
        everything = torch.ones(len(rows), dtype=torch.bool)
        return self._score(Errors.joined(parts), everything, self._weights[torch.cat(idx)])

    def _score(
        self,
        errors: Errors,
        mask: Bool[Tensor, " structures"],
        weights: Float[Tensor, " structures"],
    ) -> Score:
        """Errors of one member on the structures of a mask."""
        energy = errors.energy[0, mask].to(torch.float64)
        square = errors.force_square[0, mask].to(torch.float64)
        n_force = errors.n_force[mask].to(torch.float64)
        losses = self._loss.of_structures(errors)[0, mask].to(torch.float64)
        stress_rmse = np.nan
        if errors.stress_square is not None and errors.n_stress is not None:
            strain = errors.stress_square[0, mask].to(torch.float64)
            n_stress = errors.n_stress[mask].to(torch.float64)
            stress_rmse = float(((strain * n_stress).sum() / n_stress.sum()).sqrt())
        return Score(
            float(energy.square().mean().sqrt()),
            float(((square * n_force).sum() / n_force.sum()).sqrt()),
            float((losses * weights[mask]).mean()),
            stress_rmse,
        )

    def _record(
        self,
        epoch: int,
        train_loss: Float[Tensor, " members"],
        held: list[Score],
        rates: Float[Tensor, " members"],
    ) -> None:
        active = rates > 0
        losses = train_loss[~self.states.diverged]
        metrics = {
            "epoch": float(epoch),
            "train_loss": float(losses.mean()),
            "holdout_energy_rmse_meV_per_atom": 1e3 * _rms([s.energy_rmse for s in held]),
            "holdout_force_rmse_meV_per_A": 1e3 * _rms([s.force_rmse for s in held]),
            "holdout_stress_rmse_meV_per_A3": 1e3 * _rms([s.stress_rmse for s in held]),
            "learning_rate": float(rates[active].mean()),
            "active_members": float(active.sum()),
            "rollbacks": float(self.states.rollbacks.sum()),
        }
        # What is not there is left out: JSON has no word for NaN.
        self.history.append({k: v for k, v in metrics.items() if np.isfinite(v)})


def frame_weights(data: TrainingSet, scale: float | None) -> Float[Tensor, " structures"]:
    """How much each structure counts: less with large forces, if their scale [eV/Å] is given."""
    if scale is None:
        return torch.ones_like(data.mean_square_force)
    return 1 / (1 + data.mean_square_force / scale**2)


def _rms(values: list[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.sqrt(np.mean(np.square(finite)))) if finite else float("nan")


def _on_held_out(
    errors: Errors,
    is_held: Bool[Tensor, "members structures"],
    idx: Int[Tensor, " structures"],
) -> tuple[Float[np.ndarray, " structures"], Float[np.ndarray, " structures"]]:
    """`energy` and `force` of an `Evaluation`, from errors on structures in the order of `idx`."""
    held = is_held.to(torch.float64)
    n_members = held.sum(0)
    n_members[n_members == 0] = torch.nan
    energy = (errors.energy.to(torch.float64) * held).sum(0) / n_members
    square = (errors.force_square.to(torch.float64) * held).sum(0) / n_members
    force = torch.where(errors.n_force > 0, square.sqrt(), torch.nan)
    order = torch.argsort(idx)
    return energy[order].numpy(), force[order].numpy()
