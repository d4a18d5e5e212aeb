"""Networks on the compiled kernels against plain torch in float64."""

import copy
import re

import pytest
import torch

from alflow.models.ani import network_kernels
from alflow.models.ani.folded import FoldedNetworks
from alflow.models.ani.network import StackedNetworks
from alflow.models.ani.settings import AniSettings
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch


def made(activation, widths, n_elements, members=3):
    networks = StackedNetworks.initialise(
        widths, n_elements, list(range(members)), activation=activation, dtype=torch.float32
    )
    torch.manual_seed(1)
    with torch.no_grad():
        for bias in networks.biases:
            bias.normal_()
    networks.standardise(
        torch.randn(n_elements, widths[0]), torch.rand(n_elements, widths[0]) + 0.5
    )
    return networks


def inputs(networks, n_atoms):
    draw = torch.Generator().manual_seed(n_atoms)
    features = torch.randn(n_atoms, networks.n_features, generator=draw)
    species = torch.randint(0, networks.n_elements, (n_atoms,), generator=draw)
    species[species == 1] = 0
    return features, species


@pytest.mark.parametrize("activation", ["celu", "silu"])
@pytest.mark.parametrize(
    ("widths", "n_elements", "n_atoms"),
    [((96, 96, 64), 1, 205), ((45, 7, 5), 3, 23), ((3, 40), 1, 1), ((16, 16), 2, 0)],
)
def test_energies_and_gradients(activation, widths, n_elements, n_atoms):
    networks = made(activation, widths, n_elements)
    features, species = inputs(networks, n_atoms)
    folded = FoldedNetworks(networks)
    energies, gradient = folded.evaluate(features, species, gradient=True)
    precise = copy.deepcopy(networks).double()
    with torch.no_grad():
        wanted = precise.energies_and_gradient(features.double(), species)
    for found, expected in zip((energies, gradient), wanted, strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    alone, nothing = folded.evaluate(features, species, gradient=False)
    assert torch.equal(alone, energies)
    assert nothing.shape == (3, 0, widths[0])


@pytest.mark.parametrize("value", [-1e4, -300.0, -90.0, 88.0, 1e4, torch.nan])
def test_extreme_inputs(value):
    """Exponentials neither overflow nor turn what is not a number into one."""
    for activation in ("celu", "silu"):
        networks = made(activation, (1, 8), 1)
        networks.standardise(torch.zeros(1, 1), torch.ones(1, 1))
        features, species = torch.tensor([[value]]), torch.zeros(1, dtype=torch.long)
        found = FoldedNetworks(networks).evaluate(features, species, gradient=True)
        with torch.no_grad():
            wanted = networks.energies_and_gradient(features, species)
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other, equal_nan=True, rtol=1e-4, atol=1e-5)


def test_an_atom_does_not_depend_on_the_others():
    networks = made("celu", (40, 24, 8), 2)
    features, species = inputs(networks, 131)
    folded = FoldedNetworks(networks)
    whole = folded.evaluate(features, species, gradient=True)
    for part in (slice(0, 1), slice(3, 10), slice(100, 131)):
        found = folded.evaluate(features[part], species[part], gradient=True)
        for one, other in zip(found, whole, strict=True):
            assert torch.equal(one, other[:, part])


def test_new_weights_are_noticed(mixed_batch, mixed_pairs):
    ensemble = AniSettings(members=2, hidden=(8,), preset="ani-1x").create((1, 6, 8), 3)
    before = ensemble.evaluate(mixed_batch, mixed_pairs)
    with torch.no_grad():
        ensemble.networks.weights[0].mul_(1.5)
    after = ensemble.evaluate(mixed_batch, mixed_pairs)
    assert not torch.equal(before.energies, after.energies)
    n_features = ensemble.descriptor.n_features
    ensemble.networks.standardise(
        torch.zeros(3, n_features), torch.full((3, n_features), 2.0)
    )
    assert not torch.equal(
        ensemble.evaluate(mixed_batch, mixed_pairs).energies, after.energies
    )


@pytest.mark.parametrize("activation", ["celu", "silu", "gelu"])
def test_an_ensemble_in_float32_is_that_of_float64(activation, mixed_structures):
    """gelu is not among the activations of the kernels: torch does it."""
    shape = {"members": 3, "hidden": (16, 8), "activation": activation}
    single, double = (
        AniSettings(dtype=dtype, **shape).create((1, 6, 8), 5)
        for dtype in ("float32", "float64")
    )
    batch = Batch.from_structures(mixed_structures)
    pairs = neighbour_pairs(batch, single.cutoff_A)
    one, other = (e.evaluate(batch, pairs, forces="members") for e in (single, double))
    assert (one.member_forces - other.member_forces).abs().max() < 2e-4
    assert (one.energies - other.energies).abs().max() < 2e-4
    assert other.member_forces.isfinite().all()


def test_the_products_are_packed_and_fused():
    import llvmlite.binding

    if not llvmlite.binding.get_host_cpu_features().get("fma"):
        pytest.skip("this processor has no fused multiply-add of the x86 kind")
    networks = made("celu", (16, 16), 1)
    FoldedNetworks(networks).evaluate(*inputs(networks, 2), gradient=True)
    (code,) = network_kernels.infer.inspect_asm().values()
    packed = len(re.findall(r"vfn?m(?:add|sub)\d+ps", code))
    assert packed > 20
    assert packed > 2 * len(re.findall(r"vfn?m(?:add|sub)\d+ss", code))
