"""Crystals: lattices, sizes, strains and vacancies."""

import numpy as np
import pytest

from alflow import registry
from alflow.builders.crystal import CrystalSettings
from alflow.builders.geometry import closest_ratio, distance_table
from alflow.core.errors import SettingsError


def built(seed: int = 0, count: int = 4, **changes):
    given = {"element": "Al", "lattice": "fcc", "lattice_A": 4.05, **changes}
    return CrystalSettings(**given).create().build(np.random.default_rng(seed), count)


def test_entry_point_finds_it():
    assert registry.find("builders", "crystal") is CrystalSettings


@pytest.mark.parametrize(
    ("lattice", "element", "a", "neighbours", "distance"),
    [
        ("fcc", "Al", 4.05, 12, 4.05 / 2**0.5),
        ("bcc", "Fe", 2.87, 8, 2.87 * 3**0.5 / 2),
        ("hcp", "Mg", 3.2, 12, 3.2),
        ("diamond", "Si", 5.43, 4, 5.43 * 3**0.5 / 4),
    ],
)
def test_perfect_crystals_have_their_first_shell(lattice, element, a, neighbours, distance):
    perfect = {"strain": (0, 0), "rattle_A": (0, 0), "repeat": (3, 3, 3)}
    (crystal,) = built(count=1, lattice=lattice, element=element, lattice_A=a, **perfect)
    table = distance_table(crystal.positions, crystal.cell)
    assert table.min() == pytest.approx(distance, abs=1e-6)
    assert (np.abs(table - distance) < 1e-5).sum(axis=1).tolist() == [neighbours] * len(
        table
    )


def test_sizes_strains_and_displacements_vary():
    crystals = built(count=20, atoms=(16, 48))
    assert {crystal.n_atoms for crystal in crystals} <= {16, 20, 24, 28, 32, 36, 40, 44, 48}
    assert len({crystal.n_atoms for crystal in crystals}) > 1
    assert len({round(crystal.density_g_per_cm3, 4) for crystal in crystals}) == 20
    for crystal in crystals:
        assert closest_ratio(crystal.numbers, crystal.positions, crystal.cell) >= 0.65
        assert 0.85**3 < crystal.volume_A3 / crystal.n_atoms / (4.05**3 / 4) < 1.15**3


def test_vacancies_are_taken_out():
    sizes = {c.n_atoms for c in built(count=30, repeat=(2, 2, 2), vacancies=(0, 2))}
    assert sizes == {30, 31, 32}


def test_same_generator_state_gives_the_same_crystals():
    assert built(3) == built(3)
    assert built(3) != built(4)
    assert built(count=0) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"atoms": (5, 7)}, "no supercell of fcc"),
        ({"element": "Ax"}, "no element"),
        ({"repeat": (1, 1, 1), "vacancies": (0, 4)}, "vacancies 0 to 4"),
        ({"vacancies": (2, 1)}, "vacancies 2 to 1"),
        ({"lattice_A": 2.0}, "check lattice_A"),
    ],
)
def test_what_cannot_be_built_is_told(changes, words):
    with pytest.raises(SettingsError, match=words):
        built(**changes)
