"""The task `property`: a generation, or a labeler, before a suite."""

import pytest

from alflow.core.labels import Failure, FailureKind
from alflow.core.properties import SuiteResult
from alflow.core.seeds import child_seed
from alflow.core.tasks import TaskSpec
from alflow.models.ani.settings import AniSettings
from alflow.tasks.property import run
from alflow.validation.crystal import CrystalSettings
from alflow.validation.labelled import LabelledPotential

SUITE = {"kind": "crystal", "element": "Al", "phases": ["fcc"]}
GUPTA = {"level": "gupta", "labeler": {"kind": "analytic"}, "elements": [13]}


class Blobs:
    """A context that knows some blobs, and otherwise does nothing."""

    def __init__(self, **blobs):
        self.blobs = blobs

    def blob(self, sha256):
        return self.blobs[sha256]

    def nothing(self, *_):
        raise AssertionError("not for a property task")

    mapped = output = done_items = commit_item = progress = nothing
    checkpoint = save_checkpoint = note = nothing


@pytest.fixture(autouse=True)
def suites(monkeypatch):
    """What is installed may be older than the project file."""
    from alflow import registry

    before = registry.find

    def find(point, name):
        return CrystalSettings if point == "validation" else before(point, name)

    monkeypatch.setattr(registry, "find", find)


def spec(settings, **inputs):
    return TaskSpec("property", "property/x", child_seed(1), settings, inputs)


def test_a_labeler_is_asked_as_a_reference():
    found = SuiteResult.from_json(run(spec({"suite": SUITE, **GUPTA}), Blobs()))
    values = {one.name: one.value for one in found.properties}
    assert values["fcc/lattice_constant"] == pytest.approx(4.05, abs=0.002)
    assert all(one.members is None for one in found.properties)


def test_an_ensemble_is_asked_by_its_weights():
    small = AniSettings(
        members=2, hidden=(4,), radial_cutoff_A=5.0, angular_cutoff_A=3.5
    ).create([13], 3)
    settings = {"suite": SUITE, "generation": 3}
    answer = run(spec(settings, weights="w"), Blobs(w=small.to_bytes()))
    found = SuiteResult.from_json(answer)
    assert found.properties or found.notes
    assert all(len(one.members) == 2 for one in found.properties)


def test_what_is_not_there_is_a_note_and_no_failure():
    far = {**SUITE, "volume_A3": 400.0}
    found = SuiteResult.from_json(run(spec({"suite": far, **GUPTA}), Blobs()))
    assert found.properties == ()
    assert found.notes


def test_a_label_that_fails_is_a_failure(monkeypatch):
    from alflow.labelers.analytic import AnalyticLabeler

    failure = Failure(FailureKind.NOT_CONVERGED, "no")
    monkeypatch.setattr("alflow.tasks.property.reference_potential", LabelledPotential)
    monkeypatch.setattr(AnalyticLabeler, "label", lambda *_: failure)
    assert run(spec({"suite": SUITE, **GUPTA}), Blobs()) is failure
