"""Constants of the ANI descriptor, and the published sets of them."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from alflow.core.errors import SettingsError


@dataclass(frozen=True, slots=True)
class AniConstants:
    """Where the symmetry functions sit and how wide they are.

    Attributes:
        radial_cutoff_A: Reach of the radial part [Å].
        angular_cutoff_A: Reach of the angular part [Å].
        radial_eta: Exponent of the radial Gaussians [1/Å²].
        radial_shifts: Centres of the radial Gaussians [Å].
        angular_eta: Exponent of the Gaussians of the mean distance in a triple [1/Å²].
        zeta: Exponent of the angular functions; larger is sharper.
        angular_shifts: Centres of the Gaussians of the mean distance [Å].
        angular_sections: Centres of the angular functions [rad].
    """

    radial_cutoff_A: float
    angular_cutoff_A: float
    radial_eta: float
    radial_shifts: tuple[float, ...]
    angular_eta: float
    zeta: float
    angular_shifts: tuple[float, ...]
    angular_sections: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse what is not a descriptor."""
        positive = (self.angular_cutoff_A, self.radial_eta, self.angular_eta)
        numbers = (
            *self.radial_shifts,
            *self.angular_shifts,
            self.radial_cutoff_A,
            self.zeta,
        )
        problem = ""
        if not all(math.isfinite(value) for value in (*positive, *numbers)):
            problem = "has a constant that is not finite"
        elif min(positive) <= 0 or self.zeta < 1:
            problem = "needs positive cutoffs and widths, and zeta of at least 1"
        elif self.angular_cutoff_A > self.radial_cutoff_A:
            problem = (
                f"has an angular cutoff ({self.angular_cutoff_A} Å) beyond "
                f"its radial cutoff ({self.radial_cutoff_A} Å)"
            )
        elif not (self.radial_shifts and self.angular_shifts and self.angular_sections):
            problem = "needs at least one radial shift, angular shift and angular section"
        elif not all(0 <= angle <= math.pi for angle in self.angular_sections):
            problem = "has an angular section outside of 0..pi"
        if problem:
            raise SettingsError(f"the ANI descriptor {problem}")

    def n_features(self, n_elements: int) -> int:
        """Length of the descriptor of one atom."""
        angular = len(self.angular_shifts) * len(self.angular_sections)
        n_species_pairs = n_elements * (n_elements + 1) // 2
        return n_elements * len(self.radial_shifts) + n_species_pairs * angular

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "AniConstants":
        """The inverse of `to_json`.

        Raises:
            SettingsError: If a constant is missing, unknown or impossible.
        """
        numbers = (
            "radial_cutoff_A",
            "angular_cutoff_A",
            "radial_eta",
            "angular_eta",
            "zeta",
        )
        lists = ("radial_shifts", "angular_shifts", "angular_sections")
        if set(values) != {*numbers, *lists}:
            raise SettingsError(
                f"constants of an ANI descriptor are not {', '.join(values)}"
            )
        try:
            radial, angular, radial_eta, angular_eta, zeta = (
                float(values[n]) for n in numbers
            )
            shifts, shells, angles = (tuple(float(x) for x in values[n]) for n in lists)
        except (TypeError, ValueError) as error:
            raise SettingsError(
                f"constants of an ANI descriptor are malformed: {error}"
            ) from error
        return cls(radial, angular, radial_eta, shifts, angular_eta, zeta, shells, angles)


def linear_shifts(start: float, stop: float, count: int) -> tuple[float, ...]:
    """Evenly spaced centres from `start` up to and without `stop`, as ANI places them."""
    step = (stop - start) / count
    return tuple(start + step * k for k in range(count))


def sections(count: int) -> tuple[float, ...]:
    """Centres [rad] of `count` equal sections of a half turn, as ANI places them."""
    return tuple(math.pi / count * (k + 0.5) for k in range(count))


ANI_1X = AniConstants(
    radial_cutoff_A=5.2,
    angular_cutoff_A=3.5,
    radial_eta=16.0,
    radial_shifts=linear_shifts(0.9, 5.2, 16),
    angular_eta=8.0,
    zeta=32.0,
    angular_shifts=linear_shifts(0.9, 3.5, 4),
    angular_sections=sections(8),
)
"""ANI-1x (J. Chem. Phys. 148, 241733)."""

ANI_2X = AniConstants(
    radial_cutoff_A=5.1,
    angular_cutoff_A=3.5,
    radial_eta=19.7,
    radial_shifts=linear_shifts(0.8, 5.1, 16),
    angular_eta=12.5,
    zeta=14.1,
    angular_shifts=linear_shifts(0.8, 3.5, 8),
    angular_sections=sections(4),
)
"""ANI-2x (J. Chem. Theory Comput. 16, 4192)."""

ANI_AL = AniConstants(
    radial_cutoff_A=7.0,
    angular_cutoff_A=5.0,
    radial_eta=43.9,
    radial_shifts=linear_shifts(1.25, 7.0, 32),
    angular_eta=6.5,
    zeta=69.4,
    angular_shifts=linear_shifts(1.25, 5.0, 8),
    angular_sections=sections(8),
)
"""ANI-Al (Nature Communications 12, 1257)."""
