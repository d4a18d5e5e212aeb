"""Crystals: lattices, sizes, strains and point defects."""

import ase.io
import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st

from alflow import registry
from alflow.builders.crystal import CrystalSettings
from alflow.builders.geometry import closest_ratio, distance_table
from alflow.core.elements import COVALENT_RADII_A, SYMBOLS
from alflow.core.errors import SettingsError

AL = {"element": "Al", "lattice": "fcc", "lattice_A": 4.05}
PERFECT = {"strain": (0, 0), "rattle_A": (0, 0)}


def built(seed: int = 0, count: int = 4, **changes):
    given = changes if "path" in changes else {**AL, **changes}
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
    changes = {"lattice": lattice, "element": element, "lattice_A": a, **PERFECT}
    (crystal,) = built(count=1, repeat=(3, 3, 3), **changes)
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


@pytest.mark.parametrize(
    ("lattice", "elements", "neighbours", "of_a", "formula"),
    [
        ("rocksalt", ("Na", "Cl"), [6, 6], 1 / 2, "Cl32Na32"),
        ("zincblende", ("Ga", "As"), [4, 4], 3**0.5 / 4, "As32Ga32"),
        ("wurtzite", ("Zn", "O"), [4, 4], 0.375 * (8 / 3) ** 0.5, "O32Zn32"),
        ("cesiumchloride", ("Ni", "Al"), [8, 8], 3**0.5 / 2, "Al8Ni8"),
        ("fluorite", ("Ca", "F"), [8, 4], 3**0.5 / 4, "Ca32F64"),
    ],
)
def test_compounds_have_their_first_shell(lattice, elements, neighbours, of_a, formula):
    changes = {"lattice": lattice, "element": elements, "lattice_A": 5.4, **PERFECT}
    (crystal,) = built(count=1, repeat=(2, 2, 2), **changes)
    assert crystal.formula == formula
    table = distance_table(crystal.positions, crystal.cell)
    bonds = (np.abs(table - of_a * 5.4) < 1e-4).sum(axis=1)
    for symbol, count in zip(elements, neighbours, strict=True):
        assert set(bonds[crystal.numbers == SYMBOLS.index(symbol)]) == {count}


def test_unit_cells_come_from_files(tmp_path):
    perovskite = Atoms("BaTiO3", cell=np.diag([4.0, 4.0, 4.1]), pbc=True)
    perovskite.set_scaled_positions(
        [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    )
    left_handed = perovskite.copy()
    left_handed.set_cell(-left_handed.cell[:])
    for k, atoms in enumerate((perovskite, left_handed)):
        ase.io.write(tmp_path / f"{k}.cif", atoms)
        for crystal in built(path=tmp_path / f"{k}.cif", atoms=(20, 40)):
            assert crystal.formula in {"Ba4O12Ti4", "Ba8O24Ti8", "Ba6O18Ti6"}
            assert np.linalg.det(crystal.cell) > 0
    ase.io.write(tmp_path / "free.xyz", Atoms("OH", [[0, 0, 0], [0, 0, 1]]))
    with pytest.raises(SettingsError, match="not periodic in all directions"):
        built(path=tmp_path / "free.xyz")


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    lattice=st.sampled_from(
        [("Al", "fcc", 4.05), ("Fe", "bcc", 2.87), ("Si", "diamond", 5.43)]
    ),
    vacancies=st.tuples(st.just(0), st.integers(0, 3)),
    interstitials=st.tuples(st.just(0), st.integers(0, 2)),
)
def test_defects_keep_their_counts_and_distances(seed, lattice, vacancies, interstitials):
    element, name, a = lattice
    (crystal,) = built(
        seed, 1, element=element, lattice=name, lattice_A=a, atoms=(16, 54),
        vacancies=vacancies, interstitials=interstitials, rattle_A=(0, 0.05),
    )  # fmt: skip
    assert 16 - vacancies[1] <= crystal.n_atoms <= 54 + interstitials[1]
    assert closest_ratio(crystal.numbers, crystal.positions, crystal.cell) >= 0.65
    assert np.linalg.det(crystal.cell) > 0


def test_guests_are_squeezed_in():
    changes = {"interstitials": (1, 1), "guests": ("C", "H"), "repeat": (2, 2, 2)}
    iron = {"element": "Fe", "lattice": "bcc", "lattice_A": 2.87, **PERFECT}
    crystals = built(count=12, **changes, **iron)
    assert {crystal.formula for crystal in crystals} == {"CFe16", "Fe16H"}
    for crystal in crystals:
        table = distance_table(crystal.positions, crystal.cell)
        limit = 0.75 * (COVALENT_RADII_A[26] + COVALENT_RADII_A[crystal.numbers[-1]])
        assert limit <= table[-1, :-1].min() < 1.5 * limit


def test_antisites_change_elements_and_nothing_else():
    compound = {"element": ("Ni", "Al"), "lattice": "cesiumchloride", "lattice_A": 2.88}
    sizes = {"repeat": (2, 2, 2), **PERFECT, **compound}
    (perfect,) = built(count=1, **sizes)
    for wrong in built(count=6, antisites=(1, 2), **sizes):
        assert (wrong.positions == perfect.positions).all()
        assert 1 <= (wrong.numbers != perfect.numbers).sum() <= 2
    (doped,) = built(count=1, antisites=(1, 1), guests=("Cu",), repeat=(1, 1, 1))
    assert doped.formula == "Al3Cu"


def test_volumes_are_drawn_from_the_range():
    volumes = [
        crystal.volume_A3 / crystal.n_atoms / (4.05**3 / 4)
        for crystal in built(count=30, volume_factor=(0.8, 1.3), **PERFECT)
    ]
    assert 0.8 <= min(volumes) < 0.9
    assert 1.2 < max(volumes) <= 1.3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"element": "Al", "lattice": "fcc"},
            "give element, lattice and lattice_A, or the",
        ),
        ({**AL, "path": "cell.cif"}, "not both"),
        ({**AL, "lattice": "rocksalt"}, "rocksalt does not go with element Al"),
        ({**AL, "element": ("Al", "Ni")}, "fcc does not go with element"),
        ({**AL, "vacancies": (2, 1)}, "must ascend"),
        ({**AL, "antisites": (-1, 1)}, "below zero"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        CrystalSettings(**changes)


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
        (
            {
                "repeat": (1, 1, 1),
                "vacancies": (0, 3),
                "antisites": (0, 2),
                "guests": ("Cu",),
            },
            "antisites 0 to 2 do not go with 1 atoms",
        ),
        ({"antisites": (0, 1)}, "second element, which fcc Al does not have"),
        ({"guests": ("Xx",)}, "no element"),
        (
            {"interstitials": (2, 2), "guests": ("Cs",), "repeat": (1, 1, 1)},
            "lower rattle_A, strain or interst",
        ),
        ({"lattice_A": 2.0}, "check lattice_A"),
    ],
)
def test_what_cannot_be_built_is_told(changes, words):
    with pytest.raises(SettingsError, match=words):
        built(**changes)
