"""Energies that are made of other energies: limits of a basis set, sums and differences.

All of it is linear in the energies, so that the same weights hold for forces and stresses.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from alflow.registry import Settings

Source = Annotated[
    str,
    StringConstraints(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z][A-Za-z0-9_]*)?$", max_length=64
    ),
]
"""`PART`, the energy of a part, or `PART.COMPONENT`, one component of it, for example `tz.hf`."""

Law = Literal["exp_sqrt", "power"]


class Limit(Settings):
    """The limit of a complete basis set, from the energies in two of them.

    `exp_sqrt`: E(X) = E + A exp(-a √X), usual for Hartree-Fock; `power`: E(X) = E + A X⁻ᵃ, usual
    for correlation energies.
    """

    of: tuple[Source, Source]
    """The energy in the smaller basis, and the one in the larger."""
    cardinals: tuple[int, int]
    """Their cardinal numbers X, for example [3, 4] for triple and quadruple zeta."""
    law: Law
    """How the energy comes near the limit: `exp_sqrt` or `power`."""
    exponent: float = Field(gt=0)
    """The a of the law; what is usual depends on the basis sets and on the energy."""
    times: float = 1.0
    """Factor of the limit in the energy of the level."""

    @model_validator(mode="after")
    def _grows(self) -> "Limit":
        small, large = self.cardinals
        if not 1 <= small < large:
            raise ValueError(f"cardinals: {small} must be at least 1 and below {large}")
        if self.of[0] == self.of[1]:
            raise ValueError(f"of: {self.of[0]} twice has no limit: name two energies")
        return self

    def weights(self) -> dict[str, float]:
        """Weight of each of the two energies."""
        found = limit_weights(self.law, self.exponent, self.cardinals)
        return {
            source: self.times * weight
            for source, weight in zip(self.of, found, strict=True)
        }


def limit_weights(
    law: Law, exponent: float, cardinals: tuple[int, int]
) -> tuple[float, float]:
    """Weights of the energies in the smaller and the larger basis; their sum is 1.

    Args:
        law: How the energy comes near the limit.
        exponent: The a of the law.
        cardinals: Cardinal numbers of the two.
    """
    small, large = cardinals
    if law == "power":
        log_ratio = exponent * (math.log(small) - math.log(large))
    else:
        log_ratio = exponent * (math.sqrt(small) - math.sqrt(large))
    gain = -math.expm1(log_ratio)  # 1 less the ratio of the two distances from the limit
    return -math.exp(log_ratio) / gain, 1 / gain


def total_weights(limits: Iterable[Limit], terms: Mapping[str, float]) -> dict[str, float]:
    """Weight of each energy in limits and terms taken together.

    Args:
        limits: Extrapolations.
        terms: Factors of energies that are added as they are.
    """
    found = dict(terms)
    for limit in limits:
        for source, weight in limit.weights().items():
            found[source] = found.get(source, 0.0) + weight
    return found


def part_of(source: str) -> tuple[str, str | None]:
    """Name of the part that a source speaks of, and of the component, if any."""
    part, _, component = source.partition(".")
    return part, component or None
