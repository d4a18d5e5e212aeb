"""Labels whose parts survive the end of an attempt."""

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest

from alflow.core.batches import pack_structures
from alflow.core.labels import Failure, Label
from alflow.core.structures import Structure
from alflow.core.tasks import TaskSpec
from alflow.registry import Settings
from alflow.tasks import label

FIRST, SECOND = (
    Structure(np.array([1], np.uint8), np.array([[0.0, 0.0, z]])) for z in (0.0, 1.0)
)


class Context:
    """An attempt in memory; what it keeps is passed on to the next one."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.saved: bytes | None = None
        self.items: dict[str, Mapping[str, Any]] = {}

    def blob(self, _sha256: str) -> bytes:
        return self.content

    mapped = blob

    def output(self, name: str, content: bytes) -> None:
        raise NotImplementedError(name)

    def done_items(self) -> frozenset[str]:
        return frozenset(self.items)

    def commit_item(self, item: str, result: Mapping[str, Any]) -> None:
        self.items[item] = result

    def progress(self, values: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def checkpoint(self) -> bytes | None:
        return self.saved

    def save_checkpoint(self, content: bytes) -> None:
        self.saved = content

    def note(self, text: str) -> None:
        raise NotImplementedError(text)


class Steps(Settings):
    """A labeler with three parts, which may be killed at one of them."""

    kind: Literal["steps"] = "steps"

    def create(self) -> "StepsLabeler":
        return StepsLabeler()


class StepsLabeler:
    """Writes down what it computes, as each computation has a process of its own."""

    record: ClassVar[Path]
    killed_at: str = ""
    program: str = "steps 1"

    def label(self, structure: Structure) -> Label:
        return self.resume(structure, {}, lambda _: None)

    def resume(
        self,
        structure: Structure,
        finished: Mapping[str, Label],
        keep: Callable[[Mapping[str, Label]], None],
    ) -> Label:
        parts = dict(finished)
        for number, name in enumerate("abc"):
            if name in parts:
                continue
            if name == self.killed_at:
                os.kill(os.getpid(), signal.SIGKILL)
            with self.record.open("a") as file:
                file.write(f"{name}{structure.positions[0, 2]:g} ")
            parts[name] = Label(number + 0.1, np.full((1, 3), 1 / 3), np.arange(6.0) / 7)
            keep(parts)
        return Label(sum(part.energy for part in parts.values()), parts["a"].forces)

    def version(self) -> str:
        return self.program


@pytest.fixture
def steps(monkeypatch, tmp_path):
    monkeypatch.setattr(label.registry, "find", lambda _point, _kind: Steps)
    monkeypatch.setattr(label, "WORTH_KEEPING_S", 0.0)
    monkeypatch.setattr(StepsLabeler, "record", tmp_path / "record", raising=False)
    return StepsLabeler


SPEC = TaskSpec(
    "label", "label/i1/0", 1, {"labeler": {"kind": "steps"}}, {"structures": "sha"}
)


def computed(steps) -> list[str]:
    return steps.record.read_text().split()


def test_a_killed_calculation_loses_the_part_in_work_alone(steps, monkeypatch):
    context = Context(pack_structures([FIRST, SECOND]))
    monkeypatch.setattr(steps, "killed_at", "c")
    assert isinstance(label.run(SPEC, context), Failure)
    assert context.items == {}
    monkeypatch.setattr(steps, "killed_at", "")
    assert label.run(SPEC, context) == {}
    assert computed(steps) == ["a0", "b0", "a1", "b1", "c0", "c1"]
    found = [label.result_of_item(context.items[one.hash]) for one in (FIRST, SECOND)]
    assert [one.energy for one in found] == [0.1 + 1.1 + 2.1] * 2
    assert found[0].forces.tolist() == [[1 / 3] * 3]


def test_parts_of_another_version_are_computed_again(steps, monkeypatch):
    context = Context(pack_structures([FIRST]))
    monkeypatch.setattr(steps, "killed_at", "c")
    assert isinstance(label.run(SPEC, context), Failure)
    monkeypatch.setattr(steps, "killed_at", "")
    monkeypatch.setattr(steps, "program", "steps 2")
    label.run(SPEC, context)
    assert computed(steps) == ["a0", "b0", "a0", "b0", "c0"]
    assert context.items[FIRST.hash]["program"] == "steps 2"


def test_what_takes_no_time_is_not_written_down(steps, monkeypatch):
    context = Context(pack_structures([FIRST]))
    monkeypatch.setattr(label, "WORTH_KEEPING_S", 1000.0)
    label.run(SPEC, context)
    assert context.saved is None
    assert label.result_of_item(context.items[FIRST.hash]).energy == 0.1 + 1.1 + 2.1
