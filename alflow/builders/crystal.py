"""Crystals: strained, rattled, with vacancies."""

import itertools
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field

from alflow.builders.geometry import (
    Amplitude,
    CountRange,
    Range,
    closest_ratio,
)
from alflow.core.elements import atomic_number
from alflow.core.errors import SettingsError
from alflow.core.structures import Structure, lowest_multiplicity
from alflow.registry import Settings

_CLOSEST = 0.65
_ATTEMPTS = 50
_MOST_REPEATS = 8


class CrystalSettings(Settings):
    """Supercells of a simple crystal, each with its own strain, displacements and vacancies."""

    kind: Literal["crystal"] = "crystal"
    count: float = Field(default=1, gt=0)
    """Weight among the builders: structures are shared out in proportion to it."""
    element: str
    """Chemical symbol."""
    lattice: Literal["fcc", "bcc", "hcp", "diamond"]
    """Bravais lattice and basis."""
    lattice_A: float = Field(gt=0)
    """Lattice constant a of the conventional cell [Å]."""
    c_over_a: float = Field(default=(8 / 3) ** 0.5, gt=0)
    """Ratio of axes of hcp; the default is that of touching spheres."""
    atoms: CountRange = (16, 64)
    """Smallest and largest number of sites; the supercell is drawn among the compact ones."""
    repeat: tuple[int, int, int] | None = None
    """Repeats of the conventional cell instead (rectangular, 2, 4 or 8 atoms)."""
    strain: Range = (-0.05, 0.05)
    """Range of each component of the strain; zero leaves the cell as it is."""
    rattle_A: Amplitude = (0.0, 0.2)
    """Range of the standard deviation of displacements [Å]."""
    vacancies: tuple[int, int] = (0, 0)
    """Smallest and largest number of atoms taken away."""

    def create(self) -> "CrystalBuilder":
        """The builder with these settings.

        Raises:
            SettingsError: If no supercell has a number of sites in the range.
        """
        return CrystalBuilder(self)


class CrystalBuilder:
    """Makes supercells."""

    def __init__(self, settings: CrystalSettings) -> None:
        """Find the supercells that can be drawn.

        Raises:
            SettingsError: If the element is unknown, no supercell has a number of sites in the
                range, or more atoms would be taken away than there are.
        """
        atomic_number(settings.element)
        self._settings = settings
        self._unit = _unit_cell(settings)
        self._repeats = _repeats(settings, self._unit)
        low, high = settings.vacancies
        fewest = len(self._unit) * min(int(np.prod(repeat)) for repeat in self._repeats)
        if not 0 <= low <= high < fewest:
            raise SettingsError(f"vacancies {low} to {high} do not go with {fewest} sites")

    def build(self, rng: np.random.Generator, count: int) -> list[Structure]:
        """Build `count` crystals.

        Raises:
            SettingsError: If displacements and strain bring atoms too close again and again.
        """
        return [self._crystal(rng) for _ in range(count)]

    def _crystal(self, rng: np.random.Generator) -> Structure:
        settings = self._settings
        for _ in range(_ATTEMPTS):
            perfect = self._unit.repeat(self._repeats[rng.integers(len(self._repeats))])
            deformation = np.eye(3) + _strain(rng, settings.strain)
            cell = np.asarray(perfect.cell[:]) @ deformation
            positions = np.asarray(perfect.positions) @ deformation
            positions += rng.normal(size=positions.shape) * rng.uniform(*settings.rattle_A)
            n_gone = int(rng.integers(settings.vacancies[0], settings.vacancies[1] + 1))
            kept = np.sort(rng.permutation(len(positions))[n_gone:])
            numbers = np.asarray(perfect.numbers, np.uint8)[kept]
            if closest_ratio(numbers, positions[kept], cell) >= _CLOSEST:
                return Structure(
                    numbers,
                    positions[kept],
                    cell,
                    np.ones(3, bool),
                    multiplicity=lowest_multiplicity(numbers),
                )
        raise SettingsError(
            f"crystals of {settings.element} keep having atoms closer than {_CLOSEST} of the sum "
            "of their covalent radii",
            code="AL121",
            next_step="lower rattle_A or strain, or check lattice_A, of the crystal builder",
        )


def _unit_cell(settings: CrystalSettings) -> Any:
    """Conventional cell with right angles."""
    from ase.build import bulk

    symbol, lattice, a = settings.element, settings.lattice, settings.lattice_A
    if lattice == "hcp":
        return bulk(symbol, "hcp", a=a, c=a * settings.c_over_a, orthorhombic=True)
    return bulk(symbol, lattice, a=a, cubic=True)


def _repeats(settings: CrystalSettings, unit: Any) -> list[tuple[int, int, int]]:
    """Repeats whose number of sites is in the range and whose edges are within a factor two."""
    if settings.repeat is not None:
        return [settings.repeat]
    edges = unit.cell.lengths()
    low, high = settings.atoms
    found = []
    counts = range(1, _MOST_REPEATS + 1)
    for repeat in itertools.product(counts, counts, counts):
        lengths = edges * np.array(repeat)
        is_compact = lengths.max() <= 2 * lengths.min()
        if low <= len(unit) * int(np.prod(repeat)) <= high and is_compact:
            found.append(repeat)
    if not found:
        raise SettingsError(
            f"no supercell of {settings.lattice} has between {low} and {high} atoms: "
            f"the conventional cell has {len(unit)}",
            next_step="widen 'atoms' of the crystal builder or give 'repeat'",
        )
    return found


def _strain(
    rng: np.random.Generator, bounds: tuple[float, float]
) -> Float[np.ndarray, "3 3"]:
    """A symmetric strain, its six components drawn independently."""
    components = rng.uniform(*bounds, size=6)
    order = np.array([[0, 3, 4], [3, 1, 5], [4, 5, 2]])
    return np.asarray(components[order])
