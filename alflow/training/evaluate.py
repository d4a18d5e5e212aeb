"""Predictions of a potential for structures, for comparison with labels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from alflow.core.structures import Structure
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch, Potential

DEFAULT_ATOMS = 2048
"""Atoms evaluated at a time, unless one structure has more."""


@dataclass(frozen=True, eq=False, slots=True)
class Prediction:
    """What an ensemble says about one structure.

    Attributes:
        energy: Mean energy over members [eV].
        energy_spread: Standard deviation of the energy over members [eV], not per atom.
        forces: Mean forces [eV/Å], (atoms, 3).
        force_spread: Norm over x, y, z of the standard deviation over members [eV/Å], (atoms,).
    """

    energy: float
    energy_spread: float
    forces: Float[np.ndarray, "atoms 3"]
    force_spread: Float[np.ndarray, " atoms"]


def predict(
    potential: Potential, structures: Sequence[Structure], *, max_atoms: int = DEFAULT_ATOMS
) -> list[Prediction]:
    """Evaluate structures, in order.

    Args:
        potential: Any potential.
        structures: What to evaluate.
        max_atoms: Atoms in one batch; a larger structure makes a batch of its own.
    """
    predictions: list[Prediction] = []
    for part in _parts(structures, max_atoms):
        predictions += _predict_part(potential, part)
    return predictions


def _parts(structures: Sequence[Structure], max_atoms: int) -> Iterator[list[Structure]]:
    part: list[Structure] = []
    n_atoms = 0
    for structure in structures:
        if part and n_atoms + structure.n_atoms > max_atoms:
            yield part
            part, n_atoms = [], 0
        part.append(structure)
        n_atoms += structure.n_atoms
    if part:
        yield part


def _predict_part(potential: Potential, structures: list[Structure]) -> list[Prediction]:
    batch = Batch.from_structures(structures, device=potential.device)
    pairs = neighbour_pairs(batch, potential.cutoff_A)
    result = potential.evaluate(batch, pairs, forces="members")
    if result.member_forces is None:
        raise TypeError(f"{type(potential).__name__} was asked for forces of the members")
    forces = result.member_forces.mean(0).double().cpu().numpy()
    spread = result.force_spread().double().cpu().numpy()
    ends = np.cumsum([s.n_atoms for s in structures])[:-1]
    columns = zip(
        result.energies.mean(0).tolist(),
        result.energy_spread().tolist(),
        np.split(forces, ends),
        np.split(spread, ends),
        strict=True,
    )
    return [Prediction(*column) for column in columns]
