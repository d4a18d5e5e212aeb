"""ANI-style HDF5: groups of frames of the same atoms, at any depth.

A group has `coordinates` (frames, atoms, 3) and `species` or `atomic_numbers`; its labels are
`energies` and `forces` (pyanitools, and what the Active Learning Framework of Los Alamos writes,
there with `cell` and `_id`), or `LEVEL.energy` and `LEVEL.forces` with NaN where a level is
missing (ANI-1x). Nothing in such a file says what its units are, unless an attribute does.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alflow.core.elements import SYMBOLS
from alflow.core.errors import SettingsError
from alflow.store.interchange.frames import ExportedFrame, ImportedFrame
from alflow.store.interchange.options import (
    FileContent,
    ReadOptions,
    ambiguous,
    needing,
    unreadable,
)
from alflow.store.interchange.units import Units, parsed_units

if TYPE_CHECKING:
    import h5py

COORDINATES = ("coordinates", "coord", "positions")
NUMBERS = ("atomic_numbers", "species", "numbers")
NAMES = {
    "energy": ("energy", "energies", "E"),
    "forces": ("forces", "force", "F"),
    "stress": ("stress", "stresses"),
}
CELLS = ("cell", "cells", "box")

_NUMBER = {symbol: number for number, symbol in enumerate(SYMBOLS) if number}


def read(path: Path, options: ReadOptions) -> FileContent:
    """Frames of an ANI-style HDF5 file, group by group.

    Raises:
        PluginError: If h5py is not installed.
        SettingsError: If it is no such file, or has several levels of theory to choose from.
    """
    with needing("hdf5", path):
        import h5py
    try:
        with h5py.File(path, "r") as file:
            groups = list(_groups(file))
            if not groups:
                raise unreadable(path, f"no group in it has {COORDINATES[0]!r}")
            level = _level(path, groups, options)
            frames: list[ImportedFrame] = []
            for group in groups:
                frames += _frames(group, level, options, len(frames))
            return FileContent(frames, _units(file))
    except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise unreadable(path, f"{type(error).__name__}: {error}") from error


def write(path: Path, frames: Sequence[ExportedFrame]) -> None:
    """Write frames in eV and Å, one group for each sequence of atoms and level."""
    with needing("hdf5", path):
        import h5py
    groups: dict[tuple[bytes, str], list[ExportedFrame]] = {}
    for frame in frames:
        key = (frame.item.structure.numbers.tobytes(), frame.level)
        groups.setdefault(key, []).append(frame)
    with h5py.File(path, "w") as file:
        file.attrs.update(
            energy_unit="eV",
            length_unit="angstrom",
            force_unit="eV/angstrom",
            stress_unit="eV/angstrom3",
        )
        for members in groups.values():
            formula = members[0].item.structure.formula
            taken = sum(1 for name in file if name.split("-")[0] == formula)
            group = file.create_group(formula if not taken else f"{formula}-{taken}")
            for name, values in _arrays(members).items():
                group.create_dataset(name, data=values)
            group.attrs["level"] = members[0].level


def _arrays(frames: Sequence[ExportedFrame]) -> dict[str, Any]:
    items = [frame.item for frame in frames]
    structures = [item.structure for item in items]
    n_atoms = structures[0].n_atoms
    level = frames[0].level.replace("/", "_")  # a slash would open a group
    arrays: dict[str, Any] = {
        "atomic_numbers": structures[0].numbers,
        "coordinates": np.array([one.positions for one in structures]),
        "pbc": np.array([one.pbc for one in structures]),
        "charge": np.array([one.charge for one in structures]),
        "multiplicity": np.array([one.multiplicity for one in structures]),
        "split": _strings([frame.split for frame in frames]),
        "group": _strings([item.group for item in items]),
        "source": _strings([item.source for item in items]),
        "structure_hash": _strings([one.hash for one in structures]),
        f"{level}.energy": np.array([item.label.energy for item in items]),
        f"{level}.forces": _filled([i.label.forces for i in items], (n_atoms, 3)),
        f"{level}.stress": _filled([i.label.stress for i in items], (6,)),
    }
    if any(one.cell is not None for one in structures):
        arrays["cell"] = _filled([one.cell for one in structures], (3, 3))
    return arrays


def _strings(values: Sequence[str]) -> np.ndarray:
    return np.array([value.encode() for value in values], dtype=np.bytes_)


def _filled(values: Sequence[np.ndarray | None], shape: tuple[int, ...]) -> np.ndarray:
    """The values as one array, NaN where there is none."""
    return np.array([np.full(shape, np.nan) if one is None else one for one in values])


def _groups(group: "h5py.Group") -> Iterator["h5py.Group"]:
    """Groups with coordinates; links out of the file are not followed."""
    import h5py

    if _first(group, COORDINATES) is not None:
        yield group
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            continue
        child = group[name]
        if isinstance(child, h5py.Group):
            yield from _groups(child)


def _first(group: "h5py.Group", names: Sequence[str]) -> str | None:
    return next((name for name in names if name in group), None)


def _units(file: "h5py.File") -> Units:
    names = ("energy_unit", "length_unit", "force_unit", "stress_unit")
    found = [file.attrs.get(name) for name in names]
    texts = [None if one is None else _decoded(one) for one in found]
    return parsed_units(*texts)


def _level(path: Path, groups: Sequence["h5py.Group"], options: ReadOptions) -> str | None:
    """Prefix of the datasets to read; None for those without one."""
    prefixes = sorted(
        {name[: -len(".energy")] for g in groups for name in g if name.endswith(".energy")}
    )
    if options.file_level is not None:
        wanted = options.file_level.replace("/", "_")
        if wanted in prefixes:
            return str(wanted)
        if prefixes:
            known = ", ".join(prefixes)
            raise unreadable(
                path, f"it has no level {options.file_level!r} (it has {known})"
            )
        return None
    is_plain = any(_first(group, NAMES["energy"]) for group in groups)
    if is_plain or options.energy_key is not None or not prefixes:
        return None
    if len(prefixes) > 1:
        raise ambiguous(path, "energies of levels", prefixes, "--file-level")
    return str(prefixes[0])


def _frames(
    group: "h5py.Group", level: str | None, options: ReadOptions, start: int
) -> Iterator[ImportedFrame]:
    data = _Group(group, level, options)
    index = start
    for k in range(data.n_frames):
        energy = data.number("energy", k)
        if level is not None and energy is not None and np.isnan(energy):
            continue  # not calculated at this level
        yield ImportedFrame(
            index,
            data.numbers(k),
            data.coordinates[k],
            data.cell(k),
            data.pbc(k),
            data.whole("charge", k) or 0,
            data.whole("multiplicity", k),
            energy,
            data.label("forces", k),
            data.label("stress", k),
            data.level,
            data.text("group", k) or group.name or "",
            data.text("split", k),
            data.text("source", k),
        )
        index += 1


class _Group:
    """The arrays of a group, frame by frame."""

    def __init__(
        self, group: "h5py.Group", level: str | None, options: ReadOptions
    ) -> None:
        self._arrays: dict[str, np.ndarray] = {}
        self.coordinates = np.asarray(group[_first(group, COORDINATES)], np.float64)
        if self.coordinates.ndim == 2:  # noqa: PLR2004 - one frame without an axis for frames
            self.coordinates = self.coordinates[None]
        self.n_frames = len(self.coordinates)
        for quantity, usual in NAMES.items():
            key = getattr(options, f"{quantity}_key")
            name = _first(group, [key] if key else usual)
            if level is not None and not key:
                name = _first(group, [f"{level}.{quantity}"])
            if name is not None:
                self._arrays[quantity] = np.asarray(group[name], np.float64)
        for name in ("pbc", "charge", "multiplicity", "split", "group", "source"):
            if name in group and not hasattr(group[name], "keys"):
                self._arrays[name] = np.asarray(group[name])
        cell = _first(group, CELLS)
        if cell is not None:
            self._arrays["cell"] = np.asarray(group[cell], np.float64)
        species = _first(group, NUMBERS)
        self._numbers = _atomic_numbers(group[species]) if species else np.zeros(0, int)
        self.level = _named_level(group) or level or ""
        for name, values in self._arrays.items():
            # What is the same for all frames may stand there once.
            is_once = name not in ("energy", "forces") or self.n_frames == 1
            if not is_once and len(values) != self.n_frames:
                raise SettingsError(
                    f"group {group.name}: {len(values)} rows of {name} for "
                    f"{self.n_frames} frames of coordinates",
                    next_step="the arrays of a group must have one row for each frame",
                )

    def numbers(self, k: int) -> np.ndarray:
        """Atomic numbers of a frame."""
        return np.asarray(self._numbers if self._numbers.ndim == 1 else self._numbers[k])

    def cell(self, k: int) -> np.ndarray | None:
        """Cell of a frame; None if it has none."""
        cell = self._arrays.get("cell")
        if cell is None:
            return None
        one = cell if cell.shape in {(3, 3), (9,)} else cell[k]
        return None if np.isnan(one).all() else one.reshape(3, 3)

    def pbc(self, k: int) -> np.ndarray:
        """Which directions are periodic: as the file says, else all if there is a cell."""
        pbc = self._arrays.get("pbc")
        if pbc is None:
            return np.full(3, self.cell(k) is not None)
        return np.asarray(pbc if pbc.shape == (3,) else pbc[k], bool)

    def number(self, name: str, k: int) -> float | None:
        """A number of a frame."""
        values = self._arrays.get(name)
        if values is None:
            return None
        flat = values.reshape(-1)
        return float(flat[k] if len(flat) > 1 else flat[0])

    def whole(self, name: str, k: int) -> int | None:
        """A whole number of a frame."""
        value = self.number(name, k)
        return None if value is None else round(value)

    def label(self, name: str, k: int) -> np.ndarray | None:
        """An array of a frame; None if it is not there."""
        values = self._arrays.get(name)
        if values is None:
            return None
        one = values[k] if values.ndim > 2 or name == "stress" else values  # noqa: PLR2004
        if np.isnan(one).all():
            return None
        return _voigt(one) if name == "stress" else np.asarray(one)

    def text(self, name: str, k: int) -> str:
        """A text of a frame."""
        values = self._arrays.get(name)
        return "" if values is None or values.ndim == 0 else _decoded(values[k])


def _voigt(stress: np.ndarray) -> np.ndarray:
    if stress.size != 9:  # noqa: PLR2004
        return np.asarray(stress)
    full = stress.reshape(3, 3)
    return np.array([*np.diag(full), full[1, 2], full[0, 2], full[0, 1]])


def _atomic_numbers(dataset: Any) -> np.ndarray:
    values = np.asarray(dataset)
    if values.dtype.kind in "iuf":
        return values.astype(int)
    numbers = [_NUMBER.get(_decoded(one).strip(), 0) for one in values.ravel()]
    return np.array(numbers, int).reshape(values.shape)


def _named_level(group: "h5py.Group") -> str:
    """The level that a group names, in an attribute or in a dataset `lot`."""
    if "level" in group.attrs:
        return _decoded(group.attrs["level"])
    if "lot" in group:
        values = np.asarray(group["lot"]).ravel()
        return _decoded(values[0]) if values.size else ""
    return ""


def _decoded(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
