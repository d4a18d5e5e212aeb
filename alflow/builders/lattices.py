"""Unit cells of crystals: simple lattices by name, anything else from a file."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from alflow.builders.atoms import read_frames
from alflow.builders.geometry import Amplitude, DefectRange
from alflow.core.elements import SYMBOLS, atomic_number
from alflow.core.errors import SettingsError
from alflow.core.findings import Finding
from alflow.core.protocols import Builder
from alflow.registry import InputFile, Settings

_FORMULA_OF = {
    "rocksalt": "{}{}",
    "zincblende": "{}{}",
    "wurtzite": "{}{}",
    "cesiumchloride": "{}{}",
    "fluorite": "{}{}2",
}
"""Formula of a compound by lattice."""
_HEXAGONAL = ("hcp", "wurtzite")
_PRIMITIVE = "cesiumchloride"
"""The one lattice whose conventional cell is the primitive one."""


Lattice = Literal[
    "fcc",
    "bcc",
    "hcp",
    "diamond",
    "rocksalt",
    "zincblende",
    "wurtzite",
    "cesiumchloride",
    "fluorite",
]


class LatticeSettings(Settings, ABC):
    """What crystal, and what is done to every structure made of it."""

    kind: str
    count: float = Field(default=1, gt=0)
    """Weight among the builders: structures are shared out in proportion to it."""
    element: str | tuple[str, str] | None = None
    """Chemical symbol; two for a compound, in the order of its formula."""
    lattice: Lattice | None = None
    """Lattice and basis; the last five are of compounds."""
    lattice_A: float | None = Field(default=None, gt=0)
    """Lattice constant a of the conventional cell [Å]."""
    c_over_a: float = Field(default=(8 / 3) ** 0.5, gt=0)
    """Ratio of axes of hcp and wurtzite; the default is that of touching spheres."""
    path: InputFile | None = None
    """File with a unit cell instead (cif, POSCAR, ... whatever ASE reads)."""
    rattle_A: Amplitude = (0.0, 0.2)
    """Range of the standard deviation of displacements [Å]."""
    vacancies: DefectRange = (0, 0)
    """Smallest and largest number of atoms taken away."""
    antisites: DefectRange = (0, 0)
    """Smallest and largest number of atoms replaced by another element, of the crystal or of
    `guests`."""
    guests: tuple[str, ...] = ()
    """Chemical symbols of atoms that are added; by default those of the crystal."""

    @model_validator(mode="after")
    def _is_one_crystal(self) -> "LatticeSettings":
        by_name = (self.element, self.lattice, self.lattice_A)
        if self.path is not None:
            if any(value is not None for value in by_name):
                raise ValueError("give path, or element, lattice and lattice_A; not both")
        elif any(value is None for value in by_name):
            raise ValueError("give element, lattice and lattice_A, or the path of a file")
        elif (self.lattice in _FORMULA_OF) != isinstance(self.element, tuple):
            raise ValueError(f"{self.lattice} does not go with element {self.element}")
        return self

    @abstractmethod
    def create(self) -> Builder:
        """The builder with these settings."""

    def problems(self, elements: Sequence[str]) -> Iterator[Finding]:
        """What cannot be built, and elements of a file that the campaign does not have."""
        given = (self.element,) if isinstance(self.element, str) else self.element or ()
        is_misspelt = not {*given, *self.guests} <= set(SYMBOLS)
        if is_misspelt or (self.path is not None and not self.path.is_file()):
            return  # told wherever elements and files of builders are
        try:
            self.create()
            own = dict.fromkeys(unit_cell(self, orthorhombic=False).get_chemical_symbols())
        except SettingsError as error:
            yield Finding((), error.message, error.next_step, error.code)
            return
        missing = ", ".join(symbol for symbol in own if symbol not in elements)
        if self.path is not None and missing:
            message = (
                f"has {missing}, which is not in system.elements [{', '.join(elements)}]"
            )
            yield Finding(("path",), message, f"add {missing} there", "AL121")


def unit_cell(settings: LatticeSettings, *, orthorhombic: bool) -> Any:
    """The conventional cell as an `ase.Atoms`.

    Args:
        settings: What crystal.
        orthorhombic: Whether hexagonal crystals get right angles (and twice the atoms).

    Raises:
        SettingsError: If an element is unknown, or the file cannot be read or has no crystal.
    """
    if settings.path is not None:
        return _from_file(settings.path)
    from ase.build import bulk

    given = settings.element
    symbols = given if isinstance(given, tuple) else (str(given),)
    for symbol in symbols:
        atomic_number(symbol)
    name = _FORMULA_OF.get(str(settings.lattice), "{}").format(*symbols)
    lattice, a = settings.lattice, float(settings.lattice_A or 0)
    if lattice in _HEXAGONAL:
        c = a * settings.c_over_a
        return bulk(name, lattice, a=a, c=c, orthorhombic=orthorhombic)
    return bulk(name, lattice, a=a, cubic=lattice != _PRIMITIVE)


def named(settings: LatticeSettings) -> str:
    """What the crystal is called in messages."""
    if settings.path is not None:
        return settings.path.name
    given = settings.element
    return f"{settings.lattice} {''.join(given) if isinstance(given, tuple) else given}"


def _from_file(path: Path) -> Any:
    (atoms,) = read_frames(path, frames="0")
    if not atoms.pbc.all() or np.linalg.det(np.asarray(atoms.cell[:])) == 0:
        raise SettingsError(
            f"{path} has no crystal: its first structure is not periodic in all directions",
            code="AL103",
            next_step="give a file with a unit cell (cif, POSCAR), or use the builder from_file",
        )
    if np.linalg.det(np.asarray(atoms.cell[:])) < 0:
        atoms.set_cell(-np.asarray(atoms.cell[:]))  # the same crystal, right-handed
    return atoms
