"""Melts and long runs: against ideal cases, and that they can be repeated."""

import numpy as np
import pytest

from alflow.core.sampling import StopReason
from alflow.models.gupta import GuptaPotential
from alflow.validation.dynamics import Stage, run
from alflow.validation.liquids import (
    cubic_box,
    diffusion_coefficient,
    mean_square_displacement,
    radial_distribution,
)
from alflow.validation.melt import MeltSettings
from alflow.validation.stability import StabilitySettings

SHORT = {
    "element": "Al",
    "atoms": 32,
    "density_g_per_cm3": 2.4,
    "melting_ps": 0.05,
    "equilibration_ps": 0.05,
    "duration_ps": 0.1,
    "record_fs": 10.0,
}


@pytest.fixture(scope="module")
def potential():
    return GuptaPotential.published("Al")


def test_an_ideal_gas_has_no_structure():
    rng = np.random.default_rng(1)
    frames = [rng.uniform(0, 10, (100, 3)) for _ in range(200)]
    found = radial_distribution(frames, 10.0, np.linspace(0, 5, 11))
    assert found[2:] == pytest.approx(np.ones(8), abs=0.05)


def test_an_fcc_crystal_has_twelve_neighbours():
    box = cubic_box("Al", 26.98, 2.7, 108)
    edge = float(box.cell[0, 0])
    edges = np.linspace(0, edge / 2, 50)
    found = radial_distribution([box.positions], edge, edges)
    density = box.n_atoms / edge**3
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    near = edges[1:] < 3.4
    # pairs are counted once, among n - 1 others
    counted = (found * shells)[near].sum() * density * (box.n_atoms - 1) / box.n_atoms
    assert counted == pytest.approx(12, rel=1e-9)


def test_diffusion_of_a_random_walk_and_of_free_flight():
    rng = np.random.default_rng(2)
    walk = rng.normal(scale=0.1, size=(4000, 64, 3)).cumsum(axis=0)
    # each step adds 3 * 0.01 Å² in 0.1 ps, less what the centre of mass takes along
    exact = 0.03 / 6 / 0.1 * 63 / 64
    assert diffusion_coefficient(walk, 0.1, 4.0) == pytest.approx(exact, rel=0.05)
    velocity = rng.normal(size=(1, 8, 3))
    velocity -= velocity.mean(axis=1)
    flight = velocity * np.arange(20)[:, None, None]
    squared = (velocity**2).sum(axis=2).mean()
    assert mean_square_displacement(flight, [1, 3]) == pytest.approx([squared, 9 * squared])


def test_energy_is_kept_without_a_thermostat(potential):
    box = cubic_box("Al", 26.98, 2.7, 32)
    (path,) = run(potential, [box], [Stage(0.3, (300.0,), 0.0, 10.0)], 1.0, 3)
    assert path.stopped is None
    assert path.survived_ps == pytest.approx(0.3)
    assert len(path.times_ps) == 30
    assert np.ptp(path.total_eV) < 0.02 * np.ptp(path.potential_eV)
    assert 2.0 < min(path.closest_A) < 2.86


def test_a_replica_that_explodes_does_not_stop_the_others(potential):
    from alflow.core.structures import Structure

    good = cubic_box("Al", 26.98, 2.7, 32)
    positions = good.positions.copy()
    positions[1] = positions[0] + 0.3
    bad = Structure(good.numbers, positions, good.cell, good.pbc)
    stages = [Stage(0.05, (300.0, 300.0), 1.0, 10.0)]
    broken, whole = run(potential, [bad, good], stages, 1.0, 4)
    assert isinstance(broken.stopped, StopReason)
    assert not broken.times_ps
    assert len(whole.times_ps) == 5
    (none,) = run(potential, [bad], stages * 2, 1.0, 4)
    assert none.stopped is not None


def test_a_melt_can_be_repeated_and_tells_its_structure(potential):
    suite = MeltSettings(**SHORT, temperatures_K=(1000.0, 1500.0), bin_A=0.1).create()
    first, second = suite.run(potential, 7), suite.run(potential, 7)
    assert first == second
    names = [one.name for one in first.properties]
    assert "melt_1000K/rdf_peak_position" in names
    assert "melt_1500K/diffusion_coefficient" in names
    curve = first.curves[0]
    assert (curve.name, len(curve.runs)) == ("melt_1000K/rdf", 2)
    assert curve.runs[0] != curve.runs[1]
    assert 2.3 < curve.x[int(np.argmax(curve.runs[0]))] < 3.2


def test_long_runs_tell_what_became_of_them(potential, values):
    found = StabilitySettings(**SHORT).create().run(potential, 5)
    by_name = values(found)
    assert by_name["crystal_300K/survived"] == pytest.approx(0.2, abs=1e-6)
    assert by_name["melt_1000K/closest_pair"] > 1.5
    assert abs(by_name["crystal_300K/energy_drift"]) < 50
    assert found.notes == ()


def test_what_does_not_survive_is_a_note(bonded):
    """Bonds that only pull: everything falls into one point."""
    falling = bonded.Bonded((0.5,), (200.0,), 0.9)
    falling.cutoff_A = 6.0
    melt = MeltSettings(**SHORT).create().run(falling, 1)
    assert melt.properties == ()
    assert "ended after" in melt.notes[0]
    found = StabilitySettings(**SHORT).create().run(falling, 1)
    assert found.notes
    assert found.properties[0].value < 0.2
