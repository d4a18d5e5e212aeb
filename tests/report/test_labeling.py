from dataclasses import replace

import numpy as np
import pytest

from alflow.report.label_panels import labels
from alflow.report.labeling import Labeling, Rung, labeling, time_edges
from alflow.store.told import Told

NAN = float("nan")


def titles(report):
    return [panel.title for panel in labels(report).panels]


def test_what_converged_labels_is_counted_by_level():
    found = labeling(
        [
            Told("dft", 2.0, "diis", 10),
            Told("dft", 4.0, "diis", 14),
            Told("dft", 9.0, "newton", None),
            Told("cc", NAN, "diis", 8),
            Told("eam", 0.1, "", None),
        ]
    )
    assert found.n_labels == 5
    assert found.wall_s.tolist() == [2.0, 4.0, 9.0, 0.1]
    assert found.rungs == (
        Rung("cc", "diis", 1, 8.0, None),
        Rung("dft", "diis", 2, 12.0, 3.0),
        Rung("dft", "newton", 1, None, 9.0),
    )


@pytest.mark.parametrize("wall_s", [[0.0, 0.0], [3.0], [0.001, 2.0, 5000.0]])
def test_every_time_is_in_a_bin(wall_s):
    times = np.array(wall_s)
    edges = time_edges(times)
    assert (np.diff(edges) > 0).all()
    assert np.histogram(np.maximum(times, 1e-6), edges)[0].sum() == len(times)


def test_outcomes_times_and_methods_have_their_sentences(running):
    outcomes, times, rungs, failures, attempts = titles(running)
    assert outcomes == "94 % of 452 labels came out well"
    assert times == "Half of the labels took less than 8.5 s, one in ten more than 27 s"
    assert rungs == "11 % of the labels needed another way to converge"
    assert (failures, attempts) == (
        "Labels that failed, by kind",
        "3 attempts gave no result",
    )
    usual = replace(running.labeling, rungs=running.labeling.rungs[:1])
    assert "All 88 labels converged in the usual way" in titles(
        replace(running, labeling=usual)
    )


def test_without_labels_there_is_nothing_to_tell(running):
    bare = replace(
        running,
        iterations=(),
        labeling=Labeling(),
        label_failures=(),
        attempts_failed=(),
    )
    assert titles(bare) == ["No label and no attempt has failed."]
