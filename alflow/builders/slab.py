"""Slabs: facets of crystals between vacuum, with adatoms and vacancies."""

import itertools
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, UInt8
from pydantic import model_validator

from alflow.builders.defects import CLOSEST, PointDefects
from alflow.builders.geometry import (
    CountRange,
    DefectRange,
    PositiveRange,
    Range,
    closest_ratio,
    drawn,
    random_strain,
    separations,
)
from alflow.builders.lattices import LatticeSettings, named, unit_cell
from alflow.core.elements import COVALENT_RADII_A
from alflow.core.errors import SettingsError
from alflow.core.structures import Structure, lowest_multiplicity

Facet = tuple[int, int, int]

_LOW_INDEX: dict[bool, tuple[Facet, ...]] = {
    True: ((1, 0, 0), (1, 1, 0), (1, 1, 1)),
    False: ((0, 0, 1), (1, 0, 0), (1, 1, 0), (1, 0, 1)),
}
"""Facets of cubic crystals, and of others."""

_ADATOM_FACTOR = (0.9, 1.3)
"""Range of the distance at which an adatom rests, in sums of covalent radii."""
_ATTEMPTS = 50
_MOST_REPEATS = 8


class SlabSettings(LatticeSettings):
    """Slabs of a crystal with a random facet, size, strain and vacuum; periodic everywhere."""

    kind: Literal["slab"] = "slab"
    facets: tuple[Facet, ...] = ()
    """Miller indices of the conventional cell, three also for hexagonal ones; by default those
    of low index. Where the planes of a facet differ, it is cut between any two of them."""
    atoms: CountRange = (16, 64)
    """Smallest and largest number of sites; the slab is drawn among those of compact area."""
    thickness_A: PositiveRange = (6.0, 12.0)
    """Range of the thickness [Å], in whole periods of the facet."""
    vacuum_A: PositiveRange = (10.0, 15.0)
    """Range of the empty space between a slab and its next image [Å]."""
    strain: Range = (-0.03, 0.03)
    """Range of each of the three components of the strain in the plane."""
    adatoms: DefectRange = (0, 0)
    """Smallest and largest number of atoms put down on either side."""

    @model_validator(mode="after")
    def _has_facets(self) -> "SlabSettings":
        if (0, 0, 0) in self.facets:
            raise ValueError("the Miller indices of a facet cannot all be zero")
        return self

    def create(self) -> "SlabBuilder":
        """The builder with these settings.

        Raises:
            SettingsError: If a facet has no slab with a number of sites in the range.
        """
        return SlabBuilder(self)


@dataclass(frozen=True)
class _Size:
    """Layers of a facet and repeats in its plane."""

    facet: Facet
    layers: int
    repeat: tuple[int, int]
    n_sites: int


class SlabBuilder:
    """Cuts slabs."""

    def __init__(self, settings: SlabSettings) -> None:
        """Find the slabs that can be drawn.

        Raises:
            SettingsError: If an element is unknown, a facet has no slab with a number of sites
                in the range, or more atoms would be taken away or changed than there are.
        """
        self._settings = settings
        self._unit = unit_cell(settings, orthorhombic=False)
        angles, lengths = self._unit.cell.angles(), self._unit.cell.lengths()
        is_cubic = bool(np.allclose(angles, 90) and np.allclose(lengths, lengths[0]))
        facets = settings.facets or _LOW_INDEX[is_cubic]
        self._sizes = [_sizes(settings, self._unit, facet) for facet in facets]
        self._defects = PointDefects(settings, set(self._unit.numbers.tolist()))
        self._defects.check(min(size.n_sites for sizes in self._sizes for size in sizes))

    def build(self, rng: np.random.Generator, count: int) -> list[Structure]:
        """Build `count` slabs.

        Raises:
            SettingsError: If displacements and strain bring atoms too close again and again.
        """
        return [self._slab(rng) for _ in range(count)]

    def _slab(self, rng: np.random.Generator) -> Structure:
        settings = self._settings
        for _ in range(_ATTEMPTS):
            numbers, positions, cell = self._cut(rng)
            kept = self._defects.occupied(len(numbers), rng)
            numbers = self._defects.exchanged(numbers[kept], rng)
            positions = positions[kept]
            for _ in range(drawn(settings.adatoms, rng)):
                guest = np.uint8(rng.choice(self._defects.guests))
                place = _resting_place(guest, numbers, positions, cell, rng)
                numbers = np.append(numbers, guest)
                positions = np.concatenate([positions, place[None]])
            vacuum_A = rng.uniform(*settings.vacuum_A)
            cell[2, 2] = np.ptp(positions[:, 2]) + vacuum_A
            positions[:, 2] += vacuum_A / 2 - positions[:, 2].min()
            if closest_ratio(numbers, positions, cell) >= CLOSEST:
                multiplicity = lowest_multiplicity(numbers)
                pbc = np.ones(3, bool)
                return Structure(numbers, positions, cell, pbc, multiplicity=multiplicity)
        raise SettingsError(
            f"slabs of {named(settings)} keep having atoms closer than {CLOSEST} of the sum "
            "of their covalent radii",
            code="AL121",
            next_step="lower rattle_A or strain, or check lattice_A and vacuum_A, of the slab "
            "builder",
        )

    def _cut(
        self, rng: np.random.Generator
    ) -> tuple[
        UInt8[np.ndarray, " atoms"],
        Float[np.ndarray, "atoms 3"],
        Float[np.ndarray, "3 3"],
    ]:
        """Elements and displaced positions of a slab; its plane is that of x and y."""
        sizes = self._sizes[rng.integers(len(self._sizes))]
        size = sizes[rng.integers(len(sizes))]
        slab = _surface(self._unit, size.facet, size.layers, rng.uniform())
        slab = slab.repeat((*size.repeat, 1))
        strain = random_strain(rng, self._settings.strain)
        strain[2], strain[:, 2] = 0.0, 0.0
        deformation = np.eye(3) + strain
        positions = np.asarray(slab.positions) @ deformation
        width_A = rng.uniform(*self._settings.rattle_A)
        positions += rng.normal(size=positions.shape) * width_A
        cell = np.asarray(slab.cell[:]) @ deformation
        return np.asarray(slab.numbers, np.uint8), positions, cell


def _surface(unit: Any, facet: Facet, layers: int, shift: float = 0.0) -> Any:
    """A slab whose lowest plane is where a shift, in periods of the facet, puts it."""
    from ase.build import surface

    reciprocal = np.linalg.inv(np.asarray(unit.cell[:])) @ np.array(facet)
    moved = unit.copy()
    moved.translate(reciprocal / (reciprocal @ reciprocal) * shift)
    return surface(moved, facet, layers, periodic=True)


def _sizes(settings: SlabSettings, unit: Any, facet: Facet) -> list[_Size]:
    """Slabs whose number of sites is in the range and whose edges are within a factor two."""
    one = _surface(unit, facet, 1)
    period_A = float(one.cell.lengths()[2])
    thinnest, thickest = (max(1, round(edge / period_A)) for edge in settings.thickness_A)
    low, high = settings.atoms
    repeats = range(1, _MOST_REPEATS + 1)
    found = []
    for layers, *repeat in itertools.product(
        range(thinnest, thickest + 1), repeats, repeats
    ):
        edges = one.cell.lengths()[:2] * np.array(repeat)
        n_sites = len(unit) * layers * repeat[0] * repeat[1]
        if low <= n_sites <= high and edges.max() <= 2 * edges.min():
            found.append(_Size(facet, layers, (repeat[0], repeat[1]), n_sites))
    if not found:
        raise SettingsError(
            f"no slab of {named(settings)} {facet} of {settings.thickness_A[0]:g} to "
            f"{settings.thickness_A[1]:g} Å has between {low} and {high} atoms and edges within "
            f"a factor of two: {period_A:.3g} Å of it have {len(unit)} atoms on "
            f"{one.cell.lengths()[0]:.3g} x {one.cell.lengths()[1]:.3g} Å",
            next_step="widen 'atoms' or 'thickness_A' of the slab builder, or leave the facet out",
        )
    return found


def _resting_place(
    guest: np.uint8,
    numbers: UInt8[np.ndarray, " atoms"],
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"],
    rng: np.random.Generator,
) -> Float[np.ndarray, "3"]:
    """Where an atom comes to rest that is let down on the slab from either side."""
    place = rng.uniform(size=3) @ (cell * [1, 1, 0])
    side = rng.choice([-1.0, 1.0])
    contacts = COVALENT_RADII_A[guest] + COVALENT_RADII_A[numbers]
    contacts = contacts * rng.uniform(*_ADATOM_FACTOR)
    vectors = separations(np.concatenate([positions, place[None]]), cell)[:, -1, :-1]
    aside = np.sqrt((vectors[..., :2] ** 2).sum(-1)).min(axis=0)
    over = np.sqrt(np.clip(contacts**2 - aside**2, 0, None))
    heights = np.where(over > 0, side * positions[:, 2] + over, -np.inf)
    place[2] = side * heights.max()
    return np.asarray(place)
