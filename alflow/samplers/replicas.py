"""Replicas: each with a clock, a schedule and a random stream of its own."""

from dataclasses import dataclass, field

import numpy as np

from alflow.core.sampling import Frame, Spread, StopReason, Trajectory
from alflow.core.structures import Structure
from alflow.md.schedule import Program
from alflow.samplers.nemd import MdSettings

TRACE_POINTS = 50
"""Largest number of points in the trace of a trajectory."""


def n_steps(settings: MdSettings) -> int:
    """Number of integration steps of a replica that runs to its end."""
    return max(1, round(settings.duration_ps * 1000 / settings.timestep_fs))


@dataclass
class Replica:
    """What is drawn for a replica before it runs, and what is noted while it does.

    Attributes:
        start: Structure it starts from.
        seed: Seed of its stream.
        stream: Where its random numbers come from: schedule, velocities, noise, in this order.
        temperature: Target temperature over time [K].
        own_density: Density of the start [g/cm³]; 0 where there is none.
        density: Density over time [g/cm³]; None leaves the cell as it is.
        audit_step: Step of the frame that is brought back whatever its spread.
        trace_every: Steps between two points of the trace.
        timestep_fs: Integration step [fs].
        last_step: Step at which it has run for its whole duration.
        n_steps: Its own clock: steps made.
        n_pieces: Number of pieces at the start, out of reach of each other.
        stop_reason: Why it ended.
        frames: What it brings back.
        trace: Columns sampled along the way.
    """

    start: Structure
    seed: int
    stream: np.random.Generator
    temperature: Program
    own_density: float
    density: Program | None
    audit_step: int | None
    trace_every: int
    timestep_fs: float
    last_step: int
    n_steps: int = 0
    n_pieces: int = 0
    stop_reason: StopReason = StopReason.FINISHED
    frames: list[Frame] = field(default_factory=list)
    trace: dict[str, list[float]] = field(
        default_factory=lambda: {
            name: []
            for name in ("time_fs", "temperature_K", "energy_spread", "force_spread_max")
        }
    )

    @classmethod
    def draw(cls, start: Structure, seed: int, settings: MdSettings) -> "Replica":
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
        return cls(
            start,
            seed,
            stream,
            temperature,
            own,
            density,
            audit_step,
            trace_every,
            settings.timestep_fs,
            n_steps(settings),
        )

    @property
    def time_fs(self) -> float:
        """Time since its start [fs]."""
        return self.n_steps * self.timestep_fs

    @property
    def target_K(self) -> float:
        """Target temperature now [K]."""
        return self.temperature.at(self.time_fs)

    @property
    def scale(self) -> float:
        """Length of the cell now, relative to the start."""
        if self.density is None:
            return 1.0
        return float((self.own_density / self.density.at(self.time_fs)) ** (1 / 3))

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
