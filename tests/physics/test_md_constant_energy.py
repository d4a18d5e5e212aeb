"""Constant energy: nothing but the forces changes anything."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from alflow.md.engine import Engine, Motion
from alflow.md.langevin import Bath
from alflow.md.state import State
from alflow.md.velocities import centre_of_mass_velocity, with_thermal_velocities

pytestmark = pytest.mark.physics


def energies_of(potential, starts, temperatures, timestep_fs, n_steps):
    """Total energy of each replica at every step, and the last moment."""
    state = State.from_structures(starts)
    target = torch.tensor(temperatures, dtype=torch.float64)
    streams = [np.random.default_rng(k) for k in range(len(starts))]
    state = with_thermal_velocities(state, target, streams)
    engine = Engine(potential, Motion(timestep_fs))
    moment = engine.start(state, Bath(target))
    totals = []
    for _ in range(n_steps):
        moment = engine.advance(moment, Bath(target))
        totals.append(moment.evaluation.energies.mean(0) + moment.state.kinetic_energy())
    return torch.stack(totals), moment


@pytest.fixture
def starts(crystal):
    return [crystal(2, seed=0), crystal(2, 4.3, seed=1), crystal(1, seed=2)]


def test_energy_does_not_drift(potentials, starts):
    potential = potentials.PairPotential((0.10, 0.12), (2.6, 2.58))
    totals, _ = energies_of(potential, starts, [300.0, 900.0, 600.0], 2.0, 500)
    n_atoms = torch.tensor([32.0, 32.0, 4.0])
    drift = (totals[-100:].mean(0) - totals[:100].mean(0)).abs() / n_atoms
    assert (drift < 2e-5).all(), drift
    assert ((totals - totals.mean(0)).abs().max(0).values / n_atoms < 1e-3).all()


def test_the_energy_error_is_of_second_order(potentials, crystal):
    errors = []
    for timestep_fs in (4.0, 2.0):
        totals, _ = energies_of(
            potentials.PairPotential((0.1,), (2.6,)),
            [crystal(2)],
            [300.0],
            timestep_fs,
            int(400 / timestep_fs),
        )
        errors.append(float(totals.std(0)))
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.25)


def test_momentum_is_conserved(potentials, starts):
    _, moment = energies_of(
        potentials.PairPotential(), starts, [300.0, 900.0, 600.0], 2.0, 300
    )
    assert centre_of_mass_velocity(moment.state).abs().max() < 1e-14


def test_velocity_verlet_runs_backwards(potentials, crystal):
    start = crystal(1)
    _, there = energies_of(potentials.PairPotential(), [start], [300.0], 2.0, 100)
    state = replace(there.state, velocities=-there.state.velocities)
    target = torch.tensor([300.0], dtype=torch.float64)
    engine = Engine(potentials.PairPotential(), Motion(2.0))
    moment = engine.start(state, Bath(target))
    for _ in range(100):
        moment = engine.advance(moment, Bath(target))
    assert np.abs(moment.state.positions.numpy() - start.positions).max() < 1e-9
