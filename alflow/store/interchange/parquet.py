"""Parquet with the column names of ColabFit: one row a frame."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alflow.store.interchange.frames import ExportedFrame, ImportedFrame
from alflow.store.interchange.options import (
    FileContent,
    ReadOptions,
    needing,
    unreadable,
)
from alflow.store.interchange.units import EV_ANGSTROM

BATCH = 1000
"""Rows held as Python objects at a time."""

_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def read(path: Path, options: ReadOptions) -> FileContent:
    """Rows of a Parquet file.

    Raises:
        PluginError: If pyarrow is not installed.
        SettingsError: If it is no such file, or has no positions or atomic numbers.
    """
    with needing("parquet", path):
        import pyarrow as pa
        from pyarrow.parquet import ParquetFile
    frames: list[ImportedFrame] = []
    try:
        with ParquetFile(path) as file:
            missing = {"positions", "atomic_numbers"} - set(file.schema_arrow.names)
            if missing:
                raise unreadable(path, f"it has no column {' or '.join(sorted(missing))}")
            for batch in file.iter_batches(BATCH):
                rows = batch.to_pylist()
                frames += [
                    _frame(row, len(frames) + k, options) for k, row in enumerate(rows)
                ]
    except (OSError, ValueError, TypeError, KeyError, pa.ArrowException) as error:
        raise unreadable(path, f"{type(error).__name__}: {error}") from error
    return FileContent(frames, EV_ANGSTROM)


def write(path: Path, frames: Sequence[ExportedFrame]) -> None:
    """Write frames in eV and Å, stresses as symmetric 3x3 matrices in eV/Å³."""
    with needing("parquet", path):
        import pyarrow as pa
        from pyarrow.parquet import ParquetWriter
    schema = _schema()
    with ParquetWriter(path, schema) as writer:
        for start in range(0, len(frames), BATCH):
            rows = [_row(frame) for frame in frames[start : start + BATCH]]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))


def _schema() -> Any:
    import pyarrow as pa

    vectors = pa.list_(pa.list_(pa.float64()))
    return pa.schema(
        [
            ("configuration_hash", pa.string()),
            ("chemical_formula_hill", pa.string()),
            ("nsites", pa.int32()),
            ("atomic_numbers", pa.list_(pa.int32())),
            ("positions", vectors),
            ("cell", vectors),
            ("pbc", pa.list_(pa.bool_())),
            ("energy", pa.float64()),
            ("atomic_forces", vectors),
            ("cauchy_stress", vectors),
            ("cauchy_stress_volume_normalized", pa.bool_()),
            ("method", pa.string()),
            ("software", pa.string()),
            ("charge", pa.int32()),
            ("multiplicity", pa.int32()),
            ("split", pa.string()),
            ("group", pa.string()),
            ("config_type", pa.string()),
        ]
    )


def _row(frame: ExportedFrame) -> dict[str, Any]:
    structure, label = frame.item.structure, frame.item.label
    stress = None if label.stress is None else _matrix(label.stress)
    return {
        "configuration_hash": structure.hash,
        "chemical_formula_hill": structure.formula,
        "nsites": structure.n_atoms,
        "atomic_numbers": structure.numbers.tolist(),
        "positions": structure.positions.tolist(),
        "cell": None if structure.cell is None else structure.cell.tolist(),
        "pbc": structure.pbc.tolist(),
        "energy": label.energy,
        "atomic_forces": None if label.forces is None else label.forces.tolist(),
        "cauchy_stress": stress,
        "cauchy_stress_volume_normalized": None if stress is None else True,
        "method": frame.level,
        "software": None,
        "charge": structure.charge,
        "multiplicity": structure.multiplicity,
        "split": frame.split,
        "group": frame.item.group,
        "config_type": frame.item.source,
    }


def _frame(row: Mapping[str, Any], index: int, options: ReadOptions) -> ImportedFrame:
    cell = _array(row.get("cell"))
    pbc = _array(row.get("pbc"))
    periodic = np.full(3, cell is not None) if pbc is None else pbc.astype(bool)
    energy = row.get(options.energy_key or "energy")
    stress = _array(row.get(options.stress_key or "cauchy_stress"))
    if stress is not None:
        stress = np.array([stress.reshape(3, 3)[at] for at in _VOIGT])
        if row.get("cauchy_stress_volume_normalized") is False and cell is not None:
            stress = stress / abs(np.linalg.det(cell))
    positions = _array(row["positions"])
    return ImportedFrame(
        index,
        np.array(_parsed(row["atomic_numbers"]), int),
        np.zeros((0, 3)) if positions is None else positions.reshape(-1, 3),
        cell if periodic.any() else None,
        periodic,
        int(row.get("charge") or 0),
        row.get("multiplicity"),
        None if energy is None else float(energy),
        _array(row.get(options.forces_key or "atomic_forces")),
        stress,
        str(row.get("method") or ""),
        str(row.get("group") or ""),
        str(row.get("split") or ""),
        str(row.get("config_type") or ""),
    )


def _matrix(voigt: np.ndarray) -> list[list[float]]:
    xx, yy, zz, yz, xz, xy = voigt.tolist()
    return [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]


def _parsed(value: Any) -> Any:
    """A list, also where a file has it as text."""
    return json.loads(value) if isinstance(value, str) else value


def _array(value: Any) -> np.ndarray | None:
    found = _parsed(value)
    return None if found is None else np.array(found, np.float64)
