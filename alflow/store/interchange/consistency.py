"""Do the forces of a file belong to its energies? Told from the numbers alone.

Between two close frames of the same atoms the energy changes by -F·dx, to third order in dx if F
is the mean of both ends. The slope of dE over -F·dx is therefore 1; it is -1 if the array holds
gradients, and a ratio of units if one of the units is not what it is said to be.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from alflow.store.interchange.frames import ImportedFrame

N_FRAMES = 400
"""Frames of one composition that are compared with each other."""
N_GROUPS = 200
"""Compositions that are looked at."""
N_PAIRS = 2000
"""Pairs that enter the test, the closest ones."""
FEWEST_PAIRS = 8
"""With fewer nothing is said."""
FAR = 30.0
"""Changes that are so many times larger than the median one are left out."""
LARGEST_STEP_A = 0.8
"""Largest displacement of an atom within a pair [Å]."""
SMALLEST_STEP_A = 1e-4
"""Frames that are closer than this, as root mean square over atoms [Å], are the same one."""


@dataclass(frozen=True, slots=True)
class ForceTest:
    """What the test found.

    Attributes:
        slope: dE over -F·dx: the ratio of their sizes with the sign of their correlation, which
            noise in either of them does not bend towards zero.
        correlation: How well the two go together, -1 to 1.
        n_pairs: Number of pairs.
        step_A: Median displacement within a pair, root mean square over atoms [Å].
    """

    slope: float
    correlation: float
    n_pairs: int
    step_A: float

    @property
    def is_sound(self) -> bool:
        """Whether energies and forces go together well enough to trust the slope."""
        return abs(self.correlation) > 0.7 and self.n_pairs >= FEWEST_PAIRS  # noqa: PLR2004

    @property
    def is_unrelated(self) -> bool:
        """Whether energies and forces of close frames have nothing to do with each other."""
        many = 3 * FEWEST_PAIRS
        return abs(self.correlation) < 0.5 and self.n_pairs >= many and self.step_A < 0.2  # noqa: PLR2004


def force_test(frames: Sequence[ImportedFrame]) -> ForceTest | None:
    """Compare energies and forces of neighbouring frames; None with too few pairs.

    Args:
        frames: Frames with sound arrays; those without an energy or forces are left out.
    """
    pairs = [pair for group in _groups(frames) for pair in _pairs(group)]
    pairs.sort(key=lambda pair: pair[0])
    pairs = pairs[:N_PAIRS]
    if len(pairs) < FEWEST_PAIRS:
        return None
    step, expected, found = np.array(pairs).T
    # Per length: a close pair tells as much as a distant one, and does so more exactly.
    x, y = expected / step, found / step
    # Single frames with wrong labels must not speak for the file.
    kept = (np.abs(x) <= FAR * np.median(np.abs(x))) & (
        np.abs(y) <= FAR * np.median(np.abs(y))
    )
    x, y = x[kept], y[kept]
    if not (x @ x > 0 and y @ y > 0):
        return None
    correlation = float(x @ y / np.sqrt((x @ x) * (y @ y)))
    slope = float(np.copysign(np.sqrt((y @ y) / (x @ x)), correlation))
    return ForceTest(slope, correlation, len(x), float(np.median(step)))


def _groups(frames: Sequence[ImportedFrame]) -> list[list[ImportedFrame]]:
    """Frames of the same atoms in the same order, cell and state."""
    groups: dict[tuple[object, ...], list[ImportedFrame]] = defaultdict(list)
    for frame in frames:
        if frame.energy is None or frame.forces is None or frame.n_atoms == 1:
            continue
        cell = b"" if frame.cell is None or not frame.pbc.any() else frame.cell.tobytes()
        state = (frame.charge, frame.multiplicity)
        key = (frame.numbers.tobytes(), cell, frame.pbc.tobytes(), *state)
        groups[key].append(frame)
    return [g for g in groups.values() if len(g) > 1][:N_GROUPS]


def _pairs(frames: Sequence[ImportedFrame]) -> Iterator[tuple[float, float, float]]:
    """Root mean square displacement [Å], -F·dx [eV] and dE [eV] of each pair of neighbours."""
    chosen = frames[:N_FRAMES]
    # Frames that follow each other in the file, and each with the one that is most like it.
    neighbours = {(k, k + 1) for k in range(len(chosen) - 1)}
    nearest = _nearest(chosen)
    neighbours |= {(min(k, j), max(k, j)) for k, j in enumerate(nearest)}
    for k, j in sorted(neighbours):
        pair = _pair(chosen[k], chosen[j])
        if pair is not None:
            yield pair


def _pair(a: ImportedFrame, b: ImportedFrame) -> tuple[float, float, float] | None:
    if a.forces is None or b.forces is None or a.energy is None or b.energy is None:
        return None
    displacement, turn = _displacement(a, b)
    lengths = np.linalg.norm(displacement, axis=1)
    step = float(np.sqrt((lengths**2).mean()))
    if step < SMALLEST_STEP_A or lengths.max() > LARGEST_STEP_A:
        return None
    mean = (a.forces + b.forces @ turn) / 2
    return step, -float((mean * displacement).sum()), b.energy - a.energy


def _displacement(a: ImportedFrame, b: ImportedFrame) -> tuple[np.ndarray, np.ndarray]:
    """From a to b, moved onto a as far as a rigid motion can; and the rotation of vectors."""
    difference = b.positions - a.positions
    if a.cell is not None and a.pbc.any():
        steps = np.rint(difference @ np.linalg.pinv(a.cell)) * a.pbc
        difference = difference - steps @ a.cell
        return difference - difference.mean(axis=0), np.eye(3)
    x = a.positions - a.positions.mean(axis=0)
    y = b.positions - b.positions.mean(axis=0)
    u, _, v = np.linalg.svd(y.T @ x)
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ v))])
    turn = u @ flip @ v
    return y @ turn - x, turn


def _nearest(frames: Sequence[ImportedFrame]) -> list[int]:
    """For each frame the other one that is most like it."""
    rows = np.array([_descriptor(frame, frames[0]) for frame in frames])
    rows -= rows.mean(axis=0)
    squares = (rows**2).sum(axis=1)
    distances = squares[:, None] + squares - 2 * rows @ rows.T
    # A copy of the same frame tells nothing.
    limit = 1e-6 * rows.shape[1]
    distances[distances < limit] = np.inf
    np.fill_diagonal(distances, np.inf)
    return [int(k) for k in distances.argmin(axis=1)]


def _descriptor(frame: ImportedFrame, first: ImportedFrame) -> np.ndarray:
    """What stays when a molecule is moved; for a cell, the way from the first frame."""
    if frame.pbc.any():
        return np.asarray(_displacement(first, frame)[0].ravel())
    i, j = np.triu_indices(frame.n_atoms, 1)
    return np.asarray(np.linalg.norm(frame.positions[i] - frame.positions[j], axis=1))
