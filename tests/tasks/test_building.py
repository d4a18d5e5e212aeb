"""Shares of several builders."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alflow import registry
from alflow.core.errors import PluginError
from alflow.tasks.building import apportion, build_structures


@given(
    st.integers(0, 500),
    st.lists(st.floats(0.01, 100, allow_nan=False), min_size=1, max_size=8),
)
def test_shares_add_up_and_are_fair(total, weights):
    shares = apportion(total, weights)
    assert sum(shares) == total
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share - total * weight / sum(weights)) < 1 + 1e-9


def test_equal_weights_are_filled_in_order():
    assert apportion(5, [1.0, 1.0, 1.0]) == [2, 2, 1]


class _Short:
    @classmethod
    def model_validate(cls, settings):
        return cls()

    def create(self):
        return self

    def build(self, rng, count):
        return []


def test_a_builder_that_makes_too_few_is_named(monkeypatch):
    monkeypatch.setattr(registry, "find", lambda point, name: _Short)
    with pytest.raises(PluginError, match="'short' made 0 structures, not 3"):
        build_structures([{"kind": "short"}], 3, 1)
