"""What a first-principles calculation says about one structure, or why it says nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from jaxtyping import Float


class FailureKind(StrEnum):
    """Why a task or one calculation gave no result, by what to do about it."""

    INVALID_INPUT = "invalid-input"
    """Electron parity, unknown element, no basis: never retried."""
    BAD_GEOMETRY = "bad-geometry"
    """Atoms on top of each other, an exploded structure: rejected before QM."""
    NOT_CONVERGED = "not-converged"
    """The self-consistent field did not converge on any rung."""
    SUSPICIOUS = "suspicious-label"
    """Converged, but a quality check says not to believe it."""
    RESOURCE = "resource"
    """Out of memory or time: worth one more try with more."""
    CRASH = "crash"
    """The program died: worth another try."""
    LOST = "lost"
    """The worker or its machine disappeared: not the task's fault."""
    DIVERGED = "diverged"
    """Training gave numbers that are not finite."""
    BUG = "bug"
    """Any other exception in a task body."""


RETRYABLE = frozenset(
    {FailureKind.RESOURCE, FailureKind.CRASH, FailureKind.LOST, FailureKind.BUG}
)
"""Kinds for which another attempt with the same input can end differently."""


AUDIT = "/audit"
"""Ends the name of a level of theory at which labels of another one are computed again."""


def audit_level(level: str) -> str:
    """Name of the level of theory at which labels of another one are computed again."""
    return level + AUDIT


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no result: a value, so that the loop can count, retry or give up.

    Attributes:
        kind: Class of failure.
        message: One sentence for a person, with values and units.
        details: Anything that helps to understand it (JSON-like), for example a traceback.
    """

    kind: FailureKind
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_retryable(self) -> bool:
        """Whether another attempt with the same input can end differently."""
        return self.kind in RETRYABLE

    @property
    def is_transient(self) -> bool:
        """Whether the worker said that the trouble passes: worth a wait, and no fault."""
        return self.details.get("transient") is True

    @property
    def is_yield(self) -> bool:
        """Whether the worker gave the attempt back because its time was up: nobody's fault."""
        return self.details.get("yielded") is True

    def to_json(self) -> dict[str, Any]:
        """A JSON-like dict."""
        return {
            "kind": str(self.kind),
            "message": self.message,
            "details": dict(self.details),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Failure":
        """The inverse of `to_json`."""
        return cls(FailureKind(value["kind"]), value["message"], value.get("details", {}))


@dataclass(frozen=True, eq=False, slots=True)
class Label:
    """Energy and forces of one structure at one level of theory.

    Attributes:
        energy: Potential energy [eV]; for metals with smearing the force-consistent one.
        forces: Forces [eV/Å], (atoms, 3); None at an energy-only level.
        stress: Stress [eV/Å³], Voigt xx, yy, zz, yz, xz, xy, tensile positive; None if not
            computed.
        extras: What else the calculation told (JSON-like): cycles, rung, <S²>, net force, wall
            time, program version.
    """

    energy: float
    forces: Float[np.ndarray, "atoms 3"] | None = None
    stress: Float[np.ndarray, "6"] | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A JSON-like dict; floats survive the round trip bit by bit."""
        return {
            "energy": self.energy,
            "forces": None if self.forces is None else self.forces.tolist(),
            "stress": None if self.stress is None else self.stress.tolist(),
            "extras": dict(self.extras),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Label":
        """The inverse of `to_json`."""

        def array(key: str) -> np.ndarray | None:
            return None if value[key] is None else np.array(value[key], np.float64)

        return cls(
            float(value["energy"]), array("forces"), array("stress"), value["extras"]
        )
