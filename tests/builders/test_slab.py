"""Slabs: facets, thickness, vacuum, terminations, adatoms and vacancies."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alflow import registry
from alflow.builders.geometry import closest_ratio, distance_table, separations
from alflow.builders.slab import SlabSettings
from alflow.core.elements import COVALENT_RADII_A, SYMBOLS
from alflow.core.errors import SettingsError

AL = {"element": "Al", "lattice": "fcc", "lattice_A": 4.05}
PERFECT = {"strain": (0, 0), "rattle_A": (0, 0)}


def built(seed: int = 0, count: int = 4, **changes):
    given = {**AL, **changes}
    return SlabSettings(**given).create().build(np.random.default_rng(seed), count)


def test_entry_point_finds_it():
    assert registry.find("builders", "slab") is SlabSettings


@pytest.mark.parametrize(
    ("changes", "facet", "spacing", "on_top"),
    [
        ({}, (1, 1, 1), 4.05 / 3**0.5, 9),
        ({}, (1, 0, 0), 4.05 / 2, 8),
        ({}, (1, 1, 0), 4.05 / 8**0.5, 7),
        (
            {"element": "Fe", "lattice": "bcc", "lattice_A": 2.87},
            (1, 1, 0),
            2.87 / 2**0.5,
            6,
        ),
        ({"element": "Mg", "lattice": "hcp", "lattice_A": 3.2}, (0, 0, 1), 2.613, 9),
    ],
)
def test_perfect_facets_have_their_planes_and_neighbours(changes, facet, spacing, on_top):
    for slab in built(facets=[facet], **changes, **PERFECT):
        heights = np.unique(slab.positions[:, 2].round(4))
        assert np.diff(heights) == pytest.approx(spacing, abs=1e-3)
        distances = np.linalg.norm(separations(slab.positions, slab.cell), axis=-1)
        bonds = (distances < 1.02 * distances.min()).sum(axis=(0, 2))
        assert set(bonds[slab.positions[:, 2] > heights[-1] - 0.1]) == {on_top}
        assert set(bonds[slab.positions[:, 2] < heights[0] + 0.1]) == {on_top}


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    crystal=st.sampled_from(
        [
            AL,
            {"element": "Mg", "lattice": "hcp", "lattice_A": 3.2},
            {"element": ("Na", "Cl"), "lattice": "rocksalt", "lattice_A": 5.64},
            {"element": ("Zn", "O"), "lattice": "wurtzite", "lattice_A": 3.25},
        ]
    ),
    vacuum=st.floats(4, 20),
    adatoms=st.integers(0, 3),
    vacancies=st.integers(0, 2),
)
def test_slabs_keep_sizes_vacuum_and_distances(seed, crystal, vacuum, adatoms, vacancies):
    (slab,) = built(
        seed, 1, **crystal, vacuum_A=(vacuum, vacuum + 1), adatoms=(0, adatoms),
        vacancies=(0, vacancies), rattle_A=(0, 0.05),
    )  # fmt: skip
    assert 16 - vacancies <= slab.n_atoms <= 64 + adatoms
    assert slab.pbc.all()
    assert np.linalg.det(slab.cell) > 0
    assert slab.cell[:2, 2].tolist() == [0, 0]
    empty = slab.cell[2, 2] - np.ptp(slab.positions[:, 2])
    assert vacuum - 1e-6 <= empty <= vacuum + 1 + 1e-6
    assert closest_ratio(slab.numbers, slab.positions, slab.cell) >= 0.65


def test_thickness_is_near_what_was_asked_for():
    for slab in built(count=20, thickness_A=(8, 10), **PERFECT):
        planes = len(np.unique(slab.positions[:, 2].round(4)))
        gap = np.ptp(slab.positions[:, 2]) / (planes - 1)
        assert 8 - 2 < planes * gap < 10 + 2


def test_compounds_are_cut_between_any_two_planes():
    changes = {"element": ("Na", "Cl"), "lattice": "rocksalt", "lattice_A": 5.64}
    slabs = built(count=20, facets=[(1, 1, 1)], **changes, **PERFECT)
    tops = {SYMBOLS[slab.numbers[slab.positions[:, 2].argmax()]] for slab in slabs}
    assert tops == {"Na", "Cl"}
    assert {slab.formula for slab in slabs} <= {f"Cl{n}Na{n}" for n in range(8, 33)}


def test_adatoms_rest_on_the_slab():
    sides = set()
    for slab in built(count=20, adatoms=(1, 1), guests=("Cu",), **PERFECT):
        assert (slab.numbers == 29).sum() == 1
        reach = distance_table(slab.positions, slab.cell)[-1, :-1].min()
        assert 0.9 <= reach / (COVALENT_RADII_A[29] + COVALENT_RADII_A[13]) <= 1.3 + 1e-6
        z = slab.positions[:, 2]
        assert not z[:-1].min() <= z[-1] <= z[:-1].max()
        sides.add(bool(z[-1] > z[0]))
    assert sides == {True, False}


def test_facets_and_strains_vary():
    areas = {round(abs(np.linalg.det(s.cell[:2, :2])), 3) for s in built(count=12)}
    assert len(areas) == 12


def test_same_generator_state_gives_the_same_slabs():
    assert built(3, adatoms=(0, 2)) == built(3, adatoms=(0, 2))
    assert built(3) != built(4)
    assert built(count=0) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"atoms": (5, 7)},
            r"no slab of fcc Al \(1, 0, 0\) of 6 to 12 Å has between 5 and",
        ),
        ({"element": "Ax"}, "no element"),
        ({"vacancies": (0, 20)}, "vacancies 0 to 20"),
        ({"lattice_A": 2.0}, "check lattice_A"),
    ],
)
def test_what_cannot_be_built_is_told(changes, words):
    with pytest.raises(SettingsError, match=words):
        built(**changes)


def test_facets_without_direction_are_refused():
    with pytest.raises(ValueError, match="cannot all be zero"):
        built(facets=[(0, 0, 0)])
