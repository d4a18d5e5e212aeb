"""SOAP: Adam along the axes of the gradient's second moments, member by member."""

import itertools

import pytest
import torch
from torch import Tensor

from alflow.models.ani.network import StackedNetworks
from alflow.training.optimiser import FlatNetworks, StackedAdam
from alflow.training.soap import EVERY, LARGEST_SIDE, Axes, StackedSoap

DOUBLE = torch.float64
MEMBERS = 2


def flat_networks(widths: tuple[int, ...] = (6, 5, 1), seed: int = 1) -> FlatNetworks:
    """Two small members of one element, at random."""
    rng = torch.Generator().manual_seed(seed)
    pairs = list(itertools.pairwise(widths))
    weights = [torch.randn(MEMBERS, *pair, generator=rng, dtype=DOUBLE) for pair in pairs]
    biases = [torch.zeros(MEMBERS, pair[1], dtype=DOUBLE) for pair in pairs]
    return FlatNetworks(StackedNetworks(weights, biases, 1, "silu"))


def rates(*values: float) -> Tensor:
    """Learning rates of the members."""
    return torch.tensor(values, dtype=DOUBLE)


def gradients(flat: FlatNetworks, count: int, seed: int = 2) -> Tensor:
    """Random gradients, one after the other."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(count, *flat.values.shape, generator=rng, dtype=DOUBLE)


def test_the_first_step_is_one_of_adam() -> None:
    ours, theirs = flat_networks(), flat_networks()
    (gradient,) = gradients(ours, 1)
    StackedSoap(ours, None).step(gradient.clone(), rates(1e-2, 1e-2))
    StackedAdam(theirs, None).step(gradient.clone(), rates(1e-2, 1e-2))
    # Both divide the gradient by its own size; SOAP adds a ten-thousandth of the mean size to it.
    size = gradient.square().mean(1, keepdim=True).sqrt()
    expected = gradient.abs() / (gradient.abs() + 1e-4 * size)
    moved = flat_networks().values - torch.stack([ours.values, theirs.values])
    torch.testing.assert_close(moved[0], moved[1] * expected, rtol=1e-6, atol=1e-10)


def test_axes_turn_a_matrix_there_and_back() -> None:
    like = torch.randn(MEMBERS, 6, 5, dtype=DOUBLE)
    for side in (1, 2):
        axes = Axes(like, side)
        for seed in range(3):
            axes.add(torch.randn(MEMBERS, 6, 5, generator=_rng(seed), dtype=DOUBLE))
            axes.follow(torch.ones_like(like))
        assert not torch.allclose(axes.turn(like), like)
        torch.testing.assert_close(axes.turn(axes.turn(like), back=True), like)


def test_axes_become_those_of_the_second_moments() -> None:
    turn = torch.linalg.qr(torch.randn(6, 6, generator=_rng(1), dtype=DOUBLE))[0]
    scales = torch.tensor([1.0, 30.0, 3.0, 100.0, 10.0, 0.3], dtype=DOUBLE)
    axes = Axes(torch.zeros(MEMBERS, 6, 5, dtype=DOUBLE), 1)
    for seed in range(100):
        draw = torch.randn(MEMBERS, 6, 5, generator=_rng(seed), dtype=DOUBLE)
        axes.add(turn @ (scales[:, None] * draw))
    for _ in range(60):
        axes.follow(torch.ones(MEMBERS, 6, 5, dtype=DOUBLE))
    for member in range(MEMBERS):
        vectors = axes.vectors[member]
        diagonal = vectors.T @ axes.moments[member] @ vectors
        sizes = diagonal.diagonal()
        assert (sizes.diff() < 0).all()
        off = diagonal - torch.diag(sizes)
        assert (off.abs() <= 1e-3 * torch.sqrt(torch.outer(sizes, sizes))).all()


def test_axes_without_a_gradient_stay_where_they_are() -> None:
    axes = Axes(torch.zeros(MEMBERS, 6, 5), 1)
    draw = torch.zeros(MEMBERS, 6, 5)
    draw[:, :2] = torch.randn(MEMBERS, 2, 5, generator=_rng(1))
    for _ in range(10):
        axes.add(draw)
        axes.follow(torch.ones(MEMBERS, 6, 5))
    torch.testing.assert_close(
        axes.vectors[:, 2:, 2:].abs(), torch.eye(4).repeat(MEMBERS, 1, 1)
    )
    assert axes.vectors[:, 2:, :2].abs().max() < 1e-6


def test_what_is_remembered_turns_with_the_axes() -> None:
    flat = flat_networks()
    soap = StackedSoap(flat, None)
    mean = torch.zeros_like(flat.values)
    for gradient in gradients(flat, 2 * EVERY + 5):
        soap.step(gradient.clone(), rates(1e-3, 1e-3))
        mean = 0.95 * mean + 0.05 * gradient
        torch.testing.assert_close(soap._turned(soap.mean, back=True), mean)


def test_a_badly_scaled_problem_is_solved_in_fewer_steps_than_by_adam() -> None:
    left = torch.linalg.qr(torch.randn(6, 6, generator=_rng(1), dtype=DOUBLE))[0]
    scales = torch.logspace(0, -2.5, 6, dtype=DOUBLE)

    def loss_after(kind: type[StackedSoap] | type[StackedAdam]) -> float:
        flat = flat_networks()
        optimiser = kind(flat, None)
        for step in range(400):
            gradient = torch.zeros_like(flat.values)
            weight = flat.views(flat.values)[0][0]
            seen = scales[:, None] * (left.T @ weight)
            flat.views(gradient)[0][0].copy_(left @ (scales[:, None] * seen))
            rate = 0.05 * (1 - step / 400)
            optimiser.step(gradient, rates(rate, rate))
        weight = flat.views(flat.values)[0][0]
        return float((scales[:, None] * (left.T @ weight)).square().sum())

    assert loss_after(StackedSoap) < 0.1 * loss_after(StackedAdam)


def test_a_member_of_no_learning_rate_stays_even_if_it_has_diverged() -> None:
    flat = flat_networks()
    before = flat.values.clone()
    soap = StackedSoap(flat, None)
    for gradient in gradients(flat, EVERY + 2):
        gradient[1] = torch.nan
        soap.step(gradient, rates(1e-2, 0.0))
    assert torch.equal(flat.values[1], before[1])
    assert flat.values[0].isfinite().all()
    assert not torch.allclose(flat.values[0], before[0])


def test_a_forgotten_member_starts_anew_and_the_others_do_not_notice() -> None:
    forgetting, other = flat_networks(), flat_networks()
    one, two = StackedSoap(forgetting, None), StackedSoap(other, None)
    for number, gradient in enumerate(gradients(forgetting, 2 * EVERY)):
        if number == EVERY + 3:
            one.forget(torch.tensor([False, True]))
            assert not one.mean[1].any()
            assert one.steps.tolist() == [EVERY + 3, 0]
        for soap in (one, two):
            soap.step(gradient.clone(), rates(1e-2, 1e-2))
    torch.testing.assert_close(forgetting.values[0], other.values[0])
    assert not torch.allclose(forgetting.values[1], other.values[1])


def test_it_goes_on_from_what_was_saved() -> None:
    whole, parts = flat_networks(), flat_networks()
    one, two = StackedSoap(whole, 1.0), StackedSoap(parts, 1.0)
    for number, gradient in enumerate(gradients(whole, 2 * EVERY + 5)):
        if number == EVERY + 7:
            saved = {name: tensor.clone() for name, tensor in two.tensors().items()}
            two = StackedSoap(parts, 1.0)
            two.restore(saved)
        for soap in (one, two):
            soap.step(gradient.clone(), rates(1e-2, 5e-3))
    assert torch.equal(whole.values, parts.values)


def test_long_sides_are_not_turned() -> None:
    soap = StackedSoap(flat_networks((LARGEST_SIDE + 1, 3, 1)), None)
    names = [name for name in soap.tensors() if "vectors" in name]
    assert [tuple(soap.tensors()[name].shape) for name in names] == [
        (MEMBERS, 3, 3),
        (MEMBERS, 3, 3),
    ]


def test_clipping_bounds_each_member() -> None:
    flat = flat_networks()
    gradient = torch.ones_like(flat.values)
    gradient[1] = 0.0
    StackedSoap(flat, 0.5).step(gradient, rates(0.0, 0.0))
    assert gradient.norm(dim=1).tolist() == pytest.approx([0.5, 0.0])


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
