"""The operators against autograd through the reference, to second order."""

import gc

import numpy as np
import pytest
import torch

from alflow.models.ani.constants import ANI_1X
from alflow.models.ani.descriptor import AniDescriptor
from alflow.models.ani.fused import FusedDescriptor
from alflow.models.ani.network import StackedNetworks
from alflow.models.ani.operators import DifferentiableAtoms


@pytest.fixture
def atoms(mixed_batch, mixed_pairs):
    species = AniDescriptor(ANI_1X, (1, 6, 8)).species(mixed_batch.numbers)
    return DifferentiableAtoms(
        FusedDescriptor(ANI_1X, 3), mixed_batch, mixed_pairs, species
    )


@pytest.fixture
def reference(mixed_batch, mixed_pairs):
    """Features by plain torch in float64, as a function of positions."""
    import dataclasses

    descriptor = AniDescriptor(ANI_1X, (1, 6, 8), dtype=torch.float64)
    return lambda x: descriptor.features(
        dataclasses.replace(mixed_batch, positions=x), mixed_pairs
    )


def draw(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def close(found, expected, tolerance=2e-5):
    assert (found.double() - expected).abs().max() < tolerance * expected.abs().max()


def test_forces_through_autograd(atoms, reference, mixed_batch):
    weight = draw(mixed_batch.n_atoms, atoms.n_features)
    x = mixed_batch.positions.clone().requires_grad_()
    (expected,) = torch.autograd.grad((weight * torch.sin(reference(x))).sum(), x)
    energy = (weight * torch.sin(atoms.features(x).double())).sum()
    (found,) = torch.autograd.grad(energy, x)
    assert found.dtype == x.dtype
    close(found, expected)


def test_the_triangle_of_derivatives(atoms, reference, mixed_batch):
    x = mixed_batch.positions
    gradient = draw(2, mixed_batch.n_atoms, atoms.n_features).requires_grad_()
    tangent = draw(2, mixed_batch.n_atoms, 3, seed=1).requires_grad_()
    jacobian = torch.autograd.functional.jacobian(reference, x, vectorize=True)
    pulled = torch.einsum("afbx,maf->mbx", jacobian, gradient)
    pushed = torch.einsum("afbx,mbx->maf", jacobian, tangent)
    close(atoms.pull(x, gradient), pulled)
    close(atoms.push(x, tangent), pushed)
    # d pull / d G is push, d push / d V is pull: each once more, with another cotangent.
    other = draw(2, mixed_batch.n_atoms, 3, seed=2)
    (found,) = torch.autograd.grad((atoms.pull(x, gradient) * other).sum(), gradient)
    close(found, torch.einsum("afbx,mbx->maf", jacobian, other))
    other = draw(2, mixed_batch.n_atoms, atoms.n_features, seed=3)
    (found,) = torch.autograd.grad((atoms.push(x, tangent) * other).sum(), tangent)
    close(found, torch.einsum("afbx,maf->mbx", jacobian, other))


def test_training_on_forces(atoms, reference, mixed_batch):
    """Gradients of a loss on the forces in the weights, against double backward."""
    species = AniDescriptor(ANI_1X, (1, 6, 8)).species(mixed_batch.numbers)
    networks = StackedNetworks.initialise(
        (atoms.n_features, 6), 3, [1, 2], activation="silu", dtype=torch.float64
    )
    weights = list(networks.weights)
    target = draw(2, mixed_batch.n_atoms, 3)
    x = mixed_batch.positions.clone().requires_grad_()
    energies = networks(reference(x), species)
    forces = torch.stack(
        [torch.autograd.grad(e.sum(), x, create_graph=True)[0] for e in energies]
    )
    expected = torch.autograd.grad(((forces - target) ** 2).sum(), weights)
    still = mixed_batch.positions
    _, slope = networks.energies_and_gradient(atoms.features(still).double(), species)
    found = torch.autograd.grad(
        ((atoms.pull(still, slope).double() - target) ** 2).sum(), weights
    )
    for one, other in zip(found, expected, strict=True):
        close(one, other, 1e-4)


def test_hessians_are_refused(atoms, mixed_batch):
    x = mixed_batch.positions.clone().requires_grad_()
    (force,) = torch.autograd.grad((atoms.features(x) ** 2).sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match=r"AniDescriptor\.features"):
        torch.autograd.grad(force.sum(), x)


def test_the_graph_keeps_what_it_needs(mixed_batch, mixed_pairs):
    species = AniDescriptor(ANI_1X, (1, 6, 8)).species(mixed_batch.numbers)
    x = mixed_batch.positions.clone().requires_grad_()
    energy = (
        DifferentiableAtoms(FusedDescriptor(ANI_1X, 3), mixed_batch, mixed_pairs, species)
        .features(x)
        .sum()
    )
    gc.collect()
    (found,) = torch.autograd.grad(energy, x)
    assert found.isfinite().all()


def test_torch_agrees_that_they_are_operators(atoms, mixed_batch):
    """Schema, shapes without data, and registration of the derivatives."""
    x = mixed_batch.positions.clone().requires_grad_()
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(
        torch.ops.alflow.ani_features.default, (x, atoms.number), test_utils=checks
    )
    still = mixed_batch.positions
    gradient = draw(1, mixed_batch.n_atoms, atoms.n_features).requires_grad_()
    tangent = draw(1, mixed_batch.n_atoms, 3).requires_grad_()
    for name, given in (("ani_pull", gradient), ("ani_push", tangent)):
        operator = getattr(torch.ops.alflow, name).default
        torch.library.opcheck(operator, (still, given, atoms.number), test_utils=checks)
