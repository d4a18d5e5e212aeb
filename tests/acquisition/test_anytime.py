"""Bounds that may be looked at after every draw."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alflow.acquisition.anytime import upper_bound


@given(st.integers(0, 60), st.integers(0, 60), st.sampled_from([0.8, 0.95, 0.99]))
@settings(max_examples=50, deadline=None)
def test_the_bound_is_a_share_above_what_was_seen(
    beyond: int, below: int, confidence: float
) -> None:
    n = beyond + below
    bound = upper_bound(beyond, n, confidence)
    assert (beyond / n if n else 0.0) <= bound <= 1.0
    assert upper_bound(beyond, n + 1, confidence) <= bound + 1e-12
    assert upper_bound(beyond + 1, n + 1, confidence) >= bound - 1e-12


def test_nothing_seen_says_nothing() -> None:
    assert upper_bound(0, 0, 0.95) == 1.0


def test_no_exceedance_gives_the_closed_form() -> None:
    """Without ones the mixture is 1/(n+1), so the bound is 1 - (share / (n + 1))^(1/n)."""
    for n, start in ((1, 1), (15, 2), (400, 7)):
        share = 0.05 * 6 / (np.pi * start) ** 2
        expected = 1 - (share / (n + 1)) ** (1 / n)
        assert upper_bound(0, n, 0.95, start) == pytest.approx(expected)


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_it_fails_no_more_often_than_stated_however_often_it_is_looked_at(
    share: float,
) -> None:
    rng = np.random.default_rng(3)
    looks = range(5, 61, 5)
    n_wrong = 0
    for _ in range(200):
        ones = np.cumsum(rng.random(60) < share)
        n_wrong += any(upper_bound(int(ones[n - 1]), n, 0.9) < share for n in looks)
    assert n_wrong / 200 <= 0.1


def test_a_window_that_moves_fails_no_more_often_either() -> None:
    """Twelve windows of 20 draws, each looked at twice."""
    rng = np.random.default_rng(4)
    n_wrong = 0
    for _ in range(300):
        draws = rng.random(131) < 0.15
        n_wrong += any(
            upper_bound(int(draws[10 * k : 10 * k + n].sum()), n, 0.8, k + 1) < 0.15
            for k in range(12)
            for n in (10, 20)
        )
    assert n_wrong / 300 <= 0.2
