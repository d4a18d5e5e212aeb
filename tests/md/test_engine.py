import numpy as np
import torch

from alflow.core.sampling import StopReason
from alflow.core.structures import Structure
from alflow.md.engine import Engine, Motion
from alflow.md.langevin import Bath
from alflow.md.state import State
from alflow.md.velocities import draw_noise, with_thermal_velocities


def run(potential, starts, n_steps, motion, temperature_K=300.0):
    streams = [np.random.default_rng(k) for k in range(len(starts))]
    state = State.from_structures(starts)
    target = torch.full((len(starts),), temperature_K, dtype=torch.float64)
    state = with_thermal_velocities(state, target, streams)
    engine = Engine(potential, motion)
    moment = engine.start(state, Bath(target))
    for _ in range(n_steps):
        noise = torch.from_numpy(draw_noise(streams, state.sizes))
        moment = engine.advance(moment, Bath(target, noise))
    return engine, moment


def test_the_spread_costs_nothing_unless_asked_for(potentials, crystal):
    potential = potentials.PairPotential()
    run(potential, [crystal(1)], 5, Motion(2.0))
    assert potential.n_evaluations == {"none": 0, "mean": 6, "members": 0}


def test_a_potential_in_single_precision_is_served(potentials, crystal):
    potential = potentials.PairPotential(dtype=torch.float32)
    _, moment = run(potential, [crystal(1), crystal(2)], 5, Motion(2.0, 0.01))
    assert moment.state.positions.dtype == torch.float64
    assert moment.state.forces.dtype == torch.float64
    assert moment.stopped == {}


def test_keeping_replicas_keeps_their_evaluation(potentials, crystal):
    _, moment = run(
        potentials.PairPotential(),
        [crystal(1), crystal(2), crystal(1, seed=4)],
        2,
        Motion(2.0),
    )
    kept = moment.keep([1, 2])
    assert torch.equal(kept.evaluation.energies, moment.evaluation.energies[:, 1:])
    assert torch.equal(kept.evaluation.forces, moment.evaluation.forces[4:])
    assert kept.state.replicas == (1, 2)


def test_a_runaway_is_held_back_before_the_potential_sees_it(potentials, crystal):
    _, moment = run(potentials.ExplodingPotential(), [crystal(1)], 1, Motion(2.0))
    assert moment.stopped == {0: StopReason.TOO_HOT}
    assert moment.state.positions.abs().max() < 10


def test_fused_atoms_are_too_close_whatever_the_forces(potentials, crystal):
    fused = Structure(np.array([13, 13], np.uint8), np.zeros((2, 3)))
    _, moment = run(potentials.PairPotential(), [crystal(1), fused], 0, Motion(2.0))
    assert moment.stopped == {1: StopReason.TOO_CLOSE}


def test_replicas_that_join_go_on_as_if_they_had_been_there(potentials, crystal):
    potential = potentials.PairPotential((0.1, 0.12), (2.6, 2.6), 4.5)
    starts = [crystal(1), crystal(2), crystal(1, 4.3, seed=4)]
    engine, target = Engine(potential, Motion(2.0)), torch.full((3,), 300.0).double()
    state = with_thermal_velocities(
        State.from_structures(starts), target, [np.random.default_rng(k) for k in range(3)]
    )
    together = engine.start(state, Bath(target), "members")
    joined = engine.start(state.keep([0, 1]), Bath(target[:2]), "members").joined(
        engine.start(state.keep([2]), Bath(target[2:]), "members")
    )
    assert joined.state.replicas == (0, 1, 2)
    for _ in range(20):
        together = engine.advance(together, Bath(target))
        joined = engine.advance(joined, Bath(target))
    assert torch.equal(joined.state.positions, together.state.positions)
    assert torch.equal(joined.evaluation.energies, together.evaluation.energies)
    assert torch.equal(joined.pairs.pairs.i, together.pairs.pairs.i)
