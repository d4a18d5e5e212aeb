"""Hand-written gradients of stacked networks, and what their weights depend on."""

import pytest
import torch

from alflow.core.errors import SettingsError
from alflow.models.ani.network import ACTIVATIONS, StackedNetworks

SPECIES = torch.tensor([0, 2, 0, 2, 2, 0, 0])
"""Element 1 does not occur."""


def make(activation="silu", seeds=(11, 12, 13), dtype=torch.float64):
    networks = StackedNetworks.initialise(
        (5, 7, 4), 3, seeds, activation=activation, dtype=dtype
    )
    torch.manual_seed(0)
    with torch.no_grad():
        for bias in networks.biases:
            bias.normal_()
    networks.standardise(
        torch.randn(3, 5, dtype=dtype), torch.rand(3, 5, dtype=dtype) + 0.5
    )
    return networks


@pytest.fixture
def features():
    return torch.randn(
        7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(4)
    )


def reference(networks, features, member, activation):
    """Each atom through its own network of plain layers."""
    functions = {
        "silu": torch.nn.SiLU(),
        "celu": torch.nn.CELU(alpha=0.1),
        "gelu": torch.nn.GELU(),
    }
    energies = []
    for row, element in zip(features, SPECIES.tolist(), strict=True):
        x = (row - networks.feature_mean[element]) / networks.feature_scale[element]
        for layer in range(3):
            place = 3 * element + layer
            x = x @ networks.weights[place][member] + networks.biases[place][member]
            x = functions[activation](x) if layer < 2 else x
        energies.append(x[0])
    return torch.stack(energies)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_energies_and_gradients(activation, features):
    networks = make(activation)
    features.requires_grad_()
    energies, gradient = networks.energies_and_gradient(features, SPECIES)
    torch.testing.assert_close(networks(features, SPECIES), energies)
    for member in range(3):
        expected = reference(networks, features, member, activation)
        torch.testing.assert_close(energies[member], expected)
        (slope,) = torch.autograd.grad(expected.sum(), features)
        torch.testing.assert_close(gradient[member], slope)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_gradient_can_be_trained_on(activation, features):
    """Derivatives of a loss on the gradient, against double backward through autograd."""
    networks = make(activation)
    target = torch.randn(3, 7, 5, dtype=torch.float64)
    _, gradient = networks.energies_and_gradient(features, SPECIES)
    found = torch.autograd.grad(((gradient - target) ** 2).sum(), [*networks.weights])

    leaf = features.clone().requires_grad_()
    energies = networks(leaf, SPECIES)
    slopes = torch.stack(
        [torch.autograd.grad(one.sum(), leaf, create_graph=True)[0] for one in energies]
    )
    expected = torch.autograd.grad(((slopes - target) ** 2).sum(), [*networks.weights])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_a_member_depends_on_its_seed_alone():
    three, one = make(seeds=(11, 12, 13)), make(seeds=(12,))
    for many, single in zip(three.weights, one.weights, strict=True):
        assert torch.equal(many[1:2], single)
        assert not torch.equal(many[0], many[1])


def test_parameters_have_the_member_first():
    networks = make()
    assert all(parameter.shape[0] == 3 for parameter in networks.parameters())
    assert len(list(networks.parameters())) == 18


def test_far_out_inputs_stay_finite(features):
    for activation in ACTIVATIONS:
        energies, gradient = make(activation).energies_and_gradient(features * 1e4, SPECIES)
        assert energies.isfinite().all()
        assert gradient.isfinite().all()


def test_no_graph_is_kept_without_grad(features):
    with torch.no_grad():
        energies, gradient = make().energies_and_gradient(features, SPECIES)
    assert energies.grad_fn is None
    assert gradient.grad_fn is None


@pytest.mark.parametrize(
    ("weights", "biases", "n_elements", "activation"),
    [
        ([(2, 3, 1)], [(2, 1)], 1, "tanh"),
        ([(2, 3, 4)], [(2, 4)], 1, "silu"),
        ([(2, 3, 4), (2, 5, 1)], [(2, 4), (2, 1)], 1, "silu"),
        ([(2, 3, 4), (1, 4, 1)], [(2, 4), (1, 1)], 1, "silu"),
        ([(2, 3, 1)], [(2, 2)], 1, "silu"),
        ([(2, 3, 1)], [(2, 1)], 2, "silu"),
        ([], [], 0, "silu"),
    ],
)
def test_layers_that_do_not_fit_are_refused(weights, biases, n_elements, activation):
    with pytest.raises(SettingsError):
        StackedNetworks(
            [torch.zeros(shape) for shape in weights],
            [torch.zeros(shape) for shape in biases],
            n_elements,
            activation,
        )
