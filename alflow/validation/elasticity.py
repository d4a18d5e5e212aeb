"""Elastic constants from energies of strained cells."""

from collections.abc import Mapping

import numpy as np
from ase import Atoms
from jaxtyping import Float

from alflow.models.potential import Potential
from alflow.validation.lattices import Crystal
from alflow.validation.potentials import energies, relaxed

_STEPS = (-2, -1, 0, 1, 2)
_SECOND_DERIVATIVE = np.array([-1, 16, -30, 16, -1]) / 12

_PATTERNS: Mapping[str, Mapping[str, tuple[float, ...]]] = {
    "cubic": {
        "C11": (1, 0, 0, 0, 0, 0),
        "C11+C12": (1, 1, 0, 0, 0, 0),
        "C44": (0, 0, 0, 1, 0, 0),
    },
    "hexagonal": {
        "C11": (1, 0, 0, 0, 0, 0),
        "C11+C12": (1, 1, 0, 0, 0, 0),
        "C33": (0, 0, 1, 0, 0, 0),
        "C11+C33+2C13": (1, 0, 1, 0, 0, 0),
        "C44": (0, 0, 0, 1, 0, 0),
    },
}
"""Strains in the order of Voigt (shears as the whole angle), and what their curvature is."""

_RELAXED_WITHIN = 1e-3
"""Forces below this [eV/Å] change an energy by less than single precision does."""


def elastic_constants(
    potential: Potential, crystal: Crystal, largest_strain: float
) -> dict[str, Float[np.ndarray, " columns"]]:
    """Elastic constants [eV/Å³] by name, of the mean and of each member at the same cells.

    Each is the second derivative of the energy by a strain, from five cells between plus and minus
    the largest strain; atoms that symmetry leaves free are relaxed by the mean.

    Args:
        potential: What gives the energies.
        crystal: The crystal at its minimum.
        largest_strain: Strain of the outermost cells.

    Raises:
        Unanswered: If atoms inside a strained cell do not relax.
    """
    system = "hexagonal" if crystal.phase == "hcp" else "cubic"
    patterns = _PATTERNS[system]
    unit, step = crystal.primitive(), largest_strain / max(_STEPS)
    cells = [
        _inside_relaxed(potential, strained(unit, step * n * np.array(pattern)))
        for pattern in patterns.values()
        for n in _STEPS
    ]
    found = energies(potential, cells).reshape(-1, len(patterns), len(_STEPS))
    curvatures = found @ _SECOND_DERIVATIVE / step**2 / unit.get_volume()
    by_name = dict(zip(patterns, curvatures.T, strict=True))
    # two normal strains at once: W = (C11 + C12) e²
    c12 = by_name["C11+C12"] / 2 - by_name["C11"]
    constants = {"C11": by_name["C11"], "C12": c12}
    if system == "hexagonal":
        both = by_name["C11+C33+2C13"]
        constants["C13"] = (both - by_name["C11"] - by_name["C33"]) / 2
        constants["C33"] = by_name["C33"]
    return {**constants, "C44": by_name["C44"]}


def strained(atoms: Atoms, strain: Float[np.ndarray, "6"]) -> Atoms:
    """A copy under a strain in the order of Voigt, atoms moving with the cell."""
    xx, yy, zz, yz, xz, xy = strain
    deformation = np.array(
        [[1 + xx, xy / 2, xz / 2], [xy / 2, 1 + yy, yz / 2], [xz / 2, yz / 2, 1 + zz]]
    )
    copy: Atoms = atoms.copy()
    copy.set_cell(np.asarray(atoms.cell[:]) @ deformation, scale_atoms=True)
    return copy


def _inside_relaxed(potential: Potential, atoms: Atoms) -> Atoms:
    return atoms if len(atoms) == 1 else relaxed(potential, atoms, _RELAXED_WITHIN)
