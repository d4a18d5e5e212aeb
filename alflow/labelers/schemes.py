"""Ready-made composite levels, and what they are made of."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from alflow.labelers.formula import Limit
from alflow.registry import Settings

HF_EXPONENT, MP2_EXPONENT = 5.46, 2.51
"""For cc-pVTZ and cc-pVQZ, as in the CCSD(T)*/CBS of ANI-1ccx (Smith et al., Nature Communications
10, 2903 (2019))."""
ORIGINAL = "ccsd(t)*/cbs"
"""The level of ANI-1ccx, whose pair natural orbitals are those of ORCA."""
_PAIRS = {"npno_dz": ("cc-pVDZ", "NormalPNO"), "tpno_dz": ("cc-pVDZ", "TightPNO"),
          "npno_tz": ("cc-pVTZ", "NormalPNO")}  # fmt: skip
_CORRECTIONS = {
    "ccsd(t)/dz+dmp2(tq)": ("dz", "cc-pvdz"),
    "ccsd(t)/tz+dmp2(tq)": ("tz", "cc-pvtz"),
}


class Scheme(Settings):
    """A ready-made composite level."""

    name: Literal["ccsd(t)/dz+dmp2(tq)", "ccsd(t)/tz+dmp2(tq)", "ccsd(t)*/cbs"]
    """Hartree-Fock and MP2 at the limit of cc-pVTZ and cc-pVQZ, and what CCSD(T) adds to MP2 in
    cc-pVDZ or cc-pVTZ; `ccsd(t)*/cbs` with local pairs (DLPNO), by ORCA."""
    frozen_core: bool
    """Whether the innermost electrons stay as they are in Hartree-Fock; must be said."""
    density_fit: bool = True
    """Fit densities and correlation in auxiliary bases, in all parts."""
    common: dict[str, JsonValue] = Field(default_factory=dict)
    """Further settings of the labeler of all parts, for example {max_memory_MB: 8000}: `pyscf`, or
    `ase` for `ccsd(t)*/cbs`."""

    @field_validator("name", mode="before")
    @classmethod
    def _spelling(cls, name: Any) -> Any:
        return re.sub(r"\s", "", name).lower() if isinstance(name, str) else name

    @field_validator("common")
    @classmethod
    def _leaves_the_scheme_alone(cls, common: dict[str, Any]) -> dict[str, Any]:
        fixed = _FIXED & common.keys()
        if fixed:
            raise ValueError(f"{', '.join(sorted(fixed))} is for the scheme to say")
        return common

    @model_validator(mode="after")
    def _fits_where_it_must(self) -> "Scheme":
        if self.name == ORIGINAL and not self.density_fit:
            raise ValueError(f"density_fit: {self.name} is made of fitted densities")
        return self

    def resolved(self) -> "Resolved":
        """The parts and the formula that it stands for."""
        if self.name == ORIGINAL:
            return self._original()
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
        limits = _limits("tz", "qz")
        terms = {f"{small}.ccsd": 1.0, f"{small}.triples": 1.0, f"{small}.mp2": -1.0}
        return Resolved(parts, limits, terms)

    def _original(self) -> "Resolved":
        """As published, five runs of ORCA; its files tell the energies that are added."""
        inputs = {
            f"mp2_{name}": f"RI-MP2 RI-JK cc-pV{name.upper()} cc-pV{name.upper()}/JK "
            f"cc-pV{name.upper()}/C"
            for name in ("tz", "qz")
        }
        inputs |= {
            name: f"DLPNO-CCSD(T) {pairs} RI-JK {basis} cc-pVTZ/JK {basis}/C"
            for name, (basis, pairs) in _PAIRS.items()
        }
        core = "FrozenCore" if self.frozen_core else "NoFrozenCore"
        parts = {
            name: {
                **self.common,
                "kind": "ase",
                "calculator": "orca",
                "energy": "total",
                "energy_only": True,
                "settings": {"orcasimpleinput": f"{words} TightSCF {core}"},
            }
            for name, words in inputs.items()
        }
        terms = {
            "npno_tz.correlation": 1.0,
            "mp2_tz.mp2": -1.0,
            "tpno_dz.correlation": 1.0,
            "npno_dz.correlation": -1.0,
        }
        return Resolved(parts, _limits("mp2_tz", "mp2_qz"), terms)


_FIXED = {
    *("kind", "method", "basis", "frozen_core", "density_fit"),
    *("calculator", "settings", "energy", "energy_only"),
}
"""Settings of parts that a scheme decides about."""


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


def _limits(*parts: str) -> tuple[Limit, ...]:
    """Limits of Hartree-Fock and MP2, from parts in cc-pVTZ and cc-pVQZ."""
    return (
        _limit(parts, "hf", "exp_sqrt", HF_EXPONENT),
        _limit(parts, "mp2", "power", MP2_EXPONENT),
    )


def _limit(
    parts: Sequence[str],
    component: str,
    law: Literal["exp_sqrt", "power"],
    exponent: float,
) -> Limit:
    triple, quadruple = parts
    return Limit(
        of=(f"{triple}.{component}", f"{quadruple}.{component}"),
        cardinals=(3, 4),
        law=law,
        exponent=exponent,
    )
