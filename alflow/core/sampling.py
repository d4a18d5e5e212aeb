"""What a sampler brings back: trajectories, the frames it flagged, and the gate it used."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float

from alflow.core.structures import Structure


class StopReason(StrEnum):
    """Why a trajectory ended."""

    FLAGGED = "flagged"
    """The gate found a frame that the ensemble does not know."""
    FINISHED = "finished"
    """It ran for its whole duration, or all its frames were looked at, and none was flagged."""
    NOT_FINITE = "not-finite"
    """A position, energy or force is not a finite number."""
    TOO_CLOSE = "too-close"
    """Two atoms are closer than the limit for their pair of elements."""
    TOO_HOT = "too-hot"
    """The kinetic temperature exploded."""
    EXPLODED = "exploded"
    """The energy went further from that of the start than bonds can explain."""
    COLLAPSED = "collapsed"
    """The cell has less room than the atoms in it."""
    ESCAPED = "escaped"
    """A piece got out of reach of the others."""

    @property
    def is_unphysical(self) -> bool:
        """Whether the trajectory ended because its last frame makes no sense."""
        return self not in (StopReason.FLAGGED, StopReason.FINISHED)


@dataclass(frozen=True, slots=True)
class Spread:
    """How much the members disagree about one frame, in size-consistent units.

    The spread is the population standard deviation over members.

    Attributes:
        energy: Energy spread divided by the square root of the number of atoms [eV].
        force_mean: Mean over atoms of the force spread [eV/Å]; the force spread of an atom is
            the norm over x, y, z of the per-component standard deviation.
        force_max: Largest force spread of any atom [eV/Å].
        force_scale: Mean over atoms of the norm of the mean force [eV/Å].
    """

    energy: float
    force_mean: float
    force_max: float
    force_scale: float

    @property
    def is_finite(self) -> bool:
        """Whether all measures are finite numbers."""
        return all(math.isfinite(value) for value in self.to_json().values())

    def to_json(self) -> dict[str, float]:
        """A JSON-like dict."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Limit:
    """A threshold that may grow with the forces in the frame: `base + per_force * force_scale`.

    Attributes:
        base: Threshold at zero force, in the unit of the measure.
        per_force: Growth with `Spread.force_scale`, unit of the measure per eV/Å.
    """

    base: float
    per_force: float = 0.0

    def at(self, force_scale: float) -> float:
        """The threshold for a frame with this force scale [eV/Å]."""
        return self.base + self.per_force * force_scale


@dataclass(frozen=True, slots=True)
class Gate:
    """Decides whether the ensemble knows a frame.

    A frame is flagged if any measure exceeds its limit. A spread that is not finite is always
    flagged: a diverged model must not vouch for itself.

    Attributes:
        energy: Limit on `Spread.energy` [eV]; None leaves the measure out.
        force_mean: Limit on `Spread.force_mean` [eV/Å]; None leaves the measure out.
        force_max: Limit on `Spread.force_max` [eV/Å]; None leaves the measure out.
        grace_fs: Time from the start of a trajectory in which frames are not flagged [fs].
    """

    energy: Limit | None = None
    force_mean: Limit | None = None
    force_max: Limit | None = None
    grace_fs: float = 0.0

    def exceeded(self, spread: Spread) -> str | None:
        """The measure that exceeds its limit by the largest factor, or None if none does."""
        worst, ratio = self.worst(spread)
        return None if ratio <= 1.0 else worst

    def worst(self, spread: Spread) -> tuple[str, float]:
        """The measure that is largest in units of its limit, and that ratio.

        The ratio of a spread that is not finite is infinite; without limits it is 0.
        """
        worst, largest = "", 0.0
        for name in ("energy", "force_mean", "force_max"):
            limit: Limit | None = getattr(self, name)
            if limit is None:
                continue
            value = getattr(spread, name)
            ratio = value / limit.at(spread.force_scale) if np.isfinite(value) else np.inf
            if not ratio <= largest:
                worst, largest = name, float(ratio)
        return worst, largest

    def scaled(self, factor: float) -> "Gate":
        """The same gate with every limit multiplied by `factor`."""

        def times(limit: Limit | None) -> Limit | None:
            return limit and Limit(limit.base * factor, limit.per_force * factor)

        return Gate(
            times(self.energy), times(self.force_mean), times(self.force_max), self.grace_fs
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON-like dict."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Gate":
        """The inverse of `to_json`."""

        def limit(name: str) -> Limit | None:
            return None if value.get(name) is None else Limit(**value[name])

        return cls(
            limit("energy"), limit("force_mean"), limit("force_max"), value["grace_fs"]
        )


@dataclass(frozen=True, slots=True)
class Frame:
    """One recorded moment of a trajectory.

    Attributes:
        structure: Geometry of the frame.
        step: Integration step, 0 is the start; where no time passes, the number of the frame.
        time_fs: Time since the start [fs]; 0 where no time passes.
        temperature_K: Target temperature of the thermostat at that time, or that of the random
            displacements [K]; 0 where there is none.
        spread: What the ensemble says about it.
        reason: "flagged" or "audit" (drawn at random, whatever its spread).
        measure: The measure that exceeded its limit; empty for an audit frame.
        fingerprint: Descriptor of the whole structure, (features,): for diversity.
    """

    structure: Structure
    step: int
    time_fs: float
    temperature_K: float
    spread: Spread
    reason: str
    measure: str
    fingerprint: Float[np.ndarray, " features"]


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One replica's path, from its start to the reason why it ended.

    Samplers in which no time passes (normal modes, torsions, ...) make frames one after the
    other. Each counts as a step; `time_fs` is 0. What they cost, relaxations and Hessians
    included, is `n_evaluations` of the schedule; with dynamics it is a step each.

    Attributes:
        start: Structure it started from.
        seed: Seed of its own random stream (schedule, velocities, noise).
        schedule: Parameters that were drawn, of T(t) and density(t) for example, and numbers that
            tell how its frames were made (JSON-like, units in names).
        n_steps: Integration steps made, or frames looked at.
        time_fs: Time simulated [fs].
        stop_reason: Why it ended.
        frames: Frames it brings back: flagged ones, only one if it ended there, and at most one
            audit frame.
        trace: Columns sampled along the way: time_fs (step where no time passes),
            temperature_K, energy_spread, force_spread_max; each a list of equal length.
    """

    start: Structure
    seed: int
    schedule: Mapping[str, float]
    n_steps: int
    time_fs: float
    stop_reason: StopReason
    frames: tuple[Frame, ...]
    trace: Mapping[str, list[float]]


class Decision(StrEnum):
    """What acquisition decided about a candidate."""

    SELECTED = "selected"
    DUPLICATE = "duplicate"
    FILTERED = "filtered"
    OVER_BUDGET = "over-budget"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A frame that may deserve a label, as acquisition sees it.

    Attributes:
        id: Hash of its structure.
        spread: What the ensemble says about it.
        reason: "flagged" or "audit".
        measure: The measure that exceeded its limit.
        fingerprint: Descriptor of the whole structure, (features,).
        is_known: Whether a label for it exists already or is on its way.
        cost_core_s: What its label is expected to cost [core-seconds]; None if nobody knows.
    """

    id: str
    spread: Spread
    reason: str
    measure: str
    fingerprint: Float[np.ndarray, " features"]
    is_known: bool = False
    cost_core_s: float | None = None


_Seen = TypeVar("_Seen", Frame, Candidate)


def standing_for_all(copies: Sequence[_Seen]) -> _Seen:
    """Which of several frames of one structure stands for all: a flagged one, the worst of them.

    It does not depend on their order, but for copies that are equal in all that decides.
    """

    def preference(copy: _Seen) -> tuple[bool, list[float], str, bytes]:
        spread = [
            -v if math.isfinite(v) else -math.inf for v in copy.spread.to_json().values()
        ]
        return copy.reason == "audit", spread, copy.measure, copy.fingerprint.tobytes()

    return copies[0] if len(copies) == 1 else min(copies, key=preference)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision about one candidate.

    Attributes:
        decision: What was decided.
        reason: Why, a sentence with numbers.
        rank: Position among the selected, 0 first; None if not selected.
        cost_core_s: What its label was expected to cost [core-seconds]; None if nobody knew.
    """

    decision: Decision
    reason: str
    rank: int | None = None
    cost_core_s: float | None = None


Selection = Mapping[str, Verdict]
"""Verdict by candidate id; every candidate has one."""
