import numpy as np
import pytest
import torch

from alflow.core.sampling import StopReason
from alflow.core.structures import Structure
from alflow.md.engine import Engine, Motion
from alflow.md.evaluation import Evaluator
from alflow.md.langevin import Bath
from alflow.md.neighbours import VerletList
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


class Cramped:
    """A potential that has no memory for more than so many systems at once."""

    def __init__(self, potential, room, error):
        self.potential, self.room, self.error = potential, room, error
        self.asked = []

    def __getattr__(self, name):
        return getattr(self.potential, name)

    def evaluate(self, batch, pairs, *, forces="mean"):
        self.asked.append(batch.n_systems)
        if batch.n_systems > self.room:
            raise self.error("no room")
        return self.potential.evaluate(batch, pairs, forces=forces)


@pytest.mark.parametrize("error", [MemoryError, torch.cuda.OutOfMemoryError])
@pytest.mark.parametrize("forces", ["none", "mean", "members"])
def test_what_does_not_fit_is_halved_and_nothing_is_lost(
    potentials, crystal, error, forces
):
    roomy = potentials.PairPotential((0.1, 0.12), (2.6, 2.6), 4.5)
    cramped = Cramped(roomy, 2, error)
    state = State.from_structures([crystal(1 + k % 2, seed=k) for k in range(7)])
    pairs = VerletList(state, 4.5)
    evaluator = Evaluator(cramped)
    expected = Evaluator(roomy).evaluate(state, pairs, forces)
    for asked in ([7, 4, 2, 2, 2, 1], [2, 2, 2, 1]):
        cramped.asked.clear()
        found = evaluator.evaluate(state, pairs, forces)
        assert cramped.asked == asked
        assert torch.equal(found.energies, expected.energies)
        for name in ("forces", "member_forces"):
            one, other = getattr(found, name), getattr(expected, name)
            assert (one is None and other is None) or torch.equal(one, other)


def test_one_replica_that_does_not_fit_is_an_error(potentials, crystal):
    cramped = Cramped(potentials.PairPotential(), 0, MemoryError)
    state = State.from_structures([crystal(1)] * 3)
    with pytest.raises(MemoryError, match="no room"):
        Evaluator(cramped).evaluate(state, VerletList(state, 6.0), "mean")
