"""Frames that one generation flagged, as a newer one sees them."""

import numpy as np

from alflow.core.sampling import (
    Decision,
    Frame,
    Gate,
    Limit,
    Spread,
    StopReason,
    Trajectory,
)
from alflow.core.structures import Structure
from alflow.loop.scoring import judged_again, known_by_now

GATE = Gate(Limit(0.01), Limit(0.1), Limit(0.4))


def _frame(x, reason="flagged"):
    structure = Structure(np.array([13], np.uint8), np.array([[x, 0.0, 0.0]]))
    spread = Spread(0.02, 0.2, 0.5, 1.0)
    measure = "energy" if reason == "flagged" else ""
    return Frame(structure, 10, 20.0, 300.0, spread, reason, measure, np.zeros(2))


def _path(*frames):
    reason = StopReason.FLAGGED
    return Trajectory(frames[0].structure, 1, {}, 10, 20.0, reason, frames, {})


def test_newer_spreads_take_the_place_of_older_ones():
    first, second = _frame(0.0), _frame(1.0)
    newer = Spread(0.001, 0.01, 0.02, 1.0)
    path = judged_again(_path(first, second), {second.structure.hash: newer})
    assert [one.spread for one in path.frames] == [first.spread, newer]
    assert path.seed == 1


def test_only_flagged_frames_within_their_limits_are_known():
    known, unknown, drawn, broken = (
        _frame(0.0),
        _frame(1.0),
        _frame(2.0, "audit"),
        _frame(3.0),
    )
    low, nan = Spread(0.001, 0.01, 0.02, 1.0), Spread(float("nan"), 0.01, 0.02, 1.0)
    spreads = {one.structure.hash: low for one in (known, drawn)}
    spreads[broken.structure.hash] = nan
    path = judged_again(_path(known, unknown, drawn, broken), spreads)
    found = known_by_now(path, GATE, 7)
    assert found.keys() == {known.structure.hash}
    (verdict,) = found.values()
    assert verdict.decision is Decision.FILTERED
    assert "generation 7 knows it" in verdict.reason
