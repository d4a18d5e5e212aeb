"""Dimers: two atoms at a distance, for every pair of elements."""

import bisect
import itertools
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from alflow.builders.geometry import PositiveRange, pair_numbers, random_rotation
from alflow.core.elements import COVALENT_RADII_A, atomic_number
from alflow.core.errors import SettingsError
from alflow.core.structures import Structure, lowest_multiplicity
from alflow.registry import Settings

_TRIPLETS = frozenset({(16, 16), (15, 17), (1, 15), (13, 13), (14, 14), (13, 15)})
"""Pairs of groups of main-group elements whose dimers are triplets: O2, NF, NH, B2, Si2, BN."""
_C2 = (6, 6)
"""The exception: a singlet."""
_TRIPLET = 3
_NOBLE = (0, 2, 10, 18, 36, 54, 86, 118)
_LAST_GROUP, _FIRST_OF_P, _LAST_OF_S = 18, 13, 2


class DimersSettings(Settings):
    """Two atoms at a random distance; all pairs of the elements equally often."""

    kind: Literal["dimers"] = "dimers"
    count: float = Field(default=1, gt=0)
    """Weight among the builders: structures are shared out in proportion to it."""
    elements: tuple[str, ...] = Field(min_length=1)
    """Chemical symbols; each is also paired with itself."""
    distance_factor: PositiveRange = (0.7, 2.5)
    """Range of the distance in sums of covalent radii."""
    multiplicity: dict[str, int] = Field(default_factory=dict)
    """Spin multiplicities by pair, for example `Fe-O: 5`. The others are triplets where the
    ground state of main-group elements is one (O-O, N-H, Si-Si, ...), else the lowest."""
    box_A: float | None = Field(default=None, gt=0)
    """Edge of a periodic cube around the dimer [Å], for labelers of periodic systems."""

    @property
    def is_periodic(self) -> bool:
        """Whether there is a box."""
        return self.box_A is not None

    @model_validator(mode="after")
    def _sensible(self) -> "DimersSettings":
        try:
            pairs = self.pairs()
            named = {pair_numbers(pair): pair for pair in self.multiplicity}
        except SettingsError as error:
            raise ValueError(error.message) from error
        for pair, spelt in named.items():
            multiplicity = self.multiplicity[spelt]
            if pair not in pairs:
                raise ValueError(f"{spelt} is not a pair of the elements")
            if multiplicity < 1 or (sum(pair) + multiplicity) % 2 == 0:
                raise ValueError(
                    f"{spelt} has {sum(pair)} electrons: its multiplicity is not {multiplicity}"
                )
        longest = max(COVALENT_RADII_A[list(pair)].sum() for pair in pairs)
        longest *= self.distance_factor[1]
        if self.box_A is not None and self.box_A < 2 * longest:
            raise ValueError(
                f"box_A is {self.box_A:g} Å, less than twice the longest distance "
                f"({longest:.2f} Å): atoms would be nearer to images"
            )
        return self

    def pairs(self) -> list[tuple[int, int]]:
        """Atomic numbers of all pairs, the smaller first.

        Raises:
            SettingsError: If a symbol is not an element.
        """
        numbers = sorted({atomic_number(symbol) for symbol in self.elements})
        return list(itertools.combinations_with_replacement(numbers, 2))

    def create(self) -> "DimersBuilder":
        """The builder with these settings."""
        return DimersBuilder(self)


class DimersBuilder:
    """Puts two atoms at a distance."""

    def __init__(self, settings: DimersSettings) -> None:
        """Find the pairs."""
        self._settings = settings
        self._pairs = settings.pairs()
        self._given = {pair_numbers(p): n for p, n in settings.multiplicity.items()}

    def build(self, rng: np.random.Generator, count: int) -> list[Structure]:
        """Build `count` dimers: no pair comes again before all others have come."""
        order = [
            int(k)
            for _ in range(0, count, len(self._pairs))
            for k in rng.permutation(len(self._pairs))
        ]
        return [self._dimer(self._pairs[k], rng) for k in order[:count]]

    def _dimer(self, pair: tuple[int, int], rng: np.random.Generator) -> Structure:
        settings = self._settings
        numbers = np.array(pair, np.uint8)
        distance = COVALENT_RADII_A[numbers].sum() * rng.uniform(*settings.distance_factor)
        ends = np.array([[-0.5, 0, 0], [0.5, 0, 0]]) * distance @ random_rotation(rng).T
        spin = self._given.get(pair) or ground_multiplicity(*pair)
        if settings.box_A is None:
            return Structure(numbers, ends, multiplicity=spin)
        cell = np.eye(3) * settings.box_A
        return Structure(
            numbers, ends + cell.sum(0) / 2, cell, np.ones(3, bool), multiplicity=spin
        )


def ground_multiplicity(first: int, second: int) -> int:
    """Multiplicity of the ground state of a dimer of main-group elements, by their groups.

    Where a transition metal takes part, the lowest that the number of electrons allows: those
    ground states follow no rule.

    Args:
        first: Atomic number.
        second: Atomic number.
    """
    pair = tuple(sorted((first, second)))
    groups = tuple(sorted(map(_group, pair)))
    if groups in _TRIPLETS and pair != _C2:
        return _TRIPLET
    return lowest_multiplicity(np.array(pair, np.uint8))


def _group(number: int) -> int:
    """Group of a main-group element, 0 for others."""
    period = bisect.bisect_left(_NOBLE, number)
    from_end = _LAST_GROUP - (_NOBLE[period] - number)
    if from_end >= _FIRST_OF_P and number != 1:
        return from_end
    from_start = number - _NOBLE[period - 1]
    return from_start if from_start <= _LAST_OF_S else 0
