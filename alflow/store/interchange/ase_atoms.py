"""Between frames and ASE's atoms: what extended XYZ and ASE databases have in common."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from alflow.core.errors import SettingsError
from alflow.store.interchange.frames import ExportedFrame, ImportedFrame

if TYPE_CHECKING:
    from ase import Atoms

GROUP_KEYS = ("group", "alflow_group")
SOURCE_KEYS = ("config_type", "source")

_MOMENT_NOISE = 1e-3
"""How far a sum of magnetic moments may be from a whole number of unpaired electrons."""


def frame_of(
    atoms: "Atoms",
    index: int,
    labels: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> ImportedFrame:
    """A frame from ASE's atoms.

    Args:
        atoms: The atoms.
        index: Place in the file.
        labels: Energy, forces and stress, as far as there are any.
        facts: What else the file says: level, group, split, config_type, charge, multiplicity.
    """
    periodic = bool(atoms.pbc.any())
    energy, forces = labels.get("energy"), labels.get("forces")
    return ImportedFrame(
        index,
        np.asarray(atoms.numbers),
        np.asarray(atoms.positions, np.float64),
        np.asarray(atoms.cell[:], np.float64) if periodic else None,
        np.asarray(atoms.pbc, bool),
        _whole(facts.get("charge", 0)),
        _multiplicity(atoms, facts),
        None if energy is None else float(np.asarray(energy).item()),
        None if forces is None else np.asarray(forces, np.float64),
        _voigt(labels.get("stress")),
        _text(facts, ("level",)),
        _text(facts, GROUP_KEYS),
        _split(facts),
        _text(facts, SOURCE_KEYS),
    )


def atoms_of(frame: ExportedFrame) -> "Atoms":
    """The geometry of a frame as ASE atoms."""
    from ase import Atoms

    structure = frame.item.structure
    return Atoms(
        numbers=structure.numbers,
        positions=structure.positions,
        cell=structure.cell,
        pbc=structure.pbc,
    )


def facts_of(frame: ExportedFrame) -> dict[str, Any]:
    """What a file says about a frame besides its numbers."""
    item = frame.item
    return {
        "alflow_hash": item.structure.hash,
        "level": frame.level,
        "split": frame.split,
        "config_type": item.source or "unknown",
        "group": item.group,
        "charge": item.structure.charge,
        "multiplicity": item.structure.multiplicity,
    }


def _multiplicity(atoms: "Atoms", facts: Mapping[str, Any]) -> int | None:
    for key in ("multiplicity", "spin_multiplicity"):
        if key in facts:
            return _whole(facts[key])
    moment = abs(float(np.sum(atoms.get_initial_magnetic_moments())))
    # Of solids, and where they do not add up, the moments are a guess that ASE made up (0.6 per
    # atom of nickel), not the state of a molecule.
    if atoms.pbc.any() or abs(moment - round(moment)) > _MOMENT_NOISE:
        return None
    return round(moment) + 1 if round(moment) else None


def _whole(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise SettingsError(
            f"charge or multiplicity {value!r} is no whole number", code="AL131"
        ) from error


def _voigt(stress: Any) -> np.ndarray | None:
    """Stress as xx, yy, zz, yz, xz, xy, from itself or from a symmetric matrix."""
    if stress is None:
        return None
    values = np.asarray(stress, np.float64)
    if values.size == 9:  # noqa: PLR2004
        full = values.reshape(3, 3)
        return np.array(
            [full[0, 0], full[1, 1], full[2, 2], full[1, 2], full[0, 2], full[0, 1]]
        )
    return values.ravel()


def _text(facts: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    found = next((facts[key] for key in keys if facts.get(key) is not None), "")
    return str(found)


def _split(facts: Mapping[str, Any]) -> str:
    name = str(facts.get("split") or "")
    return name if name in ("train", "val", "test") else ""
