"""Predictions in batches equal predictions one by one."""

import numpy as np
import pytest

from alflow.core.structures import Structure
from alflow.training.evaluate import predict


@pytest.fixture
def potential(model):
    return model.create([1, 8], 3)


def test_batches_do_not_change_predictions(potential, make_clusters) -> None:
    structures = [item.structure for item in make_clusters(9)]
    whole = predict(potential, structures)
    for limit in (1, 6, 7):
        parts = predict(potential, structures, max_atoms=limit)
        for one, other, structure in zip(whole, parts, structures, strict=True):
            assert one.energy == pytest.approx(other.energy, abs=1e-5)
            assert one.energy_spread == pytest.approx(other.energy_spread, abs=1e-5)
            assert one.forces.shape == (structure.n_atoms, 3)
            np.testing.assert_allclose(one.forces, other.forces, atol=1e-5)
            np.testing.assert_allclose(one.force_spread, other.force_spread, atol=1e-5)


def test_spreads_are_those_of_the_members(potential, make_clusters) -> None:
    prediction = predict(potential, [make_clusters(2)[1].structure])[0]
    assert prediction.energy_spread > 0
    assert (prediction.force_spread > 0).all()


def test_forces_are_minus_the_slope_of_the_energy(potential, make_clusters) -> None:
    structure = make_clusters(2)[1].structure
    moved = []
    for sign in (1, -1):
        positions = np.array(structure.positions)
        positions[0, 1] += sign * 1e-3
        moved.append(Structure(structure.numbers, positions))
    ends = [p.energy for p in predict(potential, moved)]
    force = predict(potential, [structure])[0].forces[0, 1]
    assert force == pytest.approx(-(ends[0] - ends[1]) / 2e-3, rel=1e-2, abs=2e-3)


def test_no_structures_give_no_predictions(potential) -> None:
    assert predict(potential, []) == []
