"""What trajectories of a liquid say: radial distribution, mean square displacement."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from alflow.core.structures import Structure
from alflow.core.units import AMU_PER_ANGSTROM3_PER_G_PER_CM3
from alflow.validation.lattices import Crystal


def cubic_box(
    symbol: str, mass_amu: float, density_g_per_cm3: float, n_atoms: int
) -> Structure:
    """An fcc crystal in a cube at a density: where a melt starts from.

    Args:
        symbol: Chemical symbol.
        mass_amu: Mass of an atom [amu].
        density_g_per_cm3: Density of the box [g/cm³].
        n_atoms: Smallest number of atoms; the next full cube of cells is taken.
    """
    volume_A3 = mass_amu / (density_g_per_cm3 * AMU_PER_ANGSTROM3_PER_G_PER_CM3)
    repeats = int(np.ceil(round((n_atoms / 4) ** (1 / 3), 6)))
    atoms = Crystal(symbol, "fcc", volume_A3).conventional().repeat(repeats)
    return Structure(
        atoms.numbers.astype(np.uint8),
        np.asarray(atoms.positions),
        np.asarray(atoms.cell[:]),
        np.array([True, True, True]),
    )


def radial_distribution(
    frames: Sequence[Float[np.ndarray, "atoms 3"]],
    edge_A: float,
    edges_A: Float[np.ndarray, " edges"],
) -> Float[np.ndarray, " bins"]:
    """g(r) in a cube, averaged over frames.

    Args:
        frames: Positions [Å].
        edge_A: Edge of the cube [Å].
        edges_A: Edges of the bins [Å], up to half the edge of the cube.
    """
    n_atoms = len(frames[0])
    first, second = np.triu_indices(n_atoms, 1)
    counts = np.zeros(len(edges_A) - 1)
    for positions in frames:
        apart = positions[first] - positions[second]
        apart -= edge_A * np.rint(apart / edge_A)
        distances = np.sqrt(np.einsum("px,px->p", apart, apart))
        counts += np.histogram(distances, edges_A)[0]
    shells = 4 / 3 * np.pi * np.diff(edges_A**3)
    expected = len(frames) * len(first) * shells / edge_A**3
    result: np.ndarray = counts / expected
    return result


def mean_square_displacement(
    frames: Float[np.ndarray, "frames atoms 3"], lags: Sequence[int]
) -> Float[np.ndarray, " lags"]:
    """Mean over atoms and origins of the squared displacement [Å²] after some numbers of frames.

    The centre of mass is held in place: a thermostat lets it wander.
    """
    centred = frames - frames.mean(axis=1, keepdims=True)
    return np.array(
        [((centred[lag:] - centred[:-lag]) ** 2).sum(axis=2).mean() for lag in lags]
    )


def diffusion_coefficient(
    frames: Float[np.ndarray, "frames atoms 3"], interval_ps: float, longest_ps: float
) -> float:
    """A sixth of the slope of the mean square displacement [Å²/ps].

    Args:
        frames: Positions, not wrapped [Å].
        interval_ps: Time between frames [ps].
        longest_ps: The slope is taken between a quarter of this time and this time [ps].
    """
    last = min(round(longest_ps / interval_ps), len(frames) - 1)
    lags = range(max(1, last // 4), last + 1)
    squares = mean_square_displacement(frames, lags)
    if len(squares) == 1:
        return float(squares[0] / (6 * last * interval_ps))
    slope = np.polyfit(np.array(lags) * interval_ps, squares, 1)[0]
    return float(slope / 6)
