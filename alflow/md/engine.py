"""Steps of many replicas under one potential, with guards and a neighbour list."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from alflow.core.sampling import StopReason
from alflow.md.evaluation import Evaluator, joined
from alflow.md.guards import (
    Limits,
    Verdict,
    collapsed,
    exploded,
    not_finite,
    reasons,
    runaways,
    too_hot,
)
from alflow.md.langevin import Bath, until_new_forces, with_new_forces
from alflow.md.neighbours import FindPairs, VerletList
from alflow.md.spread import mean_forces, member_mean
from alflow.md.state import State
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Evaluation, Forces, Pairs, Potential

DEFAULT_LIMITS = Limits()
"""Limits that reject no molecule and no hot start."""


@dataclass(frozen=True, eq=False, slots=True)
class Moment:
    """Replicas at one time, and what the potential says about them.

    Attributes:
        state: Positions, velocities and forces.
        evaluation: Energies, and the forces asked for.
        stopped: Replicas (positions in the state) that make no sense any more, and why. They
            must be dropped before the next step.
        pairs: Neighbour list; a step renews it in place where atoms moved too far.
        start_energy_eV: Mean potential energy of each replica at its start [eV], (systems,).
    """

    state: State
    evaluation: Evaluation
    stopped: dict[int, StopReason]
    pairs: VerletList
    start_energy_eV: Float[Tensor, " systems"]

    def keep(self, systems: Sequence[int]) -> "Moment":
        """Drop all replicas but these, given by ascending positions."""
        atoms = torch.isin(
            self.state.system_idx,
            torch.tensor(list(systems), device=self.state.system_idx.device),
        )
        old = self.evaluation
        evaluation = Evaluation(
            old.energies[:, list(systems)],
            None if old.forces is None else old.forces[atoms],
            None if old.member_forces is None else old.member_forces[:, atoms],
        )
        places = {system: place for place, system in enumerate(systems)}
        stopped = {places[s]: why for s, why in self.stopped.items() if s in places}
        pairs = self.pairs.keep(self.state, systems)
        start_energy_eV = self.start_energy_eV[list(systems)]
        return Moment(self.state.keep(systems), evaluation, stopped, pairs, start_energy_eV)

    def joined(self, other: "Moment") -> "Moment":
        """This moment with the replicas of another one behind its own."""
        n = self.state.n_systems
        return Moment(
            self.state.joined(other.state),
            joined([self.evaluation, other.evaluation]),
            self.stopped | {n + s: why for s, why in other.stopped.items()},
            self.pairs.joined(other.pairs),
            torch.cat([self.start_energy_eV, other.start_energy_eV]),
        )

    def pairs_of(self, system: int) -> Pairs:
        """The pairs of one replica, its first atom counted as zero."""
        return self.pairs.pairs_of([system], self.state)


@dataclass(frozen=True, slots=True)
class Motion:
    """How atoms are moved.

    Attributes:
        timestep_fs: Integration step [fs].
        friction_per_fs: Friction of the Langevin thermostat [1/fs]; zero keeps the energy.
        skin_A: Skin of the neighbour list [Å].
        limits: Where a frame stops to make sense.
    """

    timestep_fs: float
    friction_per_fs: float = 0.0
    skin_A: float = 1.0
    limits: Limits = DEFAULT_LIMITS


class Engine:
    """Advances replicas step by step.

    Each replica is independent of the others: dropping some or adding some does not change the
    rest.
    """

    def __init__(
        self,
        potential: Potential,
        motion: Motion,
        *,
        find_pairs: FindPairs = neighbour_pairs,
    ) -> None:
        """Keep the potential and the settings; `find_pairs` finds pairs from scratch."""
        self._potential = potential
        self._motion = motion
        self._find_pairs = find_pairs
        self._evaluator = Evaluator(potential)

    def start(self, state: State, bath: Bath, forces: Forces = "mean") -> Moment:
        """Evaluate a state as it is, apart from a scale that the bath may ask for."""
        if bath.scale is not None:
            state = state.rescaled(bath.scale)
        pairs = VerletList(
            state,
            self._potential.cutoff_A,
            skin_A=self._motion.skin_A,
            distance_factor=self._motion.limits.distance_factor,
            dtype=self._potential.dtype,
            find_pairs=self._find_pairs,
        )
        close = _too_close(state, pairs.contacts(state))
        evaluation = self._evaluator.evaluate(state, pairs, forces)
        state = replace(state, forces=mean_forces(evaluation).to(torch.float64))
        moment = Moment(state, evaluation, {}, pairs, member_mean(evaluation.energies))
        small = collapsed(state, self._motion.limits), StopReason.COLLAPSED
        verdicts = [small, *self._judge(moment, bath), *close]
        return replace(moment, stopped=reasons(verdicts))

    def advance(self, moment: Moment, bath: Bath, forces: Forces = "mean") -> Moment:
        """Make one step.

        Args:
            moment: Where the replicas are; none of them stopped.
            bath: Target temperatures, noise and scale of this step.
            forces: "members" if the spread will be asked for, else "mean".
        """
        before, timestep_fs = moment.state, self._motion.timestep_fs
        state = until_new_forces(before, bath, self._motion.friction_per_fs, timestep_fs)
        gone = runaways(state, timestep_fs)
        state = _held_back(state, before, gone)
        pairs = moment.pairs
        pairs.update(state)
        close = _too_close(state, pairs.contacts(state))
        evaluation = self._evaluator.evaluate(state, pairs, forces)
        state = with_new_forces(state, mean_forces(evaluation), timestep_fs)
        if bath.scale is not None:
            small = collapsed(state, self._motion.limits), StopReason.COLLAPSED
            close = [small, *close]
        moment = replace(moment, state=state, evaluation=evaluation)
        verdicts = [*self._judge(moment, bath), *close, *gone]
        return replace(moment, stopped=reasons(verdicts))

    def _judge(self, moment: Moment, bath: Bath) -> list[Verdict]:
        state, limits = moment.state, self._motion.limits
        is_momentum_free = self._motion.friction_per_fs == 0
        hot = too_hot(state, bath.temperature_K, limits, is_momentum_free=is_momentum_free)
        energy_eV = member_mean(moment.evaluation.energies)
        far = exploded(state, energy_eV, moment.start_energy_eV, limits)
        return [
            (far, StopReason.EXPLODED),
            (hot, StopReason.TOO_HOT),
            (not_finite(state, moment.evaluation), StopReason.NOT_FINITE),
        ]


def _too_close(state: State, close: list[int]) -> list[Verdict]:
    """What it means that replicas have atoms too close to each other."""
    if not close:
        return []
    mask = torch.zeros_like(state.scale, dtype=torch.bool)
    mask[close] = True
    return [(mask, StopReason.TOO_CLOSE)]


def _held_back(state: State, before: State, gone: list[Verdict]) -> State:
    """Put replicas back to where they last made sense, so that nothing chokes on them."""
    if not gone:
        return state
    mask = functools.reduce(torch.logical_or, [mask for mask, _ in gone])
    atoms = mask[state.system_idx, None]
    return replace(state, positions=torch.where(atoms, before.positions, state.positions))
