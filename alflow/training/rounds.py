"""Rounds of training: all members in the first one, then those that must begin anew.

A member that diverged, that is a copy of an earlier one, or that the parent generation does not
have, begins again from random weights of a new seed, at most `retries` times. What is not there
then is missing from the ensemble. Between any two epochs the training can be interrupted: a
checkpoint has all that the next one depends on.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from alflow.core.seeds import child_seed
from alflow.models.ani.network import StackedNetworks
from alflow.training.checkpoint import Checkpoint, Keeper
from alflow.training.clones import clones, disagreement
from alflow.training.dataset import TrainingSet
from alflow.training.epochs import EpochLoop, Plan, Progress
from alflow.training.optimiser import FlatNetworks
from alflow.training.settings import StackedSettings

Reason = Literal["diverged", "clone", "missing"]
"""Why a member begins anew."""


@dataclass(frozen=True, slots=True)
class Round:
    """What is trained, and how.

    Attributes:
        members: Which members, ascending.
        networks: Where they start.
        plan: How long to train, and how fast.
        frozen_layers: Layers that stay as they are, 0 first.
    """

    members: tuple[int, ...]
    networks: StackedNetworks
    plan: Plan
    frozen_layers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """What became of a member that is trained.

    Attributes:
        number: The round that it was trained in, 0 first.
        epochs: Number of epochs in which it trained.
        best_epoch: The epoch of that round whose weights were kept.
        rollbacks: How often it was put back to its last good epoch.
        n_parameters: Number of its parameters that were trained.
    """

    number: int
    epochs: int
    best_epoch: int
    rollbacks: int
    n_parameters: int


@dataclass(slots=True)
class Standing:
    """Where the training of an ensemble stands between two rounds.

    Attributes:
        number: Number of the round, 0 first.
        members: Members of that round; empty when all is over.
        records: What became of the members that are trained.
        values: Their parameters.
        reasons: Why members begin anew or are missing, each time it happened.
        history: Metrics of all epochs of earlier rounds.
    """

    number: int
    members: tuple[int, ...]
    records: dict[int, MemberRecord] = field(default_factory=dict)
    values: dict[int, Float[Tensor, " parameters"]] = field(default_factory=dict)
    reasons: dict[int, list[Reason]] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)

    def to_checkpoint(self, loop: EpochLoop) -> Checkpoint:
        """All of it, with the round that is under way."""
        story = {
            "number": self.number,
            "members": self.members,
            "records": [[m, asdict(one)] for m, one in self.records.items()],
            "reasons": list(self.reasons.items()),
            "history": self.history,
            "epochs": loop.history,
        }
        done = {f"done.{m}": values for m, values in self.values.items()}
        running = {f"loop.{name}": tensor for name, tensor in loop.tensors().items()}
        return Checkpoint({**done, **running}, story)

    @classmethod
    def from_checkpoint(cls, saved: Checkpoint) -> "Standing":
        """The inverse of `to_checkpoint`, without the round that is under way."""
        story = saved.story
        records = {m: MemberRecord(**one) for m, one in story["records"]}
        return cls(
            story["number"],
            tuple(story["members"]),
            records,
            {m: saved.tensors[f"done.{m}"] for m in records},
            dict(story["reasons"]),
            story["history"],
        )


class Rounds:
    """Trains an ensemble to its end, whatever happens to single members."""

    def __init__(
        self,
        settings: StackedSettings,
        data: TrainingSet,
        held_out: Bool[np.ndarray, "members structures"],
        first: Round,
        fresh_plan: Plan,
        keeper: Keeper,
    ) -> None:
        """Prepare; nothing is trained yet.

        Args:
            settings: Settings of the trainer.
            data: Descriptors and targets.
            held_out: Structures that each member must not see, (members, structures).
            first: The first round; members that it lacks begin anew in the second one.
            fresh_plan: How members from random weights are trained; its seed is that of all.
            keeper: Where checkpoints go.
        """
        self._settings = settings
        self._data = data
        self._held_out = held_out
        self._first = first
        self._fresh_plan = fresh_plan
        self._keeper = keeper
        self._flat = FlatNetworks(first.networks)

    def run(self, progress: Progress) -> Standing:
        """Train from the last checkpoint, or from the beginning.

        Args:
            progress: Called with the metrics of each epoch, with `epochs` (how many there will
                be), `seconds_left` and, after a checkpoint was found, `resumed_at` (the epoch
                that came after it).
        """
        saved = self._keeper.last()
        standing = self._beginning() if saved is None else Standing.from_checkpoint(saved)
        while standing.members:
            one = self._round(standing)
            held_out = self._held_out[list(one.members)]
            loop = EpochLoop(
                self._settings, self._data, one.networks, held_out, one.frozen_layers
            )
            if saved is not None:
                running = {
                    name.removeprefix("loop."): tensor
                    for name, tensor in saved.tensors.items()
                    if name.startswith("loop.")
                }
                loop.restore(running, saved.story["epochs"])
                saved = None
            diverged = loop.run(one.plan, self._after_epoch(standing, loop, one, progress))
            standing = self._next(standing, loop, diverged)
        return standing

    def networks(self, members: Sequence[int], standing: Standing) -> StackedNetworks:
        """Networks of trained members, on memory of their own."""
        rows = torch.stack([standing.values[member] for member in members])
        return self._flat.over(rows)

    def _beginning(self) -> Standing:
        missing = set(range(len(self._held_out))) - set(self._first.members)
        return Standing(
            0, self._first.members, reasons={m: ["missing"] for m in sorted(missing)}
        )

    def _round(self, standing: Standing) -> Round:
        if standing.number == 0:
            return self._first
        seed = self._fresh_plan.seed
        seeds = [member_seed(seed, m, standing.number) for m in standing.members]
        plan = replace(self._fresh_plan, seed=child_seed(seed, "round", standing.number))
        return Round(standing.members, fresh_networks(self._first.networks, seeds), plan)

    def _after_epoch(
        self, standing: Standing, loop: EpochLoop, one: Round, progress: Progress
    ) -> Callable[[Mapping[str, float]], None]:
        begun, n_begun = time.monotonic(), len(loop.history)

        def after(metrics: Mapping[str, float]) -> None:
            n_done = len(loop.history)
            per_epoch_s = (time.monotonic() - begun) / (n_done - n_begun)
            left_s = per_epoch_s * (one.plan.epochs - n_done)
            n_epochs = len(standing.history) + one.plan.epochs
            ahead = {"epochs": float(n_epochs), "seconds_left": left_s}
            if n_begun:
                ahead["resumed_at"] = float(len(standing.history) + n_begun)
            progress({**_numbered(metrics, standing), **ahead})
            self._keeper.after_epoch(lambda: standing.to_checkpoint(loop))

        return after

    def _next(self, old: Standing, loop: EpochLoop, diverged: list[int]) -> Standing:
        new = Standing(
            old.number + 1,
            (),
            dict(old.records),
            dict(old.values),
            {member: list(reasons) for member, reasons in old.reasons.items()},
            [*old.history, *(_numbered(metrics, old) for metrics in loop.history)],
        )
        for place, member in enumerate(old.members):
            if place in diverged:
                new.reasons.setdefault(member, []).append("diverged")
                continue
            states = loop.states
            new.values[member] = states.best_values[place].clone()
            new.records[member] = MemberRecord(
                old.number,
                int(states.last_epoch[place]) + 1,
                int(states.best_epoch[place]),
                int(states.rollbacks[place]),
                loop.flat.n_trainable,
            )
        for member in self._clones(new):
            del new.records[member], new.values[member]
            new.reasons.setdefault(member, []).append("clone")
        if old.number < self._settings.retries:
            new.members = tuple(
                m for m in range(len(self._held_out)) if m not in new.records
            )
        return new

    def _clones(self, standing: Standing) -> dict[int, int]:
        members = sorted(standing.records)
        if len(members) < 2:  # noqa: PLR2004
            return {}
        distances = disagreement(self.networks(members, standing), self._data)
        return clones(distances, members, self._settings.clone_floor)


def member_seed(seed: int, member: int, number: int) -> int:
    """Seed of the initial weights of a member in a round, 0 first."""
    if number == 0:
        return child_seed(seed, "member", member)
    return child_seed(seed, "member", member, number)


def fresh_networks(template: StackedNetworks, seeds: Sequence[int]) -> StackedNetworks:
    """Random networks of the shape of others, with the same standardisation.

    Args:
        template: What they are like.
        seeds: Seed of each member; nothing else decides its weights.
    """
    weights: list[Tensor] = []
    biases: list[Tensor] = []
    for element in range(template.n_elements):
        first = element * template.n_layers
        layers = template.weights[first : first + template.n_layers]
        part = StackedNetworks.initialise(
            [layer.shape[1] for layer in layers],
            1,
            [child_seed(seed, "element", element) for seed in seeds],
            activation=template.activation,
            dtype=template.feature_mean.dtype,
        )
        weights += [one.detach() for one in part.weights]
        biases += [one.detach() for one in part.biases]
    networks = StackedNetworks(weights, biases, template.n_elements, template.activation)
    networks.standardise(template.feature_mean, template.feature_scale)
    return networks


def _numbered(metrics: Mapping[str, float], standing: Standing) -> dict[str, float]:
    """Metrics of an epoch, counted over all rounds."""
    if standing.number == 0:
        return dict(metrics)
    place: dict[str, Any] = {
        "epoch": metrics["epoch"] + len(standing.history),
        "round": float(standing.number),
    }
    return {**metrics, **place}
