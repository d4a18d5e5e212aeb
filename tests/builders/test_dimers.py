"""Dimers: all pairs, their distances and their spins."""

import collections

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alflow import registry
from alflow.builders.dimers import DimersSettings, ground_multiplicity
from alflow.builders.geometry import closest_ratio
from alflow.core.elements import SYMBOLS


def built(seed: int = 0, count: int = 6, **changes):
    given = {"elements": ("C", "H", "O"), **changes}
    return DimersSettings(**given).create().build(np.random.default_rng(seed), count)


def test_entry_point_finds_it():
    assert registry.find("builders", "dimers") is DimersSettings


def test_all_pairs_come_equally_often():
    formulas = collections.Counter(dimer.formula for dimer in built(count=13))
    assert set(formulas) == {"C2", "CH", "CO", "H2", "HO", "O2"}
    assert set(formulas.values()) == {2, 3}


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    low=st.floats(0.3, 2),
    width=st.floats(0, 2),
    elements=st.sets(st.sampled_from(SYMBOLS[1:96]), min_size=1, max_size=3),
)
def test_distances_and_spins_are_possible(seed, low, width, elements):
    factor = (low, low + width)
    for dimer in built(seed, elements=tuple(elements), distance_factor=factor):
        ratio = closest_ratio(dimer.numbers, dimer.positions)
        assert factor[0] - 1e-6 <= ratio <= factor[1] + 1e-6
        assert (dimer.n_electrons + dimer.multiplicity) % 2 == 1
        assert not dimer.is_periodic


@pytest.mark.parametrize(
    ("dimer", "multiplicity"),
    [
        *(("H-H", 1), ("O-O", 3), ("S-O", 3), ("N-N", 1), ("C-C", 1), ("Si-Si", 3)),
        *(("Si-C", 3), ("C-O", 1), ("N-H", 3), ("P-H", 3), ("O-H", 2), ("C-H", 2)),
        *(("N-F", 3), ("N-O", 2), ("B-B", 3), ("Al-Al", 3), ("B-H", 1), ("Na-Cl", 1)),
        *(("Ga-As", 3), ("Li-Li", 1), ("He-He", 1), ("Mg-O", 1), ("F-F", 1), ("Fe-O", 1)),
    ],
)
def test_ground_states_of_known_dimers(dimer, multiplicity):
    first, second = (SYMBOLS.index(symbol) for symbol in dimer.split("-"))
    assert ground_multiplicity(first, second) == multiplicity


def test_multiplicities_can_be_given():
    spins = {
        dimer.formula: dimer.multiplicity
        for dimer in built(elements=("Fe", "O"), multiplicity={"O-Fe": 5, "Fe-Fe": 7})
    }
    assert spins == {"Fe2": 7, "FeO": 5, "O2": 3}


def test_dimers_may_stand_in_a_box():
    assert not DimersSettings(elements=("Al",)).is_periodic
    for dimer in built(elements=("Al",), box_A=14.0):
        assert dimer.volume_A3 == pytest.approx(14.0**3)
        assert dimer.positions.mean(axis=0) == pytest.approx([7, 7, 7])


def test_same_generator_state_gives_the_same_dimers():
    assert built(3) == built(3)
    assert built(3) != built(4)
    assert built(count=0) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"elements": ("Xx",)}, "no element"),
        ({"elements": ()}, "at least 1"),
        ({"multiplicity": {"O-O": 2}}, "O-O has 16 electrons: its multiplicity is not 2"),
        ({"multiplicity": {"N-N": 1}}, "N-N is not a pair of the elements"),
        ({"multiplicity": {"OO": 3}}, "'OO' is not a pair of elements like Ti-O"),
        ({"box_A": 5.0}, "less than twice the longest distance"),
        ({"distance_factor": (2, 1)}, "must ascend"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        built(**changes)
