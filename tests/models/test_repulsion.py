"""The repulsion of nuclei: published numbers, finite differences, both ways to compute it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alflow.core.elements import COVALENT_RADII_A
from alflow.core.structures import Structure
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch
from alflow.models.repulsion import FITTED, ZBL, Repelled, Repulsion, repulsion


def dimer(z: int, other: int, distance_A: float) -> Structure:
    positions = np.array([[0.0, 0.0, 0.0], [0.0, distance_A, 0.0]])
    odd = (z + other) % 2
    return Structure(np.array([z, other], np.uint8), positions, multiplicity=1 + odd)


def box(seed: int, n_atoms: int = 12, edge_A: float = 5.0) -> Structure:
    rng = np.random.default_rng(seed)
    cell = np.diag([edge_A, edge_A + 0.5, edge_A + 1.0]) + 0.3 * rng.normal(size=(3, 3))
    numbers = np.sort(rng.choice(np.array([1, 8, 13], np.uint8), n_atoms))
    odd = int(numbers.sum()) % 2
    # on a grid, and far off it: no two so close that differences of energies say nothing
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3), -1).reshape(-1, 3)
    places = grid[rng.permutation(27)[:n_atoms]] + rng.uniform(-0.3, 0.3, (n_atoms, 3))
    positions = places / 3 @ cell
    return Structure(numbers, positions, cell, np.ones(3, bool), multiplicity=1 + odd)


WALL = Repulsion(
    FITTED, {(8, 13): (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0), (13, 13): (9.0,) * 8}
)


def evaluated(*structures: Structure, by: Repulsion = Repulsion(ZBL)) -> Repelled:  # noqa: B008
    batch = Batch.from_structures(list(structures))
    return by.evaluate(batch, neighbour_pairs(batch, 5.0))


def test_close_nuclei_have_the_published_energy() -> None:
    """Far within the envelope, against the formula of Ziegler, Biersack and Littmark by hand."""
    r, length = 0.05, 0.8854 * 0.529177210903 / (2 * 13**0.23)
    x = r / length
    phi = (
        0.18175 * np.exp(-3.19980 * x)
        + 0.50986 * np.exp(-0.94229 * x)
        + 0.28022 * np.exp(-0.40290 * x)
        + 0.02817 * np.exp(-0.20162 * x)
    )
    energy = float(evaluated(dimer(13, 13, r)).energies[0])
    assert energy == pytest.approx(14.3996454784 * 169 / r * phi, rel=1e-7)


@pytest.mark.parametrize("pair", [(1, 1), (1, 8), (13, 13), (6, 79)])
def test_nothing_is_left_at_the_reach(pair: tuple[int, int]) -> None:
    cutoff = 0.8 * COVALENT_RADII_A[list(pair)].sum()
    near, at = (evaluated(dimer(*pair, cutoff * f)) for f in (0.999, 1.0 + 1e-6))
    assert float(at.energies[0]) == 0.0
    assert 0.0 < float(near.energies[0]) < 1e-5
    assert float(near.forces.abs().max()) < 3e-2


@pytest.mark.parametrize("one", [Repulsion(ZBL), WALL], ids=["zbl", "fitted"])
@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_forces_and_virial_are_derivatives_of_the_energy(one: Repulsion, seed: int) -> None:
    batch, step = Batch.from_structures([box(seed)]), 1e-5
    pairs = neighbour_pairs(batch, 5.0)
    found = one.evaluate(batch, pairs)
    stream = torch.Generator().manual_seed(seed)
    direction = torch.randn(batch.n_atoms, 3, generator=stream, dtype=torch.float64)
    strain = torch.randn(3, 3, generator=stream, dtype=torch.float64)
    strain = (strain + strain.T) / 2

    def slope(shift: torch.Tensor, by: torch.Tensor) -> float:
        """Slope of the energy along a shift and a strain, by central differences."""
        ends = []
        for way in (step, -step):
            deform = torch.eye(3, dtype=torch.float64) + way * by
            positions = (batch.positions + way * shift) @ deform
            moved = replace(batch, positions=positions, cells=batch.cells @ deform)
            ends.append(float(one.evaluate(moved, pairs).energies[0]))
        return (ends[0] - ends[1]) / (2 * step)

    tolerance = 1e-6 * (1.0 + float(found.forces.abs().max()))
    expected = -float((found.forces * direction).sum())
    still, flat = torch.zeros_like(direction), torch.zeros_like(strain)
    assert slope(direction, flat) == pytest.approx(expected, abs=tolerance)
    expected = float((found.virial[0] * strain).sum())
    assert slope(still, strain) == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("one", [Repulsion(ZBL), WALL], ids=["zbl", "fitted"])
def test_torch_says_what_the_kernel_says(
    one: Repulsion, monkeypatch: pytest.MonkeyPatch
) -> None:
    structures = [box(1), dimer(8, 8, 0.8), box(2, 5), dimer(1, 1, 3.0), dimer(13, 13, 3.0)]
    fast = evaluated(*structures, by=one)
    monkeypatch.setenv("ALFLOW_KERNELS", "torch")
    slow = evaluated(*structures, by=one)
    for name in ("energies", "forces", "virial"):
        torch.testing.assert_close(getattr(fast, name), getattr(slow, name))
    assert float(fast.energies[3]) == 0.0
    assert float(fast.energies[1]) > 1.0
    assert (float(fast.energies[4]) > 0.0) == (one is WALL)


def test_what_is_written_is_read() -> None:
    for one in (Repulsion(ZBL), WALL):
        assert Repulsion.from_json(one.to_json()) == one


@pytest.mark.parametrize(
    "value", ["born", {"Al-Al": [1.0]}, {"Al-Al": [-1.0] * 8}, {"Al": []}]
)
def test_what_makes_no_sense_is_not_read(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - three ways to say it
        Repulsion.from_json(value)  # type: ignore[arg-type]


def test_a_repulsion_that_does_not_exist_is_refused() -> None:
    assert repulsion(None) is None
    with pytest.raises(ValueError, match="born"):
        repulsion("born")
