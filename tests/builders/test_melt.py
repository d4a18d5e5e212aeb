"""Melts: liquid-like, reproducible, and each with a random stream of its own."""

import numpy as np
import pytest

from alflow import registry
from alflow.builders.geometry import closest_ratio
from alflow.builders.melt import MeltSettings
from alflow.core.errors import SettingsError


def built(seed: int = 0, count: int = 2, **changes):
    given = {
        "density_g_per_cm3": (2.2, 2.4),
        "atoms": (12, 16),
        "duration_fs": 90.0,
        **changes,
    }
    return MeltSettings(**given).create().build(np.random.default_rng(seed), count)


def test_entry_point_finds_it():
    assert registry.find("builders", "melt") is MeltSettings


def test_melts_are_physical_and_reproducible():
    melts = built(1)
    assert melts == built(1)
    assert melts != built(2)
    assert built(count=0) == []
    for melt in melts:
        assert 12 <= melt.n_atoms <= 16
        assert 2.2 - 1e-5 <= melt.density_g_per_cm3 <= 2.4 + 1e-5
        assert closest_ratio(melt.numbers, melt.positions, melt.cell) > 0.65
        fractions = melt.positions @ np.linalg.inv(melt.cell)
        assert (fractions > -1e-6).all()
        assert (fractions < 1 + 1e-6).all()


def test_what_cannot_be_melted_is_told():
    with pytest.raises(SettingsError, match="for Fe"):
        MeltSettings(composition={"Fe": 1}, density_g_per_cm3=(7, 8)).create()
    with pytest.raises(SettingsError, match="did not survive: too-"):
        built(timestep_fs=60.0, temperature_K=(9e4, 1e5), duration_fs=600.0)
