"""Correlation energies beyond a Hartree-Fock reference, with PySCF: MP2, CCSD, CCSD(T)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from alflow.core.labels import Failure, FailureKind
from alflow.labelers.engine import load

COMPONENTS = {
    "mp2": ("hf", "mp2"),
    "ccsd": ("hf", "mp2", "ccsd"),
    "ccsd(t)": ("hf", "mp2", "ccsd", "triples"),
}
"""Energies that each method gives; of correlation, but for that of the field. Coupled cluster
begins from MP2, whose energy is no part of its own: it stands in `byproducts` on the label."""
METHODS = tuple(COMPONENTS)
T1_CLOSED, T1_OPEN = 0.02, 0.03
"""T1 diagnostics beyond which one determinant is a poor reference (Lee and Taylor, Int. J. Quantum
Chem. Symp. 23, 199 (1989); open shells: Jayatilaka and Lee, J. Chem. Phys. 98, 9734 (1993))."""
D1_LIMIT = 0.05
"""The same for the D1 diagnostic (Janssen and Nielsen, Chem. Phys. Lett. 290, 423 (1998))."""
CONV_TOL_HARTREE, CONV_TOL_AMPLITUDES = 1e-8, 1e-6
MAX_CYCLE = 100


@dataclass(frozen=True, slots=True)
class Correlation:
    """What is added to Hartree-Fock, fully resolved.

    Attributes:
        method: One of `METHODS`.
        is_core_frozen: Whether the innermost electrons stay as they are in Hartree-Fock.
        fitting: Auxiliary basis of the correlation, or None for exact integrals.
        has_forces: Whether forces are wanted, which cost many times the energy.
    """

    method: str
    is_core_frozen: bool
    fitting: str | None
    has_forces: bool


@dataclass(frozen=True, slots=True)
class Correlated:
    """What came of it.

    Attributes:
        energy_hartree: Total energy.
        gradient: Its gradient [Hartree/Bohr], (atoms, 3), if it was asked for.
        extras: Parts of the energy [Hartree], diagnostics, and whether they say that one
            determinant is a poor reference (`multireference`).
    """

    energy_hartree: float
    gradient: Float[np.ndarray, "atoms 3"] | None
    extras: dict[str, Any]


def correlate(reference: Any, what: Correlation) -> Correlated | Failure:
    """Correlate a converged Hartree-Fock solution.

    Raises:
        ValueError: If the reference has not converged: PySCF would go on with it.
    """
    if not reference.converged:
        raise ValueError("an unconverged reference was to be correlated")
    n_core = load("pyscf.data.elements").chemcore(reference.mol)
    frozen = n_core if what.is_core_frozen and n_core else None
    parts = {"hf_hartree": float(reference.e_tot)}
    if what.method == "mp2":
        solver = _mp2(reference, frozen, what.fitting)
        solver.kernel()
        parts["mp2_hartree"] = float(solver.e_corr)
        return _with_gradient(solver, what, float(solver.e_tot), {"components": parts})
    solver = _ccsd(reference, frozen, what.fitting)
    solver.kernel()
    if not solver.converged:
        return Failure(
            FailureKind.NOT_CONVERGED,
            f"coupled cluster did not converge in {MAX_CYCLE} cycles; the field did",
            {"components": parts},
        )
    parts["ccsd_hartree"] = float(solver.e_corr)
    energy = float(solver.e_tot)
    byproducts = {"mp2_hartree": float(solver.emp2)}
    extras = {"components": parts, "byproducts": byproducts, **_diagnostics(solver)}
    if what.method == "ccsd(t)":
        parts["triples_hartree"] = float(solver.ccsd_t())
        energy += parts["triples_hartree"]
    return _with_gradient(solver, what, energy, extras)


def _mp2(reference: Any, frozen: int | None, fitting: str | None) -> Any:
    is_open = np.ndim(reference.mo_occ) > 1
    if fitting is None:
        return load("pyscf.mp").MP2(reference, frozen=frozen)
    module = load("pyscf.mp.dfump2" if is_open else "pyscf.mp.dfmp2")
    solver = (module.DFUMP2 if is_open else module.DFRMP2)(reference, frozen=frozen)
    solver.with_df = _fit(reference.mol, fitting)
    return solver


def _ccsd(reference: Any, frozen: int | None, fitting: str | None) -> Any:
    is_open = np.ndim(reference.mo_occ) > 1
    if fitting is None:
        cc = load("pyscf.cc")
        solver = (cc.UCCSD if is_open else cc.CCSD)(reference, frozen=frozen)
    else:
        module = load("pyscf.cc.dfuccsd" if is_open else "pyscf.cc.dfccsd")
        solver = (module.UCCSD if is_open else module.RCCSD)(reference, frozen=frozen)
        solver.with_df = _fit(reference.mol, fitting)
    solver.conv_tol, solver.conv_tol_normt = CONV_TOL_HARTREE, CONV_TOL_AMPLITUDES
    solver.max_cycle = MAX_CYCLE
    return solver


def _fit(mol: Any, fitting: str) -> Any:
    return load("pyscf.df").DF(mol, auxbasis=fitting)


def _diagnostics(solver: Any) -> dict[str, Any]:
    is_open = isinstance(solver.t1, tuple)
    if is_open:
        # The norm over both spins and all correlated electrons, as for a closed shell.
        norm = sum(float(np.sum(t * t)) for t in solver.t1)
        t1 = float(np.sqrt(norm / sum(t.shape[0] for t in solver.t1)))
        return {"t1": t1, "multireference": t1 > T1_OPEN}
    t1, d1 = float(solver.get_t1_diagnostic()), float(solver.get_d1_diagnostic())
    return {"t1": t1, "d1": d1, "multireference": t1 > T1_CLOSED or d1 > D1_LIMIT}


def _with_gradient(
    solver: Any, what: Correlation, energy_hartree: float, extras: dict[str, Any]
) -> Correlated | Failure:
    if not what.has_forces:
        return Correlated(energy_hartree, None, extras)
    gradients = solver.nuc_grad_method()
    if what.method == "mp2":
        return Correlated(energy_hartree, np.asarray(gradients.kernel()), extras)
    amplitudes = {}
    if what.method == "ccsd":
        solver.solve_lambda()
        is_solved = solver.converged_lambda
    else:
        u = "u" if isinstance(solver.t1, tuple) else ""
        gradients = load(f"pyscf.grad.{u}ccsd_t").Gradients(solver)
        # Without them PySCF would take those of CCSD, whose forces are no slope of the energy.
        is_solved, l1, l2 = load(f"pyscf.cc.{u}ccsd_t_lambda").kernel(
            solver,
            solver.ao2mo(),
            max_cycle=MAX_CYCLE,
            tol=CONV_TOL_AMPLITUDES,
            verbose=0,
        )
        amplitudes = {"l1": l1, "l2": l2}
    if not is_solved:
        return Failure(
            FailureKind.NOT_CONVERGED,
            f"the response of coupled cluster did not converge in {MAX_CYCLE} cycles, and without "
            "it there are no forces; the energy did (correlated_forces: false)",
            extras,
        )
    return Correlated(energy_hartree, np.asarray(gradients.kernel(**amplitudes)), extras)
