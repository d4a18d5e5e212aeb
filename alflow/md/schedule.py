"""Programs: temperature and density as exact functions of time."""

import math
from dataclasses import dataclass

import numpy as np

Range = tuple[float, float]
"""Lower and upper bound of a uniform draw."""


@dataclass(frozen=True, slots=True)
class Program:
    """A linear ramp with a sin² modulation on top.

    value(t) = start + (end - start) t / duration + amplitude sin²(pi t / period)

    The unit of `start`, `end` and `amplitude` is that of the quantity it drives.

    Attributes:
        start: Value of the ramp at time zero.
        end: Value of the ramp at `duration_fs`.
        amplitude: Height of the modulation.
        period_fs: Time between two maxima of the modulation [fs].
        duration_fs: Length of the ramp [fs].
    """

    start: float
    end: float
    amplitude: float
    period_fs: float
    duration_fs: float

    def at(self, time_fs: float) -> float:
        """The value at this time [fs]."""
        ramp = self.start + (self.end - self.start) * (time_fs / self.duration_fs)
        return ramp + self.amplitude * math.sin(math.pi * time_fs / self.period_fs) ** 2

    def to_json(self, name: str, unit: str) -> dict[str, float]:
        """The parameters under names such as `temperature_start_K`."""
        return {
            f"{name}_start_{unit}": self.start,
            f"{name}_end_{unit}": self.end,
            f"{name}_amplitude_{unit}": self.amplitude,
            f"{name}_period_fs": self.period_fs,
        }


@dataclass(frozen=True, slots=True)
class ProgramRanges:
    """Ranges from which the programs of replicas are drawn.

    Attributes:
        start: Range of the start; None keeps the value that the structure has.
        end: Range of the end.
        amplitude: Range of the amplitude.
        period_fs: Range of the period [fs].
    """

    start: Range | None
    end: Range
    amplitude: Range
    period_fs: Range

    def draw(
        self, rng: np.random.Generator, duration_fs: float, own: float = 0.0
    ) -> Program:
        """Draw one program, each parameter uniformly.

        Always four draws in the same order, so that what follows in the stream of a replica does
        not depend on whether the start is drawn or given.

        Args:
            rng: Stream to draw from.
            duration_fs: Length of the ramp [fs].
            own: Value at the start if `start` is None.
        """
        start, end, amplitude, period_fs = (
            float(rng.uniform(*bounds))
            for bounds in (
                self.start or (own, own),
                self.end,
                self.amplitude,
                self.period_fs,
            )
        )
        return Program(start, end, amplitude, period_fs, duration_fs)
