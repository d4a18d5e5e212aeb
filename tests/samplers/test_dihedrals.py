"""Which bonds turn, and that a turn is nothing but a turn."""

import numpy as np
import pytest
from ase.build import molecule

from alflow.core.structures import Structure
from alflow.samplers.dihedrals import bonded, rotatable_bonds


def structure(name):
    atoms = molecule(name)
    return Structure(atoms.numbers.astype(np.uint8), atoms.positions)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("trans-butane", [(0, 1), (1, 2), (2, 3)]),
        ("CH3CH2OH", [(0, 1), (1, 2)]),
        ("H2O2", [(0, 1)]),
        ("N2H4", [(0, 1)]),
        ("butadiene", [(1, 2)]),  # the single bond of three
        ("CH3CONH2", [(1, 2), (1, 3)]),  # the amide bond and the methyl group
        ("C3H6_Cs", [(1, 5)]),  # propene: the methyl group
        ("C2H6SO", [(0, 2), (0, 3)]),
        ("CH3COCH3", [(1, 2), (1, 3)]),  # C=O ends
        ("C2H4", []),
        ("H2CCO", []),
        ("2-butyne", []),  # straight
        ("C6H6", []),
        ("cyclobutane", []),
        ("C5H5N", []),
        ("CH4", []),
        ("H2O", []),
    ],
)
def test_the_bonds_that_turn(name, expected):
    assert [
        dihedral.atoms[1:3] for dihedral in rotatable_bonds(structure(name))
    ] == expected


NAMES = ["trans-butane", "CH3CH2OH", "H2O2", "CH3CONH2", "C2H6SO", "isobutane"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("by_deg", [30.0, 77.0, 180.0, -141.0])
def test_the_angle_is_reached_and_nothing_else_changes(name, by_deg):
    start = structure(name)
    atoms = molecule(name)
    for dihedral in rotatable_bonds(start):
        before = dihedral.angle_deg(start.positions)
        assert np.cos(np.radians(before)) == pytest.approx(
            np.cos(np.radians(atoms.get_dihedral(*dihedral.atoms)))
        )
        atoms.positions = dihedral.turned(start.positions, by_deg)
        # ASE's own dihedral, sign and all
        change = atoms.get_dihedral(*dihedral.atoms) - before - by_deg
        assert (change + 180) % 360 - 180 == pytest.approx(0, abs=1e-9)
        pairs = bonded(start, start.positions)
        for i, j in np.argwhere(pairs & ~np.eye(len(atoms), dtype=bool)):
            length = np.linalg.norm(start.positions[i] - start.positions[j])
            assert atoms.get_distance(i, j) == pytest.approx(length, abs=1e-12)
        original = molecule(name)
        angles = [
            (i, j, k)
            for j in range(len(atoms))
            for i in range(len(atoms))
            for k in range(i)
            if pairs[i, j] and pairs[j, k] and j not in (i, k)
        ]
        for angle in angles:
            assert atoms.get_angle(*angle) == pytest.approx(
                original.get_angle(*angle), abs=1e-6
            )
        still = sorted(set(range(len(atoms))) - set(dihedral.turning))
        assert np.array_equal(atoms.positions[still], start.positions[still])
        assert len(dihedral.turning) <= len(still)


def test_what_turns_is_the_smaller_side():
    symbols = molecule("CH3CH2OH").symbols
    turning = [
        {symbols[k] for k in dihedral.turning}
        for dihedral in rotatable_bonds(structure("CH3CH2OH"))
    ]
    assert turning in ([{"H", "O"}, {"H"}], [{"H"}, {"H"}])


def test_two_molecules_turn_on_their_own():
    one = structure("H2O2")
    both = Structure(
        np.tile(one.numbers, 2),
        np.concatenate([one.positions, one.positions + np.array([6.0, 0, 0])]),
    )
    first, second = rotatable_bonds(both)
    assert set(first.turning) < set(range(4))
    assert set(second.turning) < set(range(4, 8))
    turned = second.turned(both.positions, 90.0)
    assert np.array_equal(turned[:4], both.positions[:4])
