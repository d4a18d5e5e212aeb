from dataclasses import replace

import numpy as np
import pytest
import torch

from alflow.core.sampling import StopReason
from alflow.core.structures import Structure
from alflow.md import guards
from alflow.md.guards import Limits, not_finite, reasons, runaways, too_hot
from alflow.md.spread import mean_forces, spreads
from alflow.md.state import State
from alflow.md.timestep import largest_timestep_fs
from alflow.md.velocities import (
    centre_of_mass_velocity,
    draw_noise,
    with_thermal_velocities,
)
from alflow.models.potential import Evaluation


@pytest.fixture
def state(crystal):
    lone = Structure(np.array([18], np.uint8), np.zeros((1, 3)))
    state = State.from_structures([crystal(1), lone, crystal(2, seed=3)])
    streams = [np.random.default_rng(k) for k in range(3)]
    return with_thermal_velocities(
        state, torch.tensor([300.0, 300.0, 900.0]).double(), streams
    )


def test_structures_survive_the_round_trip(crystal):
    starts = [crystal(1), crystal(2)]
    state = State.from_structures(starts)
    assert [state.structure(k, start) for k, start in enumerate(starts)] == starts


def test_keeping_replicas_keeps_everything_of_theirs(state):
    kept = state.keep([0, 2])
    assert kept.replicas == (0, 2)
    assert kept.sizes == (4, 32)
    assert torch.equal(kept.velocities[4:], state.velocities[5:])
    assert kept.system_idx.tolist() == [0] * 4 + [1] * 32
    assert torch.equal(kept.kinetic_energy(), state.kinetic_energy()[[0, 2]])


def test_rescaling_moves_atoms_with_the_cell(state):
    scaled = state.rescaled(torch.tensor([1.1, 1.0, 0.9]).double())
    assert torch.allclose(scaled.cells[2], state.cells[2] * 0.9)
    assert torch.allclose(scaled.positions[5:], state.positions[5:] * 0.9)
    assert torch.equal(scaled.positions[4], state.positions[4])
    assert torch.equal(scaled.velocities, state.velocities)
    again = scaled.rescaled(torch.ones(3).double())
    assert torch.equal(again.cells, state.cells)


def test_starts_carry_no_momentum_unless_alone(state):
    drift = centre_of_mass_velocity(state)
    assert torch.allclose(drift[[0, 2]], torch.zeros(2, 3).double(), atol=1e-16)
    assert drift[1].norm() > 0


def test_noise_of_a_replica_is_its_own():
    together = draw_noise([np.random.default_rng(k) for k in (1, 2)], (3, 5))
    assert np.array_equal(together[3:], draw_noise([np.random.default_rng(2)], (5,)))


def test_runaways_tell_hot_from_not_finite(state):
    assert runaways(state, 1.0) == []
    fast = state.velocities.clone()
    fast[0, 0] = 3.0
    found = runaways(replace(state, velocities=fast), 0.5)
    assert reasons(found) == {0: StopReason.TOO_HOT}
    lost = state.positions.clone()
    lost[7, 1] = float("nan")
    found = runaways(replace(state, positions=lost, velocities=fast), 0.5)
    assert reasons(found) == {
        0: StopReason.TOO_HOT,
        2: StopReason.NOT_FINITE,
    }


def test_runaways_are_the_same_without_a_look(state, monkeypatch):
    monkeypatch.setattr(guards, "_may_ask", lambda device: False)
    monkeypatch.setattr(guards, "motion_kernels", lambda device: None)
    assert reasons(runaways(state, 1.0)) == {}


def test_any_member_can_make_a_replica_not_finite(state):
    energies = torch.zeros(2, 3).double()
    assert not not_finite(state, Evaluation(energies)).any()
    energies[1, 2] = float("inf")
    forces = state.forces.clone()
    forces[4, 0] = float("nan")
    found = not_finite(replace(state, forces=forces), Evaluation(energies))
    assert found.tolist() == [False, True, True]


def test_too_hot_is_factor_times_target_plus_margin(state):
    kinetic = state.kinetic_temperature(is_momentum_free=True)
    target = torch.full((3,), 100.0).double()
    margin = float(kinetic[2]) - 2 * 100.0
    for change, expected in ((-1, [False, False, True]), (1, [False] * 3)):
        limits = Limits(0.0, 2.0, margin + change)
        assert too_hot(state, target, limits, is_momentum_free=True).tolist() == expected


def test_spreads_are_what_core_says(state):
    rng = np.random.default_rng(0)
    energies = torch.from_numpy(rng.standard_normal((5, 3)))
    members = torch.from_numpy(rng.standard_normal((5, 37, 3)))
    found = spreads(Evaluation(energies, None, members), state)
    for system, (first, last) in enumerate([(0, 4), (4, 5), (5, 37)]):
        part = members[:, first:last].numpy()
        of_atom = np.linalg.norm(part.std(axis=0), axis=-1)
        n_atoms = last - first
        assert found[system].energy == pytest.approx(
            energies[:, system].numpy().std() / n_atoms**0.5
        )
        assert found[system].force_mean == pytest.approx(of_atom.mean())
        assert found[system].force_max == pytest.approx(of_atom.max())
        assert found[system].force_scale == pytest.approx(
            np.linalg.norm(part.mean(axis=0), axis=-1).mean()
        )


def test_mean_forces_need_forces():
    with pytest.raises(ValueError, match="without forces"):
        mean_forces(Evaluation(torch.zeros(1, 1)))


def test_the_longest_timestep_follows_the_lightest_element():
    assert largest_timestep_fs(1) == pytest.approx(1.0)
    assert largest_timestep_fs(13) == pytest.approx(5.17, abs=0.01)
