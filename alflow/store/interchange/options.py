"""What a reader is told, and what it gives back."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from alflow.core.errors import PluginError, SettingsError
from alflow.store.interchange.frames import ImportedFrame
from alflow.store.interchange.units import Units


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How a user wants a file to be read.

    Attributes:
        format: Name of the format; None to tell it from the file.
        units: Units of the file, where the user names them.
        forces_are_gradient: Whether what is called forces is the gradient of the energy.
        energy_key: Name of the energies in the file; None for the usual ones.
        forces_key: Name of the forces in the file; None for the usual ones.
        stress_key: Name of the stresses in the file; None for the usual ones.
        file_level: Level of theory to read, by the name that the file has for it.
    """

    format: str | None = None
    units: Units = field(default_factory=Units)
    forces_are_gradient: bool = False
    energy_key: str | None = None
    forces_key: str | None = None
    stress_key: str | None = None
    file_level: str | None = None


@dataclass(frozen=True, eq=False, slots=True)
class FileContent:
    """What a reader found.

    Attributes:
        frames: Frames in the file's own units.
        units: Units that the file or its format states.
    """

    frames: list[ImportedFrame]
    units: Units = field(default_factory=Units)


@contextmanager
def needing(extra: str, path: Path) -> Iterator[None]:
    """Turn a missing library into a message that names the extra to install."""
    try:
        yield
    except ImportError as error:
        raise PluginError(
            f"the libraries for {path.name} are not installed",
            code="AL201",
            consequence="Nothing was read or written.",
            next_step=f'pip install "alflow[{extra}]"',
        ) from error


def unreadable(path: Path, reason: object) -> SettingsError:
    """The error for a file that is not what it is taken for."""
    return SettingsError(
        f"{path} cannot be read: {reason}",
        code="AL103",
        consequence="Nothing was imported.",
    )


def ambiguous(path: Path, what: str, choices: list[str], option: str) -> SettingsError:
    """The error for a file that has two of something, of which one must be chosen."""
    return SettingsError(
        f"{path} has {what} under {len(choices)} names: {', '.join(choices)}",
        code="AL131",
        consequence="Nothing was imported.",
        next_step=f"choose one: {option} {choices[0]}",
    )
