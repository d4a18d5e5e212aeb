"""Which molecules a structure is made of, drawn and distorted one by one."""

from collections.abc import Iterator, Sequence

import numpy as np
from pydantic import Field, model_validator

from alflow.builders.geometry import Amplitude, closest_ratio, random_rotation
from alflow.builders.given import frame_findings
from alflow.core.errors import SettingsError
from alflow.core.findings import Finding
from alflow.core.structures import Structure
from alflow.registry import InputFile, Settings

_CLOSEST = 0.65
"""Smallest distance within a molecule, in sums of covalent radii."""

_ATTEMPTS = 50


class MonomerSettings(Settings):
    """What molecules, and how far they are distorted."""

    kind: str
    count: float = Field(default=1, gt=0)
    """Weight among the builders: structures are shared out in proportion to it."""
    smiles: tuple[str, ...] = ()
    """Molecules by SMILES, from a table of common small ones; `O` is water. All molecules
    are drawn equally often; one that is named twice comes twice as often."""
    names: tuple[str, ...] = ()
    """Molecules by their names in ASE's G2 set."""
    files: tuple[InputFile, ...] = ()
    """Molecules from files that ASE reads; each frame is one molecule. Charge and multiplicity
    come from the entries `charge` and `multiplicity`."""
    rattle_A: Amplitude = (0.0, 0.1)
    """Range of the standard deviation of displacements within molecules [Å]."""

    @model_validator(mode="after")
    def _has_molecules(self) -> "MonomerSettings":
        if not (self.smiles or self.names or self.files):
            raise ValueError("give molecules by smiles, names or files")
        return self

    def problems(self, elements: Sequence[str]) -> Iterator[Finding]:
        """Molecules in files that no campaign with these elements can use."""
        for index, path in enumerate(self.files):
            yield from frame_findings(("files", index), path, elements)


class Monomers:
    """Draws molecules."""

    def __init__(self, settings: MonomerSettings) -> None:
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

    def draw(self, rng: np.random.Generator, n_molecules: int) -> list[Structure]:
        """Some molecules, each displaced and turned at random about its centre.

        Raises:
            SettingsError: If displacements bring atoms of a molecule too close again and again.
        """
        chosen = rng.integers(len(self._molecules), size=n_molecules)
        return [self._distorted(self._molecules[k], rng) for k in chosen]

    def _distorted(self, molecule: Structure, rng: np.random.Generator) -> Structure:
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
            next_step=f"lower rattle_A of the {self._settings.kind} builder",
        )


def total_spin(parts: Sequence[Structure]) -> tuple[int, int]:
    """Charge and multiplicity of molecules together: charges add up, spins are parallel."""
    unpaired = sum(part.multiplicity - 1 for part in parts)
    return sum(part.charge for part in parts), unpaired + 1
