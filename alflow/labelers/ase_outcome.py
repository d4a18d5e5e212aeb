"""Whether to believe what a program behind ASE said, by its words."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from alflow.core.labels import Failure, FailureKind, Label
from alflow.labelers.ase_code import Code
from alflow.labelers.calculation import Report
from alflow.labelers.program import STDERR, tail

_UNCONVERGED = (
    r"SCFError|[Nn][Oo][Tt] ([Bb][Ee][Ee][Nn] )?([Ff]ully )?(converge|CONVERGE|achieved)"
    r"|did(n't| not) converge|failed to converge|convergence (failure|failed)"
)
"""Words of exceptions of programs that are not in the table."""
_MEMORY = (
    r"[Oo]ut [Oo]f [Mm]emory|OUT OF MEMORY|MemoryError|Cannot allocate memory|bad_alloc"
    r"|insufficient (virtual )?memory|[Nn]ot enough memory|oom-kill|died with <Signals.SIGKILL"
)
_INPUT = r"^(InputError|PropertyNotImplementedError)\b"
_LONGEST = 400
"""Characters of an exception that a message keeps."""
_TAIL = 2000


@dataclass(frozen=True, slots=True)
class Reading:
    """What the outputs of one calculation say.

    Attributes:
        unconverged: The line that says that a field did not converge, or an empty string.
        is_converged: Whether the words of a converged field are there, where they are known.
        is_finished: Whether the output is whole.
        memory: The line that says that memory ran out, or an empty string.
        version: Version of the program, or an empty string.
        potentials: What the potentials call themselves.
        components: Energies by name [Hartree].
    """

    unconverged: str
    is_converged: bool
    is_finished: bool
    memory: str
    version: str
    potentials: tuple[str, ...]
    components: Mapping[str, float]


def read_outputs(code: Code, report: Report) -> Reading:
    """Look through the outputs of a calculation, which may be large, line by line."""
    lines = _lines(report, (*code.outputs, STDERR))
    converged, finished = not code.converged, not code.finished
    unconverged = memory = version = ""
    potentials: set[str] = set()
    components: dict[str, float] = {}
    for line in lines:
        if not unconverged and code.unconverged and re.search(code.unconverged, line):
            unconverged = line.strip()
        if not memory and re.search(_MEMORY, line):
            memory = line.strip()
        if not converged and re.search(code.converged, line):
            converged = True
        if not finished and re.search(code.finished, line):
            finished = True
        if not version and code.version and (found := re.search(code.version, line)):
            version = found[1]
        if code.potentials and (found := re.search(code.potentials, line)):
            potentials.add(found[1])
        for name, pattern in code.components.items():
            if found := re.search(pattern, line):
                components[name] = float(found[1])
    return Reading(
        unconverged[:_LONGEST],
        converged,
        finished,
        memory[:_LONGEST],
        version,
        tuple(sorted(potentials)),
        components,
    )


def judge(code: Code, report: Report, answer: Label | Failure) -> Label | Failure:
    """A label that the program itself stands by, or why there is none.

    Args:
        code: What is known about the program.
        report: Where it ran.
        answer: What was read from it.
    """
    reading = read_outputs(code, report)
    refused = (
        _of_failure(code, reading, answer)
        if isinstance(answer, Failure)
        else _of_label(code, reading, answer)
    )
    if refused is None and isinstance(answer, Label):
        said: dict[str, Any] = {"program": reading.version} if reading.version else {}
        if reading.potentials:
            said["potentials"] = list(reading.potentials)
        if reading.components:
            told = {f"{name}_hartree": one for name, one in reading.components.items()}
            said["components"] = told
        extras = {**answer.extras, **said}
        return Label(answer.energy, answer.forces, answer.stress, extras)
    kind, text = refused or (FailureKind.CRASH, "no answer")
    failure = report.failure(kind, text.removeprefix(f"{report.program}: "))
    ends = {f"end of {name}": tail(report.folder / name, _TAIL) for name in code.outputs}
    return Failure(kind, failure.message, {**failure.details, **ends})


def _of_failure(code: Code, reading: Reading, answer: Failure) -> tuple[FailureKind, str]:
    text = " ".join(answer.message.split())[:_LONGEST]
    # A program that is killed at its deadline has not failed to converge.
    if answer.kind is not FailureKind.CRASH:
        return answer.kind, text
    if re.search(code.unconverged or _UNCONVERGED, text):
        return FailureKind.NOT_CONVERGED, text
    if reading.unconverged:
        return FailureKind.NOT_CONVERGED, reading.unconverged
    if reading.memory or re.search(_MEMORY, text):
        return FailureKind.RESOURCE, reading.memory or text
    if re.search(_INPUT, text):
        return FailureKind.INVALID_INPUT, text
    return FailureKind.CRASH, text


def _of_label(code: Code, reading: Reading, label: Label) -> tuple[FailureKind, str] | None:
    if reading.unconverged:
        return FailureKind.NOT_CONVERGED, reading.unconverged
    converged = label.extras.get("converged")
    if converged is False:
        return FailureKind.NOT_CONVERGED, "the calculator says that it did not converge"
    if not reading.is_finished:
        return FailureKind.CRASH, f"truncated output: no {code.finished!r} in it"
    if not reading.is_converged:
        return FailureKind.NOT_CONVERGED, f"no {code.converged!r} in the output"
    if code.needs_flag and converged is None:
        return FailureKind.SUSPICIOUS, "the output does not tell whether it converged"
    return None


def _lines(report: Report, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        try:
            with (report.folder / name).open(encoding="utf-8", errors="replace") as file:
                yield from file
        except OSError:
            continue
