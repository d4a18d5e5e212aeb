"""The constants of members when training has ended."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from alflow.core.seeds import child_seed
from alflow.models.ani.descriptor import AniDescriptor
from alflow.models.ani.network import StackedNetworks
from alflow.training.dataset import TrainingSet
from alflow.training.loss import Errors, member_errors
from alflow.training.offsets import settle_energies

N = 12


def prepared(data, model):
    descriptor = AniDescriptor(model.constants(), (1, 8), dtype=torch.float64)
    made = TrainingSet(data, descriptor, torch.float64, 1000.0)
    made.subtract((-13.6, -2000.0))
    return made


def networks(data):
    return StackedNetworks.initialise(
        (data.features.shape[1], 8, 6),
        2,
        [child_seed(1, "member", m) for m in range(2)],
        activation="silu",
        dtype=torch.float64,
    )


def errors_of(nets, data) -> Errors:
    batch = data.minibatch(range(len(data)), with_forces=True)
    with torch.no_grad():
        found = member_errors(nets, batch)
    order = batch.structure_idx.argsort()
    return Errors(
        found.energy[:, order], found.force_square[:, order], found.n_force[order]
    )


def everything(n_members=2, n_structures=N):
    return torch.ones(n_members, n_structures, dtype=torch.bool)


def test_what_is_left_has_no_constant_and_forces_stay(make_clusters, model) -> None:
    data = prepared(make_clusters(N), model)
    nets = networks(data)
    before = errors_of(nets, data)
    added = settle_energies(nets, data, everything(), torch.ones(N))
    after = errors_of(nets, data)
    shares = data.compositions / data.compositions.sum(1, keepdims=True)
    moved = after.energy - before.energy
    assert np.allclose(moved, added @ shares.T)
    constant_before = np.abs(before.energy.numpy() @ shares).max()
    # A small ridge holds back a hundredth of it.
    assert np.abs(after.energy.numpy() @ shares).max() < 0.05 * constant_before
    assert torch.equal(before.force_square, after.force_square)
    assert (after.energy.square().mean(1) < before.energy.square().mean(1)).all()


def test_what_a_member_held_out_does_not_move_it(make_clusters, model) -> None:
    items = make_clusters(N)
    may_train = everything()
    may_train[0, 3] = False
    first = prepared(items, model)
    label = replace(items[3].label, energy=items[3].label.energy + 1.0)
    second = prepared([*items[:3], replace(items[3], label=label), *items[4:]], model)
    added = [
        settle_energies(networks(data), data, may_train, torch.ones(N))
        for data in (first, second)
    ]
    assert np.array_equal(added[0][0], added[1][0])
    assert not np.allclose(added[0][1], added[1][1])


def test_weights_count(make_clusters, model) -> None:
    data = prepared(make_clusters(N), model)
    only = torch.zeros(N)
    only[[0, 1]] = 1.0  # one of each composition
    nets = networks(data)
    before = errors_of(nets, data).energy
    settle_energies(nets, data, everything(), only)
    after = errors_of(nets, data).energy
    assert (after[:, :2].abs() < 0.2 * before[:, :2].abs()).all()


def test_a_wrong_label_hardly_counts_where_errors_are_cut(make_clusters, model) -> None:
    items = make_clusters(N)
    label = replace(items[4].label, energy=items[4].label.energy + 3000.0)
    wrong = [*items[:4], replace(items[4], label=label), *items[5:]]
    right, broken = prepared(items, model), prepared(wrong, model)
    clean = settle_energies(networks(right), right, everything(), torch.ones(N), 1.0)
    cut = settle_energies(networks(broken), broken, everything(), torch.ones(N), 1.0)
    plain = settle_energies(networks(broken), broken, everything(), torch.ones(N))
    assert np.abs(cut - clean).max() < 0.05 * np.abs(plain - clean).max()


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_members_that_cannot_be_settled_stay(make_clusters, model, scale) -> None:
    data = prepared(make_clusters(N), model)
    nets = networks(data)
    if scale:
        with torch.no_grad():
            nets.weights[0][0] = torch.nan
    added = settle_energies(nets, data, everything(), torch.full((N,), scale))
    assert (added[0] == 0).all()
    assert (added[1] != 0).all() == bool(scale)
