"""Cells with defects: a vacancy, surfaces, a stacking fault."""

import numpy as np
from ase import Atoms
from ase.build import surface

from alflow.validation.lattices import Crystal


def with_vacancy(crystal: Crystal, sites: int) -> Atoms:
    """A supercell with at least so many sites and one atom less."""
    cell = crystal.supercell(sites)
    del cell[0]
    return cell


def slab(crystal: Crystal, facet: str, thickness_A: float, vacuum_A: float) -> Atoms:
    """A slab with two equal surfaces, periodic in all directions, vacuum along the third.

    Args:
        crystal: What it is cut from.
        facet: Miller indices in the conventional cell, for example "111".
        thickness_A: Smallest distance of its outermost planes, vacuum left out [Å].
        vacuum_A: Room between its surfaces across the boundary [Å].
    """
    indices = tuple(int(digit) for digit in facet)
    unit, n_layers = crystal.conventional(), 1
    while True:
        found: Atoms = surface(unit, indices, n_layers, vacuum=vacuum_A / 2, periodic=True)
        if float(np.ptp(found.positions[:, 2])) >= thickness_A:
            return found
        n_layers += 1


def area_A2(atoms: Atoms) -> float:
    """Area of the cell normal to its third direction [Å²]."""
    a, b, _ = np.asarray(atoms.cell[:])
    return float(np.linalg.norm(np.cross(a, b)))


def with_fault(crystal: Crystal, layers: int, opening_A: float) -> Atoms:
    """Close-packed planes stacked ABCABC..., and ABC|BCABC... at the boundary of the cell.

    Args:
        crystal: An fcc crystal.
        layers: Number of planes, a multiple of three.
        opening_A: How much further apart the planes at the fault are than the others [Å].
    """
    edge = crystal.lattice_A / 2**0.5
    height = crystal.lattice_A / 3**0.5
    a = edge * np.array([1.0, 0.0, 0.0])
    b = edge * np.array([0.5, 3**0.5 / 2, 0.0])
    # from a plane to the next: A to B, B to C, C to A; across the boundary C is followed by B
    shift = (a + b) / 3
    up = np.array([0.0, 0.0, 1.0])
    positions = [layer * (shift + height * up) for layer in range(layers)]
    c = shift + (layers * height + opening_A) * up
    fault = Atoms(
        f"{crystal.symbol}{layers}", positions=positions, cell=[a, b, c], pbc=True
    )
    fault.wrap(pbc=(True, True, False))
    return fault
