"""Relaxation of one structure with the mean forces of an ensemble."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alflow.core.structures import Structure
from alflow.md.neighbours import FindPairs
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Potential
from alflow.samplers.bonds import bonds
from alflow.samplers.judging import moved

_SHORTEST_BOND = 0.75
"""Atoms closer than this factor of the sum of their covalent radii overlap: 0.73 Å for O-H. The
shortest bond, that of N2, has 0.77."""


@dataclass(frozen=True, eq=False, slots=True)
class Relaxed:
    """Where a relaxation ended.

    Attributes:
        structure: The last geometry; None if a force or a position was not a number.
        n_steps: Steps made.
        force_eV_per_A: Largest mean force on an atom that was free to move [eV/Å].
        is_sound: Whether it brought no atoms closer than any bond is. A young ensemble may have its
            minima where atoms overlap.
    """

    structure: Structure | None
    n_steps: int
    force_eV_per_A: float
    is_sound: bool


def relaxed(
    structure: Structure,
    potential: Potential,
    *,
    largest_force_eV_per_A: float,
    most_steps: int,
    fixed: Sequence[int] = (),
    find_pairs: FindPairs = neighbour_pairs,
) -> Relaxed:
    """Relax positions, the cell as it is, with the BFGS of ASE, which never goes uphill.

    Args:
        structure: Where to start.
        potential: The ensemble.
        largest_force_eV_per_A: Ends when no atom feels a stronger mean force [eV/Å]...
        most_steps: ...or after this number of steps, wherever that is.
        fixed: Atoms that stay where they are.
        find_pairs: Finds pairs from scratch.
    """
    from ase import Atoms
    from ase.constraints import FixAtoms
    from ase.optimize import BFGS

    from alflow.md.ase_calculator import EnsembleCalculator

    atoms = Atoms(
        structure.numbers, structure.positions, cell=structure.cell, pbc=structure.pbc
    )
    atoms.calc = EnsembleCalculator(potential, forces="mean", find_pairs=find_pairs)
    if fixed:
        atoms.set_constraint(FixAtoms(indices=list(fixed)))
    n_steps, force = 0, _strongest(atoms.get_forces())
    optimizer = BFGS(atoms, logfile=None)  # type: ignore[arg-type, unused-ignore]
    # one step at a time: what is not a number must not reach the next one
    while largest_force_eV_per_A < force < np.inf and n_steps < most_steps:
        optimizer.step()
        n_steps += 1
        force = _strongest(atoms.get_forces())
    end = moved(structure, atoms.positions) if np.isfinite(force) else None
    is_sound = end is not None and _n_overlaps(end) <= _n_overlaps(structure)
    return Relaxed(end, n_steps, force, is_sound)


def _n_overlaps(structure: Structure) -> int:
    return len(bonds(structure, _SHORTEST_BOND).i)


def _strongest(forces: np.ndarray) -> float:
    return float(np.sqrt((forces**2).sum(axis=1)).max())
