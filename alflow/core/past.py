"""What earlier iterations taught about the spread: how often too large, and how right it was."""

import math
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float


@dataclass(frozen=True, eq=False, slots=True)
class Checked:
    """Frames whose label has come, beside what the ensemble that asked for them had said.

    Attributes:
        energy_error: Absolute error of the mean energy by the root of the number of atoms [eV],
            (frames,).
        energy_spread: Spread of the energy, likewise [eV], (frames,).
        force_error: Mean over atoms of the norm of the error of the mean force [eV/Å], (frames,);
            NaN where the label has no forces.
        force_spread: Mean over atoms of the force spread [eV/Å], (frames,).
        force_scale: Mean over atoms of the norm of the mean force [eV/Å], (frames,).
        is_audit: Whether the frame was drawn at random, whatever its spread, (frames,).
    """

    energy_error: Float[np.ndarray, " frames"]
    energy_spread: Float[np.ndarray, " frames"]
    force_error: Float[np.ndarray, " frames"]
    force_spread: Float[np.ndarray, " frames"]
    force_scale: Float[np.ndarray, " frames"]
    is_audit: Bool[np.ndarray, " frames"]

    @classmethod
    def none(cls) -> "Checked":
        """No frames."""
        empty = np.zeros(0)
        return cls(empty, empty, empty, empty, empty, np.zeros(0, bool))

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.energy_error)


@dataclass(frozen=True, eq=False, slots=True)
class PastIteration:
    """What an iteration did and learnt.

    Attributes:
        number: Its number.
        n_trajectories: Trajectories that it ran.
        n_flagged: Those of them that ended at a flagged frame.
        n_places: Labels that it could have asked for.
        excess: Of its flagged frames: the spread in units of the limit that it exceeds by the
            largest factor, (flagged,).
        checked: Its frames that have a label by now.
        n_labelled: Labels that it had when it ended.
        coverage_force: Share of those whose error of the forces was below its bound; NaN unknown.
        coverage_energy: The same for the energy.
    """

    number: int
    n_trajectories: int
    n_flagged: int
    n_places: int
    excess: Float[np.ndarray, " flagged"] = field(default_factory=lambda: np.zeros(0))
    checked: Checked = field(default_factory=Checked.none)
    n_labelled: int = 0
    coverage_force: float = math.nan
    coverage_energy: float = math.nan

    @property
    def is_short(self) -> bool:
        """Whether fewer frames were flagged than could have been labelled."""
        return self.n_flagged < self.n_places
