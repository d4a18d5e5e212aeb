"""The formats, and how a file's format is told."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from alflow.core.errors import SettingsError, closest
from alflow.core.filenames import similar
from alflow.store.interchange.diagnosis import Reading
from alflow.store.interchange.frames import ExportedFrame, ImportedFrame
from alflow.store.interchange.options import FileContent, ReadOptions, unreadable
from alflow.store.interchange.units import ENERGY_UNITS, FORCE_UNITS, LENGTH_UNITS

Reader = Callable[[Path, ReadOptions], FileContent]
Writer = Callable[[Path, Sequence[ExportedFrame]], None]

_SQLITE = b"SQLite format 3\x00"
_HDF5 = b"\x89HDF\r\n\x1a\n"
_PARQUET = b"PAR1"


@dataclass(frozen=True, slots=True)
class Format:
    """A file format.

    Attributes:
        name: What `--format` calls it.
        suffixes: Suffixes that mean it.
        title: What it is, for people.
    """

    name: str
    suffixes: tuple[str, ...]
    title: str

    @property
    def read(self) -> Reader:
        """Its reader; importing it does not yet import the library behind it."""
        reader: Reader = self._module().read
        return reader

    @property
    def write(self) -> Writer:
        """Its writer."""
        writer: Writer = self._module().write
        return writer

    def _module(self) -> ModuleType:
        name = self.name.replace("-", "_")
        return importlib.import_module(f"alflow.store.interchange.{name}")


FORMATS = {
    one.name: one
    for one in (
        Format("extxyz", (".extxyz", ".xyz"), "extended XYZ"),
        Format("ase-db", (".db", ".json"), "ASE database"),
        Format("hdf5", (".h5", ".hdf5", ".hdf"), "ANI-style HDF5"),
        Format("deepmd", (".deepmd",), "folder of DeePMD npy files"),
        Format("parquet", (".parquet", ".pq"), "Parquet with ColabFit's column names"),
    )
}
"""Formats by name; the first suffix of each is the usual one."""


def named_format(name: str) -> Format:
    """The format with this name.

    Raises:
        SettingsError: If there is none.
    """
    if name not in FORMATS:
        hint = closest(name, FORMATS)
        raise SettingsError(
            f"there is no format {name!r}" + (f"; did you mean {hint!r}?" if hint else ""),
            next_step=f"formats: {', '.join(FORMATS)}",
        )
    return FORMATS[name]


def format_for_writing(path: Path, name: str | None) -> Format:
    """The format to write: the one that is named, else the one that the suffix means.

    Raises:
        SettingsError: If neither says.
    """
    if name is not None:
        return named_format(name)
    found = _by_suffix(path)
    if found is None:
        raise SettingsError(
            f"the name {path} does not say in which format to write",
            consequence="Nothing was written.",
            next_step=f"choose one: --format {'|'.join(FORMATS)}",
        )
    return found


def format_of(path: Path, name: str | None) -> Format:
    """The format of a file: the one that is named, else by its first bytes, else its suffix.

    Raises:
        SettingsError: If there is no such file, or its format cannot be told.
    """
    if not path.exists():
        match = similar(path)
        hint = f"; did you mean {match!r}?" if match else ""
        raise unreadable(path, f"there is no such file{hint}")
    if name is not None:
        return named_format(name)
    found = _by_content(path) or _by_suffix(path)
    if found is None:
        raise SettingsError(
            f"the format of {path} cannot be told",
            code="AL131",
            consequence="Nothing was imported.",
            next_step=f"name it: --format {'|'.join(FORMATS)}",
        )
    return found


def read_file(path: Path, options: ReadOptions) -> tuple[list[ImportedFrame], Reading]:
    """Frames of a file in eV and Å, and how they were read.

    Raises:
        SettingsError: If the file cannot be read, or does not say what its units are.
        PluginError: If a library that it needs is not installed.
    """
    content = format_of(path, options.format).read(path, options)
    units = options.units.over(content.units)
    if units.energy is None or units.length is None:
        raise _units_missing(path, units.energy is None, units.length is None)
    factors = units.factors(forces_are_gradient=options.forces_are_gradient)
    frames = [frame.scaled(factors) for frame in content.frames]
    return frames, Reading(units, options.forces_are_gradient)


def _units_missing(path: Path, *missing: bool) -> SettingsError:
    names = [
        n for n, is_missing in zip(("energy", "length"), missing, strict=True) if is_missing
    ]
    return SettingsError(
        f"{path} does not say in which unit its {' and '.join(names)} values are",
        code="AL130",
        consequence="Nothing was imported.",
        next_step=f"--energy-unit: {', '.join(ENERGY_UNITS)}\n"
        f"--length-unit: {', '.join(LENGTH_UNITS)}\n"
        f"--force-unit: {', '.join(list(FORCE_UNITS)[:6])}, ... "
        "(default: energy over length)\n"
        "for ANI data sets, for example: --energy-unit hartree --length-unit angstrom",
    )  # fmt: skip


def _by_content(path: Path) -> Format | None:
    if path.is_dir():
        is_deepmd = any(path.rglob("type.raw"))
        return FORMATS["deepmd"] if is_deepmd else None
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise unreadable(path, error.strerror) from error
    marks = {_SQLITE: "ase-db", _HDF5: "hdf5", _PARQUET: "parquet"}
    return next((FORMATS[n] for mark, n in marks.items() if head.startswith(mark)), None)


def _by_suffix(path: Path) -> Format | None:
    suffix = path.suffix.lower()
    return next((one for one in FORMATS.values() if suffix in one.suffixes), None)
