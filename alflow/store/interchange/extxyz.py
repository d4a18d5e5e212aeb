"""Extended XYZ: `REF_energy`, `REF_forces` and `REF_stress`, or ASE's own plain keys."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alflow.store.interchange.ase_atoms import atoms_of, facts_of, frame_of
from alflow.store.interchange.frames import ExportedFrame
from alflow.store.interchange.options import (
    FileContent,
    ReadOptions,
    ambiguous,
    unreadable,
)
from alflow.store.interchange.units import EV_ANGSTROM

if TYPE_CHECKING:
    from ase import Atoms

QUANTITIES = ("energy", "forces", "stress")
_PREFIX = "REF_"


def read(path: Path, options: ReadOptions) -> FileContent:
    """Frames of an extended XYZ file.

    Raises:
        SettingsError: If it is none, or a quantity is there under two names.
    """
    import ase.io
    from ase.io.extxyz import XYZError

    # What ASE's parser raises on broken text is anybody's guess.
    broken = (OSError, ValueError, LookupError, XYZError, TypeError, AttributeError)
    try:
        images: Any = ase.io.read(path, index=":", format="extxyz")
    except broken as error:
        raise unreadable(path, f"{type(error).__name__}: {error}") from error
    keys = _keys(path, images, options)
    frames = [
        frame_of(atoms, index, _labels(atoms, keys), atoms.info)
        for index, atoms in enumerate(images)
    ]
    return FileContent(frames, EV_ANGSTROM)


def write(path: Path, frames: Sequence[ExportedFrame]) -> None:
    """Write frames with `REF_` keys, which ASE and trainers leave as they are."""
    import ase.io

    ase.io.write(path, [labelled_atoms(frame) for frame in frames], format="extxyz")


def labelled_atoms(frame: ExportedFrame) -> "Atoms":
    """A frame as ASE atoms that survive a round trip through extended XYZ."""
    atoms, label = atoms_of(frame), frame.item.label
    atoms.info = {"REF_energy": label.energy, **facts_of(frame)}
    if label.stress is not None:
        atoms.info["REF_stress"] = label.stress
    if label.forces is not None:
        atoms.arrays["REF_forces"] = label.forces
    return atoms


def _keys(
    path: Path, images: Sequence["Atoms"], options: ReadOptions
) -> Mapping[str, str | None]:
    """The name of each quantity in the file; None for one that is not there."""
    present: set[str] = set()
    for atoms in images:
        present |= set(_available(atoms))
    keys: dict[str, str | None] = {}
    for quantity in QUANTITIES:
        wanted: str | None = getattr(options, f"{quantity}_key")
        option = f"--{quantity}-key"
        if wanted is not None:
            if wanted not in present:
                raise unreadable(path, f"no frame has {wanted!r} ({option})")
            keys[quantity] = wanted
            continue
        usual = [key for key in (_PREFIX + quantity, quantity) if key in present]
        if len(usual) > 1:
            raise ambiguous(path, quantity, usual, option)
        keys[quantity] = usual[0] if usual else _only_prefixed(path, present, quantity)
    return keys


def _only_prefixed(path: Path, present: set[str], quantity: str) -> str | None:
    """A key such as `dft_energy`, where nothing more usual is there."""
    found = sorted(key for key in present if key.lower().endswith(f"_{quantity}"))
    if len(found) > 1:
        raise ambiguous(path, quantity, found, f"--{quantity}-key")
    return found[0] if found else None


def _available(atoms: "Atoms") -> dict[str, Any]:
    results = {} if atoms.calc is None else dict(atoms.calc.results)
    return {**atoms.info, **atoms.arrays, **results}


def _labels(atoms: "Atoms", keys: Mapping[str, str | None]) -> dict[str, Any]:
    available = _available(atoms)
    return {
        quantity: available.get(key) for quantity, key in keys.items() if key is not None
    }
