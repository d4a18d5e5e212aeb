"""Self energies of elements: the part of an energy that only composition decides."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from alflow.core.errors import SettingsError


def fit_self_energies(
    elements: Sequence[int],
    counts: Float[np.ndarray, "structures elements"],
    energies: Float[np.ndarray, " structures"],
) -> dict[int, float]:
    """Least-squares energy of each element.

    Where compositions do not tell elements apart (only water was seen, say), the solution of
    smallest norm is taken: it fits as well as any, and stays finite.

    Args:
        elements: Atomic numbers, the columns of `counts`.
        counts: Number of atoms of each element in each structure.
        energies: Total energies [eV], (structures,).

    Returns:
        Self energy [eV] by atomic number.

    Raises:
        SettingsError: If there is no structure, or a number is not finite.
    """
    if not len(energies):
        raise SettingsError("self energies cannot be fitted to no structures at all")
    if not (np.isfinite(energies).all() and np.isfinite(counts).all()):
        raise SettingsError(
            "self energies cannot be fitted to an energy that is not finite"
        )
    # Rows are divided by the number of atoms: a cell of 500 atoms must not outweigh 50 molecules.
    size = np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    solution = np.linalg.lstsq(counts / size, energies / size[:, 0], rcond=1e-10)[0]
    return {int(z): float(energy) for z, energy in zip(elements, solution, strict=True)}
