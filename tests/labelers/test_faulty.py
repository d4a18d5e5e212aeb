"""Failures on purpose: how often, which structures, and what they are taken for."""

import numpy as np
import pytest

from alflow.core.labels import Failure
from alflow.core.structures import Structure
from alflow.labelers.analytic import AnalyticSettings
from alflow.labelers.faulty import FaultySettings
from alflow.labelers.level import has_forces, level_digest
from alflow.labelers.quality import judge

GUPTA = AnalyticSettings(potential="gupta", elements=("Al",))


def faulty(**rates: float) -> FaultySettings:
    return FaultySettings(of=GUPTA, rates=rates, outlier_eV_per_atom=0.5)


def structures(n: int = 200) -> list[Structure]:
    rng = np.random.default_rng(1)
    corner = np.array([[0, 0, 0], [2.8, 0, 0], [0, 2.8, 0], [0, 0, 2.8]])
    numbers = np.full(4, 13, np.uint8)
    return [Structure(numbers, corner + rng.normal(0, 0.1, (4, 3))) for _ in range(n)]


def outcomes(settings: FaultySettings) -> list[str]:
    labeler, true = settings.create(), GUPTA.create()
    found = []
    for structure in structures():
        answer = labeler.label(structure)
        refused = None
        if not isinstance(answer, Failure):
            refused = judge(answer, structure, has_forces=has_forces(settings))
            wrong = answer.energy - true.label(structure).energy
        if isinstance(answer, Failure) or refused is not None:
            found.append(str((refused or answer).kind))
        else:
            found.append("outlier" if abs(wrong) > 1e-9 else "label")
    return found


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("not_converged", "not-converged"),
        ("nan", "suspicious-label"),
        ("missing_forces", "suspicious-label"),
        ("outlier", "outlier"),
    ],
)
def test_a_fifth_of_the_structures_fail_the_same_each_time(fault, kind):
    settings = faulty(**{fault: 0.2})
    first, again = outcomes(settings), outcomes(settings)
    assert first == again
    assert first.count(kind) == pytest.approx(40, abs=15)
    assert first.count(kind) + first.count("label") == 200


def test_an_outlier_is_wrong_by_what_is_asked_for():
    settings = faulty(outlier=1.0)
    labeler, true = settings.create(), GUPTA.create()
    wrong = [labeler.label(one).energy - true.label(one).energy for one in structures(40)]
    sizes = np.abs(wrong) / (0.5 * 4)
    assert ((sizes > 0.5) & (sizes < 1.5)).all()
    assert sizes.max() - sizes.min() > 0.8
    assert {1.0, -1.0} == set(np.sign(wrong))


def test_a_full_disk_is_an_error_of_the_system():
    with pytest.raises(OSError, match="No space"):
        faulty(full_scratch=1.0).create().label(structures(1)[0])


def test_without_faults_it_is_the_labeler_behind_it():
    assert outcomes(faulty()) == ["label"] * 200


def test_what_falsifies_numbers_is_another_level():
    assert level_digest(faulty(hang=0.2, crash=0.1)) == level_digest(faulty())
    assert level_digest(faulty(outlier=0.2)) != level_digest(faulty())
    assert level_digest(faulty()) != level_digest(GUPTA)
