import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alflow.md.schedule import Program, ProgramRanges

values = st.floats(0, 5000)
times = st.floats(1, 1e5)


@given(values, values, values, times, times, st.floats(0, 1))
def test_a_program_is_ramp_plus_sine_squared(
    start, end, amplitude, period, duration, share
):
    time = share * duration
    expected = (
        start
        + (end - start) * time / duration
        + amplitude * math.sin(math.pi * time / period) ** 2
    )
    assert Program(start, end, amplitude, period, duration).at(time) == pytest.approx(
        expected, rel=1e-12, abs=1e-9
    )


@given(values, values, values, times, times)
def test_the_ends_of_a_program_without_modulation_are_exact(
    start, end, amplitude, period, d
):
    assert Program(start, end, amplitude, period, d).at(0.0) == start
    assert Program(start, end, 0.0, period, d).at(d) == pytest.approx(end, abs=1e-9)


@given(values, st.integers(1, 9))
def test_the_modulation_is_full_at_half_periods_and_gone_at_whole_ones(amplitude, count):
    program = Program(100.0, 100.0, amplitude, 250.0, 1e4)
    assert program.at(250.0 * count) == pytest.approx(100.0, abs=1e-8)
    assert program.at(250.0 * (count - 0.5)) == pytest.approx(100.0 + amplitude, abs=1e-8)


@given(st.integers(0, 2**62))
def test_drawn_programs_stay_within_their_ranges(seed):
    ranges = ProgramRanges((50.0, 600.0), (50.0, 1000.0), (0.0, 500.0), (500.0, 2000.0))
    program = ranges.draw(np.random.default_rng(seed), 2000.0)
    assert 50 <= program.start <= 600
    assert 50 <= program.end <= 1000
    assert 0 <= program.amplitude <= 500
    assert 500 <= program.period_fs <= 2000


def test_a_missing_start_is_the_own_value_and_costs_a_draw_all_the_same():
    given_start = ProgramRanges((1.0, 2.0), (3.0, 4.0), (0.0, 1.0), (10.0, 20.0))
    own_start = ProgramRanges(None, (3.0, 4.0), (0.0, 1.0), (10.0, 20.0))
    one = given_start.draw(np.random.default_rng(3), 100.0, 2.7)
    other = own_start.draw(np.random.default_rng(3), 100.0, 2.7)
    assert other.start == 2.7
    assert (one.end, one.amplitude, one.period_fs) == (
        other.end,
        other.amplitude,
        other.period_fs,
    )


def test_names_carry_units():
    assert Program(1.0, 2.0, 3.0, 4.0, 5.0).to_json("temperature", "K") == {
        "temperature_start_K": 1.0,
        "temperature_end_K": 2.0,
        "temperature_amplitude_K": 3.0,
        "temperature_period_fs": 4.0,
    }
