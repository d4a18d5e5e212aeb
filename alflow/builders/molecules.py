"""Molecules and small clusters of them: distorted, turned, and brought into contact."""

from typing import Literal

import numpy as np
from jaxtyping import Float

from alflow.builders.geometry import CountRange, PositiveRange, drawn
from alflow.builders.monomers import Monomers, MonomerSettings, total_spin
from alflow.core.elements import COVALENT_RADII_A
from alflow.core.structures import Structure

CLEARANCE = 1.15
"""Smallest distance between molecules, in sums of covalent radii: no bond by accident."""

_CLOSE_ENOUGH_A = 1e-6
_MOST_APPROACHES = 500


class MoleculesSettings(MonomerSettings):
    """Single molecules or clusters of molecules drawn at random from a list; not periodic."""

    kind: Literal["molecules"] = "molecules"
    molecules_per_structure: CountRange = (1, 1)
    """Smallest and largest number of molecules in a structure."""
    contact_A: PositiveRange = (1.7, 3.0)
    """Range of the closest distance between a molecule and the rest [Å]; never so small that
    atoms of two molecules would be bonded."""

    def create(self) -> "MoleculesBuilder":
        """The builder with these settings.

        Raises:
            SettingsError: If a molecule is unknown or a file cannot be read.
        """
        return MoleculesBuilder(self)


class MoleculesBuilder:
    """Draws, distorts and assembles molecules."""

    def __init__(self, settings: MoleculesSettings) -> None:
        """Collect the molecules.

        Raises:
            SettingsError: If a molecule is unknown or a file cannot be read.
        """
        self._settings = settings
        self._monomers = Monomers(settings)

    def build(self, rng: np.random.Generator, count: int) -> list[Structure]:
        """Build `count` molecules or clusters.

        The charge of a cluster is the sum of charges; its spins are parallel.

        Raises:
            SettingsError: If displacements bring atoms of a molecule too close again and again.
        """
        return [self._cluster(rng) for _ in range(count)]

    def _cluster(self, rng: np.random.Generator) -> Structure:
        n_molecules = drawn(self._settings.molecules_per_structure, rng)
        parts = self._monomers.draw(rng, n_molecules)
        numbers, positions = parts[0].numbers, parts[0].positions
        for part in parts[1:]:
            contact_A = rng.uniform(*self._settings.contact_A)
            placed = _approach(part, numbers, positions, contact_A, rng)
            numbers = np.concatenate([numbers, part.numbers])
            positions = np.concatenate([positions, placed])
        charge, multiplicity = total_spin(parts)
        positions = positions - positions.mean(axis=0)
        return Structure(numbers, positions, charge=charge, multiplicity=multiplicity)


def _approach(
    part: Structure,
    numbers: np.ndarray,
    positions: Float[np.ndarray, "placed 3"],
    contact_A: float,
    rng: np.random.Generator,
) -> Float[np.ndarray, "atoms 3"]:
    """Move a molecule in from far away until it touches what is there.

    It moves so that one of its atoms would hit one of those there, each step by the gap that is
    left: no gap shrinks faster than it moves, so it never goes too far.
    """
    radii = COVALENT_RADII_A[part.numbers][:, None] + COVALENT_RADII_A[numbers]
    limits = np.maximum(contact_A, CLEARANCE * radii)
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    target = positions[rng.integers(len(positions))]
    aimed = part.positions - part.positions[rng.integers(part.n_atoms)] + target
    way = np.ptp(aimed, axis=0).sum() + np.ptp(positions, axis=0).sum() + limits.max()
    for _ in range(_MOST_APPROACHES):
        placed = aimed + direction * way
        gap = (np.linalg.norm(placed[:, None] - positions, axis=-1) - limits).min()
        if gap < _CLOSE_ENOUGH_A:
            break
        way -= gap
    return np.asarray(aimed + direction * way)
