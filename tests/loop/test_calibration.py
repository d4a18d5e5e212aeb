"""What an iteration says about the spread."""

import pytest

from alflow.loop.calibration import drift

NOMINAL = {"coverage_nominal": 0.9}


@pytest.mark.parametrize(
    ("share", "n", "is_alarm"),
    [(0.9, 40, False), (0.8, 40, False), (0.6, 40, True), (0.5, 4, False), (0.2, 5, True)],
)
def test_an_alarm_is_what_chance_hardly_makes(share, n, is_alarm):
    said = drift(NOMINAL | {"coverage_force": share}, n)
    assert bool(said) is is_alarm
    if is_alarm:
        assert f"{n - round(share * n)} of {n} errors of the force" in said
        assert "10 % should be" in said


def test_errors_that_are_too_rarely_beyond_are_no_alarm():
    assert drift(NOMINAL | {"coverage_energy": 1.0}, 1000) == ""
    assert drift({}, 10) == ""
