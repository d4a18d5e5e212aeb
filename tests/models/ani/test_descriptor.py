"""Closed forms against autograd, and against sums written out."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from alflow.core.errors import SettingsError
from alflow.core.structures import Structure
from alflow.models.ani import descriptor as descriptor_module
from alflow.models.ani import jacobian as jacobian_module
from alflow.models.ani.constants import ANI_AL
from alflow.models.ani.descriptor import AniDescriptor
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch


def written_out(constants, elements, structure):
    """Equations 3 and 4 of the ANI paper with NeuroChem's prefactors, as loops."""
    c, n = constants, len(elements)
    channels = [(a, b) for a in range(n) for b in range(a, n)]
    species = [elements.index(z) for z in structure.numbers]
    radial = np.zeros((structure.n_atoms, n, len(c.radial_shifts)))
    shape = (len(c.angular_shifts), len(c.angular_sections))
    angular = np.zeros((structure.n_atoms, len(channels), *shape))

    def fade(d, cutoff_A):
        return 0.5 * math.cos(math.pi * d / cutoff_A) + 0.5 if d < cutoff_A else 0.0

    for i, centre in enumerate(structure.positions):
        spokes = [
            (species[j], position - centre, np.linalg.norm(position - centre))
            for j, position in enumerate(structure.positions)
            if j != i
        ]
        for element, _, d in spokes:
            gauss = np.exp(-c.radial_eta * (d - np.array(c.radial_shifts)) ** 2)
            radial[i, element] += 0.25 * gauss * fade(d, c.radial_cutoff_A)
        for k, (element_p, p, d_p) in enumerate(spokes):
            for element_q, q, d_q in spokes[:k]:
                angle = math.acos(0.95 * (p @ q) / (d_p * d_q))
                section = (
                    2 * ((1 + np.cos(angle - np.array(c.angular_sections))) / 2) ** c.zeta
                )
                shell = np.exp(
                    -c.angular_eta * ((d_p + d_q) / 2 - np.array(c.angular_shifts)) ** 2
                )
                weight = fade(d_p, c.angular_cutoff_A) * fade(d_q, c.angular_cutoff_A)
                channel = channels.index(tuple(sorted((element_p, element_q))))
                angular[i, channel] += weight * np.outer(shell, section)
    rows = structure.n_atoms
    return np.concatenate([radial.reshape(rows, -1), angular.reshape(rows, -1)], axis=1)


def test_features_are_the_paper(constants, descriptor, mixed_structures):
    for structure in mixed_structures:
        if structure.is_periodic:
            continue
        batch = Batch.from_structures([structure])
        features = descriptor.features(batch, neighbour_pairs(batch, 5.2))
        expected = written_out(constants, [1, 6, 8], structure)
        assert np.abs(features.numpy() - expected).max() < 1e-12


def test_evaluation_is_the_oracle(descriptor, mixed_batch, mixed_pairs):
    oracle = descriptor.features(mixed_batch, mixed_pairs)
    state = descriptor.evaluate(mixed_batch, mixed_pairs)
    assert state.features.shape == (mixed_batch.n_atoms, descriptor.n_features)
    assert oracle.abs().max() > 1
    torch.testing.assert_close(state.features, oracle, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("chunk", [160, 16384])
def test_vjp_is_autograd(descriptor, mixed_batch, mixed_pairs, monkeypatch, chunk):
    monkeypatch.setattr(descriptor_module, "CHUNK_SLOTS", chunk)
    monkeypatch.setattr(descriptor_module, "CHUNK_SPOKES", chunk)
    positions = mixed_batch.positions.clone().requires_grad_()
    features = descriptor.features(
        dataclasses.replace(mixed_batch, positions=positions), mixed_pairs
    )
    gradient = torch.from_numpy(np.random.default_rng(3).normal(size=(3, *features.shape)))
    expected = torch.stack(
        [
            torch.autograd.grad(features, positions, one, retain_graph=True)[0]
            for one in gradient
        ]
    )
    found = descriptor.evaluate(mixed_batch, mixed_pairs).vjp(gradient)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("chunk", [50, 1024])
def test_jacobian_is_autograd(
    descriptor, mixed_structures, mixed_batch, mixed_pairs, monkeypatch, chunk
):
    monkeypatch.setattr(jacobian_module, "CHUNK_ROWS", chunk)
    found = descriptor.features_and_jacobian(mixed_batch, mixed_pairs)
    assert len(found) == len(mixed_structures)
    for structure, (features, jacobian) in zip(mixed_structures, found, strict=True):
        batch = Batch.from_structures([structure])
        pairs = neighbour_pairs(batch, 5.2)
        expected = torch.autograd.functional.jacobian(
            lambda x, b=batch, p=pairs: descriptor.features(
                dataclasses.replace(b, positions=x), p
            ),
            batch.positions,
            vectorize=True,
        )
        n_rows = structure.n_atoms * descriptor.n_features
        assert jacobian.shape == (n_rows, 3 * structure.n_atoms)
        torch.testing.assert_close(
            jacobian, expected.reshape(n_rows, -1), rtol=1e-11, atol=1e-11
        )
        torch.testing.assert_close(features, descriptor.features(batch, pairs))


def test_features_can_be_differentiated_in_the_cell(descriptor, mixed_batch, mixed_pairs):
    cells = mixed_batch.cells.clone().requires_grad_()
    features = descriptor.features(
        dataclasses.replace(mixed_batch, cells=cells), mixed_pairs
    )
    (gradient,) = torch.autograd.grad(features.sum(), cells)
    has_cell = mixed_batch.pbc.any(1)
    assert (gradient[has_cell].flatten(1).abs().amax(1) > 0).all()
    assert (gradient[~has_cell] == 0).all()


def test_float32_is_close_with_sharp_functions():
    """Sharp Gaussians underflow; that must cost neither accuracy nor a NaN."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(4)] * 3), -1).reshape(-1, 3) * 2.9
    structure = Structure(
        np.full(64, 13, np.uint8),
        grid + rng.normal(0, 0.15, grid.shape),
        np.eye(3) * 11.6,
        np.ones(3, bool),
    )
    batch = Batch.from_structures([structure])
    pairs = neighbour_pairs(batch, 7.0)
    gradient = torch.from_numpy(rng.normal(size=(2, 64, 96)))
    found = {}
    for dtype in (torch.float32, torch.float64):
        state = AniDescriptor(ANI_AL, (13,), dtype=dtype).evaluate(batch, pairs)
        found[dtype] = state.features.double(), state.vjp(gradient.to(dtype)).double()
    for single, double in zip(found[torch.float32], found[torch.float64], strict=True):
        assert (single - double).abs().max() < 1e-5 * double.abs().max()


def test_an_unknown_element_is_named(descriptor):
    with pytest.raises(SettingsError, match=r"does not know N, Al; it knows H, C, O"):
        descriptor.species(torch.tensor([1, 13, 8, 7, 7]))
    assert descriptor.species(torch.tensor([8, 1, 6])).tolist() == [2, 0, 1]


@pytest.mark.parametrize("elements", [(), (1, 1), (0,), (200,)])
def test_impossible_elements_are_refused(constants, elements):
    with pytest.raises(SettingsError):
        AniDescriptor(constants, elements)


def test_the_result_does_not_depend_on_the_rest_of_the_batch(
    descriptor, mixed_structures, mixed_batch, mixed_pairs
):
    whole = descriptor.evaluate(mixed_batch, mixed_pairs).features
    parts = []
    for structure in mixed_structures:
        batch = Batch.from_structures([structure])
        parts.append(descriptor.evaluate(batch, neighbour_pairs(batch, 5.2)).features)
    assert torch.equal(whole, torch.cat(parts))
