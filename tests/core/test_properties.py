"""Properties, curves, and how far two of them are apart."""

import json

import numpy as np
import pytest

from alflow.core.properties import (
    Curve,
    Property,
    SuiteResult,
    curve_differences,
    properties_of,
)


def curve(*runs, start=0.0, name="rdf"):
    return Curve(name, (0.0, 1.0, 2.0), "Å", tuple(map(tuple, runs)), "1", start)


def test_a_result_survives_json():
    result = SuiteResult(
        (Property("a", 1.5, "eV", (1.0, 2.0)), Property("b", 0.1 + 0.2, "1")),
        (curve([1.0, 2.0, 3.0]),),
        ("c has no minimum",),
    )
    assert SuiteResult.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_the_spread_is_that_of_the_population():
    assert Property("a", 2.0, "eV", (1.0, 3.0)).spread == 1.0
    assert Property("a", 2.0, "eV").spread is None


def test_columns_are_the_mean_and_the_members():
    assert properties_of("a", "eV", np.array([2.0, 1.0, 3.0])).members == (1.0, 3.0)
    assert properties_of("a", "eV", np.array([2.0])).members is None


def test_curves_are_compared_where_they_shall_be():
    reference = curve([0.0, 1.0, 1.0], [0.0, 1.0, 2.0], start=1.0)
    apart, ratio = curve_differences([curve([9.0, 2.0, 1.0], start=1.0)], [reference])
    assert apart.name == "rdf_mean_abs_difference"
    assert apart.value == pytest.approx((0.5 + 1.0) / 2)
    assert ratio.value == pytest.approx(0.75 / 0.5)


def test_curves_of_the_same_noise_differ_by_one_unit_of_it():
    rng = np.random.default_rng(1)
    grid = tuple(map(float, range(400)))

    def runs():
        rows = rng.normal(size=(4, 400))
        return Curve("g", grid, "Å", tuple(map(tuple, rows.tolist())), "1", 0.0)

    ratio = curve_differences([runs()], [runs()])[1]
    assert ratio.value == pytest.approx(1.0, abs=0.1)


def test_what_cannot_be_compared_is_left_out():
    single = curve([0.0, 1.0, 1.0])
    assert [one.name for one in curve_differences([single], [single])] == [
        "rdf_mean_abs_difference"
    ]
    assert curve_differences([curve([0.0, 1.0, 1.0], start=None)], [single]) == []
    assert curve_differences([single], [curve([0.0, 1.0, 1.0], name="other")]) == []
    shifted = Curve("rdf", (0.0, 1.0, 3.0), "Å", ((0.0, 1.0, 1.0),), "1", 0.0)
    assert curve_differences([single], [shifted]) == []
