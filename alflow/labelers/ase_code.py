"""What can be said about a program behind ASE, and what can be told from it alone."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from alflow.core.structures import Structure, lowest_multiplicity

Values = Mapping[str, Any]
"""Settings of a calculator (JSON-like)."""
SPINLESS = frozenset({"eam", "emt", "ff", "lj", "morse", "tersoff", "tip3p", "tip4p"})
"""Calculators of ASE itself, which know no electrons."""

FORBIDDEN = {
    "command": "command",
    "profile": "command",
    "pseudo_dir": "pseudo_dir",
    "directory": None,
    "label": None,
    "txt": None,
    "restart": None,
    "ignore_bad_restart_file": None,
    "atoms": None,
}
"""What no level names, and the key of ASE's configuration that does; None: alflow decides."""


def no_change(settings: Values, _structure: Structure) -> dict[str, Any]:
    """The settings as they are, for any structure."""
    return dict(settings)


def no_files(_settings: Values) -> dict[str, str]:
    """No files."""
    return {}


def no_mistake(_settings: Values) -> str:
    """No mistake."""
    return ""


@dataclass(frozen=True, slots=True)
class Code:
    """How one program is driven and read; the words are regular expressions.

    Attributes:
        outputs: Files of its folder that tell how a calculation went.
        unconverged: What an output or an exception says if the field did not converge.
        converged: What the output of a field that converged has in it; empty if that is not known.
        finished: What a whole output has in it; empty if it has no such words.
        version: Finds the version, as its first group.
        potentials: Finds what a potential calls itself, as its first group: name or checksum.
        needs_flag: Whether the calculator itself must say `converged`.
        cells: What it can calculate.
        required: Settings without which a program would choose for itself: dotted, alternatives
            separated by `|`.
        machine: Settings that belong to the machine, and are refused in a level.
        folder: Key of ASE's configuration with the folder of its files.
        variables: Keys of ASE's configuration by environment variable that ASE reads instead.
        needs_command: Whether the configuration must name a command.
        knows_spin: Whether charge and multiplicity are handed over by `placed`.
        placed: Settings for one structure: its charge and spin.
        files: Files that settings name, below the folder, by where in the folder they lie.
        mistake: What is wrong with settings, or an empty string.
        scratch_variable: Environment variable with the folder of its large files.
        wants_moments: Whether spin is also told by moments of the atoms.
        has_free_energy: Whether ASE reads a free energy.
        module: Module of Python that the program is, and how it is installed; empty if it is none.
        slow_modules: Those of its modules that take long to import.
        components: Energies [Hartree] that its outputs tell beside the whole one, by name: pattern
            of the number. Of several the last one counts.
    """

    outputs: tuple[str, ...] = ()
    unconverged: str = ""
    converged: str = ""
    finished: str = ""
    version: str = ""
    potentials: str = ""
    needs_flag: bool = False
    cells: Literal["periodic", "molecules", "any"] = "any"
    required: tuple[str, ...] = ()
    machine: frozenset[str] = frozenset()
    folder: str = "folder"
    variables: tuple[tuple[str, str], ...] = ()
    needs_command: bool = False
    knows_spin: bool = False
    placed: Callable[[Values, Structure], dict[str, Any]] = no_change
    files: Callable[[Values], dict[str, str]] = no_files
    mistake: Callable[[Values], str] = no_mistake
    scratch_variable: str = ""
    wants_moments: bool = False
    has_free_energy: bool = True
    module: tuple[str, str] = ("", "")
    slow_modules: tuple[str, ...] = ()
    components: Mapping[str, str] = field(default_factory=dict)


def missing(settings: Values, required: tuple[str, ...]) -> str:
    """The first of the required settings that is not there, or an empty string."""
    for alternatives in required:
        if not any(_has(settings, path.split(".")) for path in alternatives.split("|")):
            return alternatives.replace("|", " or ")
    return ""


def plain(value: Any) -> Any:
    """Settings with one spelling for each number: 250.0 is 250."""
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def unsuitable(calculator: str, code: Code, structure: Structure) -> str:
    """Why a structure cannot be calculated by a program, or an empty string.

    Args:
        calculator: Name of the program in ASE.
        code: What is known about it.
        structure: What is to be labelled.
    """
    if structure.is_periodic:
        if code.cells == "molecules":
            return f"the structure is periodic; {calculator} is for molecules"
        if code.cells == "periodic" and not structure.pbc.all():
            # The vector of a direction that is not periodic is no part of a structure.
            return (
                f"the structure is periodic in some directions only, and {calculator} repeats "
                "the cell in all: make it periodic in all of them, with its vacuum"
            )
        return _unsuitable_cell(structure)
    if code.cells == "periodic":
        return f"{calculator} needs a periodic cell, and the structure has none"
    is_plain = structure.charge == 0 and structure.multiplicity == 1
    if is_plain or code.knows_spin or calculator in SPINLESS:
        return ""
    return (
        f"charge {structure.charge} and multiplicity {structure.multiplicity}: it is not known "
        f"how the calculator {calculator!r} is told; use the labeler `command`"
    )


def _unsuitable_cell(structure: Structure) -> str:
    if structure.charge:
        return f"a periodic cell with charge {structure.charge} has no defined energy"
    lowest = lowest_multiplicity(structure.numbers)
    if structure.multiplicity <= lowest:
        return ""
    return (
        f"multiplicity {structure.multiplicity} in a periodic cell: there, the spin is what "
        f"`settings` say, and the structure must have the lowest one ({lowest})"
    )


def _has(values: Any, keys: list[str]) -> bool:
    for key in keys:
        if not isinstance(values, Mapping):
            return False
        lowered = {str(name).lower(): value for name, value in values.items()}
        if key not in lowered:
            return False
        values = lowered[key]
    return True


def find(values: Any, name: str) -> Iterator[Any]:
    """Values of a key at any depth, in any spelling."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            if str(key).lower() == name:
                yield value
            yield from find(value, name)
