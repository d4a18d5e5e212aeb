"""Frames that one generation flagged, as a newer one sees them: pure functions."""

from collections.abc import Mapping
from dataclasses import replace

from alflow.core.sampling import Decision, Gate, Spread, Trajectory, Verdict


def judged_again(trajectory: Trajectory, spreads: Mapping[str, Spread]) -> Trajectory:
    """The same trajectory, with newer spreads of its frames where there are any, by hash."""
    return replace(
        trajectory,
        frames=tuple(
            replace(frame, spread=spreads.get(frame.structure.hash, frame.spread))
            for frame in trajectory.frames
        ),
    )


def known_by_now(trajectory: Trajectory, gate: Gate, generation: int) -> dict[str, Verdict]:
    """Verdicts on flagged frames that are within the limits by now, by hash.

    Args:
        trajectory: A trajectory with the spreads by the newer generation.
        gate: The gate that it was sampled with.
        generation: Number of that generation.
    """
    found = {}
    for frame in trajectory.frames:
        measure, ratio = gate.worst(frame.spread)
        if frame.reason == "flagged" and ratio <= 1:
            what = f"{measure} spread is {ratio:.3g} times its limit by now"
            reason = f"generation {generation} knows it: {what}"
            found[frame.structure.hash] = Verdict(Decision.FILTERED, reason)
    return found
