"""The stacked training loop: gradients, caching, members, hold-outs, rollbacks."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from alflow.core.batches import LabelledStructure
from alflow.core.labels import Label
from alflow.core.seeds import child_seed
from alflow.models.ani.descriptor import AniDescriptor
from alflow.models.ani.network import StackedNetworks
from alflow.training import epochs
from alflow.training.dataset import TrainingSet
from alflow.training.epochs import EpochLoop, Plan
from alflow.training.loss import Loss, member_errors
from alflow.training.members import MAX_ROLLBACKS
from alflow.training.optimiser import FlatNetworks, StackedAdam, cosine
from alflow.training.settings import StackedSettings

DOUBLE = torch.float64
SELF_ENERGIES = (-13.6, -2000.0)


def training_set(data, model, *, dtype=DOUBLE, budget=1000.0):
    descriptor = AniDescriptor(model.constants(), (1, 8), dtype=dtype)
    prepared = TrainingSet(data, descriptor, dtype, budget)
    prepared.subtract(SELF_ENERGIES)
    return prepared


def networks(prepared, *, members=(0, 1), hidden=(8, 6), dtype=DOUBLE):
    return StackedNetworks.initialise(
        (prepared.features.shape[1], *hidden),
        2,
        [child_seed(1, "member", m) for m in members],
        activation="silu",
        dtype=dtype,
    )


def nothing(_metrics) -> None:
    pass


def no_holdout(n_members: int, n_structures: int) -> np.ndarray:
    return np.zeros((n_members, n_structures), bool)


def test_loss_gradient_agrees_with_finite_differences(make_clusters, model) -> None:
    data = make_clusters(6)
    data[1] = replace(data[1], label=Label(data[1].label.energy))
    prepared = training_set(data, model)
    flat = FlatNetworks(networks(prepared))
    batch = prepared.minibatch(range(6), with_forces=True)
    loss = Loss(0.7, 1.3)
    may_train = torch.tensor([[True] * 6, [True] * 3 + [False] * 3])
    weights = torch.linspace(0.5, 1.0, 6, dtype=DOUBLE)

    def total() -> torch.Tensor:
        errors = member_errors(flat.networks, batch)
        return loss.of_members(errors, may_train, weights).sum()

    gradient = flat.gradient(total())
    rng = np.random.default_rng(0)
    for column in rng.integers(0, flat.values.shape[1], 25):
        for member in range(2):
            values = []
            for step in (1e-5, -1e-5):
                flat.values[member, column] += step
                values.append(float(total().detach()))
                flat.values[member, column] -= step
            slope = (values[0] - values[1]) / 2e-5
            assert float(gradient[member, column]) == pytest.approx(
                slope, rel=1e-5, abs=1e-6
            )


def test_forces_are_the_derivative_of_the_energy(make_clusters, model) -> None:
    item = make_clusters(2)[1]
    zero = replace(item, label=Label(0.0, np.zeros((3, 3))))
    prepared = training_set([zero], model)
    nets = networks(prepared)
    errors = member_errors(nets, prepared.minibatch([0], with_forces=True))

    def energies(shift) -> torch.Tensor:
        moved = replace(
            item.structure, positions=np.array(item.structure.positions) + shift
        )
        one = training_set([replace(zero, structure=moved)], model)
        return member_errors(nets, one.minibatch([0], with_forces=False)).energy[:, 0] * 3

    forces = torch.zeros(2, 9, dtype=DOUBLE)
    for k in range(9):
        shift = np.zeros(9)
        shift[k] = 1e-4
        both = [energies(sign * shift.reshape(3, 3)) for sign in (1, -1)]
        forces[:, k] = (both[1] - both[0]) / 2e-4
    torch.testing.assert_close(
        errors.force_square[:, 0], forces.square().mean(1), rtol=1e-5, atol=0
    )


@pytest.mark.parametrize("budget", [0.0, 0.01])
def test_cached_and_recomputed_derivatives_give_the_same_numbers(
    make_clusters, model, budget
) -> None:
    data = make_clusters(12)
    results = []
    for megabytes in (1000.0, budget):
        prepared = training_set(data, model, budget=megabytes)
        loop = EpochLoop(StackedSettings(), prepared, networks(prepared), no_holdout(2, 12))
        assert not loop.run(Plan(4, 6, 1e-2, 3), nothing)
        results.append((prepared.n_cached, loop.flat.values))
    assert results[0][0] == 12
    assert results[1][0] < 12
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-10, atol=1e-12)


def test_large_and_stacked_derivatives_give_the_same_numbers(
    make_clusters, model, monkeypatch
) -> None:
    prepared = training_set(make_clusters(7), model)
    nets = networks(prepared)
    stacked = member_errors(nets, prepared.minibatch(range(7), with_forces=True))
    monkeypatch.setattr("alflow.training.dataset.STACKED_BYTES", 0)
    monkeypatch.setattr("alflow.training.dataset.CHUNK_MB", 0)
    single = member_errors(nets, prepared.minibatch(range(7), with_forces=True))
    torch.testing.assert_close(stacked.energy, single.energy)
    torch.testing.assert_close(stacked.force_square, single.force_square)


def test_members_trained_together_equal_members_trained_alone(make_clusters, model) -> None:
    prepared = training_set(make_clusters(16), model)
    held_out = np.zeros((3, 16), bool)
    for member in range(3):
        held_out[member, member::4] = True
    settings = StackedSettings()
    together = EpochLoop(
        settings, prepared, networks(prepared, members=(0, 1, 2)), held_out
    )
    together.run(Plan(8, 6, 1e-2, 3), nothing)
    for member in range(3):
        alone = EpochLoop(
            settings, prepared, networks(prepared, members=(member,)), held_out[[member]]
        )
        alone.run(Plan(8, 6, 1e-2, 3), nothing)
        torch.testing.assert_close(
            together.flat.values[[member]], alone.flat.values, rtol=1e-8, atol=1e-10
        )


def test_held_out_labels_do_not_touch_the_weights(make_clusters, model) -> None:
    data = make_clusters(16)
    held_out = np.zeros((2, 16), bool)
    held_out[0, :4] = True
    held_out[1, 4:8] = True
    poisoned = [
        replace(item, label=Label(item.label.energy + 1e3, 50 * item.label.forces))
        if k < 4
        else item
        for k, item in enumerate(data)
    ]
    values = []
    for labels in (data, poisoned):
        prepared = training_set(labels, model)
        loop = EpochLoop(StackedSettings(), prepared, networks(prepared), held_out)
        for epoch in range(5):
            loop.epoch(Plan(5, 6, 1e-2, 3), epoch)
        values.append(loop.flat.values)
    assert torch.equal(values[0][0], values[1][0])
    assert not torch.equal(values[0][1], values[1][1])


def test_a_member_that_explodes_is_rolled_back_and_recovers(
    make_clusters, model, monkeypatch
) -> None:
    prepared = training_set(make_clusters(12), model)
    held_out = no_holdout(2, 12)
    held_out[:, 0] = True
    loop = EpochLoop(StackedSettings(), prepared, networks(prepared), held_out)
    plan = Plan(10, 6, 1e-2, 3)
    for epoch in range(3):
        loop.epoch(plan, epoch)
    good = loop.flat.values.clone()
    loop.flat.values[1, 5] = torch.nan
    loop.epoch(plan, 3)
    assert torch.equal(loop.flat.values[1], good[1])
    assert not torch.equal(loop.flat.values[0], good[0])
    assert loop.states.factor.tolist() == [1.0, 0.5]
    assert loop.states.rollbacks.tolist() == [0, 1]
    loop.epoch(plan, 4)
    assert loop.flat.values.isfinite().all()
    assert loop.states.rollbacks_in_a_row.tolist() == [0, 0]
    assert loop.states.best_epoch[1] != 3


def test_a_member_that_keeps_exploding_is_left_behind(make_clusters, model) -> None:
    prepared = training_set(make_clusters(8), model)
    start = networks(prepared)
    with torch.no_grad():
        start.weights[0][1] = torch.nan
    loop = EpochLoop(StackedSettings(), prepared, start, no_holdout(2, 8))
    assert loop.run(Plan(50, 6, 1e-2, 0), nothing) == [1]
    assert len(loop.history) == 50
    assert loop.states.last_epoch.tolist() == [49, MAX_ROLLBACKS - 1]
    assert loop.flat.values[0].isfinite().all()
    assert [metrics["active_members"] for metrics in loop.history[4:8]] == [2, 2, 1, 1]


def test_a_member_that_never_had_a_good_epoch_has_diverged(make_clusters, model) -> None:
    prepared = training_set(make_clusters(8), model)
    start = networks(prepared)
    with torch.no_grad():
        start.weights[0][1] = torch.nan
    loop = EpochLoop(StackedSettings(), prepared, start, no_holdout(2, 8))
    assert loop.run(Plan(2, 6, 1e-2, 0), nothing) == [1]


def test_plateaus_halve_the_learning_rate_and_stop_members(make_clusters, model) -> None:
    prepared = training_set(make_clusters(8), model)
    held_out = no_holdout(2, 8)
    held_out[:, :2] = True
    settings = StackedSettings(
        schedule="plateau", patience_epochs=2, minimum_learning_rate=1e-3
    )
    loop = EpochLoop(settings, prepared, networks(prepared), held_out)
    loop.run(Plan(2000, 8, 3e-2, 0), nothing)
    assert len(loop.history) < 2000
    assert not loop.states.active.any()
    rates = [metrics["learning_rate"] for metrics in loop.history]
    assert rates[0] == pytest.approx(3e-2)
    assert rates[-1] < 5e-3


def test_early_stopping_freezes_single_members(make_clusters, model) -> None:
    prepared = training_set(make_clusters(10), model)
    held_out = no_holdout(2, 10)
    held_out[:, :3] = True
    loop = EpochLoop(
        StackedSettings(early_stop_epochs=3), prepared, networks(prepared), held_out
    )
    loop.states.active[0] = False
    before = loop.flat.values.clone()
    loop.epoch(Plan(5, 6, 1e-2, 0), 0)
    assert torch.equal(loop.flat.values[0], before[0])
    assert not torch.equal(loop.flat.values[1], before[1])
    loop.run(Plan(3000, 6, 5e-2, 0), nothing)
    assert len(loop.history) < 3000


def test_the_best_epoch_is_what_is_kept(make_clusters, model) -> None:
    prepared = training_set(make_clusters(10), model)
    held_out = no_holdout(2, 10)
    held_out[:, :3] = True
    loop = EpochLoop(StackedSettings(), prepared, networks(prepared), held_out)
    loop.run(Plan(12, 6, 3e-2, 0), nothing)
    held = loop.evaluate().held
    assert [score.loss for score in held] == pytest.approx(loop.states._best_score.tolist())


def test_errors_by_structure_are_those_of_the_members_that_held_it_out(
    make_clusters, model
) -> None:
    prepared = training_set(make_clusters(7), model)
    held_out = no_holdout(2, 7)
    held_out[0, [1, 4]] = held_out[1, [4, 5]] = True
    loop = EpochLoop(StackedSettings(), prepared, networks(prepared), held_out)
    found = loop.evaluate()
    batch = prepared.minibatch(range(7), with_forces=True)
    with torch.no_grad():
        errors = member_errors(loop.flat.networks, batch)
    place = batch.structure_idx.tolist().index
    nobody = [0, 2, 3, 6]
    assert np.isnan(found.energy[nobody]).all()
    assert np.isnan(found.force[nobody]).all()
    for structure, members in ((1, [0]), (4, [0, 1]), (5, [1])):
        own = errors.energy[members, place(structure)]
        assert found.energy[structure] == pytest.approx(float(own.mean()), rel=1e-6)
        square = errors.force_square[members, place(structure)]
        assert found.force[structure] == pytest.approx(
            float(square.mean().sqrt()), rel=1e-6
        )


def test_frames_of_large_forces_count_less(make_clusters, model) -> None:
    prepared = training_set(make_clusters(6), model)
    weights = epochs.frame_weights(prepared, 1.0)
    order = prepared.mean_square_force.argsort()
    assert (weights[order].diff() <= 0).all()
    assert weights[0] == pytest.approx(1 / (1 + float(prepared.mean_square_force[0])))


def test_one_adam_step_equals_torch(make_clusters, model) -> None:
    prepared = training_set(make_clusters(6), model)
    start = networks(prepared)
    flat, optimiser = FlatNetworks(start), torch.optim.Adam(start.parameters(), lr=1e-2)
    adam = StackedAdam(flat, None)
    batch = prepared.minibatch(range(6), with_forces=True)
    for _ in range(3):
        for nets in (start, flat.networks):
            loss = Loss(1.0, 1.0).of_structures(member_errors(nets, batch)).sum()
            if nets is start:
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            else:
                adam.step(flat.gradient(loss), torch.full((2,), 1e-2, dtype=DOUBLE))
    expected = torch.cat([p.detach().flatten(1) for p in start.parameters()], dim=1)
    torch.testing.assert_close(flat.values, expected, rtol=1e-9, atol=1e-12)


def test_clipping_bounds_each_member(make_clusters, model) -> None:
    prepared = training_set(make_clusters(2), model)
    flat = FlatNetworks(networks(prepared))
    gradient = torch.stack(
        [torch.ones(flat.values.shape[1]), torch.zeros(flat.values.shape[1])]
    )
    gradient = gradient.to(DOUBLE)
    StackedAdam(flat, 0.5).step(gradient, torch.zeros(2, dtype=DOUBLE))
    assert gradient.norm(dim=1).tolist() == pytest.approx([0.5, 0.0])


def test_cosine_runs_from_start_to_stop() -> None:
    rates = [cosine(1e-2, 1e-5, epoch, 11) for epoch in range(11)]
    assert rates[0] == pytest.approx(1e-2)
    assert rates[-1] == pytest.approx(1e-5)
    assert all(a > b for a, b in itertools.pairwise(rates))
    assert cosine(1e-2, 1e-5, 0, 1) == pytest.approx(1e-2)


def test_energies_near_minus_ten_thousand_keep_their_digits(make_clusters, model) -> None:
    prepared = training_set(make_clusters(4), model, dtype=torch.float32)
    batch = prepared.minibatch(range(4), with_forces=False)
    for k, idx in enumerate(batch.structure_idx.tolist()):
        item: LabelledStructure = make_clusters(4)[idx]
        own = sum(SELF_ENERGIES[int(z == 8)] for z in item.structure.numbers)
        assert float(batch.energies[k]) == pytest.approx(item.label.energy - own, abs=1e-6)


def test_the_transfer_to_ani_1ccx_trains_66132_parameters() -> None:
    hidden = ((160, 128, 96), (144, 112, 96), (128, 112, 96), (128, 112, 96))
    shapes = [shape for widths in hidden for shape in itertools.pairwise((384, *widths, 1))]
    weights = [torch.zeros(1, *shape) for shape in shapes]
    biases = [torch.zeros(1, shape[1]) for shape in shapes]
    start = StackedNetworks(weights, biases, 4, "celu")
    assert FlatNetworks(start, (0, 2)).n_trainable == 66_132
