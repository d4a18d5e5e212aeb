"""Whether the labels of a level agree with themselves: forces, stress, energy, and twice the same.

Forces are minus the slope of the energy, and stress is its slope with strain over the volume. Along
one random direction that finds mistakes of unit and sign, energies that the forces do not belong to
(of smeared occupations), and calculations that are not converged.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from alflow.core.labels import Label
from alflow.core.structures import Structure

STEP_A = 5e-3
"""How far atoms are moved (root mean square) [Å]: far enough that
energies differ by more than their noise, near enough that the slope is one."""
STRAIN = 1e-3
FORCE_NOISE_EV_PER_A, STRESS_NOISE_EV_PER_A3 = 5e-3, 2e-4
RELATIVE = 0.02
"""Differences that are no mistake: this much, and this share of the value."""
REPEAT_EV_PER_ATOM = 1e-6
"""Two calculations of the same structure differ by no more [eV/atom]."""


@dataclass(frozen=True, slots=True)
class Slopes:
    """One quantity both ways.

    Attributes:
        name: Force or stress.
        unit: Unit of the numbers.
        from_energies: Central difference of energies.
        told: What the label says, along the same direction.
        noise: Difference that is no mistake.
    """

    name: str
    unit: str
    from_energies: float
    told: float
    noise: float

    @property
    def is_consistent(self) -> bool:
        """Whether both agree."""
        allowed = self.noise + RELATIVE * abs(self.from_energies)
        return abs(self.told - self.from_energies) <= allowed


def probes(structure: Structure, label: Label) -> dict[str, Structure]:
    """Structures to label, by name: the same again, and displaced or strained both ways.

    Args:
        structure: What was labelled.
        label: What it got.
    """
    found = {"again": structure}
    if label.forces is not None:
        step = STEP_A * direction(structure)
        for name, sign in (("forth", 1), ("back", -1)):
            moved = structure.positions + sign * step
            found[name] = replace(structure, positions=moved)
    if label.stress is not None and structure.cell is not None:
        for name, sign in (("stretched", 1), ("squeezed", -1)):
            strain = np.eye(3) + sign * STRAIN * tilt(structure)
            found[name] = replace(
                structure,
                positions=structure.positions @ strain,
                cell=structure.cell @ strain,
            )
    return found


def compare(
    structure: Structure, label: Label, probed: Mapping[str, Label]
) -> list[Slopes]:
    """Forces and stress of a label beside the slopes of energies.

    Args:
        structure: What was labelled.
        label: What it got.
        probed: Labels of `probes`, by name.
    """
    found = []
    if label.forces is not None and {"forth", "back"} <= set(probed):
        # Snapped to the grid of geometries, positions differ by a little from what was asked for.
        step = STEP_A * direction(structure)
        length = float(np.linalg.norm(step))
        rise = probed["forth"].energy - probed["back"].energy
        told = float((label.forces * step).sum()) / length
        found.append(
            Slopes("force", "eV/Å", -rise / (2 * length), told, FORCE_NOISE_EV_PER_A)
        )
    if (
        label.stress is not None
        and structure.cell is not None
        and {"stretched", "squeezed"} <= set(probed)
    ):
        volume = abs(float(np.linalg.det(structure.cell)))
        rise = probed["stretched"].energy - probed["squeezed"].energy
        xx, yy, zz, yz, xz, xy = label.stress
        stress = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        told = float((stress * tilt(structure)).sum())
        slope = rise / (2 * STRAIN * volume)
        found.append(Slopes("stress", "eV/Å³", slope, told, STRESS_NOISE_EV_PER_A3))
    return found


def direction(structure: Structure) -> Float[np.ndarray, "atoms 3"]:
    """A random direction of all atoms, the same for the same structure; its norm is √atoms."""
    drawn = _generator(structure).normal(size=(structure.n_atoms, 3))
    if structure.n_atoms > 1:
        drawn -= drawn.mean(axis=0)
    return np.asarray(drawn * structure.n_atoms**0.5 / np.linalg.norm(drawn))


def tilt(structure: Structure) -> Float[np.ndarray, "3 3"]:
    """A random symmetric strain of norm 1, the same for the same structure."""
    drawn = _generator(structure).normal(size=(3, 3))
    drawn = drawn + drawn.T
    return np.asarray(drawn / np.linalg.norm(drawn))


def _generator(structure: Structure) -> np.random.Generator:
    return np.random.default_rng(int(structure.hash[:16], 16))
