import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from alflow.acquisition.diversity import farthest_points, standardised


def test_far_points_come_first():
    points = np.array([[0.0], [0.1], [5.0], [10.0]])
    chosen = farthest_points(points, 3)
    assert chosen.order.tolist() == [0, 3, 2]
    assert chosen.distances.tolist() == [np.inf, 0.1, 5.0, 10.0]
    assert chosen.nearest.tolist() == [-1, 0, 0, 0]


def test_equal_points_come_in_the_order_of_preference():
    assert farthest_points(np.zeros((4, 2)), 3).order.tolist() == [0, 1, 2]


def test_near_duplicates_are_left_out():
    points = np.array([[0.0], [0.1], [5.0], [5.05]])
    assert farthest_points(points, 4, min_distance=0.2).order.tolist() == [0, 3]


def test_weights_decide_between_distances_but_not_about_near_duplicates():
    points = np.array([[0.0], [4.0], [10.0], [0.1]])
    weights = np.array([1.0, 3.0, 1.0, 1000.0])
    assert farthest_points(points, 2).order.tolist() == [0, 2]
    assert farthest_points(points, 2, weights=weights).order.tolist() == [0, 3]
    found = farthest_points(points, 4, 0.2, weights)
    assert found.order.tolist() == [0, 1, 2]
    assert found.distances[:3].tolist() == [np.inf, 4.0, 6.0]


@given(st.integers(0, 2**32), st.integers(1, 30), st.integers(1, 10))
def test_the_cover_is_within_twice_the_best(seed, n_points, count):
    """The property that makes the greedy choice worth its name."""
    points = np.random.default_rng(seed).standard_normal((n_points, 3))
    chosen = farthest_points(points, count)
    assert len(chosen.order) == len(set(chosen.order.tolist())) == min(count, n_points)
    others = np.setdiff1d(np.arange(n_points), chosen.order)
    if len(others):
        radius = chosen.distances[others].max()
        assert (chosen.distances[chosen.order] >= radius - 1e-12).all()


def test_standardised_features_have_unit_spread_and_constant_ones_are_gone():
    rng = np.random.default_rng(0)
    raw = np.column_stack(
        [
            rng.standard_normal(50),
            1e6 * rng.standard_normal(50),
            np.full(50, 3.0),
            np.zeros(50),
        ]
    )
    scaled = standardised(raw)
    assert scaled.shape == (50, 2)
    assert np.allclose(scaled.std(axis=0), 1 / np.sqrt(2))
    assert standardised(np.ones((3, 2))).shape == (3, 0)
