"""How many labels an iteration may ask for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alflow.loop.batches import Batches


def test_without_growth_every_iteration_asks_for_as_many():
    assert Batches(46).to_come(40, 3) == [46, 46, 46]


def test_growth_makes_the_first_iterations_small():
    assert Batches(46, growth=0.5).to_come(40, 5) == [20, 30, 45, 46, 46]


@pytest.mark.parametrize(
    ("growth", "n_requested", "n"), [(0.07, 100, 7), (0.01, 3, 1), (5.0, 40, 46)]
)
def test_growth_is_rounded_up_and_never_beyond_the_batch(growth, n_requested, n):
    assert Batches(46, growth).places(n_requested) == n


def test_the_budget_ends_the_last_one():
    assert Batches(46, limit=100).to_come(40, 9) == [46, 14]
    assert Batches(46, limit=30).places(40) == 0


@given(
    st.integers(1, 100),
    st.none() | st.floats(0.01, 3),
    st.integers(0, 500),
    st.integers(0, 60),
    st.integers(0, 500),
)
def test_what_is_to_come_is_never_beyond_the_budget(size, growth, limit, n, requested):
    found = Batches(size, growth, limit).to_come(requested, n)
    assert len(found) <= n
    assert all(1 <= one <= size for one in found)
    assert sum(found) <= max(0, limit - requested)
    assert len(found) == n or sum(found) == max(0, limit - requested)
