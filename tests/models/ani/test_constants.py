"""Constants of the descriptor, and the settings they come from."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from pydantic import ValidationError

from alflow.core.errors import SettingsError
from alflow.models.ani.constants import ANI_1X, ANI_AL, AniConstants
from alflow.models.ani.settings import AniSettings


def test_smooth_widths_follow_the_spacing():
    constants = AniSettings(radial_cutoff_A=6.5, angular_cutoff_A=5.0).constants()
    radial, angular = np.diff(constants.radial_shifts), np.diff(constants.angular_shifts)
    assert constants.radial_eta * radial**2 == pytest.approx(0.5)
    assert constants.angular_eta * angular**2 == pytest.approx(0.7)
    assert constants.radial_shifts[-1] + radial[0] == pytest.approx(6.5)
    assert constants.n_features(1) == 16 + 8 * 4
    assert constants.n_features(2) == 2 * 16 + 3 * 8 * 4


def test_presets_are_the_published_ones():
    assert AniSettings(preset="ani-1x").constants() == ANI_1X
    assert ANI_1X.n_features(4) == 384
    assert AniSettings(preset="ani-al").constants() == ANI_AL
    assert ANI_AL.n_features(1) == 96
    assert ANI_AL.radial_shifts[1] - ANI_AL.radial_shifts[0] == pytest.approx(
        0.1797, abs=1e-4
    )
    assert ANI_AL.angular_shifts[1] - ANI_AL.angular_shifts[0] == pytest.approx(0.46875)


def test_widths_can_be_given():
    constants = AniSettings(
        radial_eta_per_A2=3.0, angular_eta_per_A2=2.0, zeta=14
    ).constants()
    assert (constants.radial_eta, constants.angular_eta, constants.zeta) == (3.0, 2.0, 14.0)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"members": 1}, "members"),
        ({"angular_cutoff_A": 7.0}, "beyond"),
        ({"first_shift_A": 5.0}, "first_shift_A"),
        ({"preset": "ani-1x", "zeta": 3.0}, "zeta"),
        ({"hidden": (64, 0)}, "hidden"),
        ({"hidden": ()}, "hidden"),
        ({"radial_cutoff_A": float("nan")}, "radial_cutoff_A"),
        ({"cutoff": 3.0}, "cutoff"),
    ],
)
def test_settings_that_cannot_be_are_refused(fields, word):
    with pytest.raises(ValidationError, match=word):
        AniSettings(**fields)


@pytest.mark.parametrize(
    "change",
    [
        {"angular_cutoff_A": 6.0},
        {"angular_cutoff_A": -1.0},
        {"zeta": 0.5},
        {"zeta": float("inf")},
        {"radial_shifts": ()},
        {"angular_sections": (3.5,)},
    ],
)
def test_constants_that_cannot_be_are_refused(change):
    with pytest.raises(SettingsError):
        dataclasses.replace(ANI_1X, **change)


def test_json_round_trip():
    assert AniConstants.from_json(ANI_AL.to_json()) == ANI_AL
    lists = {k: list(v) if isinstance(v, tuple) else v for k, v in ANI_AL.to_json().items()}
    assert AniConstants.from_json(lists) == ANI_AL


@pytest.mark.parametrize(
    "change", [{"zeta": "x"}, {"zeta": None}, {"radial_shifts": 3.0}, {"new": 1.0}]
)
def test_malformed_json_is_refused(change):
    with pytest.raises(SettingsError):
        AniConstants.from_json({**ANI_1X.to_json(), **change})


def test_settings_import_no_torch():
    code = "import sys, alflow.models.ani.settings; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
