"""A frame as a file has it: checked by nobody yet, so any of its numbers may be wrong."""

from dataclasses import dataclass, field, replace

import numpy as np

from alflow.core.batches import LabelledStructure
from alflow.core.labels import Label
from alflow.core.structures import Structure, lowest_multiplicity


@dataclass(frozen=True, eq=False, slots=True)
class ImportedFrame:
    """One frame of a file, in eV and Å once its reader's units have been applied.

    The shapes are those that a sound frame has; validation says which frames are not sound.

    Attributes:
        index: Place in the file, from 0.
        numbers: Atomic numbers, (atoms,); 0 for what is no element.
        positions: Cartesian positions [Å], (atoms, 3).
        cell: Cell vectors as rows [Å], (3, 3), or None.
        pbc: Which cell vectors are periodic, (3,).
        charge: Total charge [e].
        multiplicity: Spin multiplicity 2S+1; None if the file does not say.
        energy: Total energy [eV]; None if there is none.
        forces: Forces [eV/Å], (atoms, 3), or None.
        stress: Stress [eV/Å³], Voigt xx, yy, zz, yz, xz, xy, tensile positive, or None.
        level: Level of theory by the name that the file has for it, or an empty string.
        group: What it came from by the name that the file has for it, or an empty string.
        split: train, val, test, or an empty string if the file does not say.
        source: What made it, for example a `config_type`, or an empty string.
    """

    index: int
    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray | None = None
    pbc: np.ndarray = field(default_factory=lambda: np.zeros(3, bool))
    charge: int = 0
    multiplicity: int | None = None
    energy: float | None = None
    forces: np.ndarray | None = None
    stress: np.ndarray | None = None
    level: str = ""
    group: str = ""
    split: str = ""
    source: str = ""

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.numbers)

    def structure(self) -> Structure:
        """The structure; a multiplicity that is not given is the lowest possible one.

        Raises:
            SettingsError: If it is malformed.
        """
        numbers = self.numbers.astype(np.uint8)
        multiplicity = self.multiplicity
        if multiplicity is None:
            multiplicity = lowest_multiplicity(numbers, self.charge)
        return Structure(
            numbers, self.positions, self.cell, self.pbc, self.charge, multiplicity
        )

    def label(self) -> Label:
        """The label.

        Raises:
            ValueError: If there is no energy.
        """
        if self.energy is None:
            raise ValueError(f"frame {self.index} has no energy")
        return Label(self.energy, self.forces, self.stress)

    def scaled(self, factors: "Factors") -> "ImportedFrame":
        """The same frame in eV and Å."""
        return replace(
            self,
            positions=self.positions * factors.length,
            cell=None if self.cell is None else self.cell * factors.length,
            energy=None if self.energy is None else self.energy * factors.energy,
            forces=None if self.forces is None else self.forces * factors.force,
            stress=None if self.stress is None else self.stress * factors.stress,
        )


@dataclass(frozen=True, slots=True)
class Factors:
    """What to multiply a file's numbers by to have them in eV and Å.

    Attributes:
        energy: To eV.
        length: To Å.
        force: To eV/Å; negative if the file has gradients.
        stress: To eV/Å³.
    """

    energy: float = 1.0
    length: float = 1.0
    force: float = 1.0
    stress: float = 1.0


@dataclass(frozen=True, eq=False, slots=True)
class ExportedFrame:
    """One labelled structure on its way into a file.

    Attributes:
        item: The structure and its label.
        level: Name of the level of theory.
        split: train, val or test.
    """

    item: LabelledStructure
    level: str
    split: str
