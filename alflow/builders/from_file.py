"""Structures from a file in any format that ASE reads."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from alflow.builders.atoms import read_frames, structure_of
from alflow.builders.given import frame_findings
from alflow.core.errors import SettingsError
from alflow.core.filenames import near
from alflow.core.findings import Finding
from alflow.core.structures import Structure
from alflow.registry import InputFile, Settings


class FromFileSettings(Settings):
    """Frames drawn at random from a file (extxyz, cif, POSCAR, ... whatever ASE reads)."""

    kind: Literal["from_file"] = "from_file"
    count: float = Field(default=1, gt=0)
    """Weight among the builders: structures are shared out in proportion to it."""
    path: InputFile
    """The file. Charge and multiplicity come from the entries `charge` and `multiplicity`."""
    frames: str = ":"
    """Which frames to draw from, as a Python slice: `100:200`, `::10`."""
    file_format: str | None = None
    """Format by its name in ASE; by default told from the file's name and content."""
    allow_close_atoms: bool = False
    """Whether frames may have atoms closer than half the sum of their covalent radii."""

    def problems(self, elements: Sequence[str]) -> Iterator[Finding]:
        """Frames that no campaign with these elements can use."""
        yield from frame_findings(
            ("path",),
            self.path,
            elements,
            frames=self.frames,
            file_format=self.file_format,
            override=None if self.allow_close_atoms else "allow_close_atoms",
        )

    def create(self) -> "FromFileBuilder":
        """The builder with these settings."""
        return FromFileBuilder(self)


class FromFileBuilder:
    """Draws frames without putting them back."""

    def __init__(self, settings: FromFileSettings) -> None:
        """Keep the settings; the file is read when structures are asked for."""
        self._settings = settings

    def build(self, rng: np.random.Generator, count: int) -> list[Structure]:
        """Draw `count` frames, each at most once.

        Raises:
            SettingsError: If the file cannot be read or has too few frames.
        """
        if count == 0:
            return []
        frames = self._frames()
        if count > len(frames):
            raise SettingsError(
                f"{near(self._settings.path)} has {len(frames)} frames, {count} were asked for",
                next_step="ask for fewer (loop.bootstrap or test.count, shared by 'count' of the "
                "builders), or widen 'frames'",
            )
        return [frames[k] for k in rng.choice(len(frames), size=count, replace=False)]

    def _frames(self) -> list[Structure]:
        settings = self._settings
        found = read_frames(
            settings.path, frames=settings.frames, file_format=settings.file_format
        )
        return [structure_of(atoms) for atoms in found]
