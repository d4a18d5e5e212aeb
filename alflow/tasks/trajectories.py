"""Trajectories as one file: structures and fingerprints as arrays, the rest as JSON."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from alflow.core.batches import (
    pack_structures,
    read_arrays,
    unpack_structures,
    write_arrays,
)
from alflow.core.sampling import Frame, Spread, StopReason, Trajectory


@dataclass(frozen=True, slots=True)
class SourcedTrajectory:
    """A trajectory and the builder that made its start.

    Attributes:
        trajectory: The trajectory.
        source: Kind of the builder of its starting structure.
    """

    trajectory: Trajectory
    source: str


def pack_trajectories(trajectories: Sequence[Trajectory], sources: Sequence[str]) -> bytes:
    """Bytes of trajectories with the builders of their starts; equal ones give equal bytes."""
    frames = [frame for trajectory in trajectories for frame in trajectory.frames]
    fingerprints = [frame.fingerprint for frame in frames]
    records = [
        _trajectory_record(trajectory, source)
        for trajectory, source in zip(trajectories, sources, strict=True)
    ]
    return write_arrays(
        {
            "starts": _bytes_array(pack_structures([t.start for t in trajectories])),
            "frames": _bytes_array(pack_structures([frame.structure for frame in frames])),
            "fingerprints": np.array(fingerprints, "<f8").reshape(len(frames), -1)
            if frames
            else np.zeros((0, 0)),
            "records": _bytes_array(json.dumps(records).encode()),
        }
    )


def unpack_trajectories(content: bytes) -> list[SourcedTrajectory]:
    """The inverse of `pack_trajectories`."""
    arrays = read_arrays(content)
    starts = unpack_structures(arrays["starts"].tobytes())
    structures = unpack_structures(arrays["frames"].tobytes())
    frames = iter(zip(structures, arrays["fingerprints"], strict=True))
    return [
        SourcedTrajectory(
            Trajectory(
                start=start,
                seed=record["seed"],
                schedule=record["schedule"],
                n_steps=record["n_steps"],
                time_fs=record["time_fs"],
                stop_reason=StopReason(record["stop_reason"]),
                frames=tuple(
                    Frame(
                        structure=structure,
                        fingerprint=fingerprint,
                        spread=Spread(**frame.pop("spread")),
                        **frame,
                    )
                    for frame, (structure, fingerprint) in zip(
                        record["frames"], frames, strict=False
                    )
                ),
                trace=record["trace"],
            ),
            record["source"],
        )
        for start, record in zip(
            starts, json.loads(arrays["records"].tobytes()), strict=True
        )
    ]


def _trajectory_record(trajectory: Trajectory, source: str) -> dict[str, Any]:
    return {
        "source": source,
        "seed": trajectory.seed,
        "schedule": dict(trajectory.schedule),
        "n_steps": trajectory.n_steps,
        "time_fs": trajectory.time_fs,
        "stop_reason": str(trajectory.stop_reason),
        "trace": dict(trajectory.trace),
        "frames": [
            {
                "step": frame.step,
                "time_fs": frame.time_fs,
                "temperature_K": frame.temperature_K,
                "spread": frame.spread.to_json(),
                "reason": frame.reason,
                "measure": frame.measure,
            }
            for frame in trajectory.frames
        ],
    }


def _bytes_array(content: bytes) -> np.ndarray:
    return np.frombuffer(content, np.uint8)
