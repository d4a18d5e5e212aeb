"""Molecules and small clusters of them: distorted, turned, and brought into contact."""

from typing import Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field, model_validator

from alflow.builders.geometry import (
    Amplitude,
    CountRange,
    PositiveRange,
    closest_ratio,
    random_rotation,
)
from alflow.core.elements import COVALENT_RADII_A
from alflow.core.errors import SettingsError
from alflow.core.structures import Structure
from alflow.registry import InputFile, Settings

_CLOSEST = 0.65
"""Smallest distance within a molecule, in sums of covalent radii."""

_CLEARANCE = 1.15
"""Smallest distance between molecules, in sums of covalent radii: no bond by accident."""

_ATTEMPTS = 50
_CLOSE_ENOUGH_A = 1e-6
_MOST_APPROACHES = 500


class MoleculesSettings(Settings):
    """Single molecules or clusters of molecules drawn at random from a list; not periodic."""

    kind: Literal["molecules"] = "molecules"
    count: float = Field(default=1, gt=0)
    """Weight among the builders: structures are shared out in proportion to it."""
    smiles: tuple[str, ...] = ()
    """Molecules by SMILES, from a table of common small ones; `O` is water."""
    names: tuple[str, ...] = ()
    """Molecules by their names in ASE's G2 set."""
    files: tuple[InputFile, ...] = ()
    """Molecules from files that ASE reads; each frame is one molecule. Charge and multiplicity
    come from the entries `charge` and `multiplicity`."""
    molecules_per_structure: CountRange = (1, 1)
    """Smallest and largest number of molecules in a structure."""
    rattle_A: Amplitude = (0.0, 0.1)
    """Range of the standard deviation of displacements within molecules [Å]."""
    contact_A: PositiveRange = (1.7, 3.0)
    """Range of the closest distance between a molecule and the rest [Å]; never so small that
    atoms of two molecules would be bonded."""

    @model_validator(mode="after")
    def _has_molecules(self) -> "MoleculesSettings":
        if not (self.smiles or self.names or self.files):
            raise ValueError("give molecules by smiles, names or files")
        return self

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
        from alflow.builders.species import by_name, by_smiles, from_geometries

        self._settings = settings
        self._molecules = [
            *(by_smiles(smiles) for smiles in settings.smiles),
            *(by_name(name) for name in settings.names),
            *(molecule for path in settings.files for molecule in from_geometries(path)),
        ]

    def build(self, rng: np.random.Generator, count: int) -> list[Structure]:
        """Build `count` molecules or clusters.

        The charge of a cluster is the sum of charges; its spins are parallel.

        Raises:
            SettingsError: If displacements bring atoms of a molecule too close again and again.
        """
        return [self._cluster(rng) for _ in range(count)]

    def _cluster(self, rng: np.random.Generator) -> Structure:
        low, high = self._settings.molecules_per_structure
        chosen = rng.integers(len(self._molecules), size=int(rng.integers(low, high + 1)))
        parts = [self._distorted(self._molecules[k], rng) for k in chosen]
        numbers, positions = parts[0].numbers, parts[0].positions
        for part in parts[1:]:
            contact_A = rng.uniform(*self._settings.contact_A)
            placed = _approach(part, numbers, positions, contact_A, rng)
            numbers = np.concatenate([numbers, part.numbers])
            positions = np.concatenate([positions, placed])
        charge = sum(part.charge for part in parts)
        unpaired = sum(part.multiplicity - 1 for part in parts)
        positions = positions - positions.mean(axis=0)
        return Structure(numbers, positions, charge=charge, multiplicity=unpaired + 1)

    def _distorted(self, molecule: Structure, rng: np.random.Generator) -> Structure:
        """The molecule with its atoms displaced, turned at random about its centre."""
        for _ in range(_ATTEMPTS):
            width = rng.uniform(*self._settings.rattle_A)
            moved = molecule.positions + rng.normal(size=molecule.positions.shape) * width
            if closest_ratio(molecule.numbers, moved) >= _CLOSEST:
                return Structure(
                    molecule.numbers,
                    moved @ random_rotation(rng).T,
                    charge=molecule.charge,
                    multiplicity=molecule.multiplicity,
                )
        raise SettingsError(
            f"displacements keep bringing atoms of {molecule.formula} closer than {_CLOSEST} of "
            "the sum of their covalent radii",
            code="AL121",
            next_step="lower rattle_A of the molecules builder",
        )


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
    limits = np.maximum(contact_A, _CLEARANCE * radii)
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
