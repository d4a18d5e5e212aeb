"""Labels of molecules by Hartree-Fock and density functionals, with PySCF."""

import time
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator

from alflow.core.elements import atomic_number
from alflow.core.errors import SettingsError
from alflow.core.findings import Finding
from alflow.core.labels import Failure, FailureKind, Label
from alflow.core.structures import Structure
from alflow.core.units import EV_PER_ANGSTROM_PER_HARTREE_PER_BOHR, EV_PER_HARTREE
from alflow.labelers import engine, names, scf
from alflow.labelers.names import canonical_basis, canonical_method, fitting_basis
from alflow.labelers.quality import judge_forces, screen_molecule
from alflow.registry import Settings


class PyscfSettings(Settings):
    """Hartree-Fock or density functional theory for molecules, with PySCF."""

    kind: Literal["pyscf"] = "pyscf"
    method: str
    """`hf`, or a functional by its name in PySCF, for example wb97x, pbe0, b3lyp (which is the
    flavour of Gaussian). Names with a dispersion correction are refused."""
    basis: str
    """Basis set by its name in PySCF, for example 6-31g* or def2-svp."""
    cartesian: bool = False
    """Cartesian instead of spherical d and f functions; Gaussian does so for 6-31g*."""
    density_fit: bool = True
    """Fit densities in an auxiliary basis: cheaper, and a level of theory of its own."""
    auxbasis: str | None = None
    """Auxiliary basis; by default one that goes with the basis set."""
    grid_level: int = Field(default=4, ge=0, le=9)
    """Level of the integration grid of functionals."""
    grid_response: bool = True
    """Let forces follow the motion of the grid, which makes them exact for a given grid."""
    unrestricted: Literal["auto", True] = "auto"
    """Open-shell treatment: auto for all but singlets; true for singlets too, from a guess of
    broken symmetry, which is what dissociating bonds need."""
    conv_tol_hartree: float = Field(default=1e-9, gt=0, le=1e-4)
    """Convergence of the energy [Hartree]."""
    max_cycle: int = Field(default=100, ge=1)
    """Cycles in each of the ways to converge."""
    max_memory_MB: int = Field(default=2000, ge=100)
    """Memory that PySCF plans with [MB]; a hint, no limit."""
    force_cap_eV_per_A: float = Field(default=50.0, gt=0)
    """Labels with a larger force on an atom are put aside [eV/Å]."""
    net_force_eV_per_A: float = Field(default=1e-3, gt=0)
    """Labels with a larger net force, divided by √(number of atoms), are put aside [eV/Å]."""
    min_distance_factor: float = Field(default=0.5, ge=0)
    """Closest approach of two atoms, in sums of their covalent radii."""

    @field_validator("method")
    @classmethod
    def _no_trap(cls, method: str) -> str:
        try:
            return canonical_method(method)
        except SettingsError as error:
            raise ValueError(error.message) from error

    def problems(self, elements: Iterable[str]) -> Iterator[Finding]:
        """A functional that PySCF does not know, and basis sets that lack elements.

        Without PySCF nothing is found; that it is missing is told elsewhere.
        """
        if find_spec("pyscf") is None:
            return
        numbers = [atomic_number(symbol) for symbol in elements]
        yield from _finding("method", lambda: names.check_functional(self.method))
        yield from _finding("basis", lambda: names.check_basis(self.basis, numbers))
        auxbasis = self.auxbasis if self.density_fit else None
        if auxbasis is not None:
            yield from _finding("auxbasis", lambda: names.check_basis(auxbasis, numbers))

    def level(self) -> scf.Level:
        """What is to be solved, fully resolved."""
        basis = canonical_basis(self.basis)
        return scf.Level(
            method=self.method,
            basis=basis,
            cartesian=self.cartesian,
            fitting=(self.auxbasis or fitting_basis(basis)) if self.density_fit else None,
            grid_level=self.grid_level,
            grid_response=self.grid_response,
            is_unrestricted=self.unrestricted is True,
            conv_tol_hartree=self.conv_tol_hartree,
        )

    def level_identity(self) -> dict[str, Any]:
        """Everything that changes an energy or a force, resolved."""
        level = self.level()
        fitting = None if level.fitting is None else canonical_basis(level.fitting)
        identity: dict[str, Any] = {
            "kind": self.kind,
            "method": level.method,
            "basis": level.basis,
            "functions": "cartesian" if level.cartesian else "spherical",
            "density_fit": fitting,
            "open_shell": "all" if level.is_unrestricted else "auto",
            "conv_tol_hartree": level.conv_tol_hartree,
            "guess": "minao, mixed" if level.is_unrestricted else "minao",
        }
        if level.method != "hf":
            identity["grid"] = {
                "level": level.grid_level,
                "pruning": "nwchem",
                "radii": "treutler-ahlrichs",
                "response": level.grid_response,
                "start_level": min(scf.COARSE_GRID_LEVEL, level.grid_level),
            }
        return identity

    def create(self) -> "PyscfLabeler":
        """The labeler with these settings.

        Raises:
            SiteError: If PySCF is not installed.
            SettingsError: If PySCF does not know the method or the basis.
        """
        return PyscfLabeler(self)


class PyscfLabeler:
    """Calculates one molecule at a time, on one thread, from a fresh guess each time."""

    def __init__(self, settings: PyscfSettings) -> None:
        """Check that PySCF knows what is asked for.

        Raises:
            SiteError: If PySCF is not installed.
            SettingsError: If PySCF does not know the method or the basis.
        """
        self._settings = settings
        self._level = settings.level()
        self._limits = scf.Limits(settings.max_cycle, settings.max_memory_MB)
        names.check_functional(self._level.method)
        names.check_basis(settings.basis)

    def label(self, structure: Structure) -> Label | Failure:
        """Energy and forces of one molecule, or why there are none."""
        settings = self._settings
        refused = screen_molecule(structure, settings.min_distance_factor)
        if refused is not None:
            return refused
        began = time.perf_counter()
        try:
            with engine.one_thread():
                answer = self._calculate(structure)
        except MemoryError as error:
            return Failure(FailureKind.RESOURCE, f"PySCF ran out of memory: {error}")
        except np.linalg.LinAlgError as error:
            return Failure(
                FailureKind.BAD_GEOMETRY, f"the basis is linearly dependent: {error}"
            )
        except engine.load("pyscf.lib.exceptions").BasisNotFoundError as error:
            return Failure(FailureKind.INVALID_INPUT, f"no basis set: {error}")
        if isinstance(answer, Failure):
            return answer
        extras = {**answer.extras, "wall_s": round(time.perf_counter() - began, 3)}
        return Label(answer.energy, answer.forces, None, extras)

    def version(self) -> str:
        """Name and version of the program."""
        return engine.version()

    def _calculate(self, structure: Structure) -> Label | Failure:
        mol = scf.molecule(structure, self._level, self._limits)
        ascent = scf.converge(mol, self._level, self._limits)
        if not ascent.last.is_converged:
            return _not_converged(ascent)
        solver = ascent.last.solver
        slope = scf.gradient(solver, self._level)
        forces = -slope * EV_PER_ANGSTROM_PER_HARTREE_PER_BOHR
        suspicion = judge_forces(
            forces,
            force_cap_eV_per_A=self._settings.force_cap_eV_per_A,
            net_force_eV_per_A=self._settings.net_force_eV_per_A,
        )
        if suspicion is not None:
            return suspicion
        energy = float(solver.e_tot) * EV_PER_HARTREE
        extras = {
            "program": self.version(),
            "rung": ascent.last.name,
            "cycles": sum(rung.cycles for rung in ascent.rungs),
            "energy_change_eV": ascent.last.energy_change * EV_PER_HARTREE,
            "net_force_eV_per_A": float(np.linalg.norm(forces.sum(axis=0))),
            "max_force_eV_per_A": float(np.linalg.norm(forces, axis=1).max()),
            **_spin(solver),
        }
        return Label(energy, forces, None, extras)


def _not_converged(ascent: scf.Ascent) -> Failure:
    rungs = [rung.to_json() for rung in ascent.rungs]
    names = ", ".join(rung.name for rung in ascent.rungs)
    return Failure(
        FailureKind.NOT_CONVERGED,
        f"the self-consistent field did not converge ({names}); "
        f"last change {ascent.last.energy_change:.1e} Hartree",
        {"rungs": rungs},
    )


def _spin(solver: Any) -> dict[str, float]:
    """<S²> of an open shell, and by how much it exceeds that of the pure state."""
    if not hasattr(solver, "nelec") or np.ndim(solver.mo_occ) == 1:
        return {}
    square, _ = solver.spin_square()
    pure = solver.mol.spin / 2
    return {
        "spin_square": float(square),
        "contamination": float(square - pure * (pure + 1)),
    }


def _finding(setting: str, check: Callable[[], None]) -> Iterator[Finding]:
    try:
        check()
    except SettingsError as error:
        yield Finding((setting,), error.message, error.next_step)
