"""What the figures of a report draw: arrays, curves and bars, each a frozen value."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from alflow.core.sampling import Gate


@dataclass(frozen=True, eq=False, slots=True)
class SpreadSample:
    """Spreads of the candidates of one iteration, and the gate they were measured by.

    Attributes:
        iteration: Number of the iteration.
        generation: Generation of the ensemble that sampled.
        energy: Energy spread over the root of the number of atoms [eV], (candidates,).
        force_mean: Mean force spread of the atoms [eV/Å], (candidates,).
        force_max: Largest force spread of any atom [eV/Å], (candidates,).
        force_scale: Mean norm of the mean forces [eV/Å], (candidates,).
        is_audit: Whether a candidate was drawn at random, (candidates,).
        excess: The spread that is largest in units of its limit, in these units; limits are those
            of the round that the frame was met in; NaN where there are none, (candidates,).
        gate: Limits of the first round, None if the acquisition rule cannot be asked.
    """

    iteration: int
    generation: int
    energy: Float[np.ndarray, " candidates"]
    force_mean: Float[np.ndarray, " candidates"]
    force_max: Float[np.ndarray, " candidates"]
    force_scale: Float[np.ndarray, " candidates"]
    is_audit: Bool[np.ndarray, " candidates"]
    excess: Float[np.ndarray, " candidates"]
    gate: Gate | None = None


@dataclass(frozen=True, eq=False, slots=True)
class CalibrationSample:
    """Spread of a generation on labels it had not seen, against its true error.

    Attributes:
        iteration: Iteration whose new labels these are.
        generation: Generation that predicted them.
        n_labels: Labels behind `factor` and `coverage`; of very many only some are listed.
        force_spread: Mean over atoms of the force spread [eV/Å], (labels,).
        force_error: Root mean square over atoms of the length of the force error vector
            [eV/Å], (labels,).
        energy_spread: Energy spread over the root of the number of atoms [eV], (labels,).
        energy_error: Energy error over the root of the number of atoms [eV], (labels,).
        is_audit: Whether a structure was drawn at random, (labels,).
        factor: Median of force error over force spread, None without data.
        coverage: Observed share of energy errors within the interval, by nominal share.
        n_audit: Labels of frames that were drawn at random.
    """

    iteration: int
    generation: int
    n_labels: int
    force_spread: Float[np.ndarray, " labels"]
    force_error: Float[np.ndarray, " labels"]
    energy_spread: Float[np.ndarray, " labels"]
    energy_error: Float[np.ndarray, " labels"]
    is_audit: Bool[np.ndarray, " labels"]
    factor: float | None = None
    coverage: Mapping[float, float] = field(default_factory=dict)
    n_audit: int = 0


@dataclass(frozen=True, eq=False, slots=True)
class Parity:
    """Predictions of one generation against the labels of the test set.

    Attributes:
        generation: Number of the generation.
        energy_reference: Labels, their mean per atom subtracted [eV/atom], (structures,).
        energy_predicted: Predictions, the same subtracted [eV/atom], (structures,).
        force_reference: Components of the labels [eV/Å], (components,).
        force_predicted: Components of the predictions [eV/Å], (components,).
        n_components: Number of components before thinning.
    """

    generation: int
    energy_reference: Float[np.ndarray, " structures"]
    energy_predicted: Float[np.ndarray, " structures"]
    force_reference: Float[np.ndarray, " components"]
    force_predicted: Float[np.ndarray, " components"]
    n_components: int


@dataclass(frozen=True, slots=True)
class SurvivalCurve:
    """How long trajectories of one generation last before the ensemble loses trust.

    Attributes:
        generation: Generation that sampled.
        times_fs: Times at which the fraction drops, 0 first, the longest time last [fs].
        fractions: Fraction still trusted from that time on.
        n_trajectories: Trajectories behind the curve.
        n_ended: Trajectories that were flagged or became unphysical.
        median_fs: Time at which half are gone [fs], None if more than half survive.
    """

    generation: int
    times_fs: tuple[float, ...]
    fractions: tuple[float, ...]
    n_trajectories: int
    n_ended: int
    median_fs: float | None


@dataclass(frozen=True, slots=True)
class Bar:
    """One stretch of work in the timeline.

    Attributes:
        lane: Row of the timeline, 0 first.
        kind: Kind of task.
        start: Beginning [s].
        end: End [s].
        is_failed: Whether it gave no result.
    """

    lane: int
    kind: str
    start: float
    end: float
    is_failed: bool


@dataclass(frozen=True, slots=True)
class WorkerTime:
    """Where the time of workers went.

    Attributes:
        seconds: Slot-seconds by kind of task and what they were used for, or lost to [s].
    """

    seconds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def by_use(self) -> dict[str, float]:
        """Slot-seconds by what they were used for [s]."""
        total: dict[str, float] = {}
        for named in self.seconds.values():
            for use, spent in named.items():
                total[use] = total.get(use, 0.0) + spent
        return total


@dataclass(frozen=True, slots=True)
class Timeline:
    """Who worked when.

    Attributes:
        lanes: Name of each lane: host and slot.
        bars: Stretches of work; neighbours of one kind are merged.
        hours: Worker-hours by kind of task.
        counts: Attempts by kind of task.
        span_s: Time from the first start to the last end [s].
        paused_s: Time in long gaps in which nothing ran at all [s].
        busy_fraction: Work over lanes times span less pauses, None without attempts.
        time: Where the time of all lanes went.
    """

    lanes: tuple[str, ...] = ()
    bars: tuple[Bar, ...] = ()
    hours: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    span_s: float = 0.0
    paused_s: float = 0.0
    busy_fraction: float | None = None
    time: WorkerTime = field(default_factory=WorkerTime)
