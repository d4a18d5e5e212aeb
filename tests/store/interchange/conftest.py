"""Frames of a small world in which forces follow from energies."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from alflow.core.batches import LabelledStructure
from alflow.core.labels import Label
from alflow.core.structures import Structure
from alflow.store.interchange import ExportedFrame, ImportedFrame

WATER = np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
STIFFNESS = 30.0  # eV/Å²
TOTAL_EV = -2078.0  # of a water molecule with all its electrons


def harmonic_water(index: int, size: float = 0.03) -> ImportedFrame:
    """A distorted water molecule somewhere in space, with springs between its atoms."""
    rng = np.random.default_rng(index)
    x = WATER + rng.normal(0, size, (3, 3))
    energy, forces = TOTAL_EV, np.zeros((3, 3))
    for i, j in ((0, 1), (0, 2), (1, 2)):
        rest = np.linalg.norm(WATER[i] - WATER[j])
        vector = x[i] - x[j]
        length = np.linalg.norm(vector)
        energy += STIFFNESS / 2 * (length - rest) ** 2
        pull = -STIFFNESS * (length - rest) * vector / length
        forces[i] += pull
        forces[j] -= pull
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn = q * np.sign(np.linalg.det(q))
    return ImportedFrame(
        index,
        np.array([8, 1, 1]),
        x @ turn + rng.normal(size=3),
        energy=float(energy),
        forces=forces @ turn,
    )


@pytest.fixture
def waters() -> list[ImportedFrame]:
    return [harmonic_water(k) for k in range(60)]


@pytest.fixture
def scaled():
    """Frames as they would be read with wrong units: every number times a factor."""

    def scale(frames, energy=1.0, length=1.0, force=1.0):
        return [
            replace(
                frame,
                positions=frame.positions * length,
                energy=frame.energy * energy,
                forces=frame.forces * force,
            )
            for frame in frames
        ]

    return scale


@pytest.fixture
def data() -> Path:
    """Public reference data beside the repository."""
    beside = Path(__file__).parents[3] / ".." / "shared" / "data"
    path = Path(os.environ.get("ALFLOW_TEST_DATA", beside))
    if not path.is_dir():
        pytest.skip(f"there is no reference data in {path} (ALFLOW_TEST_DATA)")
    return path


@pytest.fixture
def export():
    """An exported frame of a structure and its label."""

    def make(structure: Structure, label: Label, **more: str) -> ExportedFrame:
        item = LabelledStructure(
            structure, label, 1, more.get("group", "g/1"), more.get("source", "md")
        )
        return ExportedFrame(
            item, more.get("level", "pbe/def2"), more.get("split", "train")
        )

    return make
