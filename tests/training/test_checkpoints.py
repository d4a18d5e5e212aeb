"""A training that is interrupted goes on from its last checkpoint and ends the same."""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict

import pytest
import torch

from alflow.core.batches import pack_dataset
from alflow.core.errors import SettingsError
from alflow.core.failpoints import VARIABLE
from alflow.core.tasks import NOTES, AttemptRef, TaskSpec
from alflow.execution.files import CampaignFiles
from alflow.training.checkpoint import Checkpoint
from alflow.training.fit import FitResult
from alflow.training.settings import StackedSettings

OFTEN = StackedSettings(epochs=6, minimum_steps=0, batch_size=8, checkpoint_minutes=0)
RUN = """
import json, sys
from alflow.execution.worker import run_attempt
run_attempt(*json.loads(sys.argv[1]))
"""


class Interrupted(BaseException):
    """What ends a training in the middle, as a signal would."""


class Context:
    """Keeps checkpoints in memory."""

    def __init__(self) -> None:
        self.saved: list[bytes] = []
        self.notes: list[str] = []

    def checkpoint(self) -> bytes | None:
        return self.saved[-1] if self.saved else None

    def save_checkpoint(self, content: bytes) -> None:
        self.saved.append(content)

    def note(self, text: str) -> None:
        self.notes.append(text)


def train(settings, model, data, context=None, *, stop_after=None, seed=1, initial=None):
    seen = []

    def progress(metrics) -> None:
        seen.append(dict(metrics))
        if stop_after is not None and len(seen) > stop_after:
            raise Interrupted

    try:
        result = settings.create(model).train(data, seed, initial, progress, context)
    except Interrupted:
        return None, seen
    assert isinstance(result, FitResult)
    return result, seen


CASES = [
    OFTEN,
    OFTEN.model_copy(update={"schedule": "plateau", "patience_epochs": 1}),
    OFTEN.model_copy(update={"epochs": 30, "early_stop_epochs": 3, "learning_rate": 0.05}),
    OFTEN.model_copy(update={"force_gradient": "finite_difference"}),
    OFTEN.model_copy(update={"ema_decay": 0.9, "robust_force_eV_per_A": 0.5}),
]


@pytest.mark.parametrize("settings", CASES)
def test_an_interrupted_training_ends_with_the_same_bytes(
    make_clusters, model, settings
) -> None:
    data, context = make_clusters(12), Context()
    whole, _ = train(settings, model, data)
    assert train(settings, model, data, context, stop_after=3)[0] is None
    assert len(context.saved) == 3
    resumed, seen = train(settings, model, data, context)
    assert seen[0]["epoch"] == seen[0]["resumed_at"] == 3
    assert resumed.weights == whole.weights
    assert resumed.members == whole.members
    assert resumed.epochs == whole.epochs
    assert context.notes == []


def test_a_warm_start_is_resumed_too(make_clusters, model) -> None:
    parent = train(OFTEN, model, make_clusters(10))[0].weights
    data, context = make_clusters(14, seed=2), Context()
    settings = OFTEN.model_copy(update={"warm_epochs": 5, "frozen_layers": (0,)})
    whole, _ = train(settings, model, data, initial=parent)
    train(settings, model, data, context, stop_after=2, initial=parent)
    resumed, seen = train(settings, model, data, context, initial=parent)
    assert len(seen) == 3
    assert resumed.weights == whole.weights


def test_a_round_that_trains_members_anew_is_resumed_too(
    make_clusters, model, monkeypatch
) -> None:
    monkeypatch.setattr("alflow.training.rounds.clones", _second_is_a_clone_once())
    data = make_clusters(10)
    whole, every = train(OFTEN, model, data)
    assert [m["retrained"] for m in whole.members] == [0, 1]
    assert [e["epoch"] for e in every] == list(range(12))
    for stop_after in (4, 8):
        monkeypatch.setattr("alflow.training.rounds.clones", _second_is_a_clone_once())
        context = Context()
        train(OFTEN, model, data, context, stop_after=stop_after)
        if stop_after > 6:
            monkeypatch.setattr("alflow.training.rounds.clones", lambda *_: {})
        resumed, seen = train(OFTEN, model, data, context)
        assert len(seen) == 12 - stop_after
        assert resumed.weights == whole.weights
        assert resumed.members == whole.members
        assert resumed.epochs == whole.epochs


def _second_is_a_clone_once():
    answers = iter([{1: 0}])
    return lambda *_: next(answers, {})


def test_a_checkpoint_of_something_else_is_ignored_with_a_note(
    make_clusters, model
) -> None:
    data, context = make_clusters(10), Context()
    train(OFTEN, model, data, context, stop_after=2)
    parent = train(OFTEN, model, data)[0].weights
    foreign = context.saved[-1]
    others = [
        (OFTEN.model_copy(update={"energy_weight": 2.0}), model, data, {}),
        (OFTEN, model.model_copy(update={"hidden": (8, 7)}), data, {}),
        (OFTEN, model, make_clusters(11), {}),
        (OFTEN, model, data, {"seed": 2}),
        (OFTEN, model, data, {"initial": parent}),
    ]
    for settings, shape, own, more in others:
        context.saved, context.notes = [foreign], []
        result, seen = train(settings, shape, own, context, **more)
        assert seen[0]["epoch"] == 0
        assert "with other settings or data" in context.notes[0]
        assert result.weights == train(settings, shape, own, **more)[0].weights


@pytest.mark.parametrize("damage", [b"", b"x" * 100, None])
def test_a_damaged_checkpoint_is_ignored_with_a_note(make_clusters, model, damage) -> None:
    data, context = make_clusters(8), Context()
    train(OFTEN, model, data, context, stop_after=2)
    context.saved = [context.saved[-1][:-40] if damage is None else damage]
    _, seen = train(OFTEN, model, data, context)
    assert seen[0]["epoch"] == 0
    assert context.notes[0].startswith("a checkpoint was ignored, training began anew:")


def test_checkpoints_come_when_it_is_time(make_clusters, model, monkeypatch) -> None:
    data = make_clusters(8)
    clock = iter(range(0, 10**6, 50))
    monkeypatch.setattr("alflow.training.checkpoint.time.monotonic", lambda: next(clock))
    for minutes, expected in ((None, 0), (1000.0, 0), (0.0, 6)):
        context = Context()
        settings = OFTEN.model_copy(update={"checkpoint_minutes": minutes})
        train(settings, model, data, context)
        assert len(context.saved) == expected
    assert StackedSettings().checkpoint_minutes == 2.0


def test_a_checkpoint_comes_back_as_it_was() -> None:
    tensors = {"a": torch.arange(3.0), "b": torch.tensor([True, False])}
    story = {"epochs": [{"loss": 0.1 + 0.2, "left": float("inf")}], "members": [1, 2]}
    content = Checkpoint(tensors, story).to_bytes("d1")
    again = Checkpoint.from_bytes(content, "d1")
    assert again.story == story
    assert all(torch.equal(again.tensors[k], t) for k, t in tensors.items())
    with pytest.raises(SettingsError, match="other settings"):
        Checkpoint.from_bytes(content, "d2")


@pytest.fixture
def task(make_clusters, model, tmp_path):
    """A campaign directory with one train task, made anew for each name."""

    def make(name: str) -> tuple[CampaignFiles, AttemptRef]:
        files = CampaignFiles(tmp_path / name)
        blob = files.write_blob(pack_dataset(make_clusters(40)))
        settings = OFTEN.model_copy(update={"epochs": 60})
        parts = {
            "train": settings.model_dump(mode="json"),
            "model": model.model_dump(mode="json"),
        }
        files.write_spec(1, TaskSpec("train", "train/g0", 5, parts, {"dataset": blob}))
        return files, AttemptRef(1, 1, "a", "train")

    return make


def begin(files: CampaignFiles, attempt: AttemptRef, **variables) -> subprocess.Popen:
    """Run an attempt in a worker process of its own."""
    arguments = json.dumps([str(files.root), *asdict(attempt).values()])
    environment = {**os.environ, "ALFLOW_PRELOAD": "torch,numba", **variables}
    return subprocess.Popen([sys.executable, "-c", RUN, arguments], env=environment)


def finish(files: CampaignFiles, attempt: AttemptRef) -> dict:
    assert begin(files, attempt).wait(120) == 0
    outcome = files.read_result(attempt)
    assert outcome.failure is None, outcome.failure
    assert not list((files.root / "tasks" / "1").glob("*checkpoint*"))
    return {"values": dict(outcome.values), "outputs": dict(outcome.outputs)}


def until_checkpoint(files: CampaignFiles, attempt: AttemptRef, epoch: int) -> None:
    end = time.monotonic() + 120
    while (files.read_progress(attempt) or {}).get("epoch", -1) < epoch:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert files.read_checkpoint(attempt.task_id) is not None


@pytest.mark.recovery
@pytest.mark.timeout(300)
def test_a_worker_killed_in_mid_training_loses_nothing(task) -> None:
    files, attempt = task("calm")
    expected = finish(files, attempt)
    files, first = task("killed")
    process = begin(files, first)
    until_checkpoint(files, first, 20)
    process.kill()
    process.wait()
    assert files.read_result(first) is None
    # The body dies with its worker, but a moment later.
    time.sleep(1.0)
    second = AttemptRef(1, 2, "b", "train")
    assert finish(files, second) == expected
    assert files.read_progress(second)["resumed_at"] >= 20


@pytest.mark.recovery
@pytest.mark.timeout(300)
@pytest.mark.parametrize("side", ["before", "after"])
def test_a_body_that_dies_while_it_saves_loses_nothing(task, side) -> None:
    files, attempt = task("calm")
    expected = finish(files, attempt)
    files, first = task(side)
    variables = {VARIABLE: f"file.checkpoint.{side}:9"}
    assert begin(files, first, **variables).wait(120) == 0
    failure = files.read_result(first).failure
    assert "SIGKILL" in failure.message
    second = AttemptRef(1, 2, "b", "train")
    assert finish(files, second) == expected
    assert files.read_progress(second)["resumed_at"] == (8 if side == "before" else 9)


@pytest.mark.recovery
@pytest.mark.timeout(300)
def test_a_checkpoint_damaged_on_disk_is_ignored_with_a_note(task) -> None:
    files, first = task("damaged")
    begin(files, first, **{VARIABLE: "file.checkpoint.after:3"}).wait(120)
    path = files.root / "tasks" / "1" / "checkpoint"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    second = AttemptRef(1, 2, "b", "train")
    finish(files, second)
    (note,) = files.read_result(second).environment[NOTES]
    assert "damaged" in note
    assert "resumed_at" not in files.read_progress(second)
