"""Labels from tabulated embedded-atom potentials of the literature: exact, in milliseconds."""

from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from alflow.core.canonical import sha256_hex
from alflow.core.elements import SYMBOLS
from alflow.core.errors import SettingsError
from alflow.core.findings import Finding
from alflow.core.labels import Failure, FailureKind, Label
from alflow.core.structures import Structure
from alflow.registry import Settings, refused

if TYPE_CHECKING:
    from alflow.labelers.eam_potential import EamPotential
    from alflow.labelers.embedded_atom import EmbeddedAtom

_FUNCTIONS = "lammps"
"""How functions run between the points of the tables; another way is another level."""
_VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])


class EamSettings(Settings):
    """Labels from a tabulated embedded-atom potential (setfl file: .eam.alloy or .eam.fs)."""

    kind: Literal["eam"] = "eam"
    file: str
    """The setfl file, relative to the campaign file. Workers read it as well: it must lie where
    they see it. The level of theory is its content, wherever it lies."""
    sha256: str = Field(default="", pattern="^([0-9a-f]{64})?$")
    """Checksum of the file; taken from the file if not given, and compared with it if given."""
    file_elements: tuple[str, ...] = ()
    """Chemical symbols in the file; taken from the file."""
    min_distance_A: float | None = Field(default=None, gt=0)
    """Closest approach of two atoms [Å]; by default the first distance that is tabulated."""

    @model_validator(mode="before")
    @classmethod
    def _reads_file(cls, values: Any) -> Any:
        """Look into the file, unless that was done before: on a worker it is `create` that does."""
        if not isinstance(values, Mapping) or not isinstance(values.get("file"), str):
            return values
        if values.get("sha256") and values.get("file_elements"):
            return values
        # setfl needs no more than numpy, but not even that where nothing is read
        from alflow.labelers.setfl import read_setfl

        path = Path(values["file"]).absolute()
        try:
            content = _content(path, str(values.get("sha256") or ""))
            tables = read_setfl(content, path.name)
        except SettingsError as error:
            raise refused(error, "file") from error
        return {
            **values,
            "file": str(path),
            "sha256": sha256_hex(content),
            "file_elements": tables.symbols,
        }

    def problems(self, elements: Iterable[str]) -> Iterator[Finding]:
        """Elements of the campaign that the file does not have."""
        missing = [symbol for symbol in elements if symbol not in self.file_elements]
        if missing:
            yield Finding(
                ("file",),
                f"has no tables for {', '.join(missing)} (it has "
                f"{', '.join(self.file_elements)})",
                "take another file, or other elements",
                "AL121",
            )

    def missing_here(self) -> Iterator[Finding]:
        """The file, if it is not on this machine, or another one."""
        try:
            _content(Path(self.file), self.sha256)
        except SettingsError as error:
            yield Finding(("file",), error.message, error.next_step, error.code)

    @property
    def has_forces(self) -> bool:
        """Whether its labels have forces."""
        return True

    def level_identity(self) -> dict[str, Any]:
        """The content of the file, and how functions run between its points."""
        return {"kind": self.kind, "sha256": self.sha256, "functions": _FUNCTIONS}

    def create(self) -> "EamLabeler":
        """The labeler with these settings.

        Raises:
            SettingsError: If the file cannot be read here, or has changed.
        """
        from alflow.labelers.embedded_atom import EmbeddedAtom
        from alflow.labelers.setfl import read_setfl
        from alflow.models.neighbours import prepare_search

        prepare_search()  # here, not in the time that a structure may take
        path = Path(self.file)
        potential = EmbeddedAtom(read_setfl(_content(path, self.sha256), path.name))
        return EamLabeler(potential, self.min_distance_A or potential.first_A)


class EamLabeler:
    """Evaluates a tabulated potential as if it were the truth."""

    def __init__(self, potential: "EmbeddedAtom", min_distance_A: float) -> None:
        """Keep the potential, and the closest approach of two atoms [Å]."""
        self._potential = potential
        self._min_distance_A = min_distance_A
        self._index = np.full(len(SYMBOLS), -1)
        for index, symbol in enumerate(potential.symbols):
            self._index[SYMBOLS.index(symbol)] = index

    def label(self, structure: Structure) -> Label | Failure:
        """Energy, forces and, where all directions are periodic, stress."""
        from alflow.models.neighbours import neighbour_pairs
        from alflow.models.potential import Batch

        elements = self._index[structure.numbers]
        if (elements < 0).any():
            strange = sorted({SYMBOLS[z] for z in structure.numbers[elements < 0]})
            message = (
                f"no tables for {', '.join(strange)}; the file has "
                f"{', '.join(self._potential.symbols)}"
            )
            return Failure(FailureKind.INVALID_INPUT, message)
        batch = Batch.from_structures([structure])
        try:
            pairs = neighbour_pairs(batch, self._potential.cutoff_A)
        except ValueError as error:
            return Failure(FailureKind.BAD_GEOMETRY, str(error))
        i, j, vectors = pairs.i.numpy(), pairs.j.numpy(), pairs.vectors(batch).numpy()
        refused = self._too_close(structure, i, j, vectors)
        if refused is not None:
            return refused
        result = self._potential.evaluate(elements, i, j, vectors)
        stress = None
        if structure.pbc.all() and structure.cell is not None:
            stress = (result.virial / abs(np.linalg.det(structure.cell)))[_VOIGT]
        beyond = int((result.densities > self._potential.last_density).sum())
        extras = {"atoms_beyond_tables": beyond} if beyond else {}
        return Label(result.energy, result.forces, stress, extras)

    def as_potential(self) -> "EamPotential":
        """The potential itself, for dynamics; it does not mind atoms that are too close."""
        from alflow.labelers.eam_potential import EamPotential

        return EamPotential(self._potential)

    def version(self) -> str:
        """Name and version of the program."""
        return f"alflow {version('alflow')}"

    def _too_close(
        self, structure: Structure, i: np.ndarray, j: np.ndarray, vectors: np.ndarray
    ) -> Failure | None:
        if not len(vectors):
            return None
        distances = np.linalg.norm(vectors, axis=1)
        worst = int(distances.argmin())
        if distances[worst] >= self._min_distance_A:
            return None
        ends = [int(i[worst]), int(j[worst])]
        names = [f"{SYMBOLS[structure.numbers[end]]}{end}" for end in ends]
        return Failure(
            FailureKind.BAD_GEOMETRY,
            f"{names[0]} and {names[1]} are {distances[worst]:.4f} Å apart "
            f"(limit {self._min_distance_A:g} Å)",
            {"atoms": ends, "distance_A": float(distances[worst])},
        )


def _content(path: Path, expected: str) -> bytes:
    """The file, its checksum compared with the expected one unless that is empty."""
    from alflow.labelers.setfl import content_of

    content = content_of(path)
    found = sha256_hex(content)
    if expected and found != expected:
        raise SettingsError(
            f"{path} is not the file that labels were made with: its SHA-256 is {found[:12]}…, "
            f"expected {expected[:12]}…",
            code="AL103",
            next_step="put the old file back; for the new one start a new campaign",
        )
    return content
