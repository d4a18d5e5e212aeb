"""Trajectories survive packing bit by bit."""

import numpy as np

from alflow.core.sampling import Frame, Spread, StopReason, Trajectory
from alflow.core.structures import Structure
from alflow.tasks.trajectories import pack_trajectories, unpack_trajectories


def _structure(shift: float) -> Structure:
    return Structure(
        np.array([8, 1], np.uint8), np.array([[0.0, 0, 0], [0, 0, 0.97 + shift]])
    )


def _trajectory(n_frames: int, shift: float) -> Trajectory:
    frames = tuple(
        Frame(
            structure=_structure(shift + 0.01 * k),
            step=10 * k,
            time_fs=5.0 * k,
            temperature_K=300.0 + k,
            spread=Spread(0.01 * k, 0.1, 0.2, 1.5),
            reason="flagged" if k == 0 else "audit",
            measure="energy" if k == 0 else "",
            fingerprint=np.array([0.1 + k, 1 / 3]),
        )
        for k in range(n_frames)
    )
    return Trajectory(
        start=_structure(shift),
        seed=7,
        schedule={"start_K": 1 / 3},
        n_steps=40,
        time_fs=20.0,
        stop_reason=StopReason.FLAGGED if n_frames else StopReason.FINISHED,
        frames=frames,
        trace={"time_fs": [0.0, 5.0]},
    )


def test_round_trip_keeps_frames_with_their_trajectory():
    trajectories = [_trajectory(2, 0.0), _trajectory(0, 0.1), _trajectory(1, 0.2)]
    found = unpack_trajectories(pack_trajectories(trajectories, ["a", "b", "a"]))
    assert [item.source for item in found] == ["a", "b", "a"]
    for item, expected in zip(found, trajectories, strict=True):
        assert item.trajectory.start == expected.start
        assert item.trajectory.schedule == expected.schedule
        assert item.trajectory.stop_reason is expected.stop_reason
        assert len(item.trajectory.frames) == len(expected.frames)
        for frame, original in zip(item.trajectory.frames, expected.frames, strict=True):
            assert frame.structure == original.structure
            assert frame.spread == original.spread
            assert (frame.reason, frame.measure) == (original.reason, original.measure)
            np.testing.assert_array_equal(frame.fingerprint, original.fingerprint)


def test_equal_trajectories_give_equal_bytes():
    trajectories = [_trajectory(2, 0.0)]
    assert pack_trajectories(trajectories, ["a"]) == pack_trajectories(trajectories, ["a"])


def test_no_frames_at_all():
    found = unpack_trajectories(pack_trajectories([_trajectory(0, 0.0)], ["a"]))
    assert found[0].trajectory.frames == ()
