"""Labels from any program that ASE can drive: VASP, Quantum ESPRESSO, CP2K, ORCA, GPAW, ..."""

import json
import re
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from alflow.core.errors import AlflowError, closest
from alflow.core.findings import Finding
from alflow.core.labels import Failure, FailureKind, Label
from alflow.core.structures import Structure
from alflow.labelers.ase_code import FORBIDDEN, missing, plain, unsuitable
from alflow.labelers.ase_codes import code_of
from alflow.labelers.ase_outcome import judge
from alflow.labelers.ase_site import Place
from alflow.labelers.calculation import Report, in_scratch
from alflow.labelers.exchange import ANSWER, MalformedAnswer, read_answer, structure_json
from alflow.labelers.program import Ending, Server, run_program
from alflow.labelers.quality import screen_distances, screen_electrons
from alflow.labelers.scratch import scratch_base
from alflow.registry import Settings

_CHILD = Path(__file__).with_name("ase_child.py")
_JOB = "calculation.json"
_WANTED = ("energy", "free_energy", "forces", "stress", "magmom")


class AseSettings(Settings):
    """Any calculator of ASE by its name; the machine's commands are in ASE's configuration."""

    kind: Literal["ase"] = "ase"
    calculator: str
    """Name in ASE: `vasp`, `espresso`, `cp2k`, `orca`, `aims`, `gpaw`, `psi4`, ..."""
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    """What the calculator takes as keywords. Commands, cores and folders belong to the machine,
    charge and multiplicity to the structures: they are refused here."""
    files: dict[str, str] = Field(default_factory=dict)
    """Files of the machine that the numbers depend on (pseudopotentials, basis sets), below the
    folder that ASE's configuration names, each with its SHA-256, which is taken from the file if
    it is empty. Those that settings of known programs name are added by themselves."""
    energy: Literal["free", "total"] = "free"
    """Which energy is stored: the free energy of the electrons, which forces follow where
    occupations are smeared, or for calculators that tell none the total energy."""
    timeout_s: float = Field(default=3600.0, gt=0)
    """Time for one structure [s], after which the program and all that it started are killed."""
    energy_only: bool = False
    """Whether labels without forces are what is wanted; otherwise they are failures."""
    force_cap_eV_per_A: float = Field(default=50.0, gt=0)
    """Labels with a larger force on an atom are put aside [eV/Å]."""
    net_force_eV_per_A: float = Field(default=0.02, gt=0)
    """Labels with a larger net force, divided by √(number of atoms), are put aside [eV/Å]."""
    min_distance_factor: float = Field(default=0.5, ge=0)
    """Closest approach of two atoms, in sums of their covalent radii."""
    keep_failed_MB: float = Field(default=200.0, ge=0)
    """Room for folders of failed structures [MB]; the oldest ones are removed."""

    @field_validator("calculator", mode="before")
    @classmethod
    def _known(cls, calculator: Any) -> Any:
        if not isinstance(calculator, str):
            return calculator
        from ase.calculators.names import names

        name = calculator.lower()
        if name not in names:
            hint = closest(name, names)
            raise ValueError(
                f"ASE has no calculator {calculator!r}"
                + (f"; did you mean {hint!r}?" if hint else "")
                + "; for other programs there is the labeler `command`"
            )
        return name

    @field_validator("files")
    @classmethod
    def _are_digests(cls, files: dict[str, str]) -> dict[str, str]:
        for name, digest in files.items():
            if digest and re.fullmatch("[0-9a-f]{64}", digest) is None:
                raise ValueError(
                    f"{digest!r} of {name} is no SHA-256 (64 digits, `sha256sum {name}`); leave "
                    "it empty to take it from the file"
                )
        return files

    @model_validator(mode="after")
    def _whole(self) -> "AseSettings":
        """Refuse what would make labels incomparable."""
        _check_settings(self)
        return self

    @model_validator(mode="after")
    def _digests(self) -> "AseSettings":
        """Take checksums from the files, unless they are known: a worker compares them."""
        named = {*self.files, *code_of(self.calculator).files(self.settings).values()}
        unknown = sorted(name for name in named if not self.files.get(name))
        if not unknown:
            return self
        try:
            place = Place.here(self.calculator)
            taken = {name: place.digest(name) for name in unknown}
        except AlflowError as error:
            hint = f" ({error.next_step})" if error.next_step else ""
            raise ValueError(f"{error.message}{hint}") from error
        self.files.update(taken)  # the model is frozen, its mapping is not
        return self

    @property
    def handles_periodic(self) -> bool:
        """Whether periodic structures can be labelled."""
        return code_of(self.calculator).cells != "molecules"

    @property
    def has_forces(self) -> bool:
        """Whether its labels have forces."""
        return not self.energy_only

    def problems(self, elements: Iterable[str]) -> Iterator[Finding]:
        """Elements for which no file is named, where settings name one for each."""
        section = {"vasp": "setups", "espresso": "pseudopotentials"}.get(self.calculator)
        named = code_of(self.calculator).files(self.settings)
        lacking = [one for one in elements if one not in named] if section else []
        if section and lacking:
            message = f"names no file for {', '.join(lacking)}"
            yield Finding(("settings", section), message, "add them", "AL121")

    def missing_here(self) -> Iterator[Finding]:
        """What this machine lacks of the program and its files."""
        try:
            Place.here(self.calculator).check(self.files)
        except AlflowError as error:
            yield Finding((), error.message, error.next_step, error.code)

    def level_identity(self) -> dict[str, Any]:
        """The program, all that it is told, and the contents of its files."""
        return {
            "kind": self.kind,
            "calculator": self.calculator,
            "settings": plain(self.settings),
            "files": self.files,
            "energy": self.energy,
        }

    def create(self) -> "AseLabeler":
        """The labeler with these settings, on this machine.

        Raises:
            SiteError: If ASE's configuration does not name the program, or it is not there.
            SettingsError: If a file is not there or has changed.
        """
        return AseLabeler(self)


class AseLabeler:
    """Runs a calculator of ASE in a Python of its own, in a fork of it for each structure.

    Where the machine names something else than a Python, such as `mpirun`, each structure has a
    process of its own.
    """

    def __init__(self, settings: AseSettings) -> None:
        """Look for the program and its files.

        Raises:
            SiteError: If ASE's configuration does not name the program, or it is not there.
            SettingsError: If a file is not there or has changed.
        """
        self._settings = settings
        self._code = code_of(settings.calculator)
        self._place = Place.here(settings.calculator)
        self._place.check(settings.files)
        self._python = self._place.python()
        is_python = re.fullmatch(r"python[\d.]*", Path(self._python[0]).name) is not None
        self._stays = is_python and len(self._python) == 1
        self._server: Server | None = None
        self._machine = self._place.machine_settings()
        self._base = scratch_base(self._place.scratch())
        self._program = f"{settings.calculator} (ase {version('ase')})"

    def label(self, structure: Structure) -> Label | Failure:
        """Energy, forces and, in periodic cells, stress; or why there are none."""
        settings = self._settings
        if reason := unsuitable(settings.calculator, self._code, structure):
            return Failure(FailureKind.INVALID_INPUT, reason)
        refused = None if structure.is_periodic else screen_electrons(structure)
        refused = refused or screen_distances(structure, settings.min_distance_factor)
        if refused is not None:
            return refused
        return in_scratch(
            self._base,
            settings.keep_failed_MB,
            lambda folder: self._calculate(structure, folder),
        )

    def version(self) -> str:
        """Name and version of the program, as its last output told them."""
        return self._program

    def _calculate(self, structure: Structure, folder: Path) -> Label | Failure:
        settings = self._settings
        report = Report(settings.calculator, folder)
        began = time.perf_counter()
        (folder / _JOB).write_text(self._job(structure, folder), encoding="utf-8")
        for name in settings.files:
            if not self._code.outputs and not (folder / name).exists():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).symlink_to(self._place.file(name).absolute())
        ending = self._run(folder)
        try:
            answer = read_answer(folder / ANSWER, structure.n_atoms)
        except MalformedAnswer as error:
            answer = report.unfinished(ending, settings.timeout_s) or report.failure(
                FailureKind.CRASH, f"malformed answer: {error}"
            )
        judged = judge(self._code, report, answer)
        if isinstance(judged, Failure):
            return judged
        if judged.extras.get("program"):
            self._program = f"{settings.calculator} {judged.extras['program']}"
        suspicion = report.suspicious(
            judged,
            energy_only=settings.energy_only,
            force_cap_eV_per_A=settings.force_cap_eV_per_A,
            net_force_eV_per_A=settings.net_force_eV_per_A,
        )
        if suspicion is not None:
            return suspicion
        extras = {**judged.extras, "wall_s": round(time.perf_counter() - began, 3)}
        return Label(judged.energy, judged.forces, judged.stress, extras)

    def _run(self, folder: Path) -> Ending:
        """Let the child calculate in a folder."""
        timeout_s, variables = self._settings.timeout_s, self._place.variables
        command = (*self._python, str(_CHILD))
        if not self._stays:
            return run_program(command, folder, timeout_s, variables)
        if self._server is None or not self._server.is_ready:
            command = (*command, self._settings.calculator, *self._code.slow_modules)
            self._server = Server(command, folder, variables)
        return self._server.run(folder, timeout_s)

    def _job(self, structure: Structure, folder: Path) -> str:
        """What the child reads."""
        settings = self._settings
        scratch = {self._code.scratch_variable} - {"", *self._place.variables}
        values = self._code.placed({**settings.settings, **self._machine}, structure)
        for key, name in self._code.files(settings.settings).items():
            if key in settings.settings:  # the path itself is what the program takes
                values[key] = str(self._place.file(name).absolute())
        wanted = [
            name
            for name in _WANTED
            if (name != "forces" or not settings.energy_only)
            and (name != "stress" or structure.pbc.all())
        ]
        unpaired = structure.multiplicity - 1
        moments = None
        if unpaired and not structure.is_periodic and self._code.wants_moments:
            moments = [unpaired / structure.n_atoms] * structure.n_atoms
        return json.dumps(
            {
                "calculator": settings.calculator,
                "settings": values,
                "structure": json.loads(structure_json(structure)),
                "wanted": wanted,
                "energy": settings.energy,
                "magnetic_moments": moments,
                "variables": dict.fromkeys(scratch, str(folder)),
            }
        )


def _check_settings(settings: AseSettings) -> None:
    calculator, values = settings.calculator, settings.settings
    code = code_of(calculator)
    for name in values:
        if name in FORBIDDEN:
            key = FORBIDDEN[name]
            raise ValueError(
                f"settings.{name} belongs to the machine"
                + (
                    f": write `{key} = ...` into the section [{calculator}] of ASE's "
                    "configuration (~/.config/ase/config.ini)"
                    if key
                    else ", and alflow sets it: leave it out"
                )
            )
        if name in code.machine:
            raise ValueError(
                f"settings.{name} belongs to the machine: write it as JSON into the section "
                f"[{calculator}] of ASE's configuration, "
                f"settings = {json.dumps({name: values[name]})}"
            )
    if lacking := missing(values, code.required):
        raise ValueError(
            f"settings.{lacking} is not said, and {calculator} would choose for itself: a "
            "level says everything that changes the numbers"
        )
    if mistake := code.mistake(values):
        raise ValueError(mistake)
    if settings.energy == "free" and not code.has_free_energy:
        raise ValueError(f"{calculator} tells no free energy: write `energy: total`")
    if calculator == "orca" and not settings.energy_only:
        words = str(values["orcasimpleinput"]).lower().split()
        if "engrad" not in words:
            raise ValueError(
                f"settings.orcasimpleinput {values['orcasimpleinput']!r} asks for no forces: "
                "add the word EnGrad, or set energy_only: true"
            )
