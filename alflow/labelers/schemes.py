"""Ready-made composite levels, and what they are made of."""

import re
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, JsonValue, field_validator

from alflow.labelers.formula import Limit
from alflow.registry import Settings

HF_EXPONENT, MP2_EXPONENT = 5.46, 2.51
"""For cc-pVTZ and cc-pVQZ, as in the CCSD(T)*/CBS of ANI-1ccx (Smith et al., Nature Communications
10, 2903 (2019))."""
_CORRECTIONS = {
    "ccsd(t)/dz+dmp2(tq)": ("dz", "cc-pvdz"),
    "ccsd(t)/tz+dmp2(tq)": ("tz", "cc-pvtz"),
}


class Scheme(Settings):
    """A ready-made composite level."""

    name: Literal["ccsd(t)/dz+dmp2(tq)", "ccsd(t)/tz+dmp2(tq)"]
    """Hartree-Fock and MP2 at the limit of cc-pVTZ and cc-pVQZ, and what CCSD(T) adds to MP2 in
    cc-pVDZ or cc-pVTZ."""
    frozen_core: bool
    """Whether the innermost electrons stay as they are in Hartree-Fock; must be said."""
    density_fit: bool = True
    """Fit densities and correlation in auxiliary bases, in all parts."""
    common: dict[str, JsonValue] = Field(default_factory=dict)
    """Further settings of the `pyscf` labeler for all parts, for example {max_memory_MB: 8000}."""

    @field_validator("name", mode="before")
    @classmethod
    def _spelling(cls, name: Any) -> Any:
        return re.sub(r"\s", "", name).lower() if isinstance(name, str) else name

    @field_validator("common")
    @classmethod
    def _leaves_the_scheme_alone(cls, common: dict[str, Any]) -> dict[str, Any]:
        fixed = {"kind", "method", "basis", "frozen_core", "density_fit"} & common.keys()
        if fixed:
            raise ValueError(f"{', '.join(sorted(fixed))} is for the scheme to say")
        return common

    def resolved(self) -> "Resolved":
        """The parts and the formula that it stands for."""
        small, basis = _CORRECTIONS[self.name]
        bases = {small: ("ccsd(t)", basis)}
        bases |= {
            part: ("mp2", f"cc-pv{part}") for part in ("tz", "qz") if part not in bases
        }
        parts = {
            part: {
                **self.common,
                "kind": "pyscf",
                "method": method,
                "basis": basis,
                "frozen_core": self.frozen_core,
                "density_fit": self.density_fit,
            }
            for part, (method, basis) in bases.items()
        }
        limits = (
            _limit("hf", "exp_sqrt", HF_EXPONENT),
            _limit("mp2", "power", MP2_EXPONENT),
        )
        terms = {f"{small}.ccsd": 1.0, f"{small}.triples": 1.0, f"{small}.mp2": -1.0}
        return Resolved(parts, limits, terms)


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a scheme stands for.

    Attributes:
        parts: Raw settings of labelers, by name.
        limits: Extrapolations.
        terms: Factors of energies that are added as they are.
    """

    parts: dict[str, dict[str, Any]]
    limits: tuple[Limit, ...]
    terms: dict[str, float]


def _limit(component: str, law: Literal["exp_sqrt", "power"], exponent: float) -> Limit:
    return Limit(
        of=(f"tz.{component}", f"qz.{component}"),
        cardinals=(3, 4),
        law=law,
        exponent=exponent,
    )
