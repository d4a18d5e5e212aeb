"""Labelled clusters of an analytic potential, and a small model to fit them with."""

from collections.abc import Callable

import numpy as np
import pytest

from alflow.core.batches import LabelledStructure
from alflow.core.labels import Label
from alflow.core.structures import Structure
from alflow.models.ani.settings import AniSettings

SELF_ENERGY = {1: -13.6, 8: -2000.0}
PAIR = {(1, 1): (1.5, 1.3, 1.2), (1, 8): (4.0, 1.5, 1.1), (8, 8): (2.5, 1.2, 1.6)}


def morse(numbers: np.ndarray, positions: np.ndarray) -> tuple[float, np.ndarray]:
    """Energy and forces of pairwise Morse potentials on top of large self energies."""
    energy = float(sum(SELF_ENERGY[int(z)] for z in numbers))
    forces = np.zeros_like(positions)
    for i in range(len(numbers)):
        for j in range(i):
            depth, width, distance = PAIR[tuple(sorted((int(numbers[i]), int(numbers[j]))))]
            vector = positions[i] - positions[j]
            r = np.linalg.norm(vector)
            x = np.exp(-width * (r - distance))
            energy += depth * (x * x - 2 * x)
            slope = depth * width * (-2 * x * x + 2 * x)
            forces[i] -= slope * vector / r
            forces[j] += slope * vector / r
    return energy, forces


MakeClusters = Callable[..., list[LabelledStructure]]


@pytest.fixture(scope="session")
def make_clusters() -> MakeClusters:
    """A function that draws labelled dimers and trimers of H and O."""

    def make(count: int, seed: int = 0, *, forces: bool = True) -> list[LabelledStructure]:
        rng = np.random.default_rng(seed)
        items = []
        for k in range(count):
            numbers = np.array([8, 1, 1][: 2 + k % 2], np.uint8)
            base = np.array([[0.0, 0, 0], [1.1, 0, 0], [0.1, 1.15, 0]])[: len(numbers)]
            positions = base + rng.uniform(-0.15, 0.15, base.shape)
            structure = Structure(numbers, positions)
            energy, force = morse(structure.numbers, structure.positions)
            label = Label(energy, force if forces else None)
            items.append(LabelledStructure(structure, label, k + 1, f"draw-{seed}-{k}"))
        return items

    return make


@pytest.fixture(scope="session")
def model() -> AniSettings:
    """Two small members."""
    return AniSettings(
        repulsion=None,  # the labels are those of a toy
        members=2,
        hidden=(8, 6),
        radial_cutoff_A=3.0,
        angular_cutoff_A=2.5,
        first_shift_A=0.6,
        radial_shifts=6,
        angular_shifts=2,
        angular_sections=2,
        zeta=4.0,
    )
