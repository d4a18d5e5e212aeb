"""Nonequilibrium molecular dynamics: many replicas in one batch, each ending on its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from alflow.core.elements import SYMBOLS
from alflow.core.errors import SettingsError
from alflow.core.sampling import Frame, Gate, Spread, StopReason, Trajectory
from alflow.core.seeds import child_seed
from alflow.core.structures import Structure
from alflow.md.engine import Engine, Moment, Motion
from alflow.md.guards import Limits
from alflow.md.langevin import Bath
from alflow.md.neighbours import FindPairs
from alflow.md.schedule import Program
from alflow.md.spread import spreads
from alflow.md.state import State
from alflow.md.velocities import draw_noise, with_thermal_velocities
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch, Potential
from alflow.samplers.nemd import NemdSettings

TRACE_POINTS = 50
"""Largest number of points in the trace of a trajectory."""


class NemdSampler:
    """Runs one replica from each start until the gate, a guard or the clock ends it.

    The frames that come back are, for each replica, the one that the gate flagged, and the one at
    a check drawn at random beforehand ("audit"), if the replica gets there and is not flagged at
    that very check. The start itself is looked at too, but never drawn for audit.

    In the trace `temperature_K` is the kinetic temperature, while that of a `Frame` is the
    target.
    """

    def __init__(
        self, settings: NemdSettings, find_pairs: FindPairs = neighbour_pairs
    ) -> None:
        """Keep the settings; `find_pairs` finds pairs from scratch."""
        self._settings = settings
        self._find_pairs = find_pairs

    def sample(
        self, starts: Sequence[Structure], potential: Potential, gate: Gate, seed: int
    ) -> list[Trajectory]:
        """Run one trajectory from each start.

        Replica k draws from the stream `child_seed(seed, k)` and nothing else.

        Args:
            starts: Starting structures; their number is the number of replicas.
            potential: The ensemble.
            gate: Decides which frames the ensemble does not know.
            seed: Seed of the task.

        Raises:
            SettingsError: If the potential does not know an element, or the timestep is too long
                for one.
        """
        if not starts:
            return []
        _check_elements(starts, potential)
        numbers = {int(number) for start in starts for number in start.numbers}
        self._settings.check_elements(numbers)
        replicas = [
            _Replica.draw(start, child_seed(seed, k), self._settings)
            for k, start in enumerate(starts)
        ]
        engine = Engine(potential, _motion(self._settings), find_pairs=self._find_pairs)
        _Run(self._settings, potential, gate, engine, replicas).to_the_end()
        return [replica.trajectory() for replica in replicas]


def n_steps(settings: NemdSettings) -> int:
    """Number of integration steps of a replica that runs to its end."""
    return max(1, round(settings.duration_ps * 1000 / settings.timestep_fs))


def _motion(settings: NemdSettings) -> Motion:
    limits = Limits(
        settings.minimum_distance_factor,
        settings.temperature_limit_factor,
        settings.temperature_margin_K,
    )
    friction_per_fs = settings.friction_per_ps / 1000
    return Motion(settings.timestep_fs, friction_per_fs, settings.skin_A, limits)


def _check_elements(starts: Sequence[Structure], potential: Potential) -> None:
    for k, start in enumerate(starts):
        unknown = sorted({int(z) for z in start.numbers} - set(potential.elements))
        if unknown:
            raise SettingsError(
                f"start {k} ({start.formula}) has {', '.join(SYMBOLS[z] for z in unknown)}, but "
                f"the potential knows only {', '.join(SYMBOLS[z] for z in potential.elements)}"
            )


@dataclass
class _Replica:
    """What is drawn for a replica before it runs, and what is noted while it does."""

    start: Structure
    seed: int
    stream: np.random.Generator
    temperature: Program
    own_density: float
    density: Program | None
    audit_step: int | None
    trace_every: int
    n_steps: int = 0
    time_fs: float = 0.0
    stop_reason: StopReason = StopReason.FINISHED
    frames: list[Frame] = field(default_factory=list)
    trace: dict[str, list[float]] = field(
        default_factory=lambda: {
            name: []
            for name in ("time_fs", "temperature_K", "energy_spread", "force_spread_max")
        }
    )

    @classmethod
    def draw(cls, start: Structure, seed: int, settings: NemdSettings) -> "_Replica":
        """Draw schedule and audit step; velocities and noise follow from the same stream."""
        stream = np.random.Generator(np.random.PCG64(seed))
        duration_fs = n_steps(settings) * settings.timestep_fs
        temperature = settings.temperature_K.ranges().draw(stream, duration_fs)
        density = None
        own = start.density_g_per_cm3 or 0.0
        if settings.density_g_per_cm3 is not None and own > 0:
            density = settings.density_g_per_cm3.ranges().draw(stream, duration_fs, own)
        n_checks = n_steps(settings) // settings.check_every
        audit_step = None
        if n_checks > 0:
            audit_step = int(stream.integers(1, n_checks + 1)) * settings.check_every
        # one point is left for the start and one for a flagged frame between the others
        trace_every = settings.check_every * max(1, -(-n_checks // (TRACE_POINTS - 2)))
        return cls(start, seed, stream, temperature, own, density, audit_step, trace_every)

    def scale_at(self, time_fs: float) -> float:
        """Length of the cell relative to the start."""
        if self.density is None:
            return 1.0
        return float((self.own_density / self.density.at(time_fs)) ** (1 / 3))

    def note(self, spread: Spread, kinetic_K: float) -> None:
        """Add a point to the trace."""
        point = (self.time_fs, kinetic_K, spread.energy, spread.force_max)
        for column, value in zip(self.trace.values(), point, strict=True):
            column.append(value)

    def trajectory(self) -> Trajectory:
        """The finished path."""
        schedule = self.temperature.to_json("temperature", "K")
        if self.density is not None:
            schedule |= self.density.to_json("density", "g_per_cm3")
        return Trajectory(
            self.start,
            self.seed,
            {**schedule, "duration_fs": self.temperature.duration_fs},
            self.n_steps,
            self.time_fs,
            self.stop_reason,
            tuple(self.frames),
            self.trace,
        )


class _Run:
    """One batch of replicas on its way."""

    def __init__(
        self,
        settings: NemdSettings,
        potential: Potential,
        gate: Gate,
        engine: Engine,
        replicas: list[_Replica],
    ) -> None:
        self._settings = settings
        self._potential = potential
        self._gate = gate
        self._engine = engine
        self._replicas = replicas
        self._has_density = any(replica.density is not None for replica in replicas)

    def to_the_end(self) -> None:
        """Step until every replica has ended."""
        moment = self._begin()
        last = n_steps(self._settings)
        for step in range(last + 1):
            if step > 0:
                moment = self._advance(moment, step)
            stopped = dict(moment.stopped)
            if self._is_check(step):
                stopped |= self._check(moment, step)
            if step == last:
                stopped = (
                    dict.fromkeys(range(moment.state.n_systems), StopReason.FINISHED)
                    | stopped
                )
            moment = self._end(moment, step, stopped)
            if moment.state.n_systems == 0:
                return

    def _is_check(self, step: int) -> bool:
        return step % self._settings.check_every == 0

    def _begin(self) -> Moment:
        state = State.from_structures(
            [replica.start for replica in self._replicas], self._potential.device
        )
        bath = Bath(self._targets(state, 0.0), scale=self._scales(state, 0.0))
        streams = [replica.stream for replica in self._replicas]
        state = with_thermal_velocities(state, bath.temperature_K, streams)
        return self._engine.start(state, bath, "members")

    def _advance(self, moment: Moment, step: int) -> Moment:
        state = moment.state
        time_fs = step * self._settings.timestep_fs
        noise = None
        if self._settings.friction_per_ps > 0:
            streams = [self._replicas[k].stream for k in state.replicas]
            noise = torch.from_numpy(draw_noise(streams, state.sizes)).to(
                state.positions.device
            )
        bath = Bath(self._targets(state, time_fs), noise, self._scales(state, time_fs))
        return self._engine.advance(
            moment, bath, "members" if self._is_check(step) else "mean"
        )

    def _targets(self, state: State, time_fs: float) -> Float[Tensor, " systems"]:
        return self._of_systems(state, lambda replica: replica.temperature.at(time_fs))

    def _scales(self, state: State, time_fs: float) -> Float[Tensor, " systems"] | None:
        if not self._has_density:
            return None
        return self._of_systems(state, lambda replica: replica.scale_at(time_fs))

    def _of_systems(
        self, state: State, value: Callable[[_Replica], float]
    ) -> Float[Tensor, " systems"]:
        values = [value(self._replicas[k]) for k in state.replicas]
        return torch.tensor(values, dtype=torch.float64, device=state.positions.device)

    def _check(self, moment: Moment, step: int) -> dict[int, StopReason]:
        """Look at the spread of each replica that still makes sense."""
        time_fs = step * self._settings.timestep_fs
        kinetic = moment.state.kinetic_temperature(
            is_momentum_free=self._settings.friction_per_ps == 0 or step == 0
        ).tolist()
        stopped = {}
        for system, spread in enumerate(spreads(moment.evaluation, moment.state)):
            replica = self._replicas[moment.state.replicas[system]]
            replica.n_steps, replica.time_fs = step, time_fs
            if system in moment.stopped:
                continue
            if not _is_finite(spread):
                stopped[system] = StopReason.NOT_FINITE
                continue
            measure = (
                self._gate.exceeded(spread) if time_fs >= self._gate.grace_fs else None
            )
            if measure is not None:
                stopped[system] = StopReason.FLAGGED
                replica.frames.append(self._frame(moment, system, spread, measure))
            elif step == replica.audit_step:
                replica.frames.append(self._frame(moment, system, spread, ""))
            if measure is not None or step % replica.trace_every == 0:
                replica.note(spread, kinetic[system])
        return stopped

    def _frame(self, moment: Moment, system: int, spread: Spread, measure: str) -> Frame:
        replica = self._replicas[moment.state.replicas[system]]
        structure = moment.state.structure(system, replica.start)
        alone: Batch = moment.state.keep([system]).batch(self._potential.dtype)
        pairs = self._engine.pairs_of(moment, system)
        fingerprint = self._potential.fingerprint(alone, pairs)[0].detach()
        return Frame(
            structure,
            replica.n_steps,
            replica.time_fs,
            replica.temperature.at(replica.time_fs),
            spread,
            "flagged" if measure else "audit",
            measure,
            fingerprint.to("cpu", torch.float64).numpy(),
        )

    def _end(self, moment: Moment, step: int, stopped: dict[int, StopReason]) -> Moment:
        """Write down why replicas ended, and go on with the others."""
        if not stopped:
            return moment
        for system, reason in stopped.items():
            replica = self._replicas[moment.state.replicas[system]]
            replica.n_steps = step
            replica.time_fs = step * self._settings.timestep_fs
            replica.stop_reason = reason
        alive = [s for s in range(moment.state.n_systems) if s not in stopped]
        return self._engine.keep(moment, alive)


def _is_finite(spread: Spread) -> bool:
    return all(np.isfinite(value) for value in spread.to_json().values())
