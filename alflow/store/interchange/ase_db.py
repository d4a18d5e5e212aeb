"""ASE databases (`.db`, `.json`): one row a frame, the label as a single-point calculator."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alflow.store.interchange.ase_atoms import atoms_of, facts_of, frame_of
from alflow.store.interchange.frames import ExportedFrame, ImportedFrame
from alflow.store.interchange.options import FileContent, ReadOptions, unreadable
from alflow.store.interchange.units import EV_ANGSTROM

if TYPE_CHECKING:
    from ase.db.row import AtomsRow

_OURS = "alflow"
"""Key under which a row's `data` says what ASE has no column for."""


def read(path: Path, options: ReadOptions) -> FileContent:
    """Rows of an ASE database, in the order of their ids.

    Raises:
        SettingsError: If it is none.
    """
    from ase.db import connect

    if not path.is_file():
        raise unreadable(path, "there is no such file")
    broken = (OSError, ValueError, LookupError, TypeError, AttributeError, sqlite3.Error)
    try:
        with connect(path, type=_kind(path), use_lock_file=False) as database:
            rows = list(database.select(sort="id"))
            frames = [_frame(row, index, options) for index, row in enumerate(rows)]
    except broken as error:
        raise unreadable(path, f"{type(error).__name__}: {error}") from error
    return FileContent(frames, EV_ANGSTROM)


def write(path: Path, frames: Sequence[ExportedFrame]) -> None:
    """Write frames as rows: level and split as key-value pairs, all else in `data`."""
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.db import connect

    with connect(path, type=_kind(path), use_lock_file=False, append=False) as database:
        for frame in frames:
            atoms, label = atoms_of(frame), frame.item.label
            results: dict[str, Any] = {"energy": label.energy}
            if label.forces is not None:
                results["forces"] = label.forces
            if label.stress is not None:
                results["stress"] = label.stress
            atoms.calc = SinglePointCalculator(atoms, **results)
            pairs = {
                "split": frame.split,
                "structure_hash": f"h{frame.item.structure.hash}",
            }
            database.write(atoms, key_value_pairs=pairs, data={_OURS: facts_of(frame)})


def _kind(path: Path) -> str:
    return "json" if ".json" in path.suffixes else "db"


def _frame(row: "AtomsRow", index: int, options: ReadOptions) -> ImportedFrame:
    data = dict(row.data)
    facts = {**row.key_value_pairs, **(data.get(_OURS) or {})}
    if "charge" not in facts and row.get("charge") is not None:
        facts["charge"] = round(row.charge)
    labels = {}
    for quantity in ("energy", "forces", "stress"):
        key = getattr(options, f"{quantity}_key") or quantity
        found = row.get(key)
        labels[quantity] = data.get(key) if found is None else found
    return frame_of(row.toatoms(), index, labels, facts)
