"""The stacked trainer as tasks use it: data in, weights and metrics out."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from alflow.config.physics import find_problems
from alflow.core.batches import pack_dataset
from alflow.core.canonical import canonical_json, sha256_hex
from alflow.core.datasets import LabelledStructure
from alflow.core.errors import SettingsError
from alflow.core.labels import Failure, FailureKind, Label
from alflow.core.metrics import rmse
from alflow.core.structures import Structure
from alflow.models.ani.ensemble import AniEnsemble
from alflow.training.evaluate import predict
from alflow.training.fit import FitResult
from alflow.training.members import MAX_ROLLBACKS
from alflow.training.settings import StackedSettings

QUICK = StackedSettings(epochs=3, warm_epochs=2, minimum_steps=0, batch_size=8)


def nothing(_metrics) -> None:
    pass


def fitted(settings, model, data, *, seed=1, initial=None) -> FitResult:
    result = settings.create(model).train(data, seed, initial, nothing)
    assert isinstance(result, FitResult)
    return result


def force_rmse(weights: bytes, data) -> float:
    predictions = predict(
        AniEnsemble.from_bytes(weights), [item.structure for item in data]
    )
    errors = [
        p.forces - item.label.forces for p, item in zip(predictions, data, strict=True)
    ]
    return rmse(np.concatenate(errors))


def energy_rmse(weights: bytes, data) -> float:
    predictions = predict(
        AniEnsemble.from_bytes(weights), [item.structure for item in data]
    )
    return rmse(
        np.array(
            [p.energy - i.label.energy for p, i in zip(predictions, data, strict=True)]
        )
    )


@pytest.fixture(scope="module")
def learned(make_clusters, model) -> FitResult:
    settings = StackedSettings(epochs=50, minimum_steps=0, batch_size=6)
    return fitted(
        settings, model.model_copy(update={"hidden": (16, 12)}), make_clusters(40)
    )


def test_learns_an_analytic_potential(learned, make_clusters) -> None:
    test = make_clusters(30, seed=9)
    forces = np.concatenate([item.label.forces for item in test])
    assert force_rmse(learned.weights, test) < 0.15 * forces.std()
    assert energy_rmse(learned.weights, test) < 0.05


def test_reports_what_it_did(make_clusters, model) -> None:
    data, seen = make_clusters(20), []
    result = QUICK.create(model).train(data, 5, None, lambda m: seen.append(dict(m)))
    assert isinstance(result, FitResult)
    assert [{**m, **e} for m, e in zip(seen, result.epochs, strict=True)] == seen
    assert all(m["epochs"] == 3 and m["seconds_left"] >= 0 for m in seen)
    assert [metrics["epoch"] for metrics in result.epochs] == [0, 1, 2]
    assert {"train_loss", "holdout_force_rmse_meV_per_A", "learning_rate"} <= set(seen[0])
    assert len(result.members) == 2
    for member in result.members:
        assert member["n_train"] + member["n_holdout"] == 20
        assert member["n_holdout"] > 0
        assert 0 <= member["best_epoch"] < member["epochs"] == 3
        assert member["train_force_rmse_eV_per_A"] > 0
        assert member["holdout_energy_rmse_eV_per_atom"] > 0
    assert canonical_json([result.members, result.epochs])
    digest = AniEnsemble.from_bytes(result.weights).metadata["training_digest"]
    assert digest == sha256_hex(pack_dataset(data))


def test_metrics_are_those_of_the_weights(learned, make_clusters) -> None:
    ensemble = AniEnsemble.from_bytes(learned.weights)
    data = make_clusters(40)
    spread = force_rmse(learned.weights, data)
    members = [member["train_force_rmse_eV_per_A"] for member in learned.members]
    assert ensemble.n_members == 2
    assert spread < 1.5 * max(members)


def test_the_same_seed_gives_the_same_bytes(make_clusters, model) -> None:
    data = make_clusters(12)
    first, second = (fitted(QUICK, model, data) for _ in range(2))
    assert first.weights == second.weights
    assert json.dumps(first.epochs) == json.dumps(second.epochs)
    assert first.weights != fitted(QUICK, model, data, seed=2).weights


def test_a_warm_start_begins_where_the_parent_ended(learned, make_clusters, model) -> None:
    larger = model.model_copy(update={"hidden": (16, 12)})
    data = make_clusters(40)
    gentle = StackedSettings(
        warm_epochs=1, minimum_steps=0, warm_learning_rate=1e-9, minimum_learning_rate=1e-9
    )
    before = force_rmse(learned.weights, data)
    warm = fitted(gentle, larger, data, initial=learned.weights)
    assert force_rmse(warm.weights, data) == pytest.approx(before, rel=1e-3)
    assert energy_rmse(warm.weights, data) <= energy_rmse(learned.weights, data) * 1.01
    cold = fitted(
        gentle.model_copy(update={"warm_start": False, "epochs": 1}),
        larger,
        data,
        initial=learned.weights,
    )
    assert force_rmse(cold.weights, data) > 3 * before


def test_a_warm_start_follows_a_shift_of_the_energies(
    learned, make_clusters, model
) -> None:
    shifted = [
        replace(item, label=replace(item.label, energy=item.label.energy + 7.0 * len(n)))
        for item in make_clusters(40)
        for n in [item.structure.numbers]
    ]
    settings = StackedSettings(
        warm_epochs=1, minimum_steps=0, warm_learning_rate=1e-9, minimum_learning_rate=1e-9
    )
    warm = fitted(
        settings,
        model.model_copy(update={"hidden": (16, 12)}),
        shifted,
        initial=learned.weights,
    )
    assert energy_rmse(warm.weights, shifted) < 0.1


def test_weights_without_self_energies_are_still_trained_weights(
    learned, make_clusters, model
) -> None:
    """As of a model that was trained on atomisation energies."""
    parent = AniEnsemble.from_bytes(learned.weights)
    energies = parent.self_energies
    data = [
        replace(
            item,
            label=Label(
                item.label.energy - sum(energies[int(z)] for z in item.structure.numbers),
                item.label.forces,
            ),
        )
        for item in make_clusters(24)
    ]
    parent.self_energies = dict.fromkeys(energies, 0.0)
    tiny = QUICK.model_copy(update={"warm_epochs": 1, "warm_learning_rate": 1e-12})
    larger = model.model_copy(update={"hidden": (16, 12)})
    result = fitted(tiny, larger, data, initial=parent.to_bytes())
    found = AniEnsemble.from_bytes(result.weights).self_energies
    assert max(abs(energy) for energy in found.values()) < 0.1
    assert energy_rmse(result.weights, data) < 1.5 * energy_rmse(parent.to_bytes(), data)


def test_frozen_layers_stay_as_they_are(learned, make_clusters, model) -> None:
    larger = model.model_copy(update={"hidden": (16, 12)})
    data = make_clusters(30, seed=3)
    settings = StackedSettings(warm_epochs=3, minimum_steps=0, frozen_layers=(0, 2))
    result = fitted(settings, larger, data, initial=learned.weights)
    before, after = (
        AniEnsemble.from_bytes(weights).networks
        for weights in (learned.weights, result.weights)
    )
    for old, new in ((before.weights, after.weights), (before.biases, after.biases)):
        same = [torch.equal(a, b) for a, b in zip(old, new, strict=True)]
        assert same == [True, False, True] * 2
    assert result.members[0]["n_parameters"] == 2 * (16 * 12 + 12)


@pytest.mark.parametrize("layers", [(0, 1, 2), (3,)])
def test_impossible_frozen_layers_are_refused(model, layers) -> None:
    larger = model.model_copy(update={"hidden": (16, 12)})
    settings = StackedSettings(frozen_layers=layers)
    with pytest.raises(SettingsError, match=r"frozen_layers .* have the layers 0, 1, 2"):
        settings.create(larger)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"energy_weight": 0, "force_weight": 0},
            "energy_weight: 0, .* nothing to train on",
        ),
        ({"frozen_layers": (0, 0)}, r"frozen_layers: \[0, 0\] names a layer twice"),
        (
            {"learning_rate": 1e-6},
            "minimum_learning_rate: 1e-05 is above learning_rate, 1e-06",
        ),
        (
            {"minimum_learning_rate": 4e-3},
            "minimum_learning_rate: 0.004 is above warm_learning_rate, 0.003",
        ),
    ],
)
def test_settings_that_cannot_train_are_refused(settings, words) -> None:
    with pytest.raises(ValidationError, match=words):
        StackedSettings(**settings)


def test_from_random_weights_nothing_is_frozen(make_clusters, model) -> None:
    data = make_clusters(12)
    frozen = QUICK.model_copy(update={"frozen_layers": (0,)})
    assert fitted(frozen, model, data).weights == fitted(QUICK, model, data).weights


def test_energies_alone_are_enough(make_clusters, model) -> None:
    settings = StackedSettings(epochs=50, minimum_steps=0, batch_size=6)
    result = fitted(settings, model, make_clusters(40, forces=False))
    assert "holdout_force_rmse_meV_per_A" not in result.epochs[0]
    assert "train_force_rmse_eV_per_A" not in result.members[0]
    test = make_clusters(20, seed=9)
    rest = [item.label.energy for item in test if item.structure.n_atoms == 3]
    assert energy_rmse(result.weights, test) < 0.7 * np.std(rest)


def test_mixed_labels_with_and_without_forces(make_clusters, model) -> None:
    data = make_clusters(10) + make_clusters(10, seed=4, forces=False)
    result = fitted(QUICK, model, data)
    assert result.members[0]["train_force_rmse_eV_per_A"] > 0


def test_forces_of_no_weight_are_not_trained_on(make_clusters, model) -> None:
    settings = QUICK.model_copy(update={"force_weight": 0.0})
    with_forces = fitted(settings, model, make_clusters(12))
    without = fitted(settings, model, make_clusters(12, forces=False))
    ensembles = [AniEnsemble.from_bytes(r.weights) for r in (with_forces, without)]
    first, second = ([p.detach() for p in e.networks.parameters()] for e in ensembles)
    assert all((a == b).all() for a, b in zip(first, second, strict=True))


def test_four_structures_and_a_small_batch_of_steps(make_clusters, model) -> None:
    settings = StackedSettings(epochs=2, minimum_steps=5, batch_size=3)
    result = fitted(settings, model.model_copy(update={"members": 8}), make_clusters(4))
    assert len(result.epochs) == 3
    assert all(member["n_train"] >= 1 <= member["n_holdout"] for member in result.members)


def test_divergence_is_a_failure(make_clusters, model, monkeypatch) -> None:
    monkeypatch.setattr("alflow.training.members.EXPLODED", 1e-9)
    result = QUICK.model_copy(update={"epochs": 50}).create(model)
    outcome = result.train(make_clusters(8), 1, None, nothing)
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.DIVERGED
    assert not outcome.is_retryable
    tries = 1 + StackedSettings().retries
    assert len(outcome.details["epochs"]) <= tries * (MAX_ROLLBACKS + 1)
    assert "0 of 2 members could be trained" in outcome.message


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_structures_are_refused(make_clusters, model, count) -> None:
    with pytest.raises(SettingsError, match=f"has {count} labelled structure"):
        QUICK.create(model).train(make_clusters(count), 1, None, nothing)


def test_labels_that_are_not_finite_are_refused(make_clusters, model) -> None:
    data = make_clusters(4)
    bad = np.array(data[2].label.forces)
    bad[0, 0] = np.inf
    for label in (Label(float("nan")), Label(0.0, bad)):
        with pytest.raises(SettingsError, match=r"label 3 \(HO\) is not finite"):
            QUICK.create(model).train(
                [*data[:2], replace(data[2], label=label)], 1, None, nothing
            )


def test_nothing_to_train_on_is_refused(make_clusters, model) -> None:
    settings = QUICK.model_copy(update={"energy_weight": 0.0})
    with pytest.raises(SettingsError, match="no label has forces"):
        settings.create(model).train(make_clusters(4, forces=False), 1, None, nothing)


def test_stresses_alone_are_something_to_train_on(make_clusters, model) -> None:
    weights = {"energy_weight": 0.0, "force_weight": 0.0, "stress_weight": 1.0}
    settings = QUICK.model_copy(update=weights)
    boxed = [
        LabelledStructure(
            Structure(
                one.structure.numbers,
                one.structure.positions,
                np.eye(3) * 9.0,
                np.ones(3, bool),
            ),
            replace(one.label, stress=np.full(6, 0.01 * k)),
            k + 1,
        )
        for k, one in enumerate(make_clusters(6))
    ]
    assert settings.create(model).train(boxed, 1, None, nothing).weights
    with pytest.raises(SettingsError, match="no label has stresses"):
        settings.create(model).train(make_clusters(6), 1, None, nothing)


@pytest.mark.parametrize(
    ("hidden", "layers", "message"),
    [
        ((8, 6), (0, 2), None),
        ((8, 6), (3,), "is [3], but the networks have the layers 0, 1, 2"),
        ((8,), (0, 1), "is [0, 1], but the networks have the layers 0, 1: nothing is left"),
    ],
)
def test_check_compares_frozen_layers_with_the_networks(hidden, layers, message) -> None:
    data = {"model": {"hidden": list(hidden)}, "train": {"frozen_layers": list(layers)}}
    found = [(one.path, one.message) for one in find_problems(data)]
    if message is None:
        assert found == []
    else:
        ((path, said),) = found
        assert path == ("train", "frozen_layers")
        assert said.startswith(message)


def test_a_parent_that_does_not_know_an_element_is_refused(make_clusters, model) -> None:
    parent = fitted(QUICK, model, make_clusters(6)).weights
    data = make_clusters(6)
    numbers = np.array([6, *data[0].structure.numbers[1:]], np.uint8)
    foreign = replace(data[0], structure=replace(data[0].structure, numbers=numbers))
    with pytest.raises(SettingsError, match=r"labels with C, but .* know only H, O"):
        QUICK.create(model).train([*data, foreign], 1, parent, nothing)


def test_a_parent_of_another_shape_is_refused(make_clusters, model) -> None:
    parent = fitted(QUICK, model, make_clusters(6)).weights
    other = model.model_copy(update={"hidden": (8, 7)})
    with pytest.raises(SettingsError, match="do not fit the model settings"):
        QUICK.create(other).train(make_clusters(6), 1, parent, nothing)


@pytest.mark.parametrize(("atoms", "size"), [(3.0, 16), (15.0, 9), (48.0, 4), (500.0, 4)])
def test_steps_hold_about_as_many_atoms(atoms, size) -> None:
    assert StackedSettings().structures_per_step(atoms) == size
    assert StackedSettings(batch_size=7).structures_per_step(atoms) == 7
