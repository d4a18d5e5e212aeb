"""What ends a replica beside heat and what is not a number, which stand in test_state.py."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from alflow.core.sampling import StopReason
from alflow.core.structures import Structure
from alflow.md.engine import Engine, Motion
from alflow.md.guards import Limits, collapsed, exploded, pieces
from alflow.md.langevin import Bath
from alflow.md.neighbours import VerletList
from alflow.md.state import State


def aluminium(positions, cell=None, pbc=False):
    positions = np.array(positions, float)
    numbers = np.full(len(positions), 13, np.uint8)
    return Structure(numbers, positions, cell, np.full(3, pbc))


@pytest.mark.parametrize("sign", [1, -1])
def test_energy_may_change_so_much_per_atom_and_no_more(crystal, sign):
    state = State.from_structures([crystal(1), crystal(2), crystal(1)])
    start = torch.tensor([-10.0, -80.0, 5.0]).double()
    change = sign * torch.tensor([8.1, 63.9, float("nan")]).double()
    limits = Limits(energy_eV_per_atom=2.0)
    assert exploded(state, start + change, start, limits) == [0]
    assert exploded(state, start + change, start, Limits(energy_eV_per_atom=2.1)) == []


def test_a_cell_must_hold_its_atoms():
    ball_A3 = 4 / 3 * np.pi * 1.21**3
    edge_A = (4 * ball_A3) ** (1 / 3)
    skewed = np.array([[1, 0, 0], [0.4, 1, 0], [-0.3, 0.2, 1]])
    atoms = np.zeros((4, 3))
    state = State.from_structures(
        [
            aluminium(atoms, skewed * edge_A * 1.01, pbc=True),
            aluminium(atoms, skewed * edge_A * 0.99, pbc=True),
            aluminium(atoms),
            aluminium(atoms, -np.eye(3) * edge_A * 1.5, pbc=True),
        ]
    )
    assert collapsed(state, Limits()) == [1]
    assert collapsed(state, Limits(volume_factor=3.3)) == [0, 1]
    assert collapsed(state, Limits(volume_factor=0.0)) == []


def test_a_cell_that_is_driven_too_far_has_collapsed(potentials, crystal):
    weak = potentials.PairPotential((1e-6,), (1.0,), 4.5)
    engine = Engine(weak, Motion(1.0, limits=Limits(distance_factor=0.0)))
    state = State.from_structures([crystal(1), crystal(1)])
    target = torch.zeros(2).double()
    moment = engine.start(state, Bath(target))
    for scale, expected in ((0.8, {}), (0.75, {1: StopReason.COLLAPSED})):
        bath = Bath(target, scale=torch.tensor([0.9, scale]).double())
        moment = engine.advance(moment, bath)
        assert moment.stopped == expected


class Falling:
    """A potential with a hole: energy falls steadily for ever."""

    def __init__(self, potential):
        self.potential, self.depth = potential, 0.0

    def __getattr__(self, name):
        return getattr(self.potential, name)

    def evaluate(self, batch, pairs, *, forces="mean"):
        found = self.potential.evaluate(batch, pairs, forces=forces)
        self.depth += 3.0
        found.energies[:, 1] -= self.depth
        return found


def test_a_fall_into_a_hole_ends_one_replica(potentials, crystal):
    engine = Engine(Falling(potentials.PairPotential()), Motion(1.0))
    target = torch.full((3,), 10.0).double()
    moment = engine.start(State.from_structures([crystal(1)] * 3), Bath(target))
    steps = 0
    while not moment.stopped:
        moment = engine.advance(moment, Bath(target))
        steps += 1
    assert moment.stopped == {1: StopReason.EXPLODED}
    assert steps == 27  # 4 atoms, 20 eV each, 3 eV a step
    kept = moment.keep([0, 2])
    assert torch.equal(kept.start_energy_eV, moment.start_energy_eV[[0, 2]])


@pytest.mark.parametrize("order", [list(range(8)), [5, 0, 7, 2, 4, 1, 6, 3]])
def test_pieces_are_counted_by_reach(order):
    chain = [[3.0 * k, 0, 0] for k in range(5)]
    far = [[100.0, 0, 0], [102.0, 0, 0], [200.0, 0, 0]]
    positions = np.array(chain + far)[order]
    state = State.from_structures(
        [
            aluminium(positions),
            aluminium(chain),
            aluminium(chain, np.eye(3) * 15.0, pbc=True),
        ]
    )
    pairs = VerletList(state, 4.0, skin_A=0.5).pairs
    assert pieces(state, pairs, 4.0) == [3, 1, 1]
    assert pieces(state, pairs, 3.0001) == [3, 1, 1]
    assert pieces(state, pairs, 2.5) == [7, 5, 5]


def test_what_joins_brings_its_start_along(potentials, crystal):
    engine = Engine(potentials.PairPotential(), Motion(1.0))
    target = torch.zeros(1).double()
    one, other = (
        engine.start(State.from_structures([crystal(1, a)]), Bath(target))
        for a in (4.1, 4.3)
    )
    one = engine.advance(
        replace(one, state=one.state.rescaled(one.state.scale * 1.01)), Bath(target)
    )
    both = one.joined(other)
    expected = torch.cat([one.start_energy_eV, other.start_energy_eV])
    assert torch.equal(both.start_energy_eV, expected)
    assert len(set(expected.tolist())) == 2
