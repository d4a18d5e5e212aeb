"""Crystals: strained, rattled, with point defects."""

import itertools
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, UInt8

from alflow.builders.defects import CLOSEST, PointDefects, squeeze_in
from alflow.builders.geometry import (
    CountRange,
    DefectRange,
    PositiveRange,
    Range,
    closest_ratio,
    drawn,
    random_strain,
)
from alflow.builders.lattices import LatticeSettings, named, unit_cell
from alflow.core.errors import SettingsError
from alflow.core.structures import Structure, lowest_multiplicity

_ATTEMPTS = 50
_MOST_REPEATS = 8


class CrystalSettings(LatticeSettings):
    """Supercells of a crystal, each with its own strain, displacements and point defects."""

    kind: Literal["crystal"] = "crystal"
    atoms: CountRange = (16, 64)
    """Smallest and largest number of sites; the supercell is drawn among the compact ones."""
    repeat: tuple[int, int, int] | None = None
    """Repeats of the unit cell instead; of named lattices the rectangular one."""
    strain: Range = (-0.05, 0.05)
    """Range of each of the six components of the strain; zero leaves the cell as it is."""
    volume_factor: PositiveRange | None = None
    """Range of the volume, before strain, as a factor of that of the perfect crystal."""
    interstitials: DefectRange = (0, 0)
    """Smallest and largest number of atoms squeezed in between; self-interstitials without
    `guests`."""

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
            SettingsError: If an element is unknown, no supercell has a number of sites in the
                range, or more atoms would be taken away or changed than there are.
        """
        self._settings = settings
        self._unit = unit_cell(settings, orthorhombic=True)
        self._repeats = _repeats(settings, self._unit)
        self._defects = PointDefects(settings, set(self._unit.numbers.tolist()))
        fewest = min(int(np.prod(repeat)) for repeat in self._repeats)
        self._defects.check(len(self._unit) * fewest)

    def build(self, rng: np.random.Generator, count: int) -> list[Structure]:
        """Build `count` crystals.

        Raises:
            SettingsError: If displacements and strain bring atoms too close again and again.
        """
        return [self._crystal(rng) for _ in range(count)]

    def _crystal(self, rng: np.random.Generator) -> Structure:
        for _ in range(_ATTEMPTS):
            numbers, positions, cell = self._deformed(rng)
            kept = self._defects.occupied(len(positions), rng)
            numbers = self._defects.exchanged(numbers[kept], rng)
            filled = self._filled(numbers, positions[kept], cell, rng)
            if filled is None:
                continue
            numbers, positions = filled
            if closest_ratio(numbers, positions, cell) >= CLOSEST:
                multiplicity = lowest_multiplicity(numbers)
                pbc = np.ones(3, bool)
                return Structure(numbers, positions, cell, pbc, multiplicity=multiplicity)
        raise SettingsError(
            f"crystals of {named(self._settings)} keep having atoms closer than {CLOSEST} of "
            "the sum of their covalent radii",
            code="AL121",
            next_step="lower rattle_A, strain or interstitials, or check lattice_A and "
            "volume_factor, of the crystal builder",
        )

    def _deformed(
        self, rng: np.random.Generator
    ) -> tuple[
        UInt8[np.ndarray, " atoms"],
        Float[np.ndarray, "atoms 3"],
        Float[np.ndarray, "3 3"],
    ]:
        """Elements, displaced positions and cell of a supercell."""
        settings = self._settings
        perfect = self._unit.repeat(self._repeats[rng.integers(len(self._repeats))])
        deformation = np.eye(3) + random_strain(rng, settings.strain)
        if settings.volume_factor is not None:
            deformation *= rng.uniform(*settings.volume_factor) ** (1 / 3)
        cell = np.asarray(perfect.cell[:]) @ deformation
        positions = np.asarray(perfect.positions) @ deformation
        positions += rng.normal(size=positions.shape) * rng.uniform(*settings.rattle_A)
        return np.asarray(perfect.numbers, np.uint8), positions, cell

    def _filled(
        self,
        numbers: UInt8[np.ndarray, " atoms"],
        positions: Float[np.ndarray, "atoms 3"],
        cell: Float[np.ndarray, "3 3"],
        rng: np.random.Generator,
    ) -> tuple[UInt8[np.ndarray, " more"], Float[np.ndarray, "more 3"]] | None:
        """The same with interstitials, or None if there was no room."""
        for _ in range(drawn(self._settings.interstitials, rng)):
            guest = int(rng.choice(self._defects.guests))
            together = squeeze_in(guest, numbers, positions, cell, rng)
            if together is None:
                return None
            numbers, positions = np.append(numbers, np.uint8(guest)), together
        return numbers, positions


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
            f"no supercell of {named(settings)} has between {low} and {high} atoms and "
            f"edges within a factor of two: the unit cell has {len(unit)} atoms",
            next_step="widen 'atoms' of the crystal builder or give 'repeat'",
        )
    return found
