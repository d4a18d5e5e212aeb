"""A batch of labels: what is committed, what is left for another try, and what that may use."""

import os
import signal
import time
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pytest
from pydantic import Field

from alflow.core.batches import pack_structures
from alflow.core.labels import Failure, FailureKind, Label
from alflow.core.structures import Structure
from alflow.core.tasks import TaskSpec
from alflow.registry import Settings
from alflow.tasks import label as task

LABELLED, CRASHES, UNCONVERGED, NAPS, NAN, WITHOUT_FORCES = range(6)


@dataclass
class Context:
    """What a body sees of its attempt."""

    structures: list[Structure]
    items: dict[str, Any] = field(default_factory=dict)

    def blob(self, _sha256: str) -> bytes:
        return pack_structures(self.structures)

    def mapped(self, sha256: str) -> bytes:
        return self.blob(sha256)

    def output(self, name: str, content: bytes) -> None:
        raise AssertionError(name, content)

    def progress(self, values: Any) -> None:
        raise AssertionError(values)

    def checkpoint(self) -> bytes | None:
        return None

    def save_checkpoint(self, content: bytes) -> None:
        raise AssertionError(content)

    def note(self, text: str) -> None:
        raise AssertionError(text)

    def done_items(self) -> frozenset[str]:
        return frozenset(self.items)

    def commit_item(self, item: str, result: Any) -> None:
        assert item not in self.items, "committed twice"
        self.items[item] = result


class Scripted(Settings):
    """Does what the first coordinate says."""

    kind: Literal["scripted"]
    timeout_s: float
    method: str
    has_forces: bool = True

    def create(self) -> "Scripted":
        return self

    def label(self, structure: Structure) -> Label | Failure:
        act = round(float(structure.positions[0, 0]))
        if act == CRASHES:
            os.kill(os.getpid(), signal.SIGABRT)
        if act == UNCONVERGED:
            return Failure(FailureKind.NOT_CONVERGED, "no")
        if act == NAPS:
            time.sleep(1.0)
        energy = float("nan") if act == NAN else 1.0
        forces = None if act == WITHOUT_FORCES else np.zeros((1, 3))
        return Label(energy, forces, None, {"settings": self.model_dump()})

    def version(self) -> str:
        return "scripted 1"


@pytest.fixture(autouse=True)
def labeler(monkeypatch):
    monkeypatch.setattr(task.registry, "find", lambda _point, _kind: Scripted)


def atoms(act: int) -> Structure:
    return Structure(np.array([1], np.uint8), np.array([[float(act), 0, 0]]))


def spec(**settings: Any) -> TaskSpec:
    own = {"labeler": {"kind": "scripted", "timeout_s": 30.0, "method": "hf"}, **settings}
    return TaskSpec("label", "label/1", 1, own, inputs={"structures": "0" * 64})


def test_what_another_try_may_mend_is_left_and_the_rest_of_the_batch_is_committed():
    batch = [atoms(act) for act in (CRASHES, LABELLED, UNCONVERGED, CRASHES + 100)]
    context = Context(batch)
    answer = task.run(spec(), context)
    assert isinstance(answer, Failure)
    assert answer.kind is FailureKind.CRASH
    assert set(answer.details["items"]) == {batch[0].hash}
    kinds = [task.result_of_item(context.items[one.hash]) for one in batch[1:]]
    assert isinstance(kinds[0], Label)
    assert kinds[1].kind is FailureKind.NOT_CONVERGED
    assert isinstance(kinds[2], Label)


def test_the_next_attempt_has_only_those_to_do():
    batch = [atoms(CRASHES), atoms(LABELLED)]
    context = Context(batch)
    task.run(spec(), context)
    again = task.run(spec(), context)
    assert isinstance(again, Failure)
    assert list(context.items) == [batch[1].hash]


def test_a_second_try_may_use_more():
    context = Context([atoms(NAPS)])
    limits = {"timeout_s": 0.7, "memory_MB": None}
    killed = task.run(spec(limits=limits), context)
    assert isinstance(killed, Failure)
    assert killed.kind is FailureKind.RESOURCE
    assert context.items == {}
    assert task.run(spec(limits=limits, more=2.0), context) == {}
    label = task.result_of_item(context.items[atoms(NAPS).hash])
    assert isinstance(label, Label)
    used = label.extras["settings"]
    assert (used["timeout_s"], used["method"]) == (60.0, "hf")


def test_a_label_tells_its_time_and_the_cores_of_its_worker(monkeypatch):
    monkeypatch.setenv("NUMBA_NUM_THREADS", "3")
    batch = [atoms(NAPS), atoms(LABELLED)]
    context = Context(batch)
    task.run(spec(), context)
    slow, swift = (task.result_of_item(context.items[one.hash]).extras for one in batch)
    assert 1.0 <= slow["wall_s"] < 10.0
    assert 0.0 < swift["wall_s"] < 0.9
    assert (slow["cores"], swift["cores"]) == (3, 3)


def test_a_labeler_that_tells_its_time_is_believed(monkeypatch):
    def label(self, _structure):
        return Label(1.0, np.zeros((1, 3)), None, {"wall_s": 12.5})

    monkeypatch.setattr(Scripted, "label", label)
    context = Context([atoms(LABELLED)])
    task.run(spec(), context)
    told = task.result_of_item(context.items[atoms(LABELLED).hash]).extras
    assert told["wall_s"] == 12.5


@pytest.mark.parametrize(("act", "words"), [(NAN, "energy"), (WITHOUT_FORCES, "no forces")])
def test_what_is_no_label_is_put_aside(act, words):
    context = Context([atoms(act)])
    assert task.run(spec(), context) == {}
    failure = task.result_of_item(context.items[atoms(act).hash])
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.SUSPICIOUS
    assert words in failure.message


def test_the_worst_failure_speaks_for_the_task():
    context = Context([atoms(CRASHES), atoms(NAPS)])
    answer = task.run(spec(limits={"timeout_s": 0.5}), context)
    assert isinstance(answer, Failure)
    assert answer.kind is FailureKind.RESOURCE
    assert "1 more" in answer.message
    assert len(answer.details["items"]) == 2


def test_limits_of_labelers_inside_a_labeler_are_raised_too():
    seen = []

    class Nested(Scripted):
        parts: dict[str, Any] = Field(default_factory=dict)
        of: dict[str, Any] = Field(default_factory=dict)
        settings: dict[str, Any] = Field(default_factory=dict)

        def create(self) -> "Scripted":
            seen.append(self.model_dump())
            return self

    own = {
        "kind": "scripted",
        "timeout_s": 30.0,
        "method": "hf",
        "parts": {"a": {"timeout_s": 10.0, "parts": {"b": {"memory_MB": 5.0}}}},
        "of": {"max_memory_MB": 100.0, "basis": "sto-3g"},
        "settings": {"timeout_s": 1.0},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task.registry, "find", lambda _point, _kind: Nested)
        task.run(spec(labeler=own, more=2.0), Context([atoms(LABELLED)]))
    (raised,) = seen
    assert raised["parts"] == {
        "a": {"timeout_s": 20.0, "parts": {"b": {"memory_MB": 10.0}}}
    }
    assert raised["of"] == {"max_memory_MB": 200.0, "basis": "sto-3g"}
    assert raised["settings"] == {"timeout_s": 1.0}, "what makes the level is left alone"
