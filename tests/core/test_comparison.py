"""A property beside what is known about it."""

import math

import pytest

from alflow.core.comparison import Compared, compared
from alflow.core.properties import Curve, Property, SuiteResult

OURS = SuiteResult(
    (
        Property("a0", 4.06, "Å", (4.05, 4.07)),
        Property("C11", 100.0, "GPa", (90.0, 110.0)),
        Property("other", 1.0, "1"),
    ),
    (Curve("g", (1.0, 2.0), "Å", ((0.0, 1.0),), "1", 0.0),),
)
REFERENCE = SuiteResult(
    (Property("a0", 4.04, "Å"), Property("C11", 120.0, "GPa"), Property("odd", 0.0, "1")),
    (Curve("g", (1.0, 2.0), "Å", ((0.0, 0.0), (0.0, 0.2)), "1", 0.0),),
)


def test_given_values_go_before_the_reference():
    rows = {row.name: row for row in compared([OURS], [REFERENCE], "dft", {"a0": 4.05})}
    assert (rows["a0"].reference, rows["a0"].source) == (4.05, "given")
    assert (rows["C11"].reference, rows["C11"].source) == (120.0, "dft")
    assert rows["C11"].error == -20.0
    assert rows["C11"].error_per_spread == 2.0
    assert (rows["other"].reference, rows["other"].error, rows["other"].source) == (
        None,
        None,
        "",
    )
    assert list(rows)[-2:] == ["g_mean_abs_difference", "g_difference_per_noise"]


def test_an_error_without_a_spread_is_not_measured_in_spreads():
    assert Compared("a", "eV", 1.0, 0.0, 2.0).error_per_spread is None
    assert Compared("a", "eV", 1.0, math.nan, 2.0).error_per_spread is None
    assert Compared("a", "eV", 1.0, None, 2.0).error_per_spread is None


def test_what_is_no_number_is_no_reference_and_null_in_json():
    broken = SuiteResult((Property("a0", math.nan, "Å"),))
    (row, *_) = compared([OURS], [broken], "dft", {})
    assert row.reference is None
    found = compared([broken], [], "", {"a0": 1.0})[0].to_json()
    assert found["value"] is None
    assert found["error"] is None
    assert found["reference"] == pytest.approx(1.0)


def test_members_that_are_no_numbers_survive_json():
    one = Property("a", math.nan, "eV", (1.0, math.nan))
    back = Property.from_json(one.to_json())
    assert one.to_json()["members"] == [1.0, None]
    assert math.isnan(back.value)
    assert math.isnan(back.members[1])
