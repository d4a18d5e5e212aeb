"""Labels by extended tight binding (xTB), with tblite: milliseconds for a molecule."""

import ctypes
import importlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator

from alflow.core.elements import SYMBOLS, atomic_number
from alflow.core.errors import SiteError
from alflow.core.findings import Finding
from alflow.core.labels import Failure, FailureKind, Label
from alflow.core.structures import Structure
from alflow.core.units import (
    ANGSTROM_PER_BOHR,
    BOLTZMANN_EV_PER_K,
    EV_PER_ANGSTROM_PER_HARTREE_PER_BOHR,
    EV_PER_HARTREE,
)
from alflow.labelers.quality import judge_forces, screen_distances, screen_electrons
from alflow.registry import Settings

LARGEST_NUMBER = 86
"""Radon: the methods have no parameters beyond it."""
_METHODS = {"gfn1-xtb": "GFN1-xTB", "gfn2-xtb": "GFN2-xTB", "ipea1-xtb": "IPEA1-xTB"}
_VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])


class TbliteSettings(Settings):
    """Extended tight binding (xTB) for molecules and molecular crystals; not for metals."""

    kind: Literal["tblite"] = "tblite"
    method: Literal["GFN1-xTB", "GFN2-xTB", "IPEA1-xTB"] = "GFN2-xTB"
    """GFN2-xTB, GFN1-xTB, or IPEA1-xTB, which is for ionisation potentials; `-xTB` may be left
    out. None of them describes metals."""
    accuracy: float = Field(default=1.0, gt=0, le=100)
    """Scale of all thresholds; smaller is tighter."""
    electronic_temperature_K: float = Field(default=300.0, ge=0)
    """Temperature of the electrons [K]; energies are free energies of the electrons, which is
    what forces are the slopes of."""
    max_cycle: int = Field(default=250, ge=1)
    """Cycles after which a structure counts as not converged."""
    force_cap_eV_per_A: float = Field(default=50.0, gt=0)
    """Labels with a larger force on an atom are put aside [eV/Å]."""
    net_force_eV_per_A: float = Field(default=1e-3, gt=0)
    """Labels with a larger net force, divided by √(number of atoms), are put aside [eV/Å]."""
    min_distance_factor: float = Field(default=0.5, ge=0)
    """Closest approach of two atoms, in sums of their covalent radii."""

    @field_validator("method", mode="before")
    @classmethod
    def _spelling(cls, method: Any) -> Any:
        if not isinstance(method, str):
            return method
        key = method.lower()
        return _METHODS.get(key, _METHODS.get(f"{key}-xtb", method))

    def problems(self, elements: Iterable[str]) -> Iterator[Finding]:
        """Elements that the methods do not know."""
        missing = [symbol for symbol in elements if atomic_number(symbol) > LARGEST_NUMBER]
        if missing:
            message = f"has no parameters for {', '.join(missing)}"
            hint = f"elements up to {SYMBOLS[LARGEST_NUMBER]}"
            yield Finding(("method",), message, hint, "AL121")

    @property
    def has_forces(self) -> bool:
        """Whether its labels have forces."""
        return True

    def level_identity(self) -> dict[str, Any]:
        """Everything that changes an energy or a force."""
        return {
            "kind": self.kind,
            "method": self.method,
            "accuracy": self.accuracy,
            "electronic_temperature_K": self.electronic_temperature_K,
            "guess": "sad",
        }

    def create(self) -> "TbliteLabeler":
        """The labeler with these settings.

        Raises:
            SiteError: If tblite is not installed.
        """
        return TbliteLabeler(self)


class TbliteLabeler:
    """Calculates one structure at a time, on one thread, from a fresh guess each time."""

    def __init__(self, settings: TbliteSettings) -> None:
        """Load tblite.

        Raises:
            SiteError: If tblite is not installed.
        """
        self._settings = settings
        self._version = _installed()
        self._interface = importlib.import_module("tblite.interface")
        self._errors = importlib.import_module("tblite.exceptions")

    def label(self, structure: Structure) -> Label | Failure:
        """Energy, forces and, in periodic cells, stress; or why there are none."""
        settings = self._settings
        refused = _unsuitable(structure) or screen_distances(
            structure, settings.min_distance_factor
        )
        if refused is not None:
            return refused
        try:
            with _one_thread():
                result = self._calculate(structure)
        except self._errors.TBLiteRuntimeError as error:
            return _failure(str(error))
        forces = -result.get("gradient") * EV_PER_ANGSTROM_PER_HARTREE_PER_BOHR
        energy = float(result.get("energy")) * EV_PER_HARTREE
        if not np.isfinite(energy):
            return Failure(FailureKind.SUSPICIOUS, "the energy is not a finite number")
        suspicion = judge_forces(
            forces,
            force_cap_eV_per_A=settings.force_cap_eV_per_A,
            net_force_eV_per_A=settings.net_force_eV_per_A,
        )
        if suspicion is not None:
            return suspicion
        stress = None
        if structure.cell is not None:
            virial = np.asarray(result.get("virial")) * EV_PER_HARTREE
            stress = (virial / abs(np.linalg.det(structure.cell)))[_VOIGT]
        extras = {
            "program": self.version(),
            "net_force_eV_per_A": float(np.linalg.norm(forces.sum(axis=0))),
            "max_force_eV_per_A": float(np.linalg.norm(forces, axis=1).max()),
        }
        return Label(energy, forces, stress, extras)

    def version(self) -> str:
        """Name and version of the program."""
        return f"tblite {self._version}"

    def _calculate(self, structure: Structure) -> Any:
        settings = self._settings
        cell = structure.cell
        calculator = self._interface.Calculator(
            settings.method,
            structure.numbers.astype(np.int32),
            structure.positions / ANGSTROM_PER_BOHR,
            charge=float(structure.charge),
            uhf=structure.multiplicity - 1,
            lattice=None if cell is None else cell / ANGSTROM_PER_BOHR,
            periodic=None if cell is None else structure.pbc,
            color=False,
            logger=_say_nothing,
        )
        temperature_K = settings.electronic_temperature_K
        calculator.set("verbosity", 0)
        calculator.set("accuracy", settings.accuracy)
        calculator.set("max-iter", settings.max_cycle)
        calculator.set("temperature", temperature_K * BOLTZMANN_EV_PER_K / EV_PER_HARTREE)
        return calculator.singlepoint()


def _installed() -> str:
    try:
        return version("tblite")
    except PackageNotFoundError as error:
        raise SiteError(
            "tblite is not installed here",
            code="AL201",
            next_step='python -m pip install "alflow[tblite]"',
        ) from error


def _unsuitable(structure: Structure) -> Failure | None:
    heaviest = int(structure.numbers.max())
    reason = ""
    if heaviest > LARGEST_NUMBER:
        reason = f"xTB has no parameters for {SYMBOLS[heaviest]}"
    elif structure.is_periodic and not structure.pbc.all():
        reason = (
            "the structure is periodic in some directions only; all or none can be done"
        )
    elif structure.is_periodic and structure.charge:
        reason = f"a periodic cell with charge {structure.charge} has no defined energy"
    if reason:
        return Failure(FailureKind.INVALID_INPUT, reason)
    return screen_electrons(structure)


def _failure(message: str) -> Failure:
    """What tblite refuses, by its words: it has no kinds of errors."""
    words = message.lower()
    if "not converged" in words or "eigenvalue" in words:
        kind = FailureKind.NOT_CONVERGED
    elif "too close" in words:
        kind = FailureKind.BAD_GEOMETRY
    elif "memory" in words or "alloc" in words:
        kind = FailureKind.RESOURCE
    else:
        kind = FailureKind.CRASH
    return Failure(kind, f"tblite: {message}")


def _say_nothing(_message: str) -> None:
    """Takes what tblite would print."""


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let the OpenMP runtime that tblite uses compute on one thread."""
    try:
        runtime = ctypes.CDLL("libgomp.so.1")
        before = int(runtime.omp_get_max_threads())
    except OSError:  # another platform: the variable OMP_NUM_THREADS decides
        yield
        return
    runtime.omp_set_num_threads(1)
    try:
        yield
    finally:
        runtime.omp_set_num_threads(before)
