"""What lies below the networks, taken out of the labels before training."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from scipy.optimize import nnls

from alflow.core.datasets import Dataset
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch
from alflow.models.repulsion import FITTED, REACHES, ZBL, Repelled, Repulsion

REACH_A = 6.8
"""The farthest that the repulsion of any two elements reaches [Å]."""
FORCE_FLOOR_EV_PER_A = 0.5
"""Errors of fitted forces count relative to the force on the atom, or to this if it is larger."""
RIDGE = 1e-6
"""Share of the mean square of a term that keeps coefficients small which the labels do not tell."""
ATOMS_TOGETHER = 4096
_VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])


def without_repulsion(data: Dataset, repulsion: Repulsion | None) -> Dataset:
    """Labels less the repulsion of nuclei: energies, forces and stresses; the rest as it is."""
    if repulsion is None or not len(data):
        return data
    parts = [_repelled(data, members, repulsion) for members in _parts(data)]
    energies = np.concatenate([part.energies.numpy() for part in parts])
    forces = np.concatenate([part.forces.numpy() for part in parts])
    virial = np.concatenate([part.virial.numpy() for part in parts])[:, *_VOIGT]
    volume = np.abs(np.linalg.det(data.cells))[:, None]
    stress = np.divide(virial, volume, out=np.zeros_like(virial), where=volume > 0)
    return replace(
        data,
        energy=data.energy - energies,
        forces=data.forces - forces,
        stress=data.stress - stress,
    )


def fitted(data: Dataset, repulsion: Repulsion | None) -> Repulsion | None:
    """The repulsion with terms that fit the forces of labels, where it is one that is fitted.

    Coefficients are not negative, so that it repels at all distances. Errors count relative to
    the force on the atom: the steep wall is what is wanted, not the attraction around bonds.

    Args:
        data: Labels, those of large forces too.
        repulsion: What to fit, or to leave as it is.
    """
    if repulsion is None or repulsion.name != FITTED:
        return repulsion
    has_forces = np.flatnonzero(data.has_forces)
    if not len(has_forces):
        return repulsion
    data = data.take(has_forces)
    elements = np.unique(data.numbers).tolist()
    pairs = list(itertools.combinations_with_replacement(elements, 2))
    units = [(pair, k) for pair in pairs for k in range(len(REACHES))]
    normal, right = np.zeros((len(units), len(units))), np.zeros(len(units))
    for members in _parts(data):
        target, columns = _columns(data, members, units)
        normal += columns.T @ columns
        right += columns.T @ target
    normal += RIDGE * np.diag(np.diag(normal)) + 1e-12 * np.eye(len(units))
    root = np.linalg.cholesky(normal)
    values, _ = nnls(root.T, np.linalg.solve(root, right))
    n = len(REACHES)
    return Repulsion(
        FITTED, {pair: tuple(values[n * k : n * k + n]) for k, pair in enumerate(pairs)}
    )


def _columns(
    data: Dataset, members: range, units: list[tuple[tuple[int, int], int]]
) -> tuple[Float[np.ndarray, " rows"], Float[np.ndarray, "rows terms"]]:
    """Forces that are to be fitted, and those of each term alone, both weighted."""
    first, last = members[0], members[-1]
    atoms = slice(int(data.starts[first]), int(data.starts[last] + data.n_atoms[last]))
    forces = data.forces[atoms]
    size = np.linalg.norm(forces, axis=1, keepdims=True)
    weights = 1.0 / np.hypot(size, FORCE_FLOOR_EV_PER_A)
    bare = _repelled(data, members, Repulsion(ZBL)).forces.numpy()
    columns = []
    for pair, k in units:
        unit = tuple(float(term == k) for term in range(len(REACHES)))
        whole = _repelled(data, members, Repulsion(FITTED, {pair: unit})).forces.numpy()
        columns.append((weights * (whole - bare)).ravel())
    return (weights * (forces - bare)).ravel(), np.stack(columns, axis=1)


def _repelled(data: Dataset, members: range, repulsion: Repulsion) -> Repelled:
    batch = Batch.from_structures([data.structure(k) for k in members])
    return repulsion.evaluate(batch, neighbour_pairs(batch, REACH_A))


def _parts(data: Dataset) -> Iterator[range]:
    """Runs of structures that are worth one evaluation."""
    first, n_atoms = 0, 0
    for k, size in enumerate(data.n_atoms.tolist()):
        if n_atoms and n_atoms + size > ATOMS_TOGETHER:
            yield range(first, k)
            first, n_atoms = k, 0
        n_atoms += size
    yield range(first, len(data))
