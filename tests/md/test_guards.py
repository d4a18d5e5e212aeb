"""What ends a replica beside heat and what is not a number, which stand in test_state.py."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from alflow.core.sampling import StopReason
from alflow.core.structures import Structure
from alflow.md import guards, langevin, neighbours, state
from alflow.md.engine import Engine, Motion
from alflow.md.guards import Limits, collapsed, exploded, pieces, reasons
from alflow.md.langevin import Bath
from alflow.md.neighbours import VerletList
from alflow.md.state import State
from alflow.models.potential import Evaluation


def aluminium(positions, cell=None, pbc=False):
    positions = np.array(positions, float)
    numbers = np.full(len(positions), 13, np.uint8)
    return Structure(numbers, positions, cell, np.full(3, pbc))


def which(mask):
    return mask.nonzero().flatten().tolist()


@pytest.mark.parametrize("sign", [1, -1])
def test_energy_may_change_so_much_per_atom_and_no_more(crystal, sign):
    state = State.from_structures([crystal(1), crystal(2), crystal(1)])
    start = torch.tensor([-10.0, -80.0, 5.0]).double()
    change = sign * torch.tensor([8.1, 63.9, float("nan")]).double()
    limits = Limits(energy_eV_per_atom=2.0)
    assert which(exploded(state, start + change, start, limits)) == [0]
    wider = Limits(energy_eV_per_atom=2.1)
    assert which(exploded(state, start + change, start, wider)) == []


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
    assert which(collapsed(state, Limits())) == [1]
    assert which(collapsed(state, Limits(volume_factor=3.3))) == [0, 1]
    assert which(collapsed(state, Limits(volume_factor=0.0))) == []


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


def test_the_last_reason_counts():
    masks = torch.tensor([[1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 1]]).bool()
    why = (StopReason.EXPLODED, StopReason.TOO_CLOSE, StopReason.EXPLODED)
    assert reasons(list(zip(masks, why, strict=True))) == {
        0: StopReason.EXPLODED,
        1: StopReason.TOO_CLOSE,
        3: StopReason.EXPLODED,
    }


class Waits(TorchDispatchMode):
    """Notes what would make a host wait for a GPU."""

    NAMES = (
        "_local_scalar_dense",
        "nonzero",
        "unique",
        "bincount",
        "masked_select",
        "equal",
    )

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = str(function)
        if any(f"aten.{wait}" in name for wait in self.NAMES):
            self.found.append(name)
        indices = args[1] if name.startswith("aten.index.Tensor") else ()
        if any(index is not None and index.dtype == torch.bool for index in indices):
            self.found.append(name)
        return function(*args, **(kwargs or {}))


class Still:
    """A potential without forces that waits for nothing."""

    n_members, cutoff_A, elements = 2, 4.0, (13,)
    dtype, device = torch.float64, torch.device("cpu")

    def evaluate(self, batch, pairs, *, forces="mean"):
        energies = torch.zeros(2, batch.n_systems).double()
        return Evaluation(energies, torch.zeros_like(batch.positions))

    def fingerprint(self, batch, pairs):
        raise NotImplementedError


def test_a_step_waits_for_the_neighbour_list_alone(crystal, monkeypatch):
    """Once for what moved too far, once for contacts; reasons are read back beside that."""
    limits = Limits(temperature_margin_K=1e9)
    engine = Engine(Still(), Motion(1.0, friction_per_fs=0.01, limits=limits))
    target = torch.full((2,), 10.0).double()
    moment = engine.start(State.from_structures([crystal(1)] * 2), Bath(target))
    bath = Bath(target, torch.zeros_like(moment.state.positions), torch.ones(2).double())
    monkeypatch.setattr(guards, "_may_ask", lambda device: False)
    for module in (guards, langevin, neighbours, state):
        monkeypatch.setattr(module, "motion_kernels", lambda device: None)
    with Waits() as waits:
        moment = engine.advance(moment, bath)
    assert moment.stopped == {}
    assert len(waits.found) == 2


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
