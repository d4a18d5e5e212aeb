"""The Langevin thermostat samples the canonical ensemble.

The bounds are five standard errors of the mean for the number of independent samples given,
with fixed seeds.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from alflow.core.structures import Structure
from alflow.core.units import BOLTZMANN_EV_PER_K
from alflow.md.engine import Engine, Motion
from alflow.md.langevin import Bath
from alflow.md.state import State
from alflow.md.velocities import draw_noise, with_thermal_velocities

pytestmark = pytest.mark.physics
TARGET_K = 400.0
FRICTION_PER_FS = 0.02
REPLICAS = 64


@pytest.fixture(scope="module")
def alloy(crystal):
    """An ordered crystal of light (6.9 amu) and heavy (196.97 amu) atoms."""
    base = crystal(1, disorder_A=0.0)
    numbers = np.array([3, 3, 79, 79], np.uint8)
    return Structure(numbers, base.positions, base.cell, base.pbc)


@pytest.fixture(scope="module")
def equilibrium(potentials, alloy):
    """Kinetic energy of each species [eV], (samples, replicas), every 100 fs from 500 fs on."""
    starts = [alloy] * REPLICAS
    streams = [np.random.default_rng(100 + k) for k in range(REPLICAS)]
    state = State.from_structures(starts)
    target = torch.full((REPLICAS,), TARGET_K, dtype=torch.float64)
    state = with_thermal_velocities(state, target, streams)
    engine = Engine(
        potentials.PairPotential((0.1,), (2.6,), 4.5), Motion(2.0, FRICTION_PER_FS)
    )
    moment = engine.start(state, Bath(target))
    light, heavy = [], []
    for step in range(1, 751):
        noise = torch.from_numpy(draw_noise(streams, state.sizes))
        moment = engine.advance(moment, Bath(target, noise))
        if step >= 250 and step % 50 == 0:
            for samples, number in ((light, 3), (heavy, 79)):
                of_species = moment.state.masses * (moment.state.numbers == number)
                samples.append(replace(moment.state, masses=of_species).kinetic_energy())
    return torch.stack(light).numpy(), torch.stack(heavy).numpy()


def standard_error(samples):
    """Of the mean over replicas, which are independent of each other."""
    return samples.mean(axis=0).std(ddof=1) / np.sqrt(samples.shape[1])


def test_mean_temperature(equilibrium):
    kinetic = equilibrium[0] + equilibrium[1]
    expected = 0.5 * 12 * BOLTZMANN_EV_PER_K * TARGET_K
    # the timestep of 2 fs moves the kinetic energy of BAOAB by (omega dt)²/12, below 1 %
    assert abs(kinetic.mean() - expected) < 5 * standard_error(kinetic) + 0.01 * expected
    assert standard_error(kinetic) < 0.02 * expected


def test_light_and_heavy_atoms_are_equally_hot(equilibrium):
    expected = 0.5 * 6 * BOLTZMANN_EV_PER_K * TARGET_K
    for kinetic in equilibrium:
        assert (
            abs(kinetic.mean() - expected) < 5 * standard_error(kinetic) + 0.01 * expected
        )


def test_kinetic_energy_fluctuates_as_in_the_canonical_ensemble(equilibrium):
    kinetic = equilibrium[0] + equilibrium[1]
    expected = 0.5 * 12 * (BOLTZMANN_EV_PER_K * TARGET_K) ** 2
    # the sample variance of a gamma distribution of shape 6 has the relative variance 3 / n
    relative_error = np.sqrt(3 / kinetic.size)
    assert kinetic.var() == pytest.approx(expected, rel=5 * relative_error + 0.02)


def test_the_start_is_maxwell_boltzmann(crystal):
    starts = [crystal(2)] * 200
    state = State.from_structures(starts)
    target = torch.full((200,), TARGET_K, dtype=torch.float64)
    state = with_thermal_velocities(
        state, target, [np.random.default_rng(k) for k in range(200)]
    )
    temperature = state.kinetic_temperature(is_momentum_free=True).numpy()
    freedom = 3 * 31
    assert temperature.mean() == pytest.approx(
        TARGET_K, abs=5 * TARGET_K * np.sqrt(2 / freedom / 200)
    )
    assert temperature.var() == pytest.approx(
        2 * TARGET_K**2 / freedom, rel=5 * np.sqrt(2 / 200)
    )
    width = np.sqrt(
        BOLTZMANN_EV_PER_K * TARGET_K / 26.9815385 * 9.648533212331e-3 * 31 / 32
    )
    speeds = state.velocities.numpy().ravel() / width
    assert speeds.var() == pytest.approx(1.0, rel=5 * np.sqrt(2 / speeds.size))
    assert (speeds**4).mean() == pytest.approx(3.0, rel=0.08)


def test_a_free_particle_forgets_its_velocity_at_the_rate_of_the_friction(potentials):
    lone = Structure(np.array([18], np.uint8), np.zeros((1, 3)))
    state = State.from_structures([lone])
    target = torch.zeros(1, dtype=torch.float64)
    state = replace(state, velocities=torch.tensor([[0.01, 0.0, 0.0]], dtype=torch.float64))
    engine = Engine(potentials.PairPotential(), Motion(1.0, FRICTION_PER_FS))
    moment = engine.start(state, Bath(target))
    for _ in range(100):
        moment = engine.advance(moment, Bath(target, torch.zeros(1, 3).double()))
    assert float(moment.state.velocities[0, 0]) == pytest.approx(
        0.01 * np.exp(-2.0), rel=1e-12
    )
