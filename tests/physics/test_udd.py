"""The bias of uncertainty-driven dynamics: its gradient, its sign and its bounds."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from alflow.core.structures import Structure
from alflow.md.bias import Bias, BiasedPotential
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch

pytestmark = pytest.mark.physics
BIAS = Bias(height_eV=0.3, width_eV=0.02)


@pytest.fixture
def ensemble(potentials):
    return potentials.PairPotential((0.10, 0.13, 0.08), (2.6, 2.64, 2.57), 4.5)


@pytest.fixture
def batch(crystal):
    molecule = Structure(
        np.array([13, 13, 13], np.uint8),
        np.array([[0, 0, 0], [2.7, 0.1, 0], [0.3, 2.9, 0.2]]),
    )
    return Batch.from_structures([crystal(1), molecule, crystal(1, 4.3, seed=3)])


def spread(ensemble, batch):
    found = ensemble.evaluate(batch, neighbour_pairs(batch, 4.5))
    return found.energy_spread() / batch.atoms_per_system.sqrt()


def biased_energy(ensemble, batch, bias=BIAS):
    """Energy of each system with the bias as the paper writes it."""
    energies = ensemble.evaluate(batch, neighbour_pairs(batch, 4.5)).energies
    sigma_squared = 0.5 * ((energies - energies.mean(0)) ** 2).sum(0)
    reduced = sigma_squared / (len(energies) * batch.atoms_per_system * bias.width_eV**2)
    return energies.mean(0) + bias.height_eV * (torch.exp(-reduced) - 1)


def test_forces_are_the_gradient_of_the_biased_energy(ensemble, batch):
    pairs = neighbour_pairs(batch, 4.5)
    biased = BiasedPotential(ensemble, BIAS)
    forces = biased.evaluate(batch, pairs).forces
    plain = ensemble.evaluate(batch, pairs).forces
    step_A = 1e-4
    by_differences = torch.zeros_like(forces)
    for atom in range(batch.n_atoms):
        for axis in range(3):
            change = torch.zeros_like(batch.positions)
            change[atom, axis] = step_A
            up, down = (
                biased_energy(
                    ensemble, replace(batch, positions=batch.positions + s * change)
                )
                for s in (1, -1)
            )
            by_differences[atom, axis] = -(up - down).sum() / (2 * step_A)
    assert (forces - by_differences).abs().max() < 1e-6
    for system in range(3):
        of_system = batch.system_idx == system
        assert (forces - plain)[of_system].norm() > 1e-3, "nothing was tested"


def test_the_bias_leads_to_a_larger_spread(ensemble, batch):
    pairs = neighbour_pairs(batch, 4.5)
    plain = ensemble.evaluate(batch, pairs).forces
    pull = BiasedPotential(ensemble, BIAS).evaluate(batch, pairs).forces - plain
    ahead = replace(batch, positions=batch.positions + 1e-3 * pull)
    assert (spread(ensemble, ahead) > spread(ensemble, batch)).all()


def test_the_energy_is_bounded_and_zero_where_members_agree(ensemble, batch):
    n_atoms = batch.atoms_per_system.double()
    energies = ensemble.evaluate(batch, neighbour_pairs(batch, 4.5)).energies
    found = BIAS.energy(energies, n_atoms)
    assert torch.allclose(found, biased_energy(ensemble, batch) - energies.mean(0))
    assert ((found > -BIAS.height_eV) & (found < 0)).all()
    agreed = energies.mean(0).expand(3, -1)
    assert BIAS.energy(agreed, n_atoms).abs().max() < 1e-20
    assert BIAS.weights(agreed, n_atoms).abs().max() < 1e-12
    far = energies * 1e6
    assert torch.allclose(BIAS.energy(far, n_atoms), torch.tensor(-BIAS.height_eV).double())
    assert BIAS.weights(far, n_atoms).abs().max() == 0


def test_what_the_ensemble_says_is_not_biased(ensemble, batch):
    pairs = neighbour_pairs(batch, 4.5)
    plain = ensemble.evaluate(batch, pairs, forces="members")
    found = BiasedPotential(ensemble, BIAS).evaluate(batch, pairs, forces="members")
    assert torch.equal(found.energies, plain.energies)
    assert torch.equal(found.member_forces, plain.member_forces)
    none = BiasedPotential(ensemble, BIAS).evaluate(batch, pairs, forces="none")
    assert none.forces is None
    assert torch.equal(none.energies, plain.energies)
