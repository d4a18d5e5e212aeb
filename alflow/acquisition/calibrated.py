"""Acquisition by limits that come from the errors of the labels so far."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from alflow.acquisition.threshold import LimitSettings, as_limit
from alflow.core.protocols import AcquisitionRule
from alflow.registry import Settings

Tolerance = Annotated[LimitSettings, BeforeValidator(as_limit)]
"""An error that is fine: one number, or `{base, per_force}`."""


class CalibratedSettings(Settings):
    """Label frames whose error may be beyond a tolerance, as diverse as possible, and a random few.

    What the tolerance means for the spread is learnt. Each label shows how large the error was
    beside the spread, and of these ratios the one that `coverage` of them stay below, with the
    margin that a small sample needs (split conformal prediction: Vovk, Gammerman and Shafer,
    Algorithmic Learning in a Random World, 2005), times the spread bounds the error of the next
    frame. A frame is flagged where that bound is beyond the tolerance.

    Early on everything would be flagged at once, and nothing explored. So limits are multiplied by
    a factor that follows the yield: it grows to where the stated share of the trajectories would
    have been flagged, and shrinks whenever fewer frames are flagged than can be labelled. An
    iteration that is short of frames at a factor of 1 or less finds nothing beyond the tolerance:
    that is what convergence looks like.
    """

    kind: Literal["calibrated"] = "calibrated"
    per_iteration: int = Field(ge=1)
    """Number of labels of one iteration (structures)."""
    audit_fraction: float = Field(default=0.05, ge=0, le=1)
    """Share of the labels that go to frames drawn at random."""
    force_tolerance_eV_per_A: Tolerance = LimitSettings(base=0.05, per_force=0.05)
    """Error of the forces of a frame, the mean over its atoms, that is fine [eV/Å]."""
    energy_tolerance_meV: Tolerance = LimitSettings(base=10.0, per_force=10.0)
    """Error of the energy, divided by the square root of the number of atoms, that is fine [meV].
    """
    coverage: float = Field(default=0.9, gt=0.5, lt=1)
    """Share of frames whose error should be below its bound."""
    window: int = Field(default=1, ge=1, le=10)
    """Number of the last iterations whose labels tell how errors of forces go with spreads, more
    where they have fewer than 20 labels: each generation is more sure of itself than the one
    before."""
    energy_window: int = Field(default=2, ge=1, le=10)
    """The same for energies, whose errors have a part that all frames of a generation share: one
    generation alone is hardly more than one draw of it."""
    adaptation: float = Field(default=0.2, ge=0, le=1)
    """How fast the bound follows a coverage that is not as stated (adaptive conformal inference:
    Gibbs and Candès, NeurIPS 34, 1660 (2021)): after an iteration whose share of errors below
    their bound was off by 0.1, the bound is taken from a share that is 0.1 times this higher or
    lower. With 0 it does not."""
    prior_ratio: float = Field(default=2.0, gt=0)
    """Bound of the error in units of the spread before there are labels enough to tell."""
    largest_ratio: float = Field(default=6.0, gt=0)
    """An ensemble that is farther off than this many times its spread is not told by its spread:
    the bound goes no further."""
    atom_factor: float = Field(default=4.0, gt=1)
    """A frame is also flagged where the force spread of an atom is beyond this many times the
    limit of the mean."""
    grace_fs: float = Field(default=200.0, ge=0)
    """Time at the start of a trajectory in which no frame is flagged [fs]; without it, every
    strained start is flagged at once and nothing is explored."""
    flagged_share: float = Field(default=0.6, gt=0, lt=1)
    """Share of the trajectories that should end at a flagged frame, as long as that fills the
    places: the others go on to where nothing is known either."""
    start_factor: float = Field(default=3.0, ge=1)
    """Factor on the limits for the first generation."""
    largest_factor: float = Field(default=30.0, ge=1)
    """Factor beyond which limits are not loosened."""
    smallest_factor: float = Field(default=0.3, gt=0, le=1)
    """Factor below which limits are not tightened."""
    step: float = Field(default=0.75, gt=0, lt=1)
    """Factor by which limits are tightened where too few frames were flagged; its square where
    they did not fill half of the places. Nor are they loosened by more than its square at once."""
    rejected_factor: float = Field(default=10.0, gt=1)
    """Candidates beyond this multiple of a limit are turned down: atoms that fuse or fly apart
    teach the ensemble nothing that it needs."""
    min_distance: float = Field(default=0.0, ge=0)
    """Flagged candidates closer than this to a selected one are turned down as near-duplicates;
    root mean square distance of the fingerprints, each feature in units of its spread over the
    candidates."""
    cost_power: float = Field(default=0.0, ge=0, le=1)
    """How much expected costs count: what a flagged candidate would teach (its distance to what is
    selected) is divided by this power of the core-seconds that its label is expected to take. With
    1 the most is learnt in a core-second, mostly from small structures; with 0, the default, costs
    do not count. Costs are learnt from measured times, so that two runs choose differently."""

    @model_validator(mode="after")
    def _check_factors(self) -> "CalibratedSettings":
        if not self.smallest_factor <= self.start_factor <= self.largest_factor:
            raise ValueError(
                f"start_factor: {self.start_factor:g} is not between smallest_factor "
                f"({self.smallest_factor:g}) and largest_factor ({self.largest_factor:g})"
            )
        return self

    def create(self) -> AcquisitionRule:
        """The rule."""
        from alflow.acquisition.calibrated_rule import CalibratedRule

        return CalibratedRule(self)
