"""A labeler as a potential gives what the labeler says."""

import numpy as np
import pytest
import torch

from alflow.core.errors import AlflowError
from alflow.core.labels import Failure, FailureKind, Label
from alflow.labelers.analytic import AnalyticSettings
from alflow.models.gupta import GuptaPotential
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch, Potential
from alflow.validation.crystal import CrystalSettings
from alflow.validation.labelled import (
    LabelFailed,
    LabelledPotential,
    reference_potential,
    structures_of,
)
from alflow.validation.liquids import cubic_box


class Fails:
    def __init__(self, answer):
        self.answer = answer

    def label(self, structure):
        return self.answer

    def version(self):
        return "none 1"


def test_a_labeler_is_a_potential_and_gives_the_same_crystal(values):
    labeler = AnalyticSettings().create()
    wrapped = LabelledPotential(labeler, [13])
    assert isinstance(wrapped, Potential)
    suite = CrystalSettings(element="Al", phases=("fcc",)).create()
    direct = values(suite.run(GuptaPotential.published("Al"), 1))
    assert values(suite.run(wrapped, 1)) == pytest.approx(direct, rel=1e-4)


def test_a_labeler_with_a_potential_is_asked_directly():
    labeler = AnalyticSettings().create()
    assert isinstance(reference_potential(labeler, [13]), GuptaPotential)
    assert isinstance(reference_potential(Fails(None), [13]), LabelledPotential)


def test_structures_come_back_from_a_batch():
    box = cubic_box("Al", 26.98, 2.7, 32)
    assert structures_of(Batch.from_structures([box, box])) == [box, box]


def test_failures_are_kept():
    failure = Failure(FailureKind.NOT_CONVERGED, "no")
    batch = Batch.from_structures([cubic_box("Al", 26.98, 2.7, 32)])
    pairs = neighbour_pairs(batch, 3.0)
    with pytest.raises(LabelFailed) as caught:
        LabelledPotential(Fails(failure), [13]).evaluate(batch, pairs)
    assert caught.value.failure is failure
    energy_only = LabelledPotential(Fails(Label(-1.0)), [13])
    with pytest.raises(AlflowError, match="no forces"):
        energy_only.evaluate(batch, pairs)
    assert energy_only.evaluate(batch, pairs, forces="none").energies.tolist() == [[-1.0]]
    with_forces = LabelledPotential(Fails(Label(-1.0, np.zeros((32, 3)))), [13])
    assert with_forces.evaluate(batch, pairs, forces="members").member_forces.shape[0] == 1
    assert torch.equal(
        with_forces.fingerprint(batch, pairs), torch.tensor([[32.0]]).double()
    )
