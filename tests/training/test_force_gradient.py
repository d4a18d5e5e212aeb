"""Three ways to the derivative of a loss of forces in the parameters."""

import numpy as np
import pytest
import torch

from alflow.core.seeds import child_seed
from alflow.models.ani.descriptor import AniDescriptor
from alflow.models.ani.network import StackedNetworks
from alflow.training.dataset import TrainingSet
from alflow.training.differences import losses_by_differences
from alflow.training.epochs import EpochLoop, Plan
from alflow.training.loss import Loss, member_errors
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


def gradient(data, model, way, dtype, *, step_A=1e-3, budget=0.0, energy_weight=0.7):
    prepared, flat = prepare(data, model, way, dtype, budget=budget)
    batch = prepared.minibatch(range(len(data)), with_forces=True)
    may_train = torch.ones(2, len(data), dtype=torch.bool)
    weights = torch.linspace(0.5, 1.0, len(data), dtype=dtype)
    loss = Loss(energy_weight, 1.3)

    def loss_of(errors):
        return loss.of_members(errors, may_train, weights)

    if way == "finite_difference":
        losses = losses_by_differences(flat.networks, batch, loss_of, step_A)
    else:
        losses = loss_of(member_errors(flat.networks, batch))
    return flat.gradient(losses.sum()).double(), losses.detach()


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
        ends.append(np.mean([score.force_rmse for score in loop.scores()[1]]))
    assert ends[1] == pytest.approx(ends[0], rel=0.03)
