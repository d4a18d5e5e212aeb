"""Lattice vibrations: against the closed form of springs between nearest neighbours."""

import numpy as np
import pytest

from alflow.core.elements import MASSES_AMU
from alflow.core.units import ACCELERATION_PER_FORCE, PLANCK_MEV_PER_THZ
from alflow.models.gupta import GuptaPotential
from alflow.validation.phonons import PhononsSettings

pytest.importorskip("phonopy")
pytestmark = pytest.mark.physics
STIFFNESS, LENGTH_A = (1.6, 2.0, 2.7), 2.8
THZ = 1e3
"""1/fs in THz."""


def frequency(stiffness):
    """Of an eigenvalue of the dynamical matrix [eV/Å²] of aluminium [THz]."""
    omega = np.sqrt(np.asarray(stiffness) * ACCELERATION_PER_FORCE / MASSES_AMU[13])
    return omega / (2 * np.pi) * THZ


def test_springs_between_nearest_neighbours_have_their_closed_form(bonded):
    """At X: longitudinal 8k, transverse 4k; at L: longitudinal 8k, transverse 2k (by mass)."""
    ensemble = bonded.Bonded((0.4, 0.5, 0.6), STIFFNESS, LENGTH_A)
    volume_A3 = (LENGTH_A * 2**0.5) ** 3 / 4
    suite = PhononsSettings(element="Al", volume_A3=volume_A3, sites=60, mesh=8)
    found = {one.name: one for one in suite.create().run(ensemble, 1).properties}
    exact = {"X_1": 4, "X_2": 8, "L_1": 2, "L_2": 8}
    for name, factor in exact.items():
        members = frequency([factor * k for k in STIFFNESS])
        one = found[f"phonons_fcc/{name}"]
        assert one.members == pytest.approx(members, rel=2e-3), name
        assert one.value == pytest.approx(frequency(factor * np.mean(STIFFNESS)), rel=2e-3)
    assert found["phonons_fcc/highest"].value <= frequency(8 * np.mean(STIFFNESS)) * 1.002
    assert found["phonons_fcc/lowest"].value > -0.05


def test_a_stable_crystal_has_real_frequencies_and_a_whole_density_of_states():
    """Aluminium by Cleri and Rosato: the top of the spectrum is near 9 THz."""
    suite = PhononsSettings(element="Al", sites=60, mesh=8).create()
    result = suite.run(GuptaPotential.published("Al"), 1)
    found = {one.name: one.value for one in result.properties}
    assert 6 < found["phonons_fcc/highest"] < 11
    assert found["phonons_fcc/lowest"] > -0.1
    (curve,) = result.curves
    width = curve.x[1] - curve.x[0]
    assert sum(curve.runs[0]) * width == pytest.approx(3)
    mean = np.sum(np.array(curve.x) * curve.runs[0]) * width / 3
    zero_point = found["phonons_fcc/zero_point_energy"]
    assert zero_point == pytest.approx(1.5 * PLANCK_MEV_PER_THZ * mean, rel=0.02)


@pytest.mark.parametrize("phase", ["bcc", "hcp", "sc", "diamond"])
def test_every_phase_has_its_points(phase, bonded):
    from alflow.validation.lattices import Crystal
    from alflow.validation.phonons_run import _POINTS, _repeats

    unit = Crystal("Al", phase, 16.6).primitive()
    assert len(_POINTS[phase]) == 2
    repeats = _repeats(unit, 50)
    assert len(unit) * np.prod(repeats) >= 50
