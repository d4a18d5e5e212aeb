"""How long a stage will still take."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alflow.loop.remaining import seconds_left

times = st.floats(0.0, 1e6)


def test_what_waits_is_shared_by_as_many_as_run():
    assert seconds_left([10.0] * 3, 8, [0.0, 0.0]) == pytest.approx(50.0)


def test_what_runs_has_done_part_of_it():
    assert seconds_left([10.0] * 3, 0, [4.0]) == pytest.approx(6.0)


@pytest.mark.parametrize("measured", [[], [1.0], [1.0, 1.0]])
def test_two_times_foretell_nothing(measured):
    assert seconds_left(measured, 5, [1.0]) is None


def test_nothing_runs_nothing_is_foretold():
    assert seconds_left([1.0] * 5, 5, []) is None


def test_what_runs_longer_than_those_that_ended_counts():
    quick = seconds_left([1.0] * 3, 10, [0.5])
    slow = seconds_left([1.0] * 3, 10, [100.0])
    assert slow > 10 * quick


def test_the_last_one_is_never_done_before_its_time():
    assert seconds_left([10.0] * 3, 0, [9.0, 9.0, 0.0]) == pytest.approx(10.0)


@given(st.lists(times, min_size=3), st.integers(0, 10**6), st.lists(times, min_size=1))
def test_a_time_that_is_left_is_never_negative(measured, waiting, elapsed):
    assert seconds_left(measured, waiting, elapsed) >= 0
