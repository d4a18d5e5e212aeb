"""Molecules in periodic boxes: liquids, mixtures and glasses at a density."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, Int64
from pydantic import model_validator

from alflow.builders.geometry import CountRange, PositiveRange, drawn
from alflow.builders.molecules import CLEARANCE
from alflow.builders.monomers import Monomers, MonomerSettings, total_spin
from alflow.builders.packing import (
    DENSEST,
    contact_table,
    filled_fraction,
    pack_rigid,
    random_cell,
)
from alflow.core.elements import COVALENT_RADII_A
from alflow.core.errors import SettingsError
from alflow.core.structures import Structure

_ATTEMPTS = 6


class MolecularBoxSettings(MonomerSettings):
    """Molecules drawn at random from a list, turned and packed into a periodic box."""

    kind: Literal["molecular_box"] = "molecular_box"
    molecules_per_structure: CountRange = (8, 16)
    """Smallest and largest number of molecules in a box."""
    density_g_per_cm3: PositiveRange
    """Range of the mass density [g/cm³]."""
    contact_A: PositiveRange = (1.6, 2.2)
    """Range of the closest distance between molecules [Å], drawn for each box, as far as its
    density allows; never so small that atoms of two molecules would be bonded."""
    aspect_ratio: PositiveRange = (1.0, 1.25)
    """Range of the longest edge of the box divided by the shortest."""

    @model_validator(mode="after")
    def _is_possible(self) -> "MolecularBoxSettings":
        if self.aspect_ratio[0] < 1:
            raise ValueError("aspect_ratio is the longest edge by the shortest: at least 1")
        return self

    def create(self) -> "MolecularBoxBuilder":
        """The builder with these settings.

        Raises:
            SettingsError: If a molecule is unknown or a file cannot be read.
        """
        return MolecularBoxBuilder(self)


class MolecularBoxBuilder:
    """Packs molecules into boxes."""

    def __init__(self, settings: MolecularBoxSettings) -> None:
        """Collect the molecules.

        Raises:
            SettingsError: If a molecule is unknown or a file cannot be read.
        """
        self._settings = settings
        self._monomers = Monomers(settings)

    def build(self, rng: np.random.Generator, count: int) -> list[Structure]:
        """Build `count` boxes.

        The charge of a box is the sum of charges; its spins are parallel.

        Raises:
            SettingsError: If the molecules do not fit at the density and distance asked for, or
                displacements bring atoms of one too close again and again.
        """
        return [self._box(rng) for _ in range(count)]

    def _box(self, rng: np.random.Generator) -> Structure:
        settings = self._settings
        n_molecules = drawn(settings.molecules_per_structure, rng)
        parts = self._monomers.draw(rng, n_molecules)
        numbers = np.concatenate([part.numbers for part in parts])
        density = rng.uniform(*settings.density_g_per_cm3)
        cell = random_cell(numbers, density, rng.uniform(*settings.aspect_ratio), rng)
        largest = _largest(parts)
        low, aim = settings.contact_A[0], rng.uniform(*settings.contact_A)
        for attempt in range(_ATTEMPTS):
            # Each failure gives in by a part of the way to the smallest distance allowed.
            contact_A = low + (aim - low) * (1 - attempt / (_ATTEMPTS - 1))
            contacts = _contacts(numbers, contact_A)
            if filled_fraction(np.diag(np.diag(contacts)[largest]), cell) > DENSEST:
                continue
            positions = pack_rigid([part.positions for part in parts], contacts, cell, rng)
            if positions is None:
                continue
            charge, multiplicity = total_spin(parts)
            pbc = np.ones(3, bool)
            return Structure(numbers, positions, cell, pbc, charge, multiplicity)
        raise SettingsError(
            f"{n_molecules} molecules at {density:.2f} g/cm³ cannot all be {low:g} Å apart in a "
            f"box whose shortest edge is {np.diag(cell).min():.2f} Å",
            code="AL121",
            consequence="No structure was built.",
            next_step="lower the density or contact_A of the molecular_box builder, or take more "
            "molecules",
        )


def _contacts(numbers: np.ndarray, contact_A: float) -> Float[np.ndarray, "atoms atoms"]:
    least = contact_table(numbers, factor=CLEARANCE, distance_A=None)
    return np.asarray(np.maximum(least, contact_A))


def _largest(parts: Sequence[Structure]) -> Int64[np.ndarray, " molecules"]:
    """Index of the atom of each molecule that takes the most room."""
    starts = np.cumsum([0, *(part.n_atoms for part in parts[:-1])])
    own = [int(COVALENT_RADII_A[part.numbers].argmax()) for part in parts]
    return np.asarray(starts + own)
