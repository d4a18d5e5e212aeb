"""What suites ask a potential for: energies by all members at once, forces, relaxations."""

from collections.abc import Sequence

import numpy as np
import torch
from ase import Atoms
from ase.optimize import BFGS
from jaxtyping import Float

from alflow.core.errors import AlflowError
from alflow.md.ase_calculator import EnsembleCalculator
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch, Potential

MOST_STEPS = 300
"""Largest number of steps of a relaxation."""


class Unanswered(AlflowError):
    """A potential does not have a property: no minimum where one was looked for, say.

    What a suite cannot know without it is left out, with this message as a note.
    """


def energies(
    potential: Potential, systems: Sequence[Atoms]
) -> Float[np.ndarray, "columns systems"]:
    """Energies of many systems [eV]: by the mean first, then by each member if there are several.

    Args:
        potential: What is asked.
        systems: Geometries; they need no calculator.
    """
    batch = _batch(potential, systems)
    pairs = neighbour_pairs(batch, potential.cutoff_A)
    found = potential.evaluate(batch, pairs, forces="none").energies
    return with_mean(found.detach().to("cpu", torch.float64).numpy())


def forces(
    potential: Potential, systems: Sequence[Atoms]
) -> Float[np.ndarray, "columns atoms 3"]:
    """Forces on the atoms of all systems in a row [eV/Å]: by the mean, then by each member.

    Args:
        potential: What is asked.
        systems: Geometries; they need no calculator.

    Raises:
        Unanswered: If the potential keeps the forces of its members to itself.
    """
    batch = _batch(potential, systems)
    pairs = neighbour_pairs(batch, potential.cutoff_A)
    found = potential.evaluate(batch, pairs, forces="members").member_forces
    if found is None:
        raise Unanswered("the potential gives no forces of its members")
    return with_mean(found.detach().to("cpu", torch.float64).numpy())


def with_mean(of_members: Float[np.ndarray, "members ..."]) -> Float[np.ndarray, "..."]:
    """Columns: the mean over members, then each of them; one member is the mean."""
    if len(of_members) == 1:
        return of_members
    return np.concatenate([of_members.mean(axis=0, keepdims=True), of_members])


def relaxed(potential: Potential, atoms: Atoms, force_eV_per_A: float) -> Atoms:
    """A copy with its positions relaxed by the mean forces, the cell as it is.

    Args:
        potential: What gives the forces.
        atoms: Where to start; constraints are kept.
        force_eV_per_A: Ends when no atom feels a stronger force [eV/Å].

    Raises:
        Unanswered: If it does not get there, or comes to what is not a number.
    """
    moving: Atoms = atoms.copy()
    strongest = np.inf
    moving.calc = EnsembleCalculator(potential, forces="mean")
    optimizer = BFGS(moving, logfile=None)  # type: ignore[arg-type, unused-ignore]
    for _ in range(MOST_STEPS):
        # one step at a time: what is not a number must not reach the next one
        strongest = float(np.linalg.norm(moving.get_forces(), axis=1).max())
        if not np.isfinite(strongest):
            raise Unanswered(f"the relaxation of {atoms.symbols} came to no number")
        if strongest <= force_eV_per_A:
            moving.calc = None
            return moving
        optimizer.step()
    raise Unanswered(
        f"{atoms.symbols} did not relax in {MOST_STEPS} steps: the strongest force is still "
        f"{strongest:.3g} eV/Å"
    )


def _batch(potential: Potential, systems: Sequence[Atoms]) -> Batch:
    device, sizes = potential.device, torch.tensor([len(atoms) for atoms in systems])
    cells = np.stack([np.asarray(a.cell[:]) * bool(a.pbc.any()) for a in systems])
    positions = np.concatenate([atoms.positions for atoms in systems])
    numbers = np.concatenate([atoms.numbers for atoms in systems]).astype(np.int64)
    return Batch(
        torch.from_numpy(positions).to(device, potential.dtype),
        torch.from_numpy(numbers).to(device),
        torch.repeat_interleave(torch.arange(len(systems)), sizes).to(device),
        torch.from_numpy(cells).to(device, potential.dtype),
        torch.from_numpy(np.stack([np.asarray(a.pbc, bool) for a in systems])).to(device),
    )
