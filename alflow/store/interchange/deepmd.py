"""DeePMD's folders of npy files (`deepmd/npy`, `deepmd/npy/mixed`), through dpdata.

A virial is minus the stress times the volume. Frames with different labels go into different
systems: DeePMD takes a system's labels to be there for all of its frames. What DeePMD has no file
for (the stress to its last bit, charge, multiplicity, split, group) stands in a file `alflow.npz`
beside each `type.raw`, which other readers ignore.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alflow.core.batches import read_arrays, write_arrays
from alflow.core.elements import SYMBOLS
from alflow.core.errors import SettingsError
from alflow.store.interchange.frames import ExportedFrame, ImportedFrame
from alflow.store.interchange.options import (
    FileContent,
    ReadOptions,
    needing,
    unreadable,
)
from alflow.store.interchange.units import EV_ANGSTROM

TYPES = "type.raw"
OWN = "alflow.npz"
_MIXED = "real_atom_types.npy"
_NUMBER = {symbol: number for number, symbol in enumerate(SYMBOLS) if number}


def read(path: Path, _options: ReadOptions) -> FileContent:
    """Frames of all systems below a folder.

    Raises:
        PluginError: If dpdata is not installed.
        SettingsError: If there is no system in it, or one is damaged.
    """
    with needing("deepmd", path):
        from dpdata.data_type import DataError
    systems = sorted(found.parent for found in path.rglob(TYPES))
    if not systems:
        raise unreadable(path, f"there is no {TYPES} in it")
    broken = (OSError, ValueError, LookupError, TypeError, AttributeError, DataError)
    frames: list[ImportedFrame] = []
    for folder in systems:
        name = str(folder.relative_to(path))
        try:
            for data in _loaded(folder):
                frames += _frames(data, _own(folder, data), name, len(frames))
        except broken as error:
            raise unreadable(folder, f"{type(error).__name__}: {error}") from error
    return FileContent(frames, EV_ANGSTROM)


def write(path: Path, frames: Sequence[ExportedFrame]) -> None:
    """Write a folder of systems: one for each sequence of atoms and set of labels.

    Raises:
        PluginError: If dpdata is not installed.
        SettingsError: If a structure is periodic in some directions only.
    """
    with needing("deepmd", path):
        import dpdata
    groups: dict[tuple[object, ...], list[ExportedFrame]] = {}
    for frame in frames:
        structure, label = frame.item.structure, frame.item.label
        if structure.is_periodic and not structure.pbc.all():
            raise SettingsError(
                "DeePMD knows no structure that is periodic in some directions only",
                consequence="Nothing was written.",
                next_step="choose another format: --format hdf5",
            )
        kind = (structure.is_periodic, label.forces is None, label.stress is None)
        groups.setdefault((structure.numbers.tobytes(), *kind), []).append(frame)
    path.mkdir(parents=True, exist_ok=True)
    for number, members in enumerate(groups.values()):
        folder = path / f"{number:04d}-{members[0].item.structure.formula}"
        dpdata.LabeledSystem(data=_data(members)).to("deepmd/npy", str(folder))
        (folder / OWN).write_bytes(write_arrays(_own_arrays(members)))


def _data(frames: Sequence[ExportedFrame]) -> dict[str, Any]:
    """The arrays of a system as dpdata has them; the order of atoms stays."""
    structures = [frame.item.structure for frame in frames]
    labels = [frame.item.label for frame in frames]
    elements, types = np.unique(structures[0].numbers, return_inverse=True)
    no_cell = np.zeros((3, 3))
    cells = [no_cell if one.cell is None else one.cell for one in structures]
    data: dict[str, Any] = {
        "atom_names": [SYMBOLS[z] for z in elements],
        "atom_numbs": np.bincount(types).tolist(),
        "atom_types": types,
        "orig": np.zeros(3),
        "cells": np.array(cells),
        "coords": np.array([one.positions for one in structures]),
        "energies": np.array([label.energy for label in labels]),
    }
    if not structures[0].is_periodic:
        data["nopbc"] = True
    if labels[0].forces is not None:
        data["forces"] = np.array([label.forces for label in labels])
    if labels[0].stress is not None:
        stresses = np.array([label.stress for label in labels])
        data["virials"] = -_matrices(stresses) * _volumes(data["cells"])[:, None, None]
    return data


def _own_arrays(frames: Sequence[ExportedFrame]) -> dict[str, np.ndarray]:
    items = [frame.item for frame in frames]
    arrays = {
        "charge": np.array([item.structure.charge for item in items]),
        "multiplicity": np.array([item.structure.multiplicity for item in items]),
        "split": np.array([frame.split for frame in frames], np.str_),
        "level": np.array([frame.level for frame in frames], np.str_),
        "group": np.array([item.group for item in items], np.str_),
        "source": np.array([item.source for item in items], np.str_),
    }
    if items[0].label.stress is not None:
        arrays["stress"] = np.array([item.label.stress for item in items])
    return arrays


def _loaded(folder: Path) -> list[Mapping[str, Any]]:
    import dpdata
    from dpdata.plugins.deepmd import DeePMDMixedFormat

    if any(folder.glob(f"set.*/{_MIXED}")):
        # dpdata's own loader of several systems would bring atoms into another order.
        reader = DeePMDMixedFormat()
        return list(reader.from_labeled_system_mix(str(folder)))
    return [dpdata.LabeledSystem(str(folder), fmt="deepmd/npy").data]


def _own(folder: Path, data: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """What alflow wrote beside a system, if it still belongs to it."""
    path = folder / OWN
    if not path.is_file():
        return {}
    own = read_arrays(path.read_bytes())
    return own if all(len(a) == len(data["energies"]) for a in own.values()) else {}


def _frames(
    data: Mapping[str, Any], own: Mapping[str, np.ndarray], name: str, start: int
) -> Iterator[ImportedFrame]:
    known = np.array([_NUMBER.get(symbol, 0) for symbol in data["atom_names"]])
    numbers = known[np.asarray(data["atom_types"], int)]
    is_free = bool(data.get("nopbc", False))
    forces, stresses = data.get("forces"), _stresses(data, own)
    for k, positions in enumerate(data["coords"]):
        yield ImportedFrame(
            start + k,
            numbers,
            np.asarray(positions, np.float64),
            None if is_free else np.asarray(data["cells"][k], np.float64),
            np.full(3, not is_free),
            int(own["charge"][k]) if "charge" in own else 0,
            int(own["multiplicity"][k]) if "multiplicity" in own else None,
            float(data["energies"][k]),
            None if forces is None else np.asarray(forces[k], np.float64),
            None if stresses is None else stresses[k],
            level=_text(own, "level", k),
            group=_text(own, "group", k) or name,
            split=_text(own, "split", k),
            source=_text(own, "source", k),
        )


def _text(own: Mapping[str, np.ndarray], name: str, k: int) -> str:
    return str(own[name][k]) if name in own else ""


def _stresses(data: Mapping[str, Any], own: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Stresses from virials; our own ones, which have not been through a volume, if they agree."""
    virials = data.get("virials")
    if virials is None or data.get("nopbc", False):
        return None
    full = -np.asarray(virials, np.float64) / _volumes(data["cells"])[:, None, None]
    voigt = np.stack(
        [full[:, i, j] for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))], axis=1
    )
    kept = own.get("stress")
    is_ours = kept is not None and kept.shape == voigt.shape and np.allclose(kept, voigt)
    return kept if is_ours else voigt


def _volumes(cells: Any) -> np.ndarray:
    return np.asarray(np.abs(np.linalg.det(np.asarray(cells, np.float64))))


def _matrices(stresses: np.ndarray) -> np.ndarray:
    return np.asarray(stresses[:, [[0, 5, 4], [5, 1, 3], [4, 3, 2]]])
