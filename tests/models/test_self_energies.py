"""Least squares of energies on composition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alflow.core.errors import SettingsError
from alflow.models.self_energies import fit_self_energies


@given(
    counts=st.lists(
        st.tuples(*[st.integers(0, 9)] * 3).filter(any), min_size=6, max_size=20
    ).filter(lambda rows: np.linalg.matrix_rank(np.array(rows, float), tol=0.3) == 3),
    truth=st.tuples(*[st.floats(-3000, 3000)] * 3),
)
def test_recovers_what_energies_were_made_of(counts, truth):
    counts = np.array(counts, np.float64)
    found = fit_self_energies((1, 6, 8), counts, counts @ np.array(truth))
    assert list(found) == [1, 6, 8]
    assert np.allclose(list(found.values()), truth, atol=1e-6)


def test_water_alone_gets_the_solution_of_smallest_norm():
    counts = np.array([[2.0, 1.0], [4.0, 2.0], [6.0, 3.0]])
    found = fit_self_energies((1, 8), counts, counts @ np.array([-16.0, -2046.0]))
    assert 2 * found[1] + found[8] == pytest.approx(-2078.0, abs=1e-9)
    assert found[1] == pytest.approx(2 * found[8], abs=1e-9)


def test_an_absent_element_gets_zero():
    found = fit_self_energies((1, 2), np.array([[2.0, 0.0]]), np.array([-31.0]))
    assert found == pytest.approx({1: -15.5, 2: 0.0})


@pytest.mark.parametrize(
    ("counts", "energies"),
    [(np.zeros((0, 2)), np.zeros(0)), (np.ones((1, 2)), np.array([np.nan]))],
)
def test_refuses_nothing_and_nan(counts, energies):
    with pytest.raises(SettingsError):
        fit_self_energies((1, 8), counts, energies)
