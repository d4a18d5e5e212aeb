"""What is foretold, from what, and what is not."""

import numpy as np
import pytest

from alflow.core.cost import Measured
from alflow.loop.batches import Batches
from alflow.loop.forecast import Basis, foretell
from alflow.store.costs import LabelStage, MeasuredLabel
from alflow.store.views import IterationProgress, Progress

NOW = 1_790_000_000.0
HOUR = 3600.0


def carbons(n):
    return np.full(n, 6, np.uint8)


def label(iteration, n=4, wall_s=60.0, created=NOW - 10.0, cores=1):
    return MeasuredLabel(Measured(carbons(n), wall_s, cores), iteration, created)


def view(*iterations, n_requested=0, state="running"):
    return Progress(state, iterations=iterations, n_requested=n_requested)


def ended(number, n_labelled=10):
    return IterationProgress(number, "validate", ended=True, n_labelled=n_labelled)


def known(**changes):
    """Iterations 0 to 2 are over, in the third half of the labels are there after ten minutes.

    In iterations 1 and 2 it took 300 s to the first label, 10 labels of 60 core-seconds were made
    in 150 s by 4 cores, and 120 s passed after the last.
    """
    stages = [
        LabelStage(k, NOW - 9000 + 1000 * k, NOW - 9000 + 1000 * k + 570, *times)
        for k in (1, 2)
        for times in [
            (NOW - 9000 + 1000 * k + 300, NOW - 9000 + 1000 * k + 450, None),
        ]
    ]
    since = NOW - 600.0
    stages.append(LabelStage(3, since - 300.0, None, since, NOW - 10.0, since))
    values = {
        "now": NOW,
        "is_run": True,
        "progress": view(
            ended(0),
            ended(1),
            ended(2),
            IterationProgress(3, "label", n_labelled=5, n_pending=5),
            n_requested=40,
        ),
        "primary": "dft",
        "measured": {"dft": [label(k) for k in (1, 2) for _ in range(10)] + [label(3)] * 5},
        "pending": {"dft": [carbons(4)] * 5},
        "stages": {"dft": stages},
        "batches": Batches(10, limit=75),
        "max_iterations": 20,
    }
    return Basis(**{**values, **changes})


def test_costs_of_a_level():
    times = [1.0] * 50 + [3.0] * 40 + [100.0] * 10
    ms = [label(1, wall_s=one, cores=2) for one in times]
    (cost,) = foretell(known(measured={"dft": ms, "cc": ms[:2]})).levels
    assert (cost.level, cost.n_measured) == ("dft", 100)
    assert cost.median_core_s == 4.0
    assert 6.0 <= cost.upper_core_s < 30.0


def test_predicted_beside_measured():
    (cost,) = foretell(known()).levels
    assert cost.ratio == pytest.approx(1.0)
    slower = [label(1)] * 30 + [label(2, wall_s=120.0)] * 10
    (cost,) = foretell(known(measured={"dft": slower})).levels
    assert cost.ratio == pytest.approx(2.0, rel=0.01)
    (cost,) = foretell(known(measured={"dft": [label(1)] * 4})).levels
    assert cost.ratio is None, "one label is no test"


def test_labels_left_at_the_rate_so_far():
    (left,) = foretell(known()).labels
    assert (left.iteration, left.level, left.n) == (3, "dft", 5)
    assert left.core_s == pytest.approx(300.0)
    assert left.cores == pytest.approx(5 * 60.0 / 600.0)
    assert left.done_by == pytest.approx(NOW + 600.0), "as long again as for the first half"


def test_larger_structures_are_expected_to_take_longer():
    ms = [label(3, n, wall_s=float(n**2)) for n in range(2, 12)]
    (left,) = foretell(known(measured={"dft": ms}, pending={"dft": [carbons(20)]})).labels
    assert left.core_s == pytest.approx(400.0, rel=0.05)


def test_only_the_latest_labels_of_many_are_looked_at():
    many = view(ended(2), IterationProgress(3, "label", n_labelled=500))
    (left,) = foretell(known(progress=many)).labels
    assert left.cores == pytest.approx(500 * 60.0 / 600.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"is_run": False},
        {"stages": {"dft": known().stages["dft"][:2]}},
        {"measured": {"dft": [label(2)] * 20}},
        {"measured": {"dft": [label(3, created=NOW - 5000.0)] * 20}},
    ],
)
def test_no_end_is_foretold_without_a_rate(changes):
    (left,) = foretell(known(**changes)).labels
    assert left.core_s == pytest.approx(300.0)
    assert left.done_by is None


def test_nothing_is_foretold_from_nothing():
    found = foretell(known(measured={"dft": [label(3)] * 2}))
    assert found.levels == ()
    assert found.labels[0].core_s is None
    assert found.campaign is None
    assert found.sentences() == []


def test_what_is_left_of_the_budget():
    left = foretell(known()).campaign
    assert (left.n_labels, left.n_iterations) == (35, 4)
    assert left.core_s == pytest.approx(35 * 60.0)
    labels_s = (35 + 5) * 60.0 / 4.0
    assert left.done_by == pytest.approx(NOW + labels_s + 4 * (300.0 + 120.0) + 120.0)
    assert left.measured == 2


@pytest.mark.parametrize(
    ("changes", "n_labels", "n_iterations"),
    [
        ({"batches": Batches(10), "max_iterations": 6}, 30, 3),
        ({"max_iterations": 4}, 10, 1),
        (
            {"progress": view(ended(1), ended(2), IterationProgress(4, "sample"))},
            75,
            8,
        ),
    ],
)
def test_what_ends_a_campaign_first(changes, n_labels, n_iterations):
    left = foretell(known(**changes)).campaign
    assert (left.n_labels, left.n_iterations) == (n_labels, n_iterations)


@pytest.mark.parametrize(
    "changes",
    [
        {"batches": Batches(10, limit=40)},
        {"max_iterations": 3, "batches": Batches(10)},
        {"stages": {"dft": known().stages["dft"][2:]}},
        {"progress": view(ended(2), state="converged")},
    ],
)
def test_no_campaign_is_foretold_that_is_over_or_has_no_pace(changes):
    assert foretell(known(**changes)).campaign is None


def test_a_campaign_that_nobody_runs_has_no_end():
    left = foretell(known(is_run=False)).campaign
    assert left.core_s == pytest.approx(35 * 60.0)
    assert left.done_by is None


def test_sentences():
    assert foretell(known()).sentences() == [
        (
            "cost of a label at dft: 60 core-s in the median, 90 % below 60 core-s "
            "(25 measured); measured / predicted 1.00"
        ),
        (
            "labels left in i3 at dft: 5, about 0.083 core-hours, done by 2026-09-21 14:23 UTC "
            "at the rate so far (0.5 cores)"
        ),
        (
            "if no criterion ends it before: 35 more labels in 4 iterations, about 0.58 "
            "core-hours, done by 2026-09-21 14:53 UTC at the pace of 2 iterations so far"
        ),
    ]
    assert "done by" not in " ".join(foretell(known(is_run=False)).sentences())
