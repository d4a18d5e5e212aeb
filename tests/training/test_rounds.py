"""Members that diverge, are copies or are missing: trained anew, counted, or left out."""

import json

import pytest
import torch

from alflow.config.physics import find_problems
from alflow.core.errors import SettingsError
from alflow.core.labels import Failure, FailureKind
from alflow.core.seeds import child_seed
from alflow.models.ani.ensemble import AniEnsemble
from alflow.training.clones import clones, disagreement
from alflow.training.dataset import TrainingSet
from alflow.training.fit import FitResult
from alflow.training.rounds import fresh_networks
from alflow.training.settings import StackedSettings

QUICK = StackedSettings(epochs=8, warm_epochs=8, minimum_steps=0, batch_size=8)


class Notes:
    """A context that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def checkpoint(self) -> bytes | None:
        return None

    def save_checkpoint(self, content: bytes) -> None:
        raise AssertionError("no checkpoint is due")

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def four(model):
    return model.model_copy(update={"members": 4})


@pytest.fixture(scope="module")
def parent(make_clusters, four) -> bytes:
    return train(QUICK, four, make_clusters(12))[0].weights


def train(settings, model, data, initial=None, seed=1):
    context = Notes()
    result = settings.create(model).train(data, seed, initial, lambda _: None, context)
    return result, context.notes


def changed(weights: bytes, change) -> bytes:
    """The same ensemble after something has been done to its networks."""
    ensemble = AniEnsemble.from_bytes(weights)
    with torch.no_grad():
        for tensor in ensemble.networks.parameters():
            change(tensor)
    return ensemble.to_bytes(ensemble.metadata)


def broken(weights: bytes, *members: int) -> bytes:
    rows = torch.tensor(members)
    return changed(weights, lambda tensor: tensor.index_fill_(0, rows, torch.nan))


def copied(weights: bytes, source: int, target: int) -> bytes:
    return changed(weights, lambda tensor: tensor[target].copy_(tensor[source]))


def networks_of(weights: bytes):
    return AniEnsemble.from_bytes(weights).networks


def test_a_member_that_diverges_is_trained_again_with_a_new_seed(
    make_clusters, four, parent
) -> None:
    data = make_clusters(14)
    result, notes = train(QUICK, four, data, broken(parent, 1))
    assert isinstance(result, FitResult)
    assert [m["member"] for m in result.members] == [0, 1, 2, 3]
    assert [m["retrained"] for m in result.members] == [0, 1, 0, 0]
    assert result.members[0]["seed"] == child_seed(1, "member", 0)
    assert result.members[1]["seed"] == child_seed(1, "member", 1, 1)
    networks = networks_of(result.weights)
    assert all(tensor.isfinite().all() for tensor in networks.parameters())
    assert networks.n_members == 4
    (note,) = notes
    assert note.startswith(
        "member 1 gave numbers that are not finite, or a loss that exploded"
    )
    assert note.endswith("it began anew from random weights 1 time")
    # Eight epochs in the first round, eight in the second one.
    assert [e["epoch"] for e in result.epochs] == list(range(16))
    assert [e.get("round") for e in result.epochs] == [None] * 8 + [1.0] * 8
    assert "members" not in AniEnsemble.from_bytes(result.weights).metadata


def test_the_others_do_not_notice(make_clusters, four, parent) -> None:
    data = make_clusters(14)
    still = QUICK.model_copy(update={"retries": 0, "learning_rate": 1e-3})
    result, _ = train(still, four, data, broken(parent, 2))
    again, _ = train(still, four, data, broken(parent, 2))
    assert result.weights == again.weights
    assert [m["member"] for m in result.members] == [0, 1, 3]
    assert all(m["epochs"] == 8 for m in result.members)
    assert all(m["rollbacks"] == 0 for m in result.members)


def test_k_of_n_members_are_enough_and_the_missing_one_comes_back(
    make_clusters, four, parent
) -> None:
    data = make_clusters(14)
    result, notes = train(
        QUICK.model_copy(update={"retries": 0}), four, data, broken(parent, 1)
    )
    assert isinstance(result, FitResult)
    assert [m["member"] for m in result.members] == [0, 2, 3]
    assert notes[0].endswith("3 of 4 members are trained")
    ensemble = AniEnsemble.from_bytes(result.weights)
    assert ensemble.n_members == 3
    assert json.loads(ensemble.metadata["members"]) == [0, 2, 3]

    after, notes = train(QUICK, four, data, result.weights, seed=2)
    assert [m["member"] for m in after.members] == [0, 1, 2, 3]
    assert [m["retrained"] for m in after.members] == [0, 1, 0, 0]
    (note,) = notes
    assert note.startswith("member 1 was missing from the parent generation; it began anew")
    # Those that were there go on from where they were, each in its own place.
    gentle = QUICK.model_copy(
        update={"warm_learning_rate": 1e-9, "minimum_learning_rate": 1e-9}
    )
    after, _ = train(gentle, four, data, result.weights, seed=2)
    old, new = ensemble.networks, networks_of(after.weights)
    for before, now in zip(old.weights, new.weights, strict=True):
        torch.testing.assert_close(now[[0, 2, 3]], before, atol=1e-5, rtol=0)
    for k, (before, now) in enumerate(zip(old.biases, new.biases, strict=True)):
        if (k + 1) % old.n_layers:  # the constants of the last layers are settled anew
            torch.testing.assert_close(now[[0, 2, 3]], before, atol=1e-5, rtol=0)
    assert new.n_members == 4


@pytest.mark.parametrize(("least", "is_enough"), [(None, True), (3, False)])
def test_too_few_members_are_a_failure(
    make_clusters, four, parent, least, is_enough
) -> None:
    settings = QUICK.model_copy(update={"retries": 0, "minimum_members": least})
    result, notes = train(settings, four, make_clusters(14), broken(parent, 0, 3))
    assert isinstance(result, FitResult) is is_enough
    assert [note.rpartition(": ")[2] for note in notes] == [
        "2 of 4 members are trained"
    ] * 2
    if is_enough:
        return
    assert isinstance(result, Failure)
    assert result.kind is FailureKind.DIVERGED
    assert (
        "2 of 4 members could be trained, fewer than minimum_members (3)" in result.message
    )
    assert "Member 0, 3 gave numbers that are not finite" in result.message
    assert result.details["members"] == [0, 3]


def test_more_members_than_there_are_cannot_be_asked_for(four) -> None:
    settings = QUICK.model_copy(update={"minimum_members": 5})
    with pytest.raises(
        SettingsError, match=r"minimum_members is 5, but model.members is 4"
    ):
        settings.create(four)
    data = {"model": {"members": 4}, "train": {"minimum_members": 5}}
    (finding,) = find_problems(data)
    assert finding.path == ("train", "minimum_members")
    assert finding.message == "is 5, but model.members is 4"
    assert [StackedSettings().least_members(n) for n in (2, 3, 4, 5, 8)] == [2, 2, 2, 3, 4]


def test_a_parent_that_is_broken_altogether_begins_anew(
    make_clusters, four, parent
) -> None:
    result, _ = train(QUICK, four, make_clusters(14), broken(parent, 0, 1, 2, 3))
    assert [m["retrained"] for m in result.members] == [1, 1, 1, 1]
    assert all(
        tensor.isfinite().all() for tensor in networks_of(result.weights).parameters()
    )


def test_a_clone_is_trained_again_with_a_new_seed(make_clusters, four, parent) -> None:
    data = make_clusters(14)
    settings = QUICK.model_copy(update={"folds": 0})
    result, notes = train(settings, four, data, copied(parent, 0, 2))
    assert [m["retrained"] for m in result.members] == [0, 0, 1, 0]
    assert notes == [
        "member 2 became a copy of an earlier member; it began anew from random weights 1 time"
    ]
    weights = networks_of(result.weights).weights[0]
    assert not torch.allclose(weights[0], weights[2], atol=1e-2)
    careless = settings.model_copy(update={"clone_floor": 0.0})
    result, notes = train(careless, four, data, copied(parent, 0, 2))
    assert [m["retrained"] for m in result.members] == [0] * 4
    assert notes == []


def test_a_clone_that_cannot_be_trained_again_is_left_out(
    make_clusters, four, parent
) -> None:
    settings = QUICK.model_copy(update={"folds": 0, "retries": 0})
    result, notes = train(settings, four, make_clusters(14), copied(parent, 1, 3))
    assert [m["member"] for m in result.members] == [0, 1, 2]
    assert notes[0].endswith("3 of 4 members are trained")


@pytest.mark.parametrize("change", [{}, {"force_weight": 0.0}, {"folds": 0}])
@pytest.mark.parametrize("count", [3, 16])
def test_ordinary_members_are_never_clones(make_clusters, four, change, count) -> None:
    data = make_clusters(count)
    settings = QUICK.model_copy(update={"epochs": 30, **change})
    result, notes = train(settings, four, data)
    assert notes == []
    ensemble = AniEnsemble.from_bytes(result.weights)
    prepared = TrainingSet(data, ensemble.descriptor, torch.float32, 0.0)
    distances = disagreement(ensemble.networks, prepared)
    others = distances[~torch.eye(4, dtype=torch.bool)]
    assert float(others.min()) > 10 * settings.clone_floor


def test_the_later_one_of_two_is_the_clone() -> None:
    distances = torch.ones(4, 4, dtype=torch.float64)
    for a, b in ((0, 2), (2, 3), (1, 3)):
        distances[a, b] = distances[b, a] = 1e-3
    assert clones(distances, [0, 2, 5, 7], 0.01) == {5: 0, 7: 2}
    assert clones(distances, [0, 2, 5, 7], 1e-4) == {}


def test_fresh_networks_depend_on_their_seeds_alone(parent) -> None:
    template = networks_of(parent)
    one, two = fresh_networks(template, [7, 8]), fresh_networks(template, [8])
    for first, second in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(first[1], second[0])
    assert not torch.equal(one.weights[0][0], one.weights[0][1])
    assert not torch.equal(one.weights[0], one.weights[one.n_layers])
    assert torch.equal(one.feature_scale, template.feature_scale)
    spread = float(one.weights[1].detach().std())
    assert spread == pytest.approx((2 / one.weights[1].shape[1]) ** 0.5, rel=0.3)
