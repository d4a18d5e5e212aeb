"""Molecular dynamics of a few replicas for suites: stages, and what is recorded on the way."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from alflow.core.sampling import StopReason
from alflow.core.seeds import generator
from alflow.core.structures import Structure
from alflow.md.engine import Engine, Moment, Motion
from alflow.md.guards import Limits
from alflow.md.langevin import Bath
from alflow.md.spread import member_mean
from alflow.md.state import State
from alflow.md.velocities import draw_noise, with_thermal_velocities
from alflow.models.potential import Potential

_LIMITS = Limits(temperature_margin_K=3000.0, energy_eV_per_atom=5.0)


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a run with one thermostat.

    Attributes:
        duration_ps: How long [ps].
        temperature_K: Target temperature of each replica [K].
        friction_per_ps: Friction of the Langevin thermostat [1/ps]; zero keeps the energy.
        record_fs: Time between two recorded frames [fs]; zero records none.
    """

    duration_ps: float
    temperature_K: tuple[float, ...]
    friction_per_ps: float
    record_fs: float = 0.0


@dataclass(slots=True)
class Path:
    """What was recorded of one replica, all its recorded stages in a row.

    Attributes:
        structure: Where it started.
        times_ps: Times of its frames since the start [ps].
        positions: Positions of its frames, not wrapped [Å], (atoms, 3) each.
        potential_eV: Potential energies of its frames [eV].
        total_eV: Potential and kinetic energies of its frames [eV].
        closest_A: Closest distance of two atoms in its frames [Å]; infinite if out of reach.
        survived_ps: Time it made sense [ps].
        stopped: Why it ended early; None if it did not.
    """

    structure: Structure
    times_ps: list[float] = field(default_factory=list)
    positions: list[np.ndarray] = field(default_factory=list)
    potential_eV: list[float] = field(default_factory=list)
    total_eV: list[float] = field(default_factory=list)
    closest_A: list[float] = field(default_factory=list)
    survived_ps: float = 0.0
    stopped: StopReason | None = None


def run(
    potential: Potential,
    starts: Sequence[Structure],
    stages: Sequence[Stage],
    timestep_fs: float,
    seed: int,
) -> list[Path]:
    """Run all replicas through all stages, in one batch, by the mean of the ensemble.

    Args:
        potential: What gives the forces.
        starts: Where replicas start; velocities are drawn at the temperatures of the first stage.
        stages: What happens to them, one after the other.
        timestep_fs: Integration step [fs].
        seed: Replica k draws from a child of it, and from nothing else.
    """
    paths = [Path(start) for start in starts]
    streams = [generator(seed, "replica", k) for k in range(len(starts))]
    state = State.from_structures(starts, potential.device)
    first_K = _of(state, stages[0].temperature_K)
    state = with_thermal_velocities(state, first_K, streams)
    for stage in stages:
        leg = _Leg(potential, stage, timestep_fs, paths, streams)
        state = leg.run(state)
        if not state.n_systems:
            break
    return paths


class _Leg:
    """One stage of all replicas that are left."""

    def __init__(
        self,
        potential: Potential,
        stage: Stage,
        timestep_fs: float,
        paths: list[Path],
        streams: list[np.random.Generator],
    ) -> None:
        self._stage = stage
        self._timestep_fs = timestep_fs
        self._paths = paths
        self._streams = streams
        self._dtype = potential.dtype
        friction_per_fs = stage.friction_per_ps / 1000
        motion = Motion(timestep_fs, friction_per_fs, limits=_LIMITS)
        self._engine = Engine(potential, motion)

    def run(self, state: State) -> State:
        """Advance to the end of the stage; what is left of the replicas."""
        stage, step_fs = self._stage, self._timestep_fs
        n_steps = max(1, round(stage.duration_ps * 1000 / step_fs))
        every = max(1, round(stage.record_fs / step_fs)) if stage.record_fs else 0
        moment = self._alive(self._engine.start(state, self._bath(state)))
        for step in range(1, n_steps + 1):
            if not moment.state.n_systems:
                break
            moment = self._engine.advance(moment, self._bath(moment.state))
            for replica in moment.state.replicas:
                self._paths[replica].survived_ps += step_fs / 1000
            moment = self._alive(moment)
            if every and step % every == 0 and moment.state.n_systems:
                self._record(moment)
        return moment.state

    def _bath(self, state: State) -> Bath:
        target_K = _of(state, self._stage.temperature_K)
        if not self._stage.friction_per_ps:
            return Bath(target_K)
        streams = [self._streams[replica] for replica in state.replicas]
        noise = torch.from_numpy(draw_noise(streams, state.sizes))
        return Bath(target_K, noise.to(state.positions.device))

    def _alive(self, moment: Moment) -> Moment:
        if not moment.stopped:
            return moment
        for system, reason in moment.stopped.items():
            self._paths[moment.state.replicas[system]].stopped = reason
        alive = [k for k in range(moment.state.n_systems) if k not in moment.stopped]
        return moment.keep(alive) if alive else _empty(moment)

    def _record(self, moment: Moment) -> None:
        state = moment.state
        potential_eV = member_mean(moment.evaluation.energies).cpu().numpy()
        total_eV = potential_eV + state.kinetic_energy().cpu().numpy()
        positions, offsets = state.positions.cpu().numpy(), state.offsets
        closest_A = self._closest_A(moment)
        for system, replica in enumerate(state.replicas):
            path = self._paths[replica]
            path.times_ps.append(path.survived_ps)
            path.positions.append(positions[offsets[system] : offsets[system + 1]].copy())
            path.potential_eV.append(float(potential_eV[system]))
            path.total_eV.append(float(total_eV[system]))
            path.closest_A.append(float(closest_A[system]))

    def _closest_A(self, moment: Moment) -> Float[np.ndarray, " systems"]:
        batch, pairs = moment.state.batch(self._dtype), moment.pairs.pairs
        distances = pairs.vectors(batch).norm(dim=1).to(torch.float64)
        closest = torch.full_like(moment.state.scale, torch.inf)
        closest.scatter_reduce_(0, batch.system_idx[pairs.i], distances, "amin")
        found: np.ndarray = closest.cpu().numpy()
        return found


def _empty(moment: Moment) -> Moment:
    """A moment without replicas: only its state is looked at."""
    state = moment.state
    none = State(
        replicas=(),
        sizes=(),
        positions=state.positions[:0],
        velocities=state.velocities[:0],
        forces=state.forces[:0],
        numbers=state.numbers[:0],
        masses=state.masses[:0],
        system_idx=state.system_idx[:0],
        start_cells=state.start_cells[:0],
        scale=state.scale[:0],
        pbc=state.pbc[:0],
    )
    return Moment(none, moment.evaluation, {}, moment.pairs, moment.start_energy_eV[:0])


def _of(state: State, per_replica: tuple[float, ...]) -> Float[Tensor, " systems"]:
    values = [per_replica[replica] for replica in state.replicas]
    return torch.tensor(values, dtype=torch.float64, device=state.positions.device)
