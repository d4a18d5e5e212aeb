"""Three ways to the derivative of a loss of forces in the parameters."""

import numpy as np
import pytest
import torch

from alflow.core.seeds import child_seed
from alflow.models.ani.descriptor import AniDescriptor
from alflow.models.ani.network import StackedNetworks
from alflow.training.dataset import TrainingSet
from alflow.training.epochs import EpochLoop, Plan
from alflow.training.gradient import losses_and_gradient
from alflow.training.loss import Loss
from alflow.training.optimiser import FlatNetworks
from alflow.training.settings import StackedSettings

SELF_ENERGIES = (-13.6, -2000.0)


def prepare(data, model, way, dtype, activation="silu", budget=0.0):
    descriptor = AniDescriptor(model.constants(), (1, 8), dtype=dtype)
    prepared = TrainingSet(data, descriptor, dtype, budget, way)
    prepared.subtract(SELF_ENERGIES)
    networks = StackedNetworks.initialise(
        (prepared.features.shape[1], 8, 6),
        2,
        [child_seed(1, "member", m) for m in (0, 1)],
        activation=activation,
        dtype=dtype,
    )
    return prepared, FlatNetworks(networks)


def gradient(data, model, way, dtype, *, step_A=1e-3, energy_weight=0.7, **options):
    prepared, flat = prepare(data, model, way, dtype, **options)
    batch = prepared.minibatch(range(len(data)), with_forces=True)
    may_train = torch.ones(2, len(data), dtype=torch.bool)
    weights = torch.linspace(0.5, 1.0, len(data), dtype=dtype)
    loss = Loss(energy_weight, 1.3)

    def loss_of(errors):
        return loss.of_members(errors, may_train, weights)

    losses, found = losses_and_gradient(flat, batch, loss_of, way, step_A)
    return found.double(), losses


def relative(found, expected):
    return float((found - expected).norm() / expected.norm())


@pytest.fixture
def data(make_clusters):
    return [*make_clusters(6), *make_clusters(2, seed=5, forces=False)]


@pytest.mark.parametrize(
    ("way", "dtype", "tolerance"),
    [
        ("jvp", torch.float64, 1e-12),
        ("jvp", torch.float32, 1e-4),
        ("autograd", torch.float32, 1e-4),
        ("finite_difference", torch.float64, 1e-6),
        ("finite_difference", torch.float32, 1e-3),
    ],
)
def test_all_ways_agree_with_autograd(data, model, way, dtype, tolerance):
    expected, losses = gradient(data, model, "autograd", torch.float64)
    found, same = gradient(data, model, way, dtype)
    assert relative(found, expected) < tolerance
    torch.testing.assert_close(same.double(), losses, rtol=1e-4, atol=0)


@pytest.mark.parametrize("activation", ["silu", "celu", "gelu"])
@pytest.mark.parametrize("has_forces", [True, False])
def test_what_is_written_by_hand_is_what_autograd_gives(
    make_clusters, model, activation, has_forces
):
    data = make_clusters(6, forces=has_forces)
    found, expected = (
        gradient(data, model, way, torch.float64, activation=activation)
        for way in ("jvp", "autograd")
    )
    assert relative(found[0], expected[0]) < 1e-12
    torch.testing.assert_close(found[1], expected[1], rtol=1e-12, atol=0)


def test_an_element_that_is_not_in_a_minibatch_gets_no_gradient(make_clusters, model):
    data = [item for item in make_clusters(6) if item.structure.n_atoms == 3]
    alone = [
        type(item)(
            type(item.structure)(item.structure.numbers[1:], item.structure.positions[1:]),
            type(item.label)(0.0, item.label.forces[1:]),
            item.label_id,
            item.group,
        )
        for item in data
    ]
    prepared, flat = prepare(alone, model, "jvp", torch.float64)
    batch = prepared.minibatch(range(len(alone)), with_forces=True)
    loss = Loss(1.0, 1.0)
    _, found = losses_and_gradient(
        flat, batch, lambda errors: loss.of_structures(errors).sum(1)
    )
    weights, biases = flat.views(found)
    assert all(float(part.abs().max()) > 0 for part in (*weights[:3], *biases[:3]))
    assert all(float(part.abs().max()) == 0 for part in (*weights[3:], *biases[3:]))


def test_kernels_give_what_kept_derivatives_give(data, model):
    kept, _ = gradient(data, model, "jvp", torch.float32, budget=1000.0)
    fresh, _ = gradient(data, model, "jvp", torch.float32)
    some, _ = gradient(data, model, "jvp", torch.float32, budget=0.02)
    assert relative(fresh, kept) < 2e-5
    assert relative(some, kept) < 2e-5


def test_the_error_of_differences_falls_with_the_square_of_the_step(data, model):
    expected, _ = gradient(data, model, "autograd", torch.float64)
    errors = [
        relative(
            gradient(data, model, "finite_difference", torch.float64, step_A=step)[0],
            expected,
        )
        for step in (0.1, 0.03, 0.01)
    ]
    slopes = np.diff(np.log(errors)) / np.diff(np.log([0.1, 0.03, 0.01]))
    assert np.all(np.abs(slopes - 2) < 0.15)


def test_a_shift_of_all_energies_leaves_the_differences_alone(data, model):
    options = {"step_A": 1e-3, "energy_weight": 0.0}
    one, _ = gradient(data, model, "finite_difference", torch.float64, **options)
    shifted = [
        type(item)(
            item.structure,
            type(item.label)(item.label.energy + 1e6, item.label.forces),
            item.label_id,
            item.group,
        )
        for item in data
    ]
    two, _ = gradient(shifted, model, "finite_difference", torch.float64, **options)
    assert relative(two, one) < 1e-12


def test_training_by_differences_ends_where_the_others_do(make_clusters, model):
    data = make_clusters(16)
    ends = []
    for way in ("jvp", "finite_difference"):
        prepared, flat = prepare(data, model, way, torch.float32, budget=100.0)
        settings = StackedSettings(force_gradient=way)
        held_out = np.zeros((2, 16), bool)
        held_out[:, :4] = True
        loop = EpochLoop(settings, prepared, flat.networks, held_out)
        assert not loop.run(Plan(50, 8, 1e-2, 3), lambda _: None)
        ends.append(np.mean([score.force_rmse for score in loop.evaluate().held]))
    assert ends[1] == pytest.approx(ends[0], rel=0.03)
