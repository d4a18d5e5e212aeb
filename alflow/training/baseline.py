"""What lies below the networks, taken out of the labels before training."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from alflow.core.datasets import Dataset
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch
from alflow.models.repulsion import Repelled, ZblRepulsion

REACH_A = 5.2
"""Twice the largest covalent radius: nuclei farther apart do not repel each other [Å]."""
ATOMS_TOGETHER = 4096
_VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])


def without_repulsion(data: Dataset, repulsion: ZblRepulsion | None) -> Dataset:
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


def _repelled(data: Dataset, members: range, repulsion: ZblRepulsion) -> Repelled:
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
