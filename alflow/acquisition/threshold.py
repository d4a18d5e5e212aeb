"""Acquisition by fixed limits on the spread, with diversity and a random audit arm."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from alflow.core.protocols import AcquisitionRule
from alflow.core.sampling import Gate, Limit
from alflow.registry import Settings


class LimitSettings(Settings):
    """A limit that may grow with the forces: `base + per_force * mean force in the frame`."""

    base: float = Field(gt=0)
    """Limit at zero force, in the unit of the measure."""
    per_force: float = Field(default=0.0, ge=0)
    """Growth of the limit with the mean force, unit of the measure per eV/Å."""

    def limit(self, unit: float = 1.0) -> Limit:
        """The limit in eV or eV/Å, `unit` being the unit that the settings are in."""
        return Limit(self.base * unit, self.per_force * unit)


def as_limit(value: object) -> object:
    """A single number is a limit that does not grow."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return {"base": value} if is_number else value


LimitField = Annotated[LimitSettings | None, BeforeValidator(as_limit)]
"""A limit: one number, `{base, per_force}`, or null to leave the measure out."""


class ThresholdSettings(Settings):
    """Label what exceeds fixed limits, as diverse as possible, and a random few besides.

    A candidate is turned down if a label for it exists or is on its way, if its spread is not
    finite, or if it is further beyond the limits than `rejected_factor`. Of the rest, a share
    goes to audit candidates drawn at random, whatever their spread: their error tells what the
    limits miss. The flagged ones are chosen by farthest-point selection in the space of the
    fingerprints, from the one that exceeds its limit by the largest factor.
    """

    kind: Literal["threshold"] = "threshold"
    per_iteration: int = Field(ge=1)
    """Number of labels of one iteration (structures)."""
    audit_fraction: float = Field(default=0.05, ge=0, le=1)
    """Share of the labels that go to frames drawn at random."""
    energy_spread_meV: LimitField = LimitSettings(base=5.0, per_force=5.0)
    """Limit on the energy spread divided by the square root of the number of atoms [meV]."""
    force_spread_mean_eV_per_A: LimitField = LimitSettings(base=0.025, per_force=0.035)
    """Limit on the mean over atoms of the force spread [eV/Å]."""
    force_spread_max_eV_per_A: LimitField = LimitSettings(base=0.1, per_force=0.1)
    """Limit on the largest force spread of any atom [eV/Å]."""
    grace_fs: float = Field(default=50.0, ge=0)
    """Time at the start of a trajectory in which no frame is flagged [fs]; without it, every
    strained start is flagged at once and nothing is explored."""
    relax: tuple[Annotated[float, Field(ge=1)], ...] = (2.0, 1.5)
    """Factors on the limits for the first generations (0, 1, ...); 1 after the last."""
    rejected_factor: float = Field(default=20.0, gt=1)
    """Candidates beyond this multiple of a limit (not relaxed) are turned down: atoms that fuse or
    fly apart teach the ensemble nothing that it needs."""
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
    def _check_limits(self) -> "ThresholdSettings":
        limits = (
            self.energy_spread_meV,
            self.force_spread_mean_eV_per_A,
            self.force_spread_max_eV_per_A,
        )
        if all(limit is None for limit in limits):
            raise ValueError("all limits are null, so that nothing would ever be selected")
        return self

    def base_gate(self) -> Gate:
        """The gate without the relaxation of the first generations."""

        def limit(settings: LimitSettings | None, unit: float = 1.0) -> Limit | None:
            return None if settings is None else settings.limit(unit)

        return Gate(
            limit(self.energy_spread_meV, 1e-3),
            limit(self.force_spread_mean_eV_per_A),
            limit(self.force_spread_max_eV_per_A),
            self.grace_fs,
        )

    def create(self) -> AcquisitionRule:
        """The rule."""
        from alflow.acquisition.threshold_rule import ThresholdRule

        return ThresholdRule(self)
