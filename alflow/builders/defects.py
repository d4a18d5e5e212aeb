"""Point defects: atoms that are missing, of another element, or too many."""

from collections.abc import Collection

import numpy as np
from jaxtyping import Float, Int64, UInt8

from alflow.builders.geometry import distance_table, drawn
from alflow.builders.lattices import LatticeSettings, named
from alflow.builders.packing import DENSEST, filled_fraction, spread_out
from alflow.core.elements import COVALENT_RADII_A, atomic_number
from alflow.core.errors import SettingsError

CLOSEST = 0.65
"""Smallest distance of two atoms of a crystal, in sums of covalent radii."""

_CLOSEST_GUEST = 0.75
"""The same where an atom has been added: near to where it would relax to."""
_MARGIN = 1.01
_PUSHES = 100
_PLACES = 8
"""An atom goes to the roomiest of so many random places."""


class PointDefects:
    """What can be wrong in a crystal, drawn anew for each structure."""

    def __init__(self, settings: LatticeSettings, own: Collection[int]) -> None:
        """Find the elements that can be added, or stand in for others.

        Args:
            settings: How many defects.
            own: Atomic numbers of the crystal.

        Raises:
            SettingsError: If an element is unknown, or antisites have none to choose from.
        """
        self._vacancies, self._antisites = settings.vacancies, settings.antisites
        guests = {atomic_number(symbol) for symbol in settings.guests}
        self.guests = np.array(sorted(guests or set(own)), np.uint8)
        self._kinds = np.array(sorted({*guests, *own}), np.uint8)
        if self._antisites[1] and len(self._kinds) == 1:
            raise SettingsError(
                f"{_spelt('antisites', self._antisites)} need a second element, which "
                f"{named(settings)} does not have",
                next_step="name others by 'guests'",
            )

    def check(self, fewest: int) -> None:
        """See whether there are enough atoms.

        Args:
            fewest: Number of sites of the smallest crystal.

        Raises:
            SettingsError: If more atoms are to be taken away or changed than there are.
        """
        if self._vacancies[1] >= fewest:
            spelt = _spelt("vacancies", self._vacancies)
            raise SettingsError(f"{spelt} do not go with {fewest} sites")
        left = fewest - self._vacancies[1]
        if self._antisites[1] > left:
            spelt = _spelt("antisites", self._antisites)
            raise SettingsError(f"{spelt} do not go with {left} atoms")

    def occupied(
        self, n_sites: int, rng: np.random.Generator
    ) -> Int64[np.ndarray, " kept"]:
        """Indices of the sites that are not vacant, in order."""
        n_gone = drawn(self._vacancies, rng)
        return np.sort(rng.permutation(n_sites)[n_gone:])

    def exchanged(
        self, numbers: UInt8[np.ndarray, " atoms"], rng: np.random.Generator
    ) -> UInt8[np.ndarray, " atoms"]:
        """Atomic numbers, some of them replaced by those of other elements."""
        if self._antisites[1] == 0:
            return numbers
        changed = numbers.copy()
        n_wrong = drawn(self._antisites, rng)
        for site in rng.permutation(len(numbers))[:n_wrong]:
            changed[site] = rng.choice(self._kinds[self._kinds != numbers[site]])
        return changed


def squeeze_in(
    guest: int,
    numbers: UInt8[np.ndarray, " atoms"],
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"],
    rng: np.random.Generator,
) -> Float[np.ndarray, "more 3"] | None:
    """Positions with one more atom between the others, who give way; None if there is no room.

    Args:
        guest: Atomic number of the atom, which comes last.
        numbers: Atomic numbers of the others, (atoms,).
        positions: Where they are [Å], (atoms, 3).
        cell: Cell vectors as rows [Å], (3, 3).
        rng: Stream to draw from.
    """
    radii = COVALENT_RADII_A[np.append(numbers, np.uint8(guest))]
    places = rng.uniform(size=(_PLACES, 3)) @ cell
    table = distance_table(np.concatenate([positions, places]), cell)
    room = (table[len(numbers) :, : len(numbers)] / (radii[-1] + radii[:-1])).min(axis=1)
    together = np.concatenate([positions, places[room.argmax()][None]])
    contacts = (radii[:, None] + radii) * (CLOSEST * _MARGIN)
    contacts[-1] *= _CLOSEST_GUEST / CLOSEST
    contacts[:, -1] = contacts[-1]
    if filled_fraction(contacts, cell) > DENSEST:
        return None
    return spread_out(contacts, together, cell, _PUSHES)


def _spelt(what: str, bounds: tuple[int, int]) -> str:
    return f"{what} {bounds[0]} to {bounds[1]}"
