"""From files and from ASE's atoms to structures."""

from pathlib import Path
from typing import Any

import numpy as np

from alflow.core.errors import SettingsError
from alflow.core.filenames import near
from alflow.core.structures import Structure, lowest_multiplicity


def structure_of(atoms: Any) -> Structure:
    """The structure in an `ase.Atoms`, with its charge and multiplicity.

    The charge is `info["charge"]` or zero. The multiplicity is `info["multiplicity"]`, or one
    more than the sum of the initial magnetic moments, or else the lowest that the number of
    electrons allows.

    Args:
        atoms: An `ase.Atoms`.
    """
    numbers = np.asarray(atoms.numbers, np.uint8)
    charge = int(atoms.info.get("charge", 0))
    multiplicity = atoms.info.get("multiplicity")
    if multiplicity is None:
        unpaired = round(abs(float(atoms.get_initial_magnetic_moments().sum())))
        multiplicity = unpaired + 1 if unpaired else lowest_multiplicity(numbers, charge)
    cell = np.asarray(atoms.cell[:], np.float64) if atoms.pbc.any() else None
    pbc = np.asarray(atoms.pbc, bool)
    positions = np.asarray(atoms.positions, np.float64)
    return Structure(numbers, positions, cell, pbc, charge, int(multiplicity))


def read_frames(
    path: Path, *, frames: str = ":", file_format: str | None = None
) -> list[Any]:
    """The `ase.Atoms` of a file.

    Args:
        path: The file.
        frames: Which frames, as a Python slice or number.
        file_format: Format by its name in ASE, or None to have it guessed.

    Raises:
        SettingsError: If there is no such file or ASE cannot read it.
    """
    import ase.io
    from ase.io.formats import UnknownFileTypeError

    if not path.is_file():
        raise SettingsError(f"{near(path)} is not a file", code="AL103")
    # What ASE's readers raise on a file of another kind is anybody's guess.
    broken = (OSError, ValueError, LookupError, AttributeError, TypeError, AssertionError)
    try:
        read = ase.io.read(path, index=frames, format=file_format)
    except (UnknownFileTypeError, *broken) as error:
        reason = f"{type(error).__name__}: {error}"
        raise SettingsError(
            f"ASE cannot read {near(path)}: {reason}",
            code="AL103",
            next_step="mend the file, or name its format where there is a setting for it",
        ) from error
    return read if isinstance(read, list) else [read]
