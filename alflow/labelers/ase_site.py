"""What a machine says about the programs behind ASE: its own configuration file of ASE.

`~/.config/ase/config.ini`, or the files that `$ASE_CONFIG_PATH` names, has a section for each
program, with its command and the folder of its files; `[alflow]` is for all of them. A level of
theory has none of that.
"""

import configparser
import json
import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from alflow.core.canonical import path_sha256
from alflow.core.errors import SettingsError, SiteError, closest
from alflow.labelers.ase_code import Code
from alflow.labelers.ase_codes import code_of

_CONFIGURATION = "ASE's configuration (~/.config/ase/config.ini, or $ASE_CONFIG_PATH)"


@dataclass(frozen=True, slots=True)
class Place:
    """What this machine says about one program.

    Attributes:
        calculator: Name of the program in ASE.
        code: What is known about it.
        section: Its section of the configuration, and what `[alflow]` says for all.
        variables: Environment variables that the configuration sets.
    """

    calculator: str
    code: Code
    section: Mapping[str, str]
    variables: Mapping[str, str]

    @classmethod
    def here(cls, calculator: str) -> "Place":
        """What the configuration on this machine says now.

        Raises:
            SiteError: If it cannot be read.
        """
        from ase.config import Config

        code = code_of(calculator)
        try:
            parser = Config.read().parser
            section, shared = (
                {
                    name: value
                    for one in names
                    if one in parser
                    for name, value in parser[one].items()
                }
                for names in (("alflow", calculator), ("environment",))
            )
        except (configparser.Error, UnicodeDecodeError) as error:
            raise SiteError(f"{_CONFIGURATION} cannot be read: {error}") from error
        # Names of variables are upper-case; the parser lowers them.
        variables = {name.upper(): value for name, value in shared.items()}
        for variable, key in code.variables:
            if key in section:
                variables[variable] = section[key]
        return cls(calculator, code, section, variables)

    def python(self) -> tuple[str, ...]:
        """The words that start the Python in which ASE runs: this one, unless it is told.

        Raises:
            SiteError: If there is no such program.
        """
        words = tuple(shlex.split(self.section.get("python", ""))) or (sys.executable,)
        self._found(words[0], "python")
        return words

    def check(self, files: Mapping[str, str]) -> None:
        """Look for the program and its files.

        Args:
            files: SHA-256 of each file.

        Raises:
            SiteError: If the configuration does not name the program, it is not there, or its
                settings are wrong.
            SettingsError: If a file is not there, or another one.
        """
        self.python()
        self.machine_settings()
        self._check_program()
        for name, expected in files.items():
            self._compare(name, expected)

    def _check_program(self) -> None:
        variable = next((one for one, key in self.code.variables if key == "command"), "")
        command = self.section.get("command") or self._variable(variable)
        if self.code.needs_command and not command:
            raise SiteError(
                f"{_CONFIGURATION} has no command for {self.calculator}",
                code="AL201",
                next_step=f"write a section [{self.calculator}] with a line `command = ...`",
            )
        module, way = self.code.module
        if module and "python" not in self.section and find_spec(module) is None:
            raise SiteError(
                f"{module} is not installed here",
                code="AL201",
                next_step=f"{way}, or name another Python that has it and ASE: `python = ...` in "
                f"[{self.calculator}] of {_CONFIGURATION}",
            )
        if command:
            words = shlex.split(command)
            self._found(words[0] if words else "", "command")

    def machine_settings(self) -> dict[str, Any]:
        """Settings that belong to this machine, such as its cores.

        Raises:
            SiteError: If they are not JSON, or have something that belongs to a level.
        """
        text = self.section.get("settings", "")
        if not text:
            return {}
        try:
            settings = json.loads(text)
        except ValueError as error:
            raise SiteError(
                f"settings of [{self.calculator}] in {_CONFIGURATION} are not JSON: {error}"
            ) from error
        strange = sorted(set(settings) - self.code.machine) if settings else []
        if not isinstance(settings, dict) or strange:
            known = ", ".join(sorted(self.code.machine)) or "none"
            raise SiteError(
                f"settings of [{self.calculator}] in {_CONFIGURATION} are {text!r}; those of "
                f"a machine are: {known}",
                next_step="everything else belongs to the level, in the campaign file",
            )
        return settings

    def scratch(self) -> str | None:
        """Folder for the folders of calculations; None for the temporary folder of the task."""
        if told := self.section.get("scratch"):
            return str(Path(told).expanduser())
        shared = os.environ.get("ALFLOW_SCRATCH")
        return f"{shared}/alflow-{os.getuid()}" if shared else None

    def folder(self) -> Path | None:
        """Folder of the program's files (pseudopotentials, basis sets); None if not told."""
        key = self.code.folder
        variable = next((one for one, name in self.code.variables if name == key), "")
        value = self.section.get(key) or self._variable(variable)
        return Path(value).expanduser() if value else None

    def file(self, name: str) -> Path:
        """Where a file of the level lies on this machine.

        Raises:
            SettingsError: If it is not there, or would lie outside of the folder.
        """
        folder = self.folder()
        where = f"{self.code.folder} of [{self.calculator}] in {_CONFIGURATION}"
        if folder is None:
            raise SettingsError(
                f"the file {name!r} cannot be looked for: there is no {where}",
                code="AL103",
                next_step=f"write `{self.code.folder} = FOLDER` there, or the file's SHA-256 "
                "into `files` where the file is elsewhere",
            )
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise SettingsError(
                f"the file {name!r} must be named below a folder of the machine: {where}",
                code="AL103",
            )
        path = folder / name
        if not path.exists():
            try:
                hint = closest(path.name, [one.name for one in path.parent.iterdir()])
            except OSError:
                hint = None
            raise SettingsError(
                f"there is no {path}" + (f"; did you mean {hint!r}?" if hint else ""),
                code="AL103",
                next_step=f"the folder is {where}",
            )
        return path

    def digest(self, name: str) -> str:
        """SHA-256 of a file of the level, or of all files of a folder.

        Raises:
            SettingsError: If it cannot be read.
        """
        path = self.file(name)
        try:
            return path_sha256(path)
        except OSError as error:
            raise SettingsError(f"{path} cannot be read: {error.strerror}") from error

    def _compare(self, name: str, expected: str) -> None:
        found = self.digest(name)
        if expected != found:
            raise SettingsError(
                f"{name} is not the file that labels were made with: its SHA-256 is {found[:12]}…, "
                f"expected {expected[:12]}…",
                code="AL103",
                next_step="put the old file back; for the new one start a new campaign",
            )

    def _variable(self, name: str) -> str:
        return self.variables.get(name) or os.environ.get(name, "")

    def _found(self, program: str, key: str) -> None:
        if shutil.which(program) is None:
            raise SiteError(
                f"no program {program!r} is found here, or it cannot be executed",
                code="AL201",
                next_step=f"`{key}` of [{self.calculator}] in {_CONFIGURATION} names it",
            )
