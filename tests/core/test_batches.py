"""Batches of structures and labels as bytes."""

import numpy as np
import pytest

from alflow.core.batches import (
    LabelledStructure,
    pack_dataset,
    pack_structures,
    read_arrays,
    unpack_dataset,
    unpack_structures,
)
from alflow.core.errors import SettingsError
from alflow.core.labels import Label
from alflow.core.structures import Structure


def _structures() -> list[Structure]:
    rng = np.random.default_rng(1)
    return [
        Structure(np.array([1], np.uint8), rng.normal(size=(1, 3)), charge=1),
        Structure(
            np.array([13, 13], np.uint8),
            rng.normal(size=(2, 3)),
            np.diag([3.0, 4, 5]),
            np.array([True, True, False]),
        ),
        Structure(np.array([8, 1, 1], np.uint8), rng.normal(size=(3, 3)), multiplicity=3),
    ]


def test_structures_round_trip():
    assert unpack_structures(pack_structures(_structures())) == _structures()
    assert unpack_structures(pack_structures([])) == []


def test_equal_content_gives_equal_bytes():
    assert pack_structures(_structures()) == pack_structures(_structures())


def test_datasets_round_trip_and_keep_what_is_missing():
    a, b, c = _structures()
    items = [
        LabelledStructure(a, Label(-1e4 / 3, np.full((1, 3), 1 / 3)), 3, "t/1", "nemd"),
        LabelledStructure(b, Label(-2.0), 4, "t/2", "random_box"),
        LabelledStructure(c, Label(-3.0, np.zeros((3, 3)), np.arange(6.0)), 9, "", ""),
    ]
    found = unpack_dataset(pack_dataset(items))
    for item, original in zip(found, items, strict=True):
        assert item.structure == original.structure
        assert item.label.energy == original.label.energy
        for name in ("forces", "stress"):
            mine, theirs = getattr(item.label, name), getattr(original.label, name)
            assert (mine is None) == (theirs is None)
            if theirs is not None:
                np.testing.assert_array_equal(mine, theirs)
        assert (item.label_id, item.group, item.source) == (
            original.label_id,
            original.group,
            original.source,
        )
    assert list(unpack_dataset(pack_dataset([]))) == []


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", pack_structures(_structures())[:-40]]
)
def test_damaged_bytes_are_refused(content):
    with pytest.raises(SettingsError, match="damaged"):
        read_arrays(content)
