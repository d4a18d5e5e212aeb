"""Listings narrowed down: by value, by age, by what their rows belong to."""

import pytest

from alflow.core.errors import SettingsError
from alflow.core.naming import parse_name
from alflow.store.listings import LISTINGS, listing
from alflow.store.narrowing import NARROWINGS, Filters


@pytest.fixture
def whole(world):
    world.whole()
    return world.store


def ids(store, what, **filters):
    if "of" in filters:
        filters["of"] = parse_name(filters["of"])
    rows = listing(store, what, Filters(**filters))
    return [row.get("id", row.get("generation", row.get("number"))) for row in rows]


def test_every_listing_and_every_filter_of_it_can_be_asked_for(whole):
    assert NARROWINGS.keys() == LISTINGS.keys()
    for what, known in NARROWINGS.items():
        for name in known.values:
            assert ids(whole, what, **{name: "no such value"}) == []
        for letter in known.of:
            assert ids(whole, what, of=f"{letter}-999") == []
        if known.since is not None:
            assert ids(whole, what, since=4e9) == []
            assert ids(whole, what, since=0.0) == ids(whole, what)


@pytest.mark.parametrize(
    ("what", "filters", "expected"),
    [
        ("trajectories", {}, [1, 2]),
        ("trajectories", {"generation": 0, "iteration": 1}, [1, 2]),
        ("trajectories", {"of": "t-6"}, [1, 2]),
        ("trajectories", {"of": "s-9"}, [1]),
        ("trajectories", {"source": "nemd", "state": "flagged"}, [1, 2]),
        ("candidates", {"of": "p-1"}, [1, 2]),
        ("candidates", {"generation": 1}, []),
        ("structures", {"split": "test"}, [1, 2]),
        ("structures", {"source": "nemd"}, [10, 11, 13, 14]),
        ("structures", {"of": "p-2"}, [12, 13, 14]),
        ("structures", {"generation": 0}, [9, 10, 11, 12, 13, 14]),
        ("labels", {"of": "g0"}, [3, 4, 5, 6, 7, 8]),
        ("labels", {"of": "d1", "iteration": 1}, [9, 10]),
        ("labels", {"of": "s-3"}, [3]),
        ("generations", {"of": "l-3"}, [0, 1]),
        ("generations", {"of": "l-9"}, [1]),
        ("generations", {"generation": 0}, [1]),
        ("iterations", {"generation": 0}, [1]),
        ("tasks", {"of": "g1"}, [8]),
        ("tasks", {"of": "s-3"}, [2]),
        ("attempts", {"of": "t-2"}, [2]),
    ],
)
def test_what_belongs_to_a_thing(whole, what, filters, expected):
    found = ids(whole, what, **filters)
    assert sorted(set(found)) == expected, found


def test_failures_by_their_kind(world):
    world.bootstrap()
    assert ids(world.store, "failures", failure="crash") == []
    assert ids(world.store, "tasks", failure="crash", state="failed") == []


@pytest.mark.parametrize(
    ("what", "filters", "words"),
    [
        ("candidates", {"since": 1.0}, "candidates cannot be filtered by since"),
        ("iterations", {"kind": "x"}, "iterations cannot be filtered by kind"),
        ("labels", {"of": "p-1"}, "labels cannot be filtered by trajectory"),
        ("tasks", {"of": "t-1#1"}, "tasks cannot be filtered by attempt"),
    ],
)
def test_filters_that_a_listing_does_not_have(whole, what, filters, words):
    with pytest.raises(SettingsError, match=words):
        ids(whole, what, **filters)
