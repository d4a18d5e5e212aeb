"""Labels from any program that reads a structure and writes a label."""

import errno
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, JsonValue, field_validator

from alflow.core.errors import SiteError
from alflow.core.findings import Finding
from alflow.core.labels import Failure, FailureKind, Label
from alflow.core.structures import Structure
from alflow.labelers.calculation import Report, in_scratch
from alflow.labelers.exchange import ANSWER, WRITERS, MalformedAnswer, read_answer
from alflow.labelers.program import run_program
from alflow.labelers.scratch import scratch_base
from alflow.registry import Settings

_NO_PROGRAM = frozenset({errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.E2BIG})


class CommandSettings(Settings):
    """Any program: reads structure.json or structure.extxyz, writes label.json."""

    kind: Literal["command"] = "command"
    command: tuple[str, ...] = Field(min_length=1)
    """Program and arguments, run for each structure in a scratch folder of its own, without a
    shell; the program by its name on the PATH of workers or by an absolute path. Files that
    arguments name need absolute paths as well."""
    level: dict[str, JsonValue] = Field(min_length=1)
    """What makes the labels comparable, in your own words: method, basis, version, ... It is the
    level's identity, together with the name of the program; arguments are not."""
    input: Literal["json", "extxyz"] = "json"
    """What the program finds in its folder: structure.json or structure.extxyz."""
    timeout_s: float = Field(default=3600.0, gt=0)
    """Time for one structure [s], after which the program and all that it started are killed."""
    energy_only: bool = False
    """Whether labels without forces are what is wanted; otherwise they are failures."""
    force_cap_eV_per_A: float = Field(default=50.0, gt=0)
    """Labels with a larger force on an atom are put aside [eV/Å]."""
    scratch: str | None = None
    """Folder of the scratch folders, as workers see it; by default in their temporary folder."""
    keep_failed_MB: float = Field(default=200.0, ge=0)
    """Room for scratch folders of failed structures [MB]; the oldest ones are removed."""

    @field_validator("command")
    @classmethod
    def _can_be_found(cls, command: tuple[str, ...]) -> tuple[str, ...]:
        program = command[0]
        if not program or any("\0" in word for word in command):
            raise ValueError("the program has no name, or a word holds a zero byte")
        if "/" in program and not Path(program).is_absolute():
            raise ValueError(
                f"{program!r} would be looked for in a scratch folder: write an absolute path"
            )
        return command

    @property
    def program(self) -> str:
        """Name of the program, without its folder."""
        return Path(self.command[0]).name

    @property
    def has_forces(self) -> bool:
        """Whether its labels have forces."""
        return not self.energy_only

    def level_identity(self) -> dict[str, Any]:
        """What the user declares, and the name of the program."""
        return {"kind": self.kind, "program": self.program, "level": self.level}

    def found(self) -> str:
        """The path of the program here.

        Raises:
            SiteError: If it is not found.
        """
        found = shutil.which(self.command[0])
        if found is None:
            raise SiteError(
                f"no program {self.command[0]!r} is found here, or it cannot be executed",
                code="AL201",
                next_step="name it by an absolute path, or put it on the PATH of workers",
            )
        return found

    def missing_here(self) -> Iterator[Finding]:
        """The program, if it is not on this machine."""
        try:
            self.found()
        except SiteError as error:
            yield Finding(("command",), error.message, error.next_step, error.code)

    def create(self) -> "CommandLabeler":
        """The labeler with these settings.

        Raises:
            SiteError: If the program is not found here, or there is no room for scratch folders.
        """
        return CommandLabeler(self)


class CommandLabeler:
    """Runs the program once for each structure."""

    def __init__(self, settings: CommandSettings) -> None:
        """Look for the program.

        Raises:
            SiteError: If it is not found here, or there is no room for scratch folders.
        """
        self._settings = settings
        self._command = (settings.found(), *settings.command[1:])
        self._base = scratch_base(settings.scratch)

    def label(self, structure: Structure) -> Label | Failure:
        """What the program says about one structure, or why it says nothing."""
        quota_MB = self._settings.keep_failed_MB
        return in_scratch(
            self._base, quota_MB, lambda folder: self._label(structure, folder)
        )

    def version(self) -> str:
        """Name of the program; what it says of its version is in the extras of its labels."""
        return f"command {self._settings.program}"

    def _label(self, structure: Structure, folder: Path) -> Label | Failure:
        settings = self._settings
        name, write = WRITERS[settings.input]
        (folder / name).write_text(write(structure), encoding="utf-8")
        report = Report(settings.program, folder)
        began = time.perf_counter()
        try:
            ending = run_program(self._command, folder, settings.timeout_s)
        except OSError as error:
            if error.errno not in _NO_PROGRAM:
                raise
            text = f"{settings.program} cannot be started: {error.strerror}"
            return Failure(FailureKind.CRASH, text)
        refused = report.unfinished(ending, settings.timeout_s)
        if refused is not None:
            return refused
        try:
            answer = read_answer(folder / ANSWER, structure.n_atoms)
        except MalformedAnswer as error:
            return report.failure(FailureKind.CRASH, f"malformed answer: {error}")
        if isinstance(answer, Failure):
            return report.failure(answer.kind, answer.message)
        suspicion = report.suspicious(
            answer,
            energy_only=settings.energy_only,
            force_cap_eV_per_A=settings.force_cap_eV_per_A,
        )
        if suspicion is not None:
            return suspicion
        extras = {**answer.extras, "wall_s": round(time.perf_counter() - began, 3)}
        return Label(answer.energy, answer.forces, answer.stress, extras)
