"""What an iteration says about the spread."""

import numpy as np
import pytest

from alflow.core.past import Checked, PastIteration
from alflow.loop.calibration import drift

NOMINAL = {"coverage_nominal": 0.9}


def _labels(n, n_without_forces=0):
    one = np.ones(n)
    force = np.where(np.arange(n) < n_without_forces, np.nan, one)
    return Checked(one, one, force, one, one, np.zeros(n, bool))


def _before(n=30):
    return [PastIteration(1, 1, 1, 1, checked=_labels(n))]


@pytest.mark.parametrize(
    ("share", "n", "is_alarm"),
    [(0.9, 40, False), (0.8, 40, False), (0.6, 40, True), (0.5, 4, False), (0.2, 5, True)],
)
def test_an_alarm_is_what_chance_hardly_makes(share, n, is_alarm):
    said = drift(_before(), _labels(n), NOMINAL | {"coverage_force": share})
    assert bool(said) is is_alarm
    if is_alarm:
        assert f"{n - round(share * n)} of {n} errors of the force" in said
        assert "10 % should be" in said


def test_errors_that_are_too_rarely_beyond_are_no_alarm():
    assert drift(_before(), _labels(1000), NOMINAL | {"coverage_energy": 1.0}) == ""
    assert drift(_before(), _labels(10), {}) == ""


def test_bounds_that_were_assumed_are_no_alarm():
    assert drift(_before(5), _labels(40), NOMINAL | {"coverage_force": 0.1}) == ""


def test_labels_without_forces_do_not_count_for_them():
    said = drift(_before(), _labels(40, 36), NOMINAL | {"coverage_force": 0.0})
    assert "4 of 4 errors of the force" in said
