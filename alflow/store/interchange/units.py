"""Units of files: their names, and what leads from them to eV and Å."""

from dataclasses import dataclass, fields

from alflow.core.errors import SettingsError
from alflow.core.units import (
    ANGSTROM_PER_BOHR,
    EV_PER_HARTREE,
    EV_PER_KCAL_PER_MOL,
    GPA_PER_EV_PER_ANGSTROM3,
)
from alflow.store.interchange.frames import Factors

ENERGY_UNITS = {
    "eV": 1.0,
    "hartree": EV_PER_HARTREE,
    "kcal/mol": EV_PER_KCAL_PER_MOL,
    "kJ/mol": EV_PER_KCAL_PER_MOL / 4.184,
    "rydberg": EV_PER_HARTREE / 2,
    "meV": 1e-3,
}
"""One of each in eV."""

LENGTH_UNITS = {"angstrom": 1.0, "bohr": ANGSTROM_PER_BOHR, "nm": 10.0}
"""One of each in Å."""

STRESS_UNITS = {
    "eV/angstrom3": 1.0,
    "GPa": 1 / GPA_PER_EV_PER_ANGSTROM3,
    "kbar": 0.1 / GPA_PER_EV_PER_ANGSTROM3,
}
"""One of each in eV/Å³."""

FORCE_UNITS = {
    f"{energy}/{length}": ENERGY_UNITS[energy] / LENGTH_UNITS[length]
    for energy in ENERGY_UNITS
    for length in LENGTH_UNITS
}
"""One of each in eV/Å."""

_ALIASES = {
    "ha": "hartree",
    "eh": "hartree",
    "ry": "rydberg",
    "å": "angstrom",
    "a": "angstrom",
    "ang": "angstrom",
    "a0": "bohr",
    "kcal": "kcal/mol",
    "kj": "kj/mol",
}


@dataclass(frozen=True, slots=True)
class Units:
    """Units by name; None where nothing is said.

    Attributes:
        energy: A key of `ENERGY_UNITS`.
        length: A key of `LENGTH_UNITS`.
        force: A key of `FORCE_UNITS`; if None, energy over length.
        stress: A key of `STRESS_UNITS`; if None, eV/Å³.
    """

    energy: str | None = None
    length: str | None = None
    force: str | None = None
    stress: str | None = None

    def over(self, other: "Units") -> "Units":
        """These units, and those of `other` where these say nothing."""
        return Units(
            *(getattr(self, f.name) or getattr(other, f.name) for f in fields(self))
        )

    def force_name(self) -> str:
        """Name of the unit of forces."""
        return self.force or f"{self.energy}/{self.length}"

    def factors(self, *, forces_are_gradient: bool = False) -> Factors:
        """What leads to eV and Å.

        Raises:
            KeyError: If energy or length is None.
        """
        sign = -1.0 if forces_are_gradient else 1.0
        return Factors(
            ENERGY_UNITS[str(self.energy)],
            LENGTH_UNITS[str(self.length)],
            sign * FORCE_UNITS[self.force_name()],
            STRESS_UNITS[self.stress or "eV/angstrom3"],
        )


EV_ANGSTROM = Units("eV", "angstrom")
"""The units of alflow, of ASE, and of files that have none but them."""


def parsed_units(
    energy: str | None, length: str | None, force: str | None, stress: str | None
) -> Units:
    """Units as a user types them: upper or lower case, with the usual short names.

    Raises:
        SettingsError: If one is unknown; names those that are known.
    """
    return Units(
        _known(energy, ENERGY_UNITS, "energy"),
        _known(length, LENGTH_UNITS, "length"),
        _known(force, FORCE_UNITS, "force"),
        _known(stress, STRESS_UNITS, "stress"),
    )


def _known(name: str | None, units: dict[str, float], what: str) -> str | None:
    if name is None:
        return None
    by_lower = {unit.lower(): unit for unit in units}
    text = name.strip().lower()
    parts = text.rsplit("/", 1) if what == "force" else [text]
    text = "/".join(_ALIASES.get(part, part) for part in parts)
    if text not in by_lower:
        raise SettingsError(
            f"{name!r} is no unit of {what} that alflow knows",
            code="AL130",
            next_step=f"known: {', '.join(units)}",
        )
    return by_lower[text]
