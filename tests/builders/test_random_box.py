"""Random boxes keep what they promise, for any settings and any seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alflow import registry
from alflow.builders.geometry import closest_ratio, distance_table
from alflow.builders.random_box import RandomBoxSettings
from alflow.core.elements import COVALENT_RADII_A
from alflow.core.errors import SettingsError


def box_settings(**changes) -> RandomBoxSettings:
    return RandomBoxSettings(
        **{"composition": {"Al": 1}, "density_g_per_cm3": (1.8, 4.05), **changes}
    )


def test_entry_point_finds_it():
    assert registry.find("builders", "random_box") is RandomBoxSettings


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    low_A=st.floats(1.4, 2.0),
    width_A=st.floats(0, 0.8),
    density=st.tuples(st.floats(0.5, 2.0), st.floats(2.0, 4.0)),
    atoms=st.tuples(st.integers(2, 20), st.integers(20, 40)),
)
def test_boxes_keep_distance_density_and_size(seed, low_A, width_A, density, atoms):
    builder = box_settings(
        min_distance_A=(low_A, low_A + width_A), density_g_per_cm3=density, atoms=atoms
    ).create()
    (box,) = builder.build(np.random.default_rng(seed), 1)
    assert atoms[0] <= box.n_atoms <= atoms[1]
    assert box.pbc.all()
    assert density[0] - 1e-5 <= box.density_g_per_cm3 <= density[1] + 1e-5
    assert box.cell is not None
    assert distance_table(box.positions, box.cell).min() >= low_A - 1e-5
    edges = np.diag(box.cell)
    assert edges.max() / edges.min() <= 1.25 + 1e-6


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_unlike_elements_keep_their_own_distances(seed):
    builder = box_settings(
        composition={"Si": 1, "O": 2},
        density_g_per_cm3=(2.0, 2.6),
        distance_factor=(0.7, 0.9),
    ).create()
    (box,) = builder.build(np.random.default_rng(seed), 1)
    assert closest_ratio(box.numbers, box.positions, box.cell) >= 0.7 - 1e-6
    assert set(box.numbers.tolist()) <= {8, 14}


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32), low_A=st.floats(1.5, 1.8), width_A=st.floats(0, 0.5))
def test_pairs_keep_distances_of_their_own(seed, low_A, width_A):
    builder = box_settings(
        composition={"Si": 1, "O": 2},
        density_g_per_cm3=(1.8, 2.4),
        distance_factor=(0.7, 0.8),
        pair_distance_A={"Si-O": (low_A, low_A + width_A), "O-O": (2.0, 2.2)},
    ).create()
    (box,) = builder.build(np.random.default_rng(seed), 1)
    table = distance_table(box.positions, box.cell)
    is_oxygen = box.numbers == 8
    assert table[is_oxygen][:, ~is_oxygen].min() >= low_A - 1e-5
    assert table[is_oxygen][:, is_oxygen].min() >= 2.0 - 1e-5
    assert table[~is_oxygen][:, ~is_oxygen].min() >= 1.4 * COVALENT_RADII_A[14] - 1e-5


def test_pairs_with_distances_of_their_own_may_be_closer_than_the_others():
    own = {"Na-Na": (2.0, 2.2), "Na-Cl": (2.0, 2.2), "Cl-Cl": (2.0, 2.2)}
    changes = {"composition": {"Na": 1, "Cl": 1}, "density_g_per_cm3": (3.5, 3.5)}
    assert (
        box_settings(pair_distance_A=own, distance_factor=(1, 1.1), **changes)
        .create()
        .build(np.random.default_rng(0), 1)
    )
    with pytest.raises(SettingsError, match="covalent radii"):
        box_settings(distance_factor=(1, 1.1), **changes).create().build(
            np.random.default_rng(0), 1
        )


def test_pairs_draw_their_distances_from_the_range():
    builder = box_settings(
        density_g_per_cm3=(1.5, 1.5), pair_distance_A={"Al-Al": (1.8, 2.6)}
    ).create()
    found = [
        distance_table(box.positions, box.cell).min()
        for box in builder.build(np.random.default_rng(3), 12)
    ]
    assert 1.8 - 1e-6 <= min(found) < 2.2
    assert max(found) > 2.4


def test_spacing_is_near_what_was_asked_for():
    builder = box_settings(min_distance_A=(2.1, 2.2), density_g_per_cm3=(2.7, 2.7)).create()
    for box in builder.build(np.random.default_rng(3), 5):
        assert 2.1 - 1e-6 <= distance_table(box.positions, box.cell).min() < 2.25


def test_same_generator_state_gives_the_same_boxes():
    builder = box_settings().create()
    first = builder.build(np.random.default_rng(1), 3)
    assert first == builder.build(np.random.default_rng(1), 3)
    assert first != builder.build(np.random.default_rng(2), 3)
    assert len({box.hash for box in first}) == 3
    assert builder.build(np.random.default_rng(1), 0) == []


def test_atoms_that_do_not_fit_are_told():
    builder = box_settings(min_distance_A=(3.0, 3.1), density_g_per_cm3=(3.0, 3.0)).create()
    with pytest.raises(SettingsError, match=r"at 3\.00 g/cm³ cannot all be 3 Å apart"):
        builder.build(np.random.default_rng(0), 1)
    builder = box_settings(
        pair_distance_A={"Al-Al": (3.0, 3.1)}, density_g_per_cm3=(3.0, 3.0)
    ).create()
    with pytest.raises(SettingsError, match=r"apart, Al-Al 3 Å"):
        builder.build(np.random.default_rng(0), 1)
    builder = box_settings(
        distance_factor=(1.2, 1.3), density_g_per_cm3=(4.0, 4.0)
    ).create()
    with pytest.raises(SettingsError, match="covalent radii"):
        builder.build(np.random.default_rng(0), 1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"composition": {"Xx": 1}}, "no element"),
        ({"composition": {"Al": 0}}, "must be positive"),
        ({"composition": {}}, "at least 1"),
        ({"atoms": (8, 4)}, "must ascend"),
        ({"atoms": (0, 4)}, "above zero"),
        ({"density_g_per_cm3": (0, 1)}, "above zero"),
        ({"aspect_ratio": (0.5, 1)}, "at least 1"),
        (
            {"pair_distance_A": {"Al-O": (1, 2)}},
            "Al-O is not a pair of elements of the comp",
        ),
        ({"pair_distance_A": {"Al": (1, 2)}}, "not a pair of elements like Ti-O"),
        ({"pair_distance_A": {"Al-Al": (2, 1)}}, "must ascend"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        box_settings(**changes)


def test_radii_are_what_the_factor_counts_in():
    builder = box_settings(distance_factor=(0.8, 0.8)).create()
    (box,) = builder.build(np.random.default_rng(0), 1)
    assert (
        distance_table(box.positions, box.cell).min() >= 1.6 * COVALENT_RADII_A[13] - 1e-6
    )
