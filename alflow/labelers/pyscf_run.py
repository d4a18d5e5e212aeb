"""Calculations of molecules with PySCF: a label, or why there is none."""

import time
from typing import Any

import numpy as np

from alflow.core.elements import SYMBOLS
from alflow.core.errors import SettingsError
from alflow.core.labels import Failure, FailureKind, Label
from alflow.core.structures import Structure
from alflow.core.units import EV_PER_ANGSTROM_PER_HARTREE_PER_BOHR, EV_PER_HARTREE
from alflow.labelers import accelerator, dispersion, engine, names, scf, solvent, stability
from alflow.labelers.correlated import Correlated, correlate
from alflow.labelers.pyscf import PyscfSettings
from alflow.labelers.quality import judge_forces, judge_spin, screen_molecule

KRYPTON = 36
"""Beyond it, without an effective core potential, relativity would be missing."""


class PyscfLabeler:
    """Calculates one molecule at a time, on one thread, from a fresh guess each time."""

    def __init__(self, settings: PyscfSettings) -> None:
        """Check that PySCF knows what is asked for.

        Raises:
            SiteError: If PySCF is not installed, or a GPU is wanted that is not there.
            SettingsError: If PySCF does not know the method, the basis or the solvent, or has no
                dispersion correction for the functional.
        """
        self._settings = settings
        self._level = settings.level()
        self._correlation = settings.correlation()
        self._dispersion = settings.corrected()
        self._device = accelerator.choose(settings.device)
        self._limits = scf.Limits(
            settings.max_cycle, settings.max_memory_MB, self._device == "gpu"
        )
        names.check_functional(self._level.method)
        names.check_basis(settings.basis)
        if self._dispersion is not None:
            dispersion.check(self._dispersion)
        if settings.solvent is not None:
            solvent.check(settings.solvent)

    def label(self, structure: Structure) -> Label | Failure:
        """Energy and forces of one molecule, or why there are none."""
        settings = self._settings
        refused = screen_molecule(structure, settings.min_distance_factor)
        refused = refused or self._without_potential(structure)
        refused = refused or self._without_dispersion(structure)
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
        """Name and version of the program and of what it was helped by."""
        helpers = [engine.version()]
        if self._dispersion is not None:
            helpers.append(dispersion.version())
        if self._device == "gpu":
            helpers.append(accelerator.version())
        return ", ".join(helpers)

    def _calculate(self, structure: Structure) -> Label | Failure:
        found = self._field(structure)
        if isinstance(found, Failure):
            return found
        ascent, state = found
        answer = self._evaluate(ascent.last.solver)
        if isinstance(answer, Failure):
            return answer
        forces = None
        if answer.gradient is not None:
            forces = -answer.gradient * EV_PER_ANGSTROM_PER_HARTREE_PER_BOHR
        suspicion = None if forces is None else self._judge(forces)
        if suspicion is not None:
            return suspicion
        extras = {
            "program": self.version(),
            "device": self._device,
            "rung": ascent.last.name,
            "cycles": sum(rung.cycles for rung in ascent.rungs),
            "energy_change_eV": ascent.last.energy_change * EV_PER_HARTREE,
            **_sizes(forces),
            **answer.extras,
            **state,
        }
        return Label(answer.energy_hartree * EV_PER_HARTREE, forces, None, extras)

    def _field(self, structure: Structure) -> tuple[scf.Ascent, dict[str, float]] | Failure:
        """The self-consistent field that is believed, and what to tell about its state."""
        mol = scf.molecule(structure, self._level, self._limits)
        ascent = scf.converge(mol, self._level, self._limits)
        if not ascent.last.is_converged:
            return _not_converged(ascent)
        ascent, state = self._ground_state(mol, ascent)
        if isinstance(state, Failure):
            return state
        if not ascent.last.is_converged:
            return _not_converged(ascent)
        state = {**state, **_spin(ascent.last.solver)}
        if ascent.raised_hartree is not None:
            state["other_start_eV"] = ascent.raised_hartree * EV_PER_HARTREE
        limit = self._settings.contamination_limit
        return judge_spin(structure, state.get("contamination", 0.0), limit) or (
            ascent,
            state,
        )

    def _without_potential(self, structure: Structure) -> Failure | None:
        """Why heavy atoms cannot be calculated, or None."""
        heavy = sorted(
            {number for number in structure.numbers.tolist() if number > KRYPTON}
        )
        found = names.core_potentials(self._level.basis, heavy)
        missing = [SYMBOLS[z] for z in heavy if SYMBOLS[z] not in found]
        if not missing:
            return None
        return Failure(
            FailureKind.INVALID_INPUT,
            f"{', '.join(missing)} needs an effective core potential, and the basis "
            f"{self._settings.basis} has none (those of the def2 family do)",
        )

    def _without_dispersion(self, structure: Structure) -> Failure | None:
        """Why atoms cannot have the dispersion correction of the level, or None."""
        if self._dispersion is None:
            return None
        try:
            dispersion.check(self._dispersion, structure.numbers.tolist())
        except SettingsError as error:
            return Failure(FailureKind.INVALID_INPUT, error.message)
        return None

    def _judge(self, forces: np.ndarray) -> Failure | None:
        return judge_forces(
            forces,
            force_cap_eV_per_A=self._settings.force_cap_eV_per_A,
            net_force_eV_per_A=self._settings.net_force_eV_per_A,
        )

    def _evaluate(self, solver: Any) -> Correlated | Failure:
        """Energy and, if the level has one, gradient of a converged field, correlated or not."""
        if self._correlation is None:
            return self._corrected(solver)
        found = correlate(solver, self._correlation)
        if isinstance(found, Failure) or self._settings.multireference == "flag":
            return found
        if not found.extras.get("multireference"):
            return found
        kept = [name for name in ("t1", "d1") if name in found.extras]
        values: dict[str, Any] = {name: found.extras[name] for name in kept}
        shown = ", ".join(f"{key.upper()} {value:.3f}" for key, value in values.items())
        return Failure(
            FailureKind.SUSPICIOUS,
            f"one determinant is a poor reference for {self._correlation.method}: {shown}",
            values,
        )

    def _corrected(self, solver: Any) -> Correlated:
        """Energy and gradient of a field, with the dispersion that the level has."""
        energy = float(solver.e_tot)
        gradient = scf.gradient(solver, self._level, is_on_gpu=self._limits.is_on_gpu)
        if self._dispersion is None:
            return Correlated(energy, gradient, {})
        added, slope = dispersion.correction(self._dispersion, solver.mol)
        parts = {"scf_hartree": energy, "dispersion_hartree": added}
        return Correlated(energy + added, gradient + slope, {"components": parts})

    def _ground_state(
        self, mol: Any, ascent: scf.Ascent
    ) -> tuple[scf.Ascent, dict[str, float] | Failure]:
        """What a closed shell is believed to be after a check, and what to tell about it."""
        settings, solver = self._settings, ascent.last.solver
        is_closed = np.ndim(solver.mo_occ) == 1
        if settings.stability == "off" or not is_closed:
            return ascent, {}
        if stability.gap_eV(solver) > settings.checked_gap_eV():
            return ascent, {}
        found = stability.instability(solver)
        if found is None:
            return ascent, {"instability_eV": 0.0}
        below = scf.walk_down(mol, self._level, self._limits, found.density).solver
        if below.e_tot > solver.e_tot:
            # It walked past the valley: what extrapolation finds from there is a solution, too.
            below = scf.polarised(mol, self._level, self._limits, found.density).last.solver
        drop = float(solver.e_tot - below.e_tot) * EV_PER_HARTREE
        told = {
            "instability_eV": max(drop, 0.0),
            "instability_eigenvalue_hartree": found.eigenvalue_hartree,
        }
        if drop <= settings.instability_eV or settings.stability == "flag":
            return ascent, told
        if settings.stability == "relabel":
            density = below.make_rdm1()
            return scf.polarised(mol, self._level, self._limits, density), told
        return ascent, Failure(
            FailureKind.SUSPICIOUS,
            f"the closed shell is no ground state: with spins apart the energy is {drop:.2f} eV "
            "lower, as at a broken bond (stability: relabel or unrestricted: true take that one)",
            told,
        )


def _not_converged(ascent: scf.Ascent) -> Failure:
    rungs = [rung.to_json() for rung in ascent.rungs]
    names = ", ".join(rung.name for rung in ascent.rungs)
    return Failure(
        FailureKind.NOT_CONVERGED,
        f"the self-consistent field did not converge ({names}); "
        f"last change {ascent.last.energy_change:.1e} Hartree",
        {"rungs": rungs},
    )


def _sizes(forces: np.ndarray | None) -> dict[str, float]:
    if forces is None:
        return {}
    return {
        "net_force_eV_per_A": float(np.linalg.norm(forces.sum(axis=0))),
        "max_force_eV_per_A": float(np.linalg.norm(forces, axis=1).max()),
    }


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
