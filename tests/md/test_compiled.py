"""Steps by compiled functions and by torch: the same bits, the same verdicts."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from alflow.core.structures import Structure
from alflow.md import guards, langevin, neighbours, state
from alflow.md.compiled import motion_kernels
from alflow.md.engine import Engine, Motion
from alflow.md.langevin import Bath
from alflow.md.state import State
from alflow.md.velocities import draw_noise, with_thermal_velocities
from alflow.models.potential import Evaluation

MODULES = (guards, langevin, neighbours, state)


@pytest.fixture
def by_torch(monkeypatch):
    """Function: call something while no compiled function may be used."""

    def call(function):
        with monkeypatch.context() as patch:
            for module in MODULES:
                patch.setattr(module, "motion_kernels", lambda _: None)
            return function()

    return call


def streams(count):
    return [np.random.default_rng(k) for k in range(count)]


def replicas(crystal):
    molecule = Structure(np.array([8, 1, 1], np.uint8), np.eye(3) * [[1.0], [0.9], [1.1]])
    return [crystal(), molecule, crystal(1, seed=3)]


def run(potentials, starts, friction, scales):
    """Positions, velocities and energies along a short path."""
    engine = Engine(potentials.PairPotential(), Motion(1.0, friction, skin_A=0.1))
    moment = engine.start(
        State.from_structures(starts), Bath(torch.full((len(starts),), 900.0))
    )
    noise = streams(len(starts))
    moment = replace(
        moment,
        state=with_thermal_velocities(
            moment.state, torch.full((len(starts),), 900.0).double(), noise
        ),
    )
    found = []
    for scale in scales:
        bath = Bath(
            torch.full((len(starts),), 900.0, dtype=torch.float64),
            torch.from_numpy(draw_noise(noise, moment.state.sizes)) if friction else None,
            None
            if scale is None
            else torch.full((len(starts),), scale, dtype=torch.float64),
        )
        moment = engine.advance(moment, bath)
        now = moment.state
        found.append((now.positions, now.velocities, now.kinetic_energy(), moment.stopped))
    assert moment.pairs.n_renewals > len(starts)
    return found


@pytest.mark.parametrize("friction", [0.0, 0.01])
@pytest.mark.parametrize("scales", [[None] * 8, [0.999, 0.998, 0.997, 0.996, 0.99]])
def test_a_path_has_the_same_bits(potentials, crystal, by_torch, friction, scales):
    assert motion_kernels(torch.device("cpu")) is not None
    starts = replicas(crystal)
    found = run(potentials, starts, friction, scales)
    expected = by_torch(lambda: run(potentials, starts, friction, scales))
    for one, two in zip(found, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one[:3], two[:3], strict=True))
        assert one[3] == two[3]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("positions", np.nan),
        ("positions", np.inf),
        ("velocities", np.nan),
        ("velocities", -np.inf),
        ("velocities", 1.0001),
        ("velocities", 0.9999),
        ("forces", np.nan),
        ("forces", 1e30),
    ],
)
@pytest.mark.parametrize("atom", [0, 33, 35])
def test_guards_say_the_same(potentials, crystal, by_torch, column, value, atom):
    whole = State.from_structures(replicas(crystal))
    changed = getattr(whole, column).clone()
    changed[atom, atom % 3] = value
    broken = replace(whole, **{column: changed})
    pairs = neighbours.VerletList(whole, 4.0, skin_A=0.5, distance_factor=0.6)
    zeros = torch.zeros(2, whole.n_systems, dtype=torch.float64)

    def verdicts():
        return (
            [(mask.tolist(), why) for mask, why in guards.runaways(broken, 1.0)],
            guards.not_finite(broken, Evaluation(zeros)).tolist(),
            pairs.contacts(broken),
        )

    assert verdicts() == by_torch(verdicts)


def test_contacts_are_found(crystal, by_torch):
    whole = State.from_structures(replicas(crystal))
    pairs = neighbours.VerletList(whole, 4.0, skin_A=2.5, distance_factor=0.6)
    close = whole.positions.clone()
    close[33] = close[32] + torch.tensor([0.4, 0.0, 0.0])
    near = replace(whole, positions=close)
    assert pairs.contacts(near) == by_torch(lambda: pairs.contacts(near)) == [1]
    assert pairs.contacts(whole) == []
