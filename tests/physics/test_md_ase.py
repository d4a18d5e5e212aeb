"""The same potential driven by ASE: the same paths, and the same diffusion."""

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet

from alflow.md.ase_calculator import EnsembleCalculator
from alflow.md.engine import Engine, Motion
from alflow.md.langevin import Bath
from alflow.md.state import State
from alflow.md.velocities import draw_noise, with_thermal_velocities

pytestmark = pytest.mark.physics
TARGET_K = 1500.0
FRICTION_PER_FS = 0.002
TIMESTEP_FS = 3.0
REPLICAS = 12
WITH_ASE = 6


@pytest.fixture(scope="module")
def potential(potentials):
    return potentials.PairPotential((0.05,), (2.6,), 4.5)


@pytest.fixture(scope="module")
def fluid(potential, crystal):
    """Replicas of a hot fluid in equilibrium, and the streams of their noise."""
    streams = [np.random.default_rng(500 + k) for k in range(REPLICAS)]
    state = State.from_structures([crystal(2, 4.6, seed=k) for k in range(REPLICAS)])
    target = torch.full((REPLICAS,), TARGET_K, dtype=torch.float64)
    state = with_thermal_velocities(state, target, streams)
    return run(potential, state, streams, 300, 0.01), streams


def run(potential, state, streams, n_steps, friction_per_fs):
    target = torch.full((state.n_systems,), TARGET_K, dtype=torch.float64)
    engine = Engine(potential, Motion(TIMESTEP_FS, friction_per_fs))
    moment = engine.start(state, Bath(target))
    for _ in range(n_steps):
        noise = torch.from_numpy(draw_noise(streams, state.sizes))
        moment = engine.advance(moment, Bath(target, noise))
        assert moment.stopped == {}
    return moment.state


def in_ase(state, system, potential):
    alone = state.keep([system])
    atoms = Atoms(
        alone.numbers.numpy(),
        alone.positions.numpy(),
        cell=alone.cells[0].numpy(),
        pbc=True,
    )
    atoms.set_masses(alone.masses.numpy())
    atoms.set_velocities(alone.velocities.numpy() / units.fs)
    atoms.calc = EnsembleCalculator(potential, forces="mean")
    return atoms


def test_constant_energy_is_the_path_of_ase(potential, fluid):
    state = fluid[0].keep([0])
    atoms = in_ase(state, 0, potential)
    VelocityVerlet(atoms, TIMESTEP_FS * units.fs).run(60)
    ours = run(potential, state, [np.random.default_rng(0)], 60, 0.0)
    way = np.abs(ours.positions.numpy() - state.positions.numpy()).max()
    assert way > 0.5
    # constants of nature differ in the eighth digit, and a fluid forgets its start
    assert np.abs(ours.positions.numpy() - atoms.positions).max() < 1e-5 * way


def test_a_fluid_diffuses_as_with_ase(potential, fluid):
    state, streams = fluid
    n_steps = 200
    later = run(potential, state, streams, n_steps, FRICTION_PER_FS)
    way = (later.positions - state.positions).reshape(REPLICAS, -1, 3).numpy()
    ours = (way**2).sum(-1).mean(-1)
    theirs = []
    for system in range(WITH_ASE):
        atoms = in_ase(state, system, potential)
        start = atoms.positions.copy()
        dynamics = Langevin(
            atoms,
            TIMESTEP_FS * units.fs,
            temperature_K=TARGET_K,
            friction=FRICTION_PER_FS / units.fs,
            fixcm=False,
            rng=np.random.default_rng(system),
        )
        dynamics.run(n_steps)
        theirs.append(((atoms.positions - start) ** 2).sum(-1).mean())
    errors = [np.std(one, ddof=1) / np.sqrt(len(one)) for one in (ours, theirs)]
    difference = abs(np.mean(ours) - np.mean(theirs))
    assert np.mean(ours) > 1.0, "nothing diffuses"
    assert np.hypot(*errors) < 0.15 * np.mean(ours)
    assert difference < 4 * np.hypot(*errors)
