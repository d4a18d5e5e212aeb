"""One calculation of a program in a folder of its own, kept where it fails."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alflow.core.labels import Failure, FailureKind, Label
from alflow.labelers.program import STDERR, STDOUT, Ending, tail
from alflow.labelers.quality import judge_forces
from alflow.labelers.scratch import discard, keep, new_scratch

_TAIL = 2000
"""Characters of what a program printed that a failure keeps."""
_KILLED = frozenset({-9, 137})
"""Exit status of what the kernel killed, most often because memory ran out."""


def in_scratch(
    base: Path, keep_failed_MB: float, calculate: Callable[[Path], Label | Failure]
) -> Label | Failure:
    """Calculate in a new folder, which is removed after a label and kept after a failure.

    Args:
        base: Where folders are made.
        keep_failed_MB: Room for those that are kept [MB].
        calculate: Takes the folder.
    """
    folder = new_scratch(base)
    try:
        answer = calculate(folder)
    except BaseException:
        discard(folder)
        raise
    if isinstance(answer, Label):
        discard(folder)
        return answer
    kept = keep(folder, keep_failed_MB * 1e6)
    details = {**answer.details, "scratch": None if kept is None else str(kept)}
    return Failure(answer.kind, answer.message, details)


@dataclass(frozen=True, slots=True)
class Report:
    """What is said about one run of a program.

    Attributes:
        program: Its name.
        folder: Where it ran.
    """

    program: str
    folder: Path

    def failure(self, kind: FailureKind, text: str) -> Failure:
        """A failure with what the program printed last."""
        printed = {
            name: tail(self.folder / file, _TAIL)
            for name, file in (("stderr", STDERR), ("stdout", STDOUT))
        }
        return Failure(kind, f"{self.program}: {text}", printed)

    def unfinished(self, ending: Ending, timeout_s: float) -> Failure | None:
        """Why a program ended before its time, or None if it ended well."""
        if ending.is_timed_out:
            text = f"killed after {ending.wall_s:.1f} s, timeout_s is {timeout_s:g} s"
            return self.failure(FailureKind.RESOURCE, text)
        if ending.code in _KILLED:
            text = "killed by SIGKILL, perhaps because memory ran out"
            return self.failure(FailureKind.RESOURCE, text)
        if ending.code:
            last = tail(self.folder / STDERR, _TAIL).strip().splitlines()[-1:]
            said = f": {last[0].strip()[:200]}" if last else ""
            how = f"signal {-ending.code}" if ending.code < 0 else f"status {ending.code}"
            return self.failure(FailureKind.CRASH, f"ended with {how}{said}")
        return None

    def suspicious(
        self,
        label: Label,
        *,
        energy_only: bool,
        force_cap_eV_per_A: float,
        net_force_eV_per_A: float = np.inf,
    ) -> Failure | None:
        """Why a label is not to be believed, or None.

        Args:
            label: What the program said.
            energy_only: Whether no forces are wanted.
            force_cap_eV_per_A: Largest force on one atom [eV/Å].
            net_force_eV_per_A: Largest net force, divided by √(number of atoms) [eV/Å].
        """
        reason = ""
        if not np.isfinite(label.energy):
            reason = "the energy is not a finite number"
        elif label.stress is not None and not np.isfinite(label.stress).all():
            reason = "a stress is not a finite number"
        elif label.forces is None and not energy_only:
            reason = "there are no forces, and energy_only is not set"
        if reason:
            return self.failure(FailureKind.SUSPICIOUS, reason)
        if label.forces is None:
            return None
        judged = judge_forces(
            label.forces,
            force_cap_eV_per_A=force_cap_eV_per_A,
            net_force_eV_per_A=net_force_eV_per_A,
        )
        return None if judged is None else self.failure(judged.kind, judged.message)
