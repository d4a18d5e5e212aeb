"""Hold-outs: whole groups, stable, never empty where that is possible."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alflow.core.batches import LabelledStructure
from alflow.core.labels import Label
from alflow.core.structures import Structure
from alflow.training.splits import holdout_masks


def items(groups: list[str]) -> list[LabelledStructure]:
    return [
        LabelledStructure(
            Structure(np.array([1], np.uint8), np.array([[float(k), 0, 0]])),
            Label(0.0),
            group=group,
        )
        for k, group in enumerate(groups)
    ]


@given(
    st.lists(st.sampled_from(["", "a", "b", "c", "d", "e"]), min_size=2, max_size=30),
    st.integers(2, 9),
    st.integers(2, 9),
    st.integers(0, 5),
)
def test_every_member_trains_and_holds_out(
    groups: list[str], n_members: int, folds: int, seed: int
) -> None:
    masks = holdout_masks(items(groups), n_members, folds, seed)
    assert masks.shape == (n_members, len(groups))
    assert masks.any(axis=1).all()
    assert (~masks).any(axis=1).all()


def test_groups_stay_together() -> None:
    groups = [f"g{k % 10}" for k in range(60)]
    masks = holdout_masks(items(groups), 4, 4, 0)
    for name in set(groups):
        rows = masks[:, [k for k, group in enumerate(groups) if group == name]]
        assert (rows == rows[:, :1]).all()


def test_folds_partition_large_data() -> None:
    masks = holdout_masks(items([f"g{k}" for k in range(200)]), 8, 8, 3)
    assert (masks.sum(axis=0) == 1).all()
    assert masks.sum(axis=1).min() > 10


def test_folds_do_not_change_when_data_is_added() -> None:
    groups = [f"g{k}" for k in range(150)]
    before = holdout_masks(items(groups[:90]), 6, 6, 1)
    after = holdout_masks(items(groups), 6, 6, 1)
    np.testing.assert_array_equal(before, after[:, :90])


def test_folds_depend_on_the_seed() -> None:
    data = items([f"g{k}" for k in range(50)])
    assert (holdout_masks(data, 4, 4, 1) != holdout_masks(data, 4, 4, 2)).any()


@pytest.mark.parametrize("groups", [["a"] * 4, ["a", "b", "c", "d"], [""] * 4])
def test_four_structures_and_eight_members(groups: list[str]) -> None:
    masks = holdout_masks(items(groups), 8, 8, 0)
    assert masks.any(axis=1).all()
    assert (~masks).any(axis=1).all()
    assert len({tuple(row) for row in masks}) > 1


def test_a_group_of_most_of_the_data_is_split() -> None:
    masks = holdout_masks(items(["big"] * 40 + ["a", "b"]), 4, 4, 0)
    assert (masks[:, :40].any(axis=1)).all()
    assert (masks.sum(axis=1) < 25).all()


@pytest.mark.parametrize(("count", "folds"), [(1, 8), (10, 0)])
def test_nothing_can_or_shall_be_held_out(count: int, folds: int) -> None:
    assert not holdout_masks(items([f"g{k}" for k in range(count)]), 3, folds, 0).any()
