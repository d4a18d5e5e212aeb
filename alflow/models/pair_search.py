"""Searches the atoms of each system for pairs within a cutoff, compiled by Numba.

Atoms are sorted into bins about half a cutoff wide, along the cell vectors where the system is
periodic and along its extent where it is not, and each atom looks into the bins within reach. The
images of a small cell are bins that are visited again, one cell further.

The order of the pairs costs no sorting: whoever is searched from is written down as the neighbour
of those that are found, so that the rows of the centres fill up by ascending neighbour; and far
images come first, so that equal neighbours come by ascending shift.
"""

import inspect
import math

import numpy as np
from numba import njit
from numba.core import config

OPTIONS = {"nogil": True, "error_model": "numpy", "cache": bool(config.CACHE_DIR)}
BINS_PER_CUTOFF = 2
MOST_BINS_PER_ATOM = 2
TURNS = 512
"""Images are fewer cells away than this."""
ATOM = 2**32 - 1
"""Bits of a found pair that tell the atom; above them, the image along each cell vector."""


def compiled(function):
    """Compile for any types, when first called; what only Python understands is peeled off."""
    return njit(**OPTIONS)(inspect.unwrap(function))


@compiled
def search(positions, boxes, inverses, periodic, first, is_searched, cutoff):
    """Ordered pairs within a cutoff, sorted by centre, neighbour and shift.

    Args:
        positions: Positions of all atoms [Å], (atoms, 3).
        boxes: Cell vectors as rows [Å], completed by unit vectors normal to the periodic ones,
            (systems, 3, 3).
        inverses: Inverses of the boxes, (systems, 3, 3).
        periodic: Periodic directions, (systems, 3).
        first: First atom of each system, and the end, (systems + 1,).
        is_searched: Whether a system is searched; all its numbers must be finite, (systems,).
        cutoff: Largest distance [Å].

    Returns:
        Centres and neighbours, (pairs,), int64, and shifts, (pairs, 3), float64.
    """
    n_atoms = len(positions)
    ends = np.zeros(n_atoms + 1, np.int64)
    limit = cutoff * cutoff
    found = np.empty(128 * n_atoms + 64, np.int64)
    n_found = 0
    bins = np.empty(3, np.int64)
    reach = np.empty(3, np.int64)
    place = np.empty(n_atoms, np.int64)
    turns = np.empty((n_atoms, 3), np.int64)
    ranked = np.empty(n_atoms, np.int64)
    x = np.empty((n_atoms, 3))
    for system in range(len(boxes)):
        lo, hi = first[system], first[system + 1]
        box, inverse = boxes[system], inverses[system]
        if not is_searched[system]:
            ends[lo + 1 : hi + 1] = n_found
            continue
        is_periodic = periodic[system]
        low, high = _layout(positions, lo, hi, inverse, is_periodic, cutoff, bins, reach)
        starts = _sorted(
            positions,
            lo,
            hi,
            box,
            inverse,
            is_periodic,
            low,
            high,
            bins,
            place,
            turns,
            ranked,
            x,
        )
        n0, n1, n2 = bins
        for a in range(lo, hi):
            c0 = place[a] // (n1 * n2)
            c1 = place[a] // n2 % n1
            c2 = place[a] % n2
            for u0 in range(c0 + reach[0], c0 - reach[0] - 1, -1):
                t0 = u0 // n0
                if t0 != 0 and not is_periodic[0]:
                    continue
                for u1 in range(c1 + reach[1], c1 - reach[1] - 1, -1):
                    t1 = u1 // n1
                    if t1 != 0 and not is_periodic[1]:
                        continue
                    row = ((u0 - t0 * n0) * n1 + u1 - t1 * n1) * n2
                    for t2 in range((c2 + reach[2]) // n2, (c2 - reach[2]) // n2 - 1, -1):
                        if t2 != 0 and not is_periodic[2]:
                            continue
                        begin = starts[row + max(0, c2 - reach[2] - t2 * n2)]
                        end = starts[row + min(n2 - 1, c2 + reach[2] - t2 * n2) + 1]
                        if n_found + end - begin >= len(found):
                            longer = np.empty(2 * len(found) + end - begin, np.int64)
                            longer[:n_found] = found[:n_found]
                            found = longer
                        ox = t0 * box[0, 0] + t1 * box[1, 0] + t2 * box[2, 0] - x[a, 0]
                        oy = t0 * box[0, 1] + t1 * box[1, 1] + t2 * box[2, 1] - x[a, 1]
                        oz = t0 * box[0, 2] + t1 * box[1, 2] + t2 * box[2, 2] - x[a, 2]
                        itself = a if t0 == 0 and t1 == 0 and t2 == 0 else -1
                        image = _packed(t0, t1, t2)
                        for k in range(begin, end):
                            b = ranked[k]
                            dx, dy, dz = x[b, 0] + ox, x[b, 1] + oy, x[b, 2] + oz
                            # What is not a pair is overwritten by the next: no branch to guess.
                            found[n_found] = image | b
                            is_near = dx * dx + dy * dy + dz * dz < limit
                            n_found += is_near & (b != itself)
            ends[a + 1] = n_found
    return _by_centre(found, ends, turns)


@compiled
def _layout(positions, lo, hi, inverse, periodic, cutoff, bins, reach):
    """Number of bins along each vector and how many to look into; where bins start and end."""
    low, high = np.zeros(3), np.ones(3)
    width = np.empty(3)
    for axis in range(3):
        u, v, w = inverse[0, axis], inverse[1, axis], inverse[2, axis]
        if not periodic[axis]:
            least, most = math.inf, -math.inf
            for a in range(lo, hi):
                f = positions[a, 0] * u + positions[a, 1] * v + positions[a, 2] * w
                least, most = min(least, f), max(most, f)
            low[axis], high[axis] = least, max(most, least + 1e-3)
        width[axis] = (high[axis] - low[axis]) / math.sqrt(u * u + v * v + w * w)
        wanted = BINS_PER_CUTOFF * width[axis] / cutoff
        bins[axis] = max(1, int(min(wanted, MOST_BINS_PER_ATOM * (hi - lo))))
    while bins[0] * bins[1] * bins[2] > MOST_BINS_PER_ATOM * (hi - lo) + 8:
        longest = np.argmax(bins)
        bins[longest] = (bins[longest] + 1) // 2
    for axis in range(3):
        width[axis] /= bins[axis]
        reach[axis] = int(cutoff / width[axis]) + 1
        if not periodic[axis]:
            reach[axis] = min(reach[axis], bins[axis])
    return low, high


@compiled
def _sorted(
    positions, lo, hi, box, inverse, periodic, low, high, bins, place, turns, ranked, x
):
    """Put atoms back into the cell and sort them into bins; where bins start, and the end.

    `place` gets their bins, `turns` the cells they were away, `ranked` their order, `x` where
    they are then.
    """
    starts = np.zeros(bins[0] * bins[1] * bins[2] + 1, np.int64)
    for a in range(lo, hi):
        for k in range(3):
            x[a, k] = positions[a, k]
        at = 0
        for axis in range(3):
            f = 0.0
            for k in range(3):
                f += positions[a, k] * inverse[k, axis]
            turn = math.floor(f) if periodic[axis] else 0
            turns[a, axis] = turn
            for k in range(3):
                x[a, k] -= turn * box[axis, k]
            part = int((f - turn - low[axis]) / (high[axis] - low[axis]) * bins[axis])
            at = at * bins[axis] + min(max(part, 0), bins[axis] - 1)
        place[a] = at
        starts[at + 1] += 1
    for at in range(len(starts) - 1):
        starts[at + 1] += starts[at]
    for a in range(lo, hi):
        at = place[a]
        ranked[starts[at]] = a
        starts[at] += 1
    for at in range(len(starts) - 1, 0, -1):
        starts[at] = starts[at - 1]
    starts[0] = 0
    return starts


@compiled
def _packed(t0, t1, t2):
    """The image in the bits above the atom."""
    return ((t0 + TURNS) << 52) | ((t1 + TURNS) << 42) | ((t2 + TURNS) << 32)


@compiled
def _by_centre(found, ends, turns):
    """Turn rows of neighbours around: who was found becomes the centre."""
    n_atoms, n_found = len(turns), ends[-1]
    starts = np.zeros(n_atoms + 1, np.int64)
    for p in range(n_found):
        starts[(found[p] & ATOM) + 1] += 1
    for a in range(n_atoms):
        starts[a + 1] += starts[a]
    centres = np.empty(n_found, np.int64)
    neighbours = np.empty(n_found, np.int64)
    shifts = np.empty((n_found, 3))
    for a in range(n_atoms):
        for p in range(ends[a], ends[a + 1]):
            b = found[p] & ATOM
            place = starts[b]
            starts[b] = place + 1
            centres[place] = b
            neighbours[place] = a
            t0 = (found[p] >> 52) - TURNS
            t1 = (found[p] >> 42 & 2 * TURNS - 1) - TURNS
            t2 = (found[p] >> 32 & 2 * TURNS - 1) - TURNS
            shifts[place, 0] = turns[b, 0] - turns[a, 0] - t0
            shifts[place, 1] = turns[b, 1] - turns[a, 1] - t1
            shifts[place, 2] = turns[b, 2] - turns[a, 2] - t2
    return centres, neighbours, shifts
