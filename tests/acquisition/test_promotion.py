"""The choice of stored structures for a better level of theory."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alflow.acquisition.promotion import Stored, choose, held_out


def stored(spreads, points, known=()):
    return [
        Stored(f"s{k:02d}", float(u), np.array(p, float), k in known)
        for k, (u, p) in enumerate(zip(spreads, points, strict=True))
    ]


def ids(chosen):
    return [one.id for one in chosen]


def test_the_most_uncertain_one_is_first_and_its_copy_last():
    found = choose(stored([1, 3, 2.9, 0.5], [[0], [10], [10], [20]]), 4)
    assert ids(found)[0] == "s01"
    assert ids(found)[-1] == "s02"
    assert np.isinf(found[0].distance)
    assert found[-1].distance == 0


def test_what_the_committee_is_sure_about_is_not_chosen_for_being_far():
    found = choose(stored([1, 1, 1e-6], [[0], [1], [100]]), 2)
    assert ids(found) == ["s00", "s01"]


def test_known_structures_keep_others_like_them_out():
    points = [[0, 0], [0.01, 0], [5, 1], [9, 0]]
    found = choose(stored([1, 5, 1, 1], points, known={0}), 2)
    assert "s00" not in ids(found)
    assert ids(found)[0] in ("s02", "s03")
    assert np.isfinite(found[0].distance)


def test_numbers_that_are_not_finite_are_never_chosen():
    found = choose(stored([np.nan, 1, 1], [[0], [np.inf], [2]]), 3)
    assert ids(found) == ["s02"]
    assert choose([], 3) == []


@given(
    # Products with spreads near the smallest number there is would lose their order.
    st.lists(
        st.tuples(st.just(0.0) | st.floats(1e-9, 9), st.floats(-9, 9)),
        min_size=1,
        max_size=12,
    ),
    st.randoms(use_true_random=False),
    st.integers(0, 12),
)
def test_order_of_arrival_and_unit_of_the_spread_do_not_matter(pairs, random, count):
    some = stored([u for u, _ in pairs], [[p] for _, p in pairs])
    found = choose(some, count)
    assert len(found) == min(count, len(some))
    shuffled = list(some)
    random.shuffle(shuffled)
    assert choose(shuffled, count) == found
    scaled = [Stored(one.id, 8 * one.spread, one.fingerprint) for one in some]
    assert ids(choose(scaled, count)) == ids(found)


@pytest.mark.parametrize(
    ("n", "fraction", "size"), [(100, 0.2, 20), (2, 0.9, 1), (5, 0.01, 1)]
)
def test_a_fraction_is_held_out_and_something_is_left(n, fraction, size):
    names = [f"s{k}" for k in range(n)]
    found = held_out(names, fraction, 7)
    assert len(found) == size
    assert found < set(names)
    assert held_out(names[::-1], fraction, 7) == found
    assert held_out(names, fraction, 8) != found or n == 2


def test_a_single_structure_is_trained_on():
    assert held_out(["s0"], 0.5, 1) == frozenset()
