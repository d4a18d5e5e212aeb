"""Disordered periodic boxes: atoms at random, no two too close."""

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from alflow.builders.geometry import (
    CountRange,
    PositiveRange,
    distance_table,
    pair_numbers,
)
from alflow.builders.packing import (
    DENSEST,
    contact_table,
    filled_fraction,
    pack,
    random_cell,
    with_pairs,
)
from alflow.core.elements import SYMBOLS, atomic_number
from alflow.core.errors import SettingsError
from alflow.core.structures import Structure, lowest_multiplicity
from alflow.registry import Settings

_ATTEMPTS = 8
_ROUNDING_A = 1e-6
_NOTHING_A = 1e-6


class RandomBoxSettings(Settings):
    """Periodic boxes with atoms at random places, each with its own density and spacing."""

    kind: Literal["random_box"] = "random_box"
    count: float = Field(default=1, gt=0)
    """Weight among the builders: structures are shared out in proportion to it."""
    composition: dict[str, float] = Field(min_length=1)
    """Share of each chemical symbol; any positive numbers. Each atom is drawn by them."""
    atoms: CountRange = (32, 48)
    """Smallest and largest number of atoms."""
    density_g_per_cm3: PositiveRange
    """Range of the mass density [g/cm³]."""
    min_distance_A: PositiveRange | None = None
    """Range of the smallest distance of any two atoms [Å]; drawn for each structure, as far as
    its density allows. Takes the place of `distance_factor`."""
    distance_factor: PositiveRange = (0.65, 0.95)
    """The same in sums of covalent radii, for each pair of elements its own distance."""
    pair_distance_A: dict[str, PositiveRange] = Field(default_factory=dict)
    """Range of the smallest distance of single pairs of elements [Å], for example
    `Ti-O: [1.6, 2.0]`; each draws its own. The other pairs keep what is said above."""
    aspect_ratio: PositiveRange = (1.0, 1.25)
    """Range of the longest edge of the box divided by the shortest."""

    @model_validator(mode="after")
    def _sensible(self) -> "RandomBoxSettings":
        for symbol, share in self.composition.items():
            try:
                atomic_number(symbol)
            except SettingsError as error:
                raise ValueError(error.message) from error
            if share <= 0:
                raise ValueError(
                    f"the share of {symbol} in the composition must be positive"
                )
        for pair in self.pair_distance_A:
            try:
                numbers = pair_numbers(pair)
            except SettingsError as error:
                raise ValueError(error.message) from error
            if not {SYMBOLS[number] for number in numbers} <= set(self.composition):
                raise ValueError(f"{pair} is not a pair of elements of the composition")
        if self.aspect_ratio[0] < 1:
            raise ValueError("aspect_ratio is the longest edge by the shortest: at least 1")
        return self

    def create(self) -> "RandomBoxBuilder":
        """The builder with these settings."""
        return RandomBoxBuilder(self)


class RandomBoxBuilder:
    """Packs spheres into boxes."""

    def __init__(self, settings: RandomBoxSettings) -> None:
        """Keep the settings."""
        self._settings = settings
        shares = np.array(list(settings.composition.values()))
        self._shares = shares / shares.sum()
        self._kinds = np.array([atomic_number(s) for s in settings.composition], np.uint8)

    def build(self, rng: np.random.Generator, count: int) -> list[Structure]:
        """Build `count` boxes.

        Raises:
            SettingsError: If the atoms do not fit at the density and distance asked for.
        """
        return [self._box(rng) for _ in range(count)]

    def _box(self, rng: np.random.Generator) -> Structure:
        settings = self._settings
        n_atoms = int(rng.integers(settings.atoms[0], settings.atoms[1] + 1))
        numbers = np.sort(rng.choice(self._kinds, size=n_atoms, p=self._shares))
        density = rng.uniform(*settings.density_g_per_cm3)
        cell = random_cell(numbers, density, rng.uniform(*settings.aspect_ratio), rng)
        low, high = self._room(numbers, cell, density)
        aim = rng.uniform(low, high)
        ranges = self._settings.pair_distance_A.items()
        aims = {pair_numbers(pair): (one[0], rng.uniform(*one)) for pair, one in ranges}
        for attempt in range(_ATTEMPTS):
            # Each failure gives in by a part of the way to the smallest distance allowed.
            kept = 1 - attempt / (_ATTEMPTS - 1)
            contacts = self._contacts(numbers, low + (aim - low) * kept)
            own = {
                pair: least + (most - least) * kept for pair, (least, most) in aims.items()
            }
            contacts = with_pairs(contacts, numbers, own)
            if attempt < _ATTEMPTS - 1 and not _may_fit(contacts, cell):
                continue
            positions = pack(contacts, cell, rng)
            if positions is None:
                continue
            if (distance_table(positions, cell) >= contacts - _ROUNDING_A).all():
                multiplicity = lowest_multiplicity(numbers)
                pbc = np.ones(3, bool)
                return Structure(numbers, positions, cell, pbc, multiplicity=multiplicity)
        pairs = "".join(f", {pair} {one[0]:g} Å" for pair, one in ranges)
        raise _no_room(n_atoms, density, self._spelt(low), pairs)

    def _room(
        self, numbers: np.ndarray, cell: np.ndarray, density: float
    ) -> tuple[float, float]:
        """Range of the distance, cut where the box would be too full."""
        low, high = self._settings.min_distance_A or self._settings.distance_factor
        # Pairs with distances of their own count for nothing here.
        own = {pair_numbers(pair): _NOTHING_A for pair in self._settings.pair_distance_A}
        at_one = with_pairs(self._contacts(numbers, 1.0), numbers, own)
        fullest, edge = filled_fraction(at_one, cell), float(np.diag(cell).min())
        limit = min((DENSEST / fullest) ** (1 / 3), edge / float(at_one.max()))
        if low > limit:
            raise _no_room(len(numbers), density, self._spelt(low))
        return low, min(high, limit)

    def _contacts(self, numbers: np.ndarray, distance: float) -> np.ndarray:
        if self._settings.min_distance_A is not None:
            return contact_table(numbers, factor=None, distance_A=distance)
        return contact_table(numbers, factor=distance, distance_A=None)

    def _spelt(self, distance: float) -> str:
        if self._settings.min_distance_A is not None:
            return f"{distance:g} Å"
        return f"{distance:g} sums of covalent radii"


def _may_fit(contacts: np.ndarray, cell: np.ndarray) -> bool:
    """Whether it makes sense to try."""
    is_loose = filled_fraction(contacts, cell) <= DENSEST * (1 + _ROUNDING_A)
    return is_loose and bool(contacts.max() <= np.diag(cell).min() + _ROUNDING_A)


def _no_room(n_atoms: int, density: float, distance: str, pairs: str = "") -> SettingsError:
    return SettingsError(
        f"{n_atoms} atoms at {density:.2f} g/cm³ cannot all be {distance} apart{pairs}",
        code="AL121",
        consequence="No structure was built.",
        next_step="lower the density or the smallest distance of the random_box builder",
    )
