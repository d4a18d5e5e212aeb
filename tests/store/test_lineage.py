"""How things came to be, and what came of them."""

import json

import pytest

from alflow.core.errors import SettingsError
from alflow.core.labels import Label, audit_level
from alflow.core.properties import Property
from alflow.core.tasks import Outcome, TaskSpec
from alflow.store import NewTask
from alflow.store.lineage import show


@pytest.fixture
def whole(world):
    world.whole()
    return world.store


def first(found, what):
    return found["led_to"][what]["first"]


def test_everything_can_be_shown_and_is_json(whole):
    for name in ("s-3", "l-3", "c-1", "p-1", "t-6", "t-6#1", "g0", "i1", "d1"):
        found = show(whole, name)
        assert json.loads(json.dumps(found)) == found
        assert name[0] in "slcptgid"


def test_a_label_back_to_what_its_generation_was_trained_on(whole):
    (of_frame,) = [row for row in show(whole, "l-9")["origins"] if row["trajectory"]]
    assert (of_frame["trajectory"], of_frame["step"]) == (1, 100)
    assert of_frame["schedule"] == {"start_K": 300.0}
    assert (of_frame["generation"], of_frame["snapshot"]) == (0, 0)
    assert of_frame["trained_on"] == {
        "n": 6,
        "first": ["l-3", "l-4", "l-5", "l-6", "l-7"],
        "all": "alflow ls labels --of d0",
    }


def test_what_came_of_each_thing(whole):
    assert first(show(whole, "l-3"), "generations") == ["g0", "g1"]
    assert first(show(whole, "l-9"), "generations") == ["g1"]
    assert show(whole, "l-1")["led_to"] == {}, "a test label is trained on by nobody"
    assert first(show(whole, "s-9"), "trajectories") == ["p-1"]
    assert first(show(whole, "p-1"), "candidates") == ["c-1", "c-2"]
    generation = show(whole, "g0")
    assert generation["led_to"].keys() == {
        *("trajectories", "candidates", "structures", "generations"),
    }
    assert first(generation, "generations") == ["g1"]
    assert generation["trained_on"]["n"] == 6
    assert generation["task"] == 4
    assert first(show(whole, "t-6"), "trajectories") == ["p-1", "p-2"]
    assert first(show(whole, "i1"), "generations") == ["g1"]
    assert show(whole, "d1")["labels"]["n"] == 8
    assert first(show(whole, "d1"), "generations") == ["g1"]


def test_a_trajectory(whole):
    found = show(whole, "p-2")
    assert (found["sampler"], found["start"], found["task"]) == ("nemd", 12, 6)
    assert found["schedule"] == {"start_K": 300.0}
    assert (found["generation"], found["trained_on"]["n"]) == (0, 6)


def test_a_candidate_with_its_path_and_its_label(whole):
    found = show(whole, "c-1")
    assert (found["structure"], found["decision"], found["reason"]) == (
        10,
        "selected",
        "flagged",
    )
    assert found["path"]["id"] == found["trajectory"] == 1
    assert [row["id"] for row in found["labels"]] == [9]
    assert show(whole, "s-10")["considered"][0]["candidate"] == 1


def test_an_attempt(whole):
    found = show(whole, "t-2#1")
    assert (found["what"], found["task"], found["key"]) == ("attempt", 2, "label/i0/0")
    assert found["state"] == "done"
    assert found["led_to"] == {"labels": {"n": 4}}
    assert found["logs"] == "alflow logs t-2#1"
    with pytest.raises(SettingsError, match="there is no attempt t-2#2"):
        show(whole, "t-2#2")


def test_a_label_with_its_audit(world):
    world.bootstrap()
    world.label_all()
    level = audit_level("dft")
    world.store.register_level(level, {"audit_of": "dft"})
    [item] = world.store.labelled("train", "dft")[:1]
    spec = TaskSpec("label", "label/audit", 1, items=(item.structure.hash,))
    world.store.publish([NewTask(spec, 0, lot=level)])
    ref = world.attempt("label")
    again = Label(item.label.energy + 0.5, item.label.forces)
    world.store.commit_items(ref, {item.structure.hash: again}, "analytic 1")
    world.store.finish_task(ref, Outcome())
    (audit,) = show(world.store, f"l-{item.label_id}")["audits"]
    assert (audit["state"], audit["task"]) == ("ok", ref.task_id)
    assert audit["energy_difference"] == pytest.approx(0.5)
    assert show(world.store, f"l-{audit['label']}")["audits"] == []


def test_properties_of_a_generation_and_of_the_task_that_found_them(world):
    world.bootstrap()
    world.label_all()
    world.train_generation(0)
    settings = {"generation": 0, "suite": {"kind": "crystal"}}
    world.store.publish([world.task("property", "g0/crystal", settings=settings)])
    ref = world.attempt("property")
    world.store.add_properties(ref, Outcome(), [Property("a fcc", 4.05, "Å", (4.0, 4.1))])
    for name in ("g0", f"t-{ref.task_id}"):
        (found,) = show(world.store, name)["properties"]
        assert (found["suite"], found["name"], found["value"], found["unit"]) == (
            *("crystal", "a fcc", 4.05, "Å"),
        )
        assert (found["task"], found["generation"]) == (ref.task_id, 0)
