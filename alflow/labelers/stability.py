"""Whether a closed shell is the ground state, or a broken bond in disguise.

A restricted field converges without complaint where a bond is broken, to a state that may be
electronvolts too high. It is a saddle then: orbitals of the two spins that turn away from each
other lower the energy (a triplet instability of the restricted solution; Seeger and Pople, J. Chem.
Phys. 66, 3045 (1977)). The lowest eigenvalue of the triplet part of the orbital Hessian tells.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from alflow.core.units import EV_PER_HARTREE
from alflow.labelers.engine import load

SAFE_GAP_EV, SAFE_GAP_PER_EXCHANGE_EV = 4.0, 15.0
"""No instability is looked for beyond a gap of the first number plus the second one times the
share of exact exchange. Bonds that were stretched step by step (H2O, C2H6, H2, F2, H2CO) became
unstable below 4.6 eV (PBE), 7.3 eV (PBE0) and 12 eV (wB97X), that of N2 below 4.8, 8.8 and 13.8 eV.
"""
UNSTABLE_HARTREE = -1e-4
"""Eigenvalues below it are instabilities, those above are noise."""
_TOLERANCE = 1e-4
_CYCLES = 30


@dataclass(frozen=True, slots=True)
class Instability:
    """A direction in which a restricted solution falls.

    Attributes:
        eigenvalue_hartree: Curvature of the energy along it [Hartree].
        density: Densities of both spins somewhat further along it, (2, functions, functions).
    """

    eigenvalue_hartree: float
    density: Float[np.ndarray, "2 functions functions"]


def safe_gap_eV(method: str) -> float:
    """Gap beyond which a restricted solution is taken to be stable [eV].

    Args:
        method: "hf" or a functional.
    """
    return SAFE_GAP_EV + SAFE_GAP_PER_EXCHANGE_EV * exact_exchange(method)


def gap_eV(solver: Any) -> float:
    """HOMO-LUMO gap of a restricted solution [eV]; infinite without empty orbitals."""
    occupied, empty = _split(solver)
    if not empty.any() or not occupied.any():
        return float("inf")
    energies = solver.mo_energy
    return float(energies[empty].min() - energies[occupied].max()) * EV_PER_HARTREE


def exact_exchange(method: str) -> float:
    """Share of exact exchange, for range-separated functionals that midway between the ranges."""
    if method == "hf":
        return 1.0
    libxc = load("pyscf.dft.libxc")
    omega, long_range, difference = libxc.rsh_coeff(method)
    if not omega:
        return float(libxc.hybrid_coeff(method))
    return float(long_range + difference / 2)


def instability(solver: Any) -> Instability | None:
    """Where a converged restricted solution falls if spins may differ, or None if nowhere."""
    occupied, empty = _split(solver)
    if not empty.any() or not occupied.any():
        return None
    orbitals, energies = solver.mo_coeff, solver.mo_energy
    below, above = orbitals[:, occupied], orbitals[:, empty]
    diagonal = (energies[empty][:, None] - energies[occupied]).ravel()
    respond = solver.gen_response(singlet=False, hermi=1)

    def hessian(vector: np.ndarray) -> np.ndarray:
        turn = vector.reshape(above.shape[1], below.shape[1])
        change = 2 * above @ turn @ below.T
        answer = above.T @ respond(change + change.T) @ below
        return np.asarray(diagonal * vector + answer.ravel())

    def precondition(residual: np.ndarray, eigenvalue: float, *_: Any) -> np.ndarray:
        shifted = diagonal - eigenvalue
        shifted[abs(shifted) < 1e-8] = 1e-8  # noqa: PLR2004
        return np.asarray(residual / shifted)

    start = 1 / diagonal.clip(min=1e-2)
    eigenvalue, vector = load("pyscf.lib").davidson(
        hessian, start, precondition, tol=_TOLERANCE, max_cycle=_CYCLES, verbose=0
    )
    if eigenvalue > UNSTABLE_HARTREE:
        return None
    turn = np.asarray(vector).reshape(above.shape[1], below.shape[1])
    generator = np.zeros((orbitals.shape[1],) * 2)
    generator[np.ix_(empty, occupied)] = turn
    generator[np.ix_(occupied, empty)] = -turn.T
    # Cayley's map of an antisymmetric matrix: a rotation by about as much.
    whole, half = np.eye(len(generator)), generator / 2
    turned = (orbitals @ np.linalg.solve(whole - half, whole + half))[:, occupied]
    density = np.array([turned @ turned.T, below @ below.T])
    return Instability(float(eigenvalue), density)


def _split(solver: Any) -> tuple[np.ndarray, np.ndarray]:
    """Which orbitals are doubly occupied, and which are empty."""
    return solver.mo_occ > 1, solver.mo_occ == 0
