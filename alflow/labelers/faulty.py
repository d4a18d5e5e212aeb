"""Another labeler that fails now and then: to rehearse what a campaign does about failures."""

import ctypes
import errno
import hashlib
import os
import random
import signal
import struct
import time
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from alflow.core.labels import Failure, FailureKind, Label
from alflow.core.protocols import Labeler
from alflow.core.structures import Structure
from alflow.labelers.level import has_forces, level_identity, tightened
from alflow.registry import PluginSection, Settings

Rate = Annotated[float, Field(ge=0, le=1)]

_LONG_S = 1_000_000


class Rates(Settings):
    """How often each fault happens: probabilities, each drawn by itself."""

    crash: Rate = 0.0
    """The process ends by a segmentation fault; drawn anew at each try."""
    hang: Rate = 0.0
    """It never returns, and takes no signal; drawn anew at each try."""
    full_scratch: Rate = 0.0
    """The disk is full; drawn anew at each try."""
    not_converged: Rate = 0.0
    """The self-consistent field does not converge; the same structures each time."""
    nan: Rate = 0.0
    """Energy or forces are no numbers; the same structures each time."""
    missing_forces: Rate = 0.0
    """Forces are missing; the same structures each time."""
    outlier: Rate = 0.0
    """The energy is wrong, and nothing says so; the same structures each time."""


class FaultySettings(Settings):
    """Another labeler that fails now and then, to rehearse failures; never for real labels."""

    kind: Literal["faulty"] = "faulty"
    of: Annotated[Any, PluginSection("labelers")]
    """The labeler whose labels these are: its settings."""
    rates: Rates = Rates()
    """How often each fault happens."""
    outlier_eV_per_atom: float = Field(default=0.5, gt=0)
    """By how much the energy of an outlier is wrong, up or down [eV/atom]: between half and one and
    a half times as much."""
    seed: int = 0
    """Decides which structures fail each time."""

    @property
    def has_forces(self) -> bool | None:
        """Whether its labels have forces."""
        return has_forces(self.of)

    @property
    def handles_periodic(self) -> bool:
        """Whether it takes periodic structures: as far as the labeler behind it does."""
        return bool(getattr(self.of, "handles_periodic", True))

    def level_identity(self) -> dict[str, Any]:
        """That of the labeler behind it, and what falsifies numbers."""
        return {
            "kind": self.kind,
            "of": level_identity(self.of),
            "outliers": [self.rates.outlier, self.outlier_eV_per_atom, self.seed],
        }

    def tightened(self) -> "FaultySettings":
        """The labeler behind it tightened, with other structures that fail each time."""
        return self.model_copy(update={"of": tightened(self.of), "seed": self.seed + 1})

    def create(self) -> Labeler:
        """The labeler with these settings."""
        return FaultyLabeler(self)


class FaultyLabeler:
    """Asks the labeler behind it, unless a fault comes first."""

    def __init__(self, settings: FaultySettings) -> None:
        """Create the labeler behind it."""
        self._settings = settings
        self._labeler: Labeler = settings.of.create()

    def label(self, structure: Structure) -> Label | Failure:
        """Its label, a falsified one, a failure, or nothing at all."""
        rates, chance = self._settings.rates, random.SystemRandom()
        if chance.random() < rates.full_scratch:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if chance.random() < rates.crash:
            os.kill(os.getpid(), signal.SIGSEGV)
        if chance.random() < rates.hang:
            _hang()
        if self._draw(structure, "not_converged") < rates.not_converged:
            return Failure(FailureKind.NOT_CONVERGED, "the field did not converge")
        answer = self._labeler.label(structure)
        return answer if isinstance(answer, Failure) else self._falsified(structure, answer)

    def version(self) -> str:
        """Name and version of the program behind it."""
        return f"faulty {self._labeler.version()}"

    def _falsified(self, structure: Structure, label: Label) -> Label:
        rates = self._settings.rates
        if self._draw(structure, "nan") < rates.nan:
            if label.forces is None or self._draw(structure, "which") < 1 / 2:
                return replace(label, energy=float("nan"))
            return replace(label, forces=label.forces * np.nan)
        if self._draw(structure, "missing_forces") < rates.missing_forces:
            return replace(label, forces=None)
        if self._draw(structure, "outlier") < rates.outlier:
            size = 1 / 2 + self._draw(structure, "size")
            wrong = size * self._settings.outlier_eV_per_atom * structure.n_atoms
            sign = 1 if self._draw(structure, "sign") < 1 / 2 else -1
            return replace(label, energy=label.energy + sign * wrong)
        return label

    def _draw(self, structure: Structure, what: str) -> float:
        """A number in [0, 1) that belongs to a structure and a fault."""
        text = f"{self._settings.seed}/{what}/{structure.hash}"
        (number,) = struct.unpack("<Q", hashlib.sha256(text.encode()).digest()[:8])
        return float(number) / 2**64


def _hang() -> None:
    """Wait in C, with the interpreter's lock held and signals ignored, as a kernel would."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    while True:
        ctypes.PyDLL(None).sleep(_LONG_S)
        time.sleep(0)
