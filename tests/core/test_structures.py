"""Structures: snapping, hashing, derived quantities, refusal of nonsense."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alflow.core.errors import SettingsError
from alflow.core.structures import (
    GEOMETRY_STEP_A,
    Structure,
    _check_shapes,
    formulas_of,
    hashes_of,
    snap,
)

coordinates = st.floats(-50, 50, allow_nan=False)


def _water(**changes) -> Structure:
    settings = {
        "numbers": np.array([8, 1, 1], np.uint8),
        "positions": np.array([[0, 0, 0.119], [0, 0.763, -0.477], [0, -0.763, -0.477]]),
        **changes,
    }
    return Structure(**settings)


@given(st.lists(st.tuples(coordinates, coordinates, coordinates), min_size=1, max_size=5))
def test_the_hash_survives_eight_decimals_of_text(positions):
    numbers = np.ones(len(positions), np.uint8)
    structure = Structure(numbers, np.array(positions))
    text = [[f"{x:.8f}" for x in row] for row in structure.positions]
    again = Structure(numbers, np.array(text, float))
    assert again.hash == structure.hash


@given(st.lists(coordinates, min_size=1, max_size=20))
def test_snapping_is_idempotent_and_small(values):
    once = snap(np.array(values))
    np.testing.assert_array_equal(snap(once), once)
    assert np.abs(once - values).max() <= 0.51 * GEOMETRY_STEP_A
    assert not np.signbit(once[once == 0]).any()


def test_what_changes_the_physics_changes_the_hash():
    cell = 10 * np.eye(3)
    others = [
        _water(charge=1, multiplicity=2),
        _water(multiplicity=3),
        _water(cell=cell, pbc=np.ones(3, bool)),
        _water(cell=cell, pbc=np.array([True, False, False])),
        _water(positions=_water().positions + 1e-7),
        _water(numbers=np.array([8, 1, 2], np.uint8)),
    ]
    hashes = {structure.hash for structure in (_water(), *others)}
    assert len(hashes) == len(others) + 1


def test_a_cell_without_periodicity_does_not_count():
    assert _water(cell=5 * np.eye(3)).hash == _water().hash


def test_the_hash_is_the_same_for_ever():
    assert _water().hash.startswith("8a341a49f01f952d")


def test_many_hashes_and_formulas_at_once_are_those_of_each():
    elements = ([1, 5, 8], [6, 1, 17], [35, 1], [6, 5], [47, 6, 1])
    cases = [(numbers, pbc) for numbers in elements for pbc in np.ndindex(2, 2, 2)]

    def made():
        rng = np.random.default_rng(5)
        return [
            Structure(
                rng.choice(np.array(numbers, np.uint8), size),
                rng.normal(size=(size, 3)),
                5 * np.eye(3) + rng.normal(size=(3, 3)),
                np.array(pbc, bool),
                charge=size,
            )
            for size, (numbers, pbc) in enumerate(10 * cases, 1)
        ]

    one_by_one, together = made(), made()
    together[3].hash  # noqa: B018 # one that is known already
    assert hashes_of(together) == [one.hash for one in one_by_one]
    assert formulas_of(together) == [one.formula for one in one_by_one]
    assert hashes_of([]) == formulas_of([]) == []


def test_hydrogen_comes_second_only_beside_carbon():
    def formula(*numbers):
        positions = np.arange(3.0 * len(numbers)).reshape(-1, 3)
        return Structure(np.array(numbers, np.uint8), positions).formula

    assert formula(35, 1) == "BrH"
    assert formula(35, 1, 6, 1) == "CH2Br"
    assert formula(6) == "C"


def test_arrays_are_read_only():
    with pytest.raises(ValueError, match="read-only"):
        _water().positions[0, 0] = 1.0


def test_derived_quantities():
    assert _water().formula == "H2O"
    assert _water().n_electrons == 10
    assert _water(charge=1, multiplicity=2).n_electrons == 9
    fcc = Structure(
        np.full(4, 13, np.uint8),
        4.05 * np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]),
        4.05 * np.eye(3),
        np.ones(3, bool),
    )
    assert fcc.density_g_per_cm3 == pytest.approx(2.698, abs=2e-3)
    assert fcc.formula == "Al4"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"positions": np.full((3, 3), np.nan)}, "not finite"),
        ({"numbers": np.array([0, 1, 1], np.uint8)}, "atomic number outside"),
        ({"pbc": np.ones(3, bool)}, "periodic but has no cell"),
        ({"pbc": np.ones(3, bool), "cell": np.ones((3, 3))}, "no volume"),
    ],
)
def test_nonsense_is_refused(changes, words):
    with pytest.raises(SettingsError, match=words) as caught:
        _water(**changes)
    assert caught.value.code == "AL110"


def test_shapes_must_agree():
    with pytest.raises(SettingsError, match="3 atomic numbers but positions of shape"):
        _check_shapes(np.ones(3, np.uint8), np.zeros((2, 3)), None, np.zeros(3, bool))
