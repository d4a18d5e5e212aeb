"""The ANI descriptor of a range of atoms and its two derivatives, in Numba with explicit vectors.

Every kernel walks over atoms, holds no lock, and writes to arrays that it is given. For one atom:
`_gather` collects the neighbours in reach by element, `_inner` those of the angular part,
`_plan` lays their pairs out in blocks that stay in the first cache, `_block` evaluates what a
block of triples needs, and the rest sums over it. Triples of one pair of elements are a run; runs
start at whole vectors and end with triples of weight zero.

All scratch is flat and sized by `scratch_sizes` from the longest list of neighbours, so that no
structure overruns it. `alflow.models.ani.fused` prepares the arguments:

    positions   (3 atoms), float64      cells   (9 systems), float64, rows are vectors
    system      system of each atom     start   first neighbour of each (atom, element), and the end
    neighbour   index of each           shift   (3 neighbours) cell vectors to add
    sizes       the S_... below         table   the C_... below, then shifts, shells, sections

Angular functions fall off so fast that, with members in the lanes, only the sections around the
angle of a triple are summed: those left out are smaller than 5e-7 of their largest value.
"""

import inspect
import math

from numba import float32 as f32
from numba import njit
from numba.core import config

from alflow.models.ani.lanes import (
    NATIVE,
    below,
    exp2,
    flush_subnormals,
    get,
    leading,
    load,
    load8,
    log2,
    put,
    restore,
    root,
    splat,
    splat8,
    store,
    total,
)

WIDTH = NATIVE.width
BLOCK = 256
"""Triples in a block."""
WIDE = 4 * 8
"""Numbers that eight members add up for an inner neighbour."""
ROW = BLOCK + 2 * WIDTH
"""Length of a row of the scratch of triples: not a power of two, for the sake of caches."""

S_ELEMENTS, S_RADIAL, S_SHELLS, S_SECTIONS, S_WINDOW, S_LONGEST, S_DIRECT = range(7)
"""Numbers of: elements, radial functions, shells, sections, sections summed around an angle,
places in a row of neighbours; whether shells are evaluated triple by triple."""
C_REACH, C_ETA, C_INNER, C_SHELL_ETA, C_ZETA, C_CENTRE, C_LISTS = range(7)
"""Radial cutoff and exponent, angular cutoff and exponent, zeta, a distance amid the shells; then
radial shifts, shells, half cosine and half sine of sections, and the cosines at which the window
of sections moves on."""

# Rows of neighbours: vector, distance, cutoff function with prefactor, its slope, sum of members.
NX, NY, NZ, ND, NF, NS, NP, NE = range(8)
"""From NE on: slopes of the radial functions."""
# Rows of inner neighbours: unit vector, distance, cutoff function, its logarithmic slope, inverse
# distance, sums of members (stretch, turn), tangents, then factors of the shells.
AX, AY, AZ, AD, AF, AL, AV, WD, WX, WY, WZ, AG = range(12)
# Rows of triples: cosine, mean distance, and what members or tangents add up to.
TC, TR, TE, TH, TB, TT = range(6)
"""From TT on: shells, sections, slopes of sections."""

COSINE = 0.95
LOG2E = math.log2(math.e)

OPTIONS = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"reassoc", "contract", "arcp", "nsz", "afn"},
    # Without a folder that can be written to, each process compiles for itself.
    "cache": bool(config.CACHE_DIR),
}


def kernel(function):
    """Compile for any types, when first called; what only Python understands is peeled off."""
    return njit(**OPTIONS)(inspect.unwrap(function))


def scratch_sizes(
    n_elements: int, n_radial: int, n_shells: int, n_sections: int, longest: int
) -> tuple[int, int, int, int]:
    """Lengths of the scratch: neighbours, inner neighbours, triples, integers.

    Args:
        n_elements: Number of elements.
        n_radial: Number of radial functions.
        n_shells: Number of shells.
        n_sections: Number of sections.
        longest: Places in a row of neighbours, from `row_length`.
    """
    n_runs = n_elements * (n_elements + 1) // 2
    n_blocks = longest * longest // (2 * (BLOCK - WIDTH)) + n_runs + 2
    segments = longest * n_elements + n_blocks
    integers = 2 * (longest + n_elements + 1) + 4 * segments + 5 * (n_runs + n_blocks)
    return (
        (NE + n_radial) * longest,
        (AG + n_shells + WIDE) * longest,
        (TT + n_shells + 2 * n_sections) * ROW,
        integers,
    )


def row_length(n_elements: int, most_neighbours: int) -> int:
    """Places for the neighbours of an atom, each element padded to whole vectors."""
    return most_neighbours + (n_elements + 2) * max(WIDTH, 16) + 16


@kernel
def _half_turn(t):
    """Cosine and sine of 0 <= t <= pi."""
    y = t - f32(math.pi / 2)
    z = y * y
    s = f32(-1 / 39916800)
    c = f32(1 / 479001600)
    s = z * s + f32(1 / 362880)
    c = z * c + f32(-1 / 3628800)
    s = z * s + f32(-1 / 5040)
    c = z * c + f32(1 / 40320)
    s = z * s + f32(1 / 120)
    c = z * c + f32(-1 / 720)
    s = z * s + f32(-1 / 6)
    c = z * c + f32(1 / 24)
    s = z * s + f32(1)
    c = z * c + f32(-1 / 2)
    c = z * c + f32(1)
    return s * y * f32(-1), c


@kernel
def _gather(i, where, sizes, table, P, I):
    """Neighbours of atom i in reach, by element; their number with padding.

    Integers: number in the list of each, -1 where there is none, then where elements start.
    """
    positions, cells, system, start, neighbour, shift = where
    n_elements, Q = sizes[S_ELEMENTS], sizes[S_LONGEST]
    x, y, z = get(positions, 3 * i), get(positions, 3 * i + 1), get(positions, 3 * i + 2)
    b = 9 * get(system, i)
    ax, ay, az = get(cells, b), get(cells, b + 1), get(cells, b + 2)
    bx, by, bz = get(cells, b + 3), get(cells, b + 4), get(cells, b + 5)
    cx, cy, cz = get(cells, b + 6), get(cells, b + 7), get(cells, b + 8)
    reach = table[C_REACH]
    limit = reach * reach
    m = 0
    for s in range(n_elements):
        put(I, Q + s, m)
        for q in range(get(start, i * n_elements + s), get(start, i * n_elements + s + 1)):
            j = 3 * get(neighbour, q)
            u, v, w = get(shift, 3 * q), get(shift, 3 * q + 1), get(shift, 3 * q + 2)
            dx = f32(get(positions, j) - x + u * ax + v * bx + w * cx)
            dy = f32(get(positions, j + 1) - y + u * ay + v * by + w * cy)
            dz = f32(get(positions, j + 2) - z + u * az + v * bz + w * cz)
            put(P, NX * Q + m, dx)
            put(P, NY * Q + m, dy)
            put(P, NZ * Q + m, dz)
            put(I, m, q)
            # What is not a number stays, and spoils what it should.
            m += not (dx * dx + dy * dy + dz * dz >= limit)
        while m % WIDTH:
            put(P, NX * Q + m, f32(2) * reach)
            put(P, NY * Q + m, f32(0))
            put(P, NZ * Q + m, f32(0))
            put(I, m, -1)
            m += 1
    put(I, Q + n_elements, m)
    rate = f32(math.pi) / reach
    for q in range(0, m, WIDTH):
        vx, vy, vz = load(P, NX * Q + q), load(P, NY * Q + q), load(P, NZ * Q + q)
        d = root(vx * vx + vy * vy + vz * vz)
        store(P, ND * Q + q, d)
        c, s = _half_turn(d * rate)
        zero = splat(f32(0))
        # Beyond the cutoff, padding included, nothing counts.
        store(
            P,
            NF * Q + q,
            below(zero - d, f32(0) - reach, zero, f32(0.125) * c + f32(0.125)),
        )
        store(P, NS * Q + q, below(zero - d, f32(0) - reach, zero, f32(-0.125) * rate * s))
    return m


@kernel
def _inner(m, sizes, table, P, A, I):
    """Neighbours within the angular cutoff; their number."""
    n_elements, Q = sizes[S_ELEMENTS], sizes[S_LONGEST]
    starts = Q + n_elements + 1
    members = starts + n_elements + 1
    reach = table[C_INNER]
    k = 0
    for s in range(n_elements):
        put(I, starts + s, k)
        for q in range(get(I, Q + s), get(I, Q + s + 1)):
            d = get(P, ND * Q + q)
            put(A, AX * Q + k, get(P, NX * Q + q))
            put(A, AY * Q + k, get(P, NY * Q + q))
            put(A, AZ * Q + k, get(P, NZ * Q + q))
            put(A, AD * Q + k, d)
            put(I, members + k, q)
            k += not (d >= reach)
    put(I, starts + n_elements, k)
    # What vectors read behind the last neighbour must be finite.
    for row in range(AX, AD):
        store(A, row * Q + k, splat(f32(0)))
    store(A, AD * Q + k, splat(reach))
    rate = f32(math.pi) / reach
    n_shells = sizes[S_SHELLS]
    eta = f32(LOG2E) * table[C_SHELL_ETA]
    shells = C_LISTS + sizes[S_RADIAL]
    for q in range(0, k + WIDTH, WIDTH):
        d = load(A, AD * Q + q)
        v = f32(1) / d
        store(A, AV * Q + q, v)
        store(A, AX * Q + q, load(A, AX * Q + q) * v)
        store(A, AY * Q + q, load(A, AY * Q + q) * v)
        store(A, AZ * Q + q, load(A, AZ * Q + q) * v)
        c, s = _half_turn(d * rate)
        fade = f32(0.5) * c + f32(0.5)
        store(A, AF * Q + q, fade)
        store(A, AL * Q + q, f32(-0.5) * rate * s / (fade + f32(1e-12)))
        if not sizes[S_DIRECT]:
            x = d - table[C_CENTRE]
            for a in range(n_shells):
                y = get(table, shells + a) - table[C_CENTRE]
                square = f32(0.25) * x * x - y * x + f32(0.5) * y * y
                store(A, (AG + a) * Q + q, fade * exp2(square * (f32(0) - eta)))
    return k


@kernel
def _plan(sizes, I):
    """Lay pairs of inner neighbours out in blocks; number of runs.

    A segment is (neighbour, first partner, partners, first triple), a run (pair of elements,
    first triple, end, end of its segments, whether it ends a block).
    """
    n_elements, Q = sizes[S_ELEMENTS], sizes[S_LONGEST]
    starts = Q + n_elements + 1
    segment = first = starts + n_elements + 1 + Q
    run = begin = _runs(sizes)
    t = group = 0
    for one in range(n_elements):
        for other in range(one, n_elements):
            t0 = t
            end = get(I, starts + other + 1)
            for j in range(get(I, starts + one), get(I, starts + one + 1)):
                k = j + 1 if one == other else get(I, starts + other)
                while k < end:
                    if t == BLOCK:
                        run = _end_run(I, run, group, t0, t, (segment - first) // 4)
                        put(I, run - 1, 1)
                        t = t0 = 0
                    n = min(end - k, BLOCK - t)
                    put(I, segment, j)
                    put(I, segment + 1, k)
                    put(I, segment + 2, n)
                    put(I, segment + 3, t)
                    segment += 4
                    t += n
                    k += n
            if t > t0:
                run = _end_run(I, run, group, t0, t, (segment - first) // 4)
                t = (t + WIDTH - 1) // WIDTH * WIDTH
            group += 1
    if run > begin:
        put(I, run - 1, 1)
    return (run - begin) // 5


@kernel
def _runs(sizes):
    """Where runs begin among the integers."""
    Q, n_elements = sizes[S_LONGEST], sizes[S_ELEMENTS]
    n_runs = n_elements * (n_elements + 1) // 2
    n_blocks = Q * Q // (2 * (BLOCK - WIDTH)) + n_runs + 2
    return 2 * (Q + n_elements + 1) + 4 * (Q * n_elements + n_blocks)


@kernel
def _end_run(I, run, group, t0, t, segments):
    put(I, run, group)
    put(I, run + 1, t0)
    put(I, run + 2, t)
    put(I, run + 3, segments)
    put(I, run + 4, 0)
    return run + 5


@kernel
def _fill(j, k0, n, t, sizes, table, A, T):
    """Cosine, mean distance and shells of the triples of j with n partners from k0 on."""
    Q, n_shells = sizes[S_LONGEST], sizes[S_SHELLS]
    x, y, z = get(A, AX * Q + j), get(A, AY * Q + j), get(A, AZ * Q + j)
    x, y, z = f32(COSINE) * x, f32(COSINE) * y, f32(COSINE) * z
    d, eta = get(A, AD * Q + j), f32(LOG2E) * table[C_SHELL_ETA]
    shells = C_LISTS + sizes[S_RADIAL]
    half = f32(-0.5) * eta * (d - table[C_CENTRE])
    for o in range(0, n, WIDTH):
        k = k0 + o
        c = x * load(A, AX * Q + k) + y * load(A, AY * Q + k) + z * load(A, AZ * Q + k)
        store(T, TC * ROW + t + o, c)
        e = load(A, AD * Q + k)
        mean = f32(0.5) * d + f32(0.5) * e
        store(T, TR * ROW + t + o, mean)
        if sizes[S_DIRECT]:
            fade = f32(2) * get(A, AF * Q + j) * load(A, AF * Q + k)
            for a in range(n_shells):
                u = mean - get(table, shells + a)
                store(T, (TT + a) * ROW + t + o, fade * exp2(u * u * (f32(0) - eta)))
        else:
            both = f32(2) * exp2(half * (e - table[C_CENTRE]))
            for a in range(n_shells):
                g = get(A, (AG + a) * Q + j) * both
                store(T, (TT + a) * ROW + t + o, g * load(A, (AG + a) * Q + k))


@kernel
def _block(run, segment, slopes, sizes, table, A, T, I):
    """Evaluate a block that starts at a run and a segment; the run and segment after it."""
    Q, n_elements = sizes[S_LONGEST], sizes[S_ELEMENTS]
    n_shells, n_sections = sizes[S_SHELLS], sizes[S_SECTIONS]
    base = 2 * (Q + n_elements + 1)
    zero = splat(f32(0))
    done = 0
    end = 0
    while not done:
        for at in range(base + 4 * segment, base + 4 * get(I, run + 3), 4):
            j, k0, n, t = get(I, at), get(I, at + 1), get(I, at + 2), get(I, at + 3)
            _fill(j, k0, n, t, sizes, table, A, T)
        segment = get(I, run + 3)
        end = get(I, run + 2)
        store(T, TC * ROW + end, zero)
        for row in range(TR, TT + n_shells):
            store(T, row * ROW + end, zero)
        done = get(I, run + 4)
        run += 5
    cosines = C_LISTS + sizes[S_RADIAL] + n_shells
    sines = cosines + n_sections
    zeta = table[C_ZETA]
    first = TT + n_shells
    for t in range(0, end, WIDTH):
        c = load(T, TC * ROW + t)
        s = root(f32(1) - c * c)
        if slopes:
            tangent = c / s
            for z in range(n_sections):
                hc, hs = get(table, cosines + z), get(table, sines + z)
                x = hc * c + hs * s + f32(0.5)
                w = exp2((zeta - f32(1)) * log2(x))
                store(T, (first + z) * ROW + t, w * x)
                w = w * zeta * (hc - hs * tangent)
                store(T, (first + n_sections + z) * ROW + t, w)
        else:
            for z in range(n_sections):
                x = get(table, cosines + z) * c + get(table, sines + z) * s + f32(0.5)
                store(T, (first + z) * ROW + t, exp2(zeta * log2(x)))
    return run, segment


@kernel
def _radial(sizes, table, P, I, o, out):
    """Radial features of one atom from `o` on."""
    n_elements, n_radial, Q = sizes[S_ELEMENTS], sizes[S_RADIAL], sizes[S_LONGEST]
    eta = f32(-LOG2E) * table[C_ETA]
    for s in range(n_elements):
        first, last = get(I, Q + s), get(I, Q + s + 1)
        for r in range(0, n_radial, 2):
            near, far = get(table, C_LISTS + r), get(table, C_LISTS + r + 1)
            p = q = splat(f32(0))
            for n in range(first, last, WIDTH):
                d, fade = load(P, ND * Q + n), load(P, NF * Q + n)
                x = d - near
                y = d - far
                p += exp2(eta * x * x) * fade
                q += exp2(eta * y * y) * fade
            put(out, o + s * n_radial + r, total(p))
            put(out, o + s * n_radial + r + 1, total(q))


@kernel
def _outer(T, a, z, shells, t0, t1, o, n_sections, out):
    """Add the products of two shells and four sections, summed over a run."""
    p0 = p1 = p2 = p3 = q0 = q1 = q2 = q3 = splat(f32(0))
    a = (TT + a) * ROW
    z = (TT + shells + z) * ROW
    for t in range(t0, t1, WIDTH):
        x, y = load(T, a + t), load(T, a + ROW + t)
        u = load(T, z + t)
        p0 += x * u
        q0 += y * u
        u = load(T, z + ROW + t)
        p1 += x * u
        q1 += y * u
        u = load(T, z + 2 * ROW + t)
        p2 += x * u
        q2 += y * u
        u = load(T, z + 3 * ROW + t)
        p3 += x * u
        q3 += y * u
    put(out, o, get(out, o) + total(p0))
    put(out, o + 1, get(out, o + 1) + total(p1))
    put(out, o + 2, get(out, o + 2) + total(p2))
    put(out, o + 3, get(out, o + 3) + total(p3))
    o += n_sections
    put(out, o, get(out, o) + total(q0))
    put(out, o + 1, get(out, o + 1) + total(q1))
    put(out, o + 2, get(out, o + 2) + total(q2))
    put(out, o + 3, get(out, o + 3) + total(q3))


@kernel
def describe(lo, hi, where, sizes, table, P, A, T, I, out):
    """Features of atoms lo..hi into `out`, (atoms features)."""
    mode = flush_subnormals()
    n_shells, n_sections = sizes[S_SHELLS], sizes[S_SECTIONS]
    n_radial = sizes[S_ELEMENTS] * sizes[S_RADIAL]
    n_runs = sizes[S_ELEMENTS] * (sizes[S_ELEMENTS] + 1) // 2
    length = n_radial + n_runs * n_shells * n_sections
    for i in range(lo, hi):
        m = _gather(i, where, sizes, table, P, I)
        _radial(sizes, table, P, I, i * length, out)
        _inner(m, sizes, table, P, A, I)
        for f in range(i * length + n_radial, (i + 1) * length):
            put(out, f, f32(0))
        run, segment = _runs(sizes), 0
        last = run + 5 * _plan(sizes, I)
        while run < last:
            begin = run
            run, segment = _block(run, segment, False, sizes, table, A, T, I)
            for at in range(begin, run, 5):
                group, t0, t1 = get(I, at), get(I, at + 1), get(I, at + 2)
                o = i * length + n_radial + group * n_shells * n_sections
                for a in range(0, n_shells, 2):
                    for z in range(0, n_sections, 4):
                        p = o + a * n_sections + z
                        _outer(T, a, z, n_shells, t0, t1, p, n_sections, out)
    restore(mode)


@kernel
def _radial_slopes(m, sizes, table, P):
    """Derivative of each radial function in each distance."""
    n_radial, Q = sizes[S_RADIAL], sizes[S_LONGEST]
    eta = f32(-LOG2E) * table[C_ETA]
    for q in range(0, m, WIDTH):
        d, slope = load(P, ND * Q + q), load(P, NS * Q + q)
        fade = f32(-2) * table[C_ETA] * load(P, NF * Q + q)
        for r in range(n_radial):
            x = d - get(table, C_LISTS + r)
            store(P, (NE + r) * Q + q, exp2(eta * x * x) * (slope + x * fade))


@kernel
def _pull(T, t, n_shells, n_sections, shells, table, W, o):
    """What the gradient from `o` on makes of a vector of triples: weight, stretch, turn."""
    e = h = b = splat(f32(0))
    first = (TT + n_shells) * ROW + t
    mean = load(T, TR * ROW + t)
    eta = table[C_SHELL_ETA]
    for a in range(0, n_shells, 4):
        x0 = x1 = x2 = x3 = y0 = y1 = y2 = y3 = splat(f32(0))
        w = o + a * n_sections
        for z in range(n_sections):
            f = load(T, first + z * ROW)
            g = load(T, first + (n_sections + z) * ROW)
            u = get(W, w + z)
            x0 += u * f
            y0 += u * g
            u = get(W, w + n_sections + z)
            x1 += u * f
            y1 += u * g
            u = get(W, w + 2 * n_sections + z)
            x2 += u * f
            y2 += u * g
            u = get(W, w + 3 * n_sections + z)
            x3 += u * f
            y3 += u * g
        p = load(T, (TT + a) * ROW + t)
        x0, b = x0 * p, b + y0 * p
        e, h = e + x0, h + x0 * (get(table, shells + a) - mean)
        p = load(T, (TT + a + 1) * ROW + t)
        x1, b = x1 * p, b + y1 * p
        e, h = e + x1, h + x1 * (get(table, shells + a + 1) - mean)
        p = load(T, (TT + a + 2) * ROW + t)
        x2, b = x2 * p, b + y2 * p
        e, h = e + x2, h + x2 * (get(table, shells + a + 2) - mean)
        p = load(T, (TT + a + 3) * ROW + t)
        x3, b = x3 * p, b + y3 * p
        e, h = e + x3, h + x3 * (get(table, shells + a + 3) - mean)
    store(T, TE * ROW + t, e)
    store(T, TH * ROW + t, eta * h)
    store(T, TB * ROW + t, f32(COSINE) * b)


@kernel
def _spread(j, k0, n, t, Q, A, T):
    """Give what triples of j pull to j and to its partners."""
    x, y, z = get(A, AX * Q + j), get(A, AY * Q + j), get(A, AZ * Q + j)
    fall = get(A, AL * Q + j)
    dj = xj = yj = zj = splat(f32(0))
    for o in range(0, n, WIDTH):
        k = k0 + o
        e = leading(load(T, TE * ROW + t + o), n - o)
        h = leading(load(T, TH * ROW + t + o), n - o)
        b = leading(load(T, TB * ROW + t + o), n - o)
        dj += h + fall * e
        xj += b * load(A, AX * Q + k)
        yj += b * load(A, AY * Q + k)
        zj += b * load(A, AZ * Q + k)
        store(A, WD * Q + k, load(A, WD * Q + k) + h + e * load(A, AL * Q + k))
        store(A, WX * Q + k, load(A, WX * Q + k) + b * x)
        store(A, WY * Q + k, load(A, WY * Q + k) + b * y)
        store(A, WZ * Q + k, load(A, WZ * Q + k) + b * z)
    put(A, WD * Q + j, get(A, WD * Q + j) + total(dj))
    put(A, WX * Q + j, get(A, WX * Q + j) + total(xj))
    put(A, WY * Q + j, get(A, WY * Q + j) + total(yj))
    put(A, WZ * Q + j, get(A, WZ * Q + j) + total(zj))


@kernel
def pull_one(lo, hi, where, sizes, table, P, A, T, I, W, out, virial):
    """Add the gradient in the positions of sum(W * features) of atoms lo..hi to `out`.

    `W` is (atoms features), `out` (3 atoms); `virial`, (6 atoms) or empty, gets the derivative
    in the strain of the neighbourhood of each atom: xx, yy, zz, yz, xz, xy.
    """
    mode = flush_subnormals()
    n_shells, n_sections, Q = sizes[S_SHELLS], sizes[S_SECTIONS], sizes[S_LONGEST]
    n_elements, n_radial = sizes[S_ELEMENTS], sizes[S_RADIAL]
    n_runs = n_elements * (n_elements + 1) // 2
    split = n_elements * n_radial
    length = split + n_runs * n_shells * n_sections
    shells = C_LISTS + n_radial
    zero = splat(f32(0))
    base = 2 * (Q + n_elements + 1)
    inner = base - Q
    for i in range(lo, hi):
        m = _gather(i, where, sizes, table, P, I)
        _radial_slopes(m, sizes, table, P)
        n_inner = _inner(m, sizes, table, P, A, I)
        for k in range(0, n_inner, WIDTH):
            for row in range(WD, WZ + 1):
                store(A, row * Q + k, zero)
        run, segment = _runs(sizes), 0
        last = run + 5 * _plan(sizes, I)
        while run < last:
            begin, start = run, segment
            run, segment = _block(run, segment, True, sizes, table, A, T, I)
            for at in range(begin, run, 5):
                o = i * length + split + get(I, at) * n_shells * n_sections
                for t in range(get(I, at + 1), get(I, at + 2), WIDTH):
                    _pull(T, t, n_shells, n_sections, shells, table, W, o)
            for at in range(base + 4 * start, base + 4 * segment, 4):
                j, k0, n, t = get(I, at), get(I, at + 1), get(I, at + 2), get(I, at + 3)
                _spread(j, k0, n, t, Q, A, T)
        for s in range(n_elements):
            w = i * length + s * n_radial
            for q in range(get(I, Q + s), get(I, Q + s + 1), WIDTH):
                p = r = zero
                for k in range(0, n_radial, 2):
                    p += get(W, w + k) * load(P, (NE + k) * Q + q)
                    r += get(W, w + k + 1) * load(P, (NE + k + 1) * Q + q)
                store(P, NP * Q + q, (p + r) / load(P, ND * Q + q))
        for k in range(0, n_inner, WIDTH):
            x, y, z = load(A, AX * Q + k), load(A, AY * Q + k), load(A, AZ * Q + k)
            wx, wy, wz = load(A, WX * Q + k), load(A, WY * Q + k), load(A, WZ * Q + k)
            v = load(A, AV * Q + k)
            # Only what is perpendicular to a vector turns it.
            s = load(A, WD * Q + k) - v * (wx * x + wy * y + wz * z)
            store(A, WX * Q + k, s * x + wx * v)
            store(A, WY * Q + k, s * y + wy * v)
            store(A, WZ * Q + k, s * z + wz * v)
        _scatter_one(i, m, n_inner, inner, where[4], Q, P, A, I, out, virial)
    restore(mode)


@kernel
def _scatter_one(i, m, n_inner, inner, neighbour, Q, P, A, I, out, virial):
    fx = fy = fz = f32(0)
    xx = yy = zz = yz = xz = xy = f32(0)
    k = 0
    for q in range(m):
        number = get(I, q)
        if number < 0:
            continue
        s = get(P, NP * Q + q)
        x, y, z = get(P, NX * Q + q), get(P, NY * Q + q), get(P, NZ * Q + q)
        gx, gy, gz = s * x, s * y, s * z
        if k < n_inner and get(I, inner + k) == q:
            gx += get(A, WX * Q + k)
            gy += get(A, WY * Q + k)
            gz += get(A, WZ * Q + k)
            k += 1
        j = 3 * get(neighbour, number)
        put(out, j, get(out, j) + gx)
        put(out, j + 1, get(out, j + 1) + gy)
        put(out, j + 2, get(out, j + 2) + gz)
        fx, fy, fz = fx + gx, fy + gy, fz + gz
        xx, yy, zz = xx + gx * x, yy + gy * y, zz + gz * z
        yz, xz, xy = yz + gy * z, xz + gx * z, xy + gx * y
    put(out, 3 * i, get(out, 3 * i) - fx)
    put(out, 3 * i + 1, get(out, 3 * i + 1) - fy)
    put(out, 3 * i + 2, get(out, 3 * i + 2) - fz)
    if len(virial):
        for n, value in enumerate((xx, yy, zz, yz, xz, xy)):
            put(virial, 6 * i + n, value)


@kernel
def pull_eight(lo, hi, where, sizes, table, P, A, T, I, G, W, out, virial):
    """`pull_one` for eight members at once, one in each lane.

    `W` is (8 atoms features), `out` (atoms 3 8) and `virial` (atoms 6 8) or empty; `G` is scratch
    for the gradient of one atom, (features 8).
    """
    mode = flush_subnormals()
    n_shells, n_sections, Q = sizes[S_SHELLS], sizes[S_SECTIONS], sizes[S_LONGEST]
    n_elements, n_radial = sizes[S_ELEMENTS], sizes[S_RADIAL]
    split = n_elements * n_radial
    length = len(G) // 8
    zero = splat8(f32(0))
    base = 2 * (Q + n_elements + 1)
    inner = base - Q
    apart = len(W) // 8
    for i in range(lo, hi):
        for f in range(length):
            for member in range(8):
                put(G, 8 * f + member, get(W, member * apart + i * length + f))
        m = _gather(i, where, sizes, table, P, I)
        _radial_slopes(m, sizes, table, P)
        n_inner = _inner(m, sizes, table, P, A, I)
        sums = AG + n_shells
        for k in range(4 * n_inner):
            store(A, sums * Q + 8 * k, zero)
        run, segment = _runs(sizes), 0
        last = run + 5 * _plan(sizes, I)
        while run < last:
            begin, start = run, segment
            run, segment = _block(run, segment, True, sizes, table, A, T, I)
            for at in range(begin, run, 5):
                o = split + get(I, at) * n_shells * n_sections
                stop = get(I, at + 3)
                for n in range(base + 4 * start, base + 4 * stop, 4):
                    _eight(n, o, sizes, table, A, T, I, G)
                start = stop
        _scatter_eight(i, n_inner, inner, where[4], sizes, P, A, I, G, out, virial)
    restore(mode)


@kernel
def _eight(at, o, sizes, table, A, T, I, G):
    """What a segment of triples does to its neighbours, for eight members."""
    n_shells, n_sections, Q = sizes[S_SHELLS], sizes[S_SECTIONS], sizes[S_LONGEST]
    j, k0, n, t0 = get(I, at), get(I, at + 1), get(I, at + 2), get(I, at + 3)
    x, y, z = get(A, AX * Q + j), get(A, AY * Q + j), get(A, AZ * Q + j)
    fall = get(A, AL * Q + j)
    dj = xj = yj = zj = splat8(f32(0))
    sums = (AG + n_shells) * Q
    shells = C_LISTS + sizes[S_RADIAL]
    moves = shells + n_shells + 2 * n_sections
    window = sizes[S_WINDOW]
    eta = table[C_SHELL_ETA]
    for step in range(n):
        t, k = t0 + step, k0 + step
        c = get(T, TC * ROW + t)
        skip = 0
        for place in range(n_sections - window):
            skip += c < get(table, moves + place)
        first_f = (TT + n_shells + skip) * ROW + t
        first_g = first_f + n_sections * ROW
        mean = get(T, TR * ROW + t)
        e = h = b = splat8(f32(0))
        for a in range(0, n_shells, 4):
            x0 = x1 = x2 = x3 = y0 = y1 = y2 = y3 = splat8(f32(0))
            w = 8 * (o + a * n_sections + skip)
            for s in range(window):
                f = get(T, first_f + s * ROW)
                g = get(T, first_g + s * ROW)
                u = load8(G, w + 8 * s)
                x0 += f * u
                y0 += g * u
                u = load8(G, w + 8 * (n_sections + s))
                x1 += f * u
                y1 += g * u
                u = load8(G, w + 8 * (2 * n_sections + s))
                x2 += f * u
                y2 += g * u
                u = load8(G, w + 8 * (3 * n_sections + s))
                x3 += f * u
                y3 += g * u
            p = get(T, (TT + a) * ROW + t)
            e, b = e + p * x0, b + p * y0
            h += (p * (get(table, shells + a) - mean)) * x0
            p = get(T, (TT + a + 1) * ROW + t)
            e, b = e + p * x1, b + p * y1
            h += (p * (get(table, shells + a + 1) - mean)) * x1
            p = get(T, (TT + a + 2) * ROW + t)
            e, b = e + p * x2, b + p * y2
            h += (p * (get(table, shells + a + 2) - mean)) * x2
            p = get(T, (TT + a + 3) * ROW + t)
            e, b = e + p * x3, b + p * y3
            h += (p * (get(table, shells + a + 3) - mean)) * x3
        h = eta * h
        b = f32(COSINE) * b
        dj += h + fall * e
        xj += get(A, AX * Q + k) * b
        yj += get(A, AY * Q + k) * b
        zj += get(A, AZ * Q + k) * b
        place = sums + WIDE * k
        store(A, place, load8(A, place) + h + get(A, AL * Q + k) * e)
        store(A, place + 8, load8(A, place + 8) + x * b)
        store(A, place + 16, load8(A, place + 16) + y * b)
        store(A, place + 24, load8(A, place + 24) + z * b)
    place = sums + WIDE * j
    store(A, place, load8(A, place) + dj)
    store(A, place + 8, load8(A, place + 8) + xj)
    store(A, place + 16, load8(A, place + 16) + yj)
    store(A, place + 24, load8(A, place + 24) + zj)


@kernel
def _scatter_eight(i, n_inner, inner, neighbour, sizes, P, A, I, G, out, virial):
    Q, n_elements, n_radial = sizes[S_LONGEST], sizes[S_ELEMENTS], sizes[S_RADIAL]
    sums = (AG + sizes[S_SHELLS]) * Q
    fx = fy = fz = xx = yy = zz = yz = xz = xy = splat8(f32(0))
    k = 0
    for element in range(n_elements):
        w = 8 * element * n_radial
        for q in range(get(I, Q + element), get(I, Q + element + 1)):
            number = get(I, q)
            if number < 0:
                break
            p0 = p1 = p2 = p3 = splat8(f32(0))
            for r in range(0, n_radial, 4):
                at = (NE + r) * Q + q
                p0 += get(P, at) * load8(G, w + 8 * r)
                p1 += get(P, at + Q) * load8(G, w + 8 * r + 8)
                p2 += get(P, at + 2 * Q) * load8(G, w + 8 * r + 16)
                p3 += get(P, at + 3 * Q) * load8(G, w + 8 * r + 24)
            v = f32(1) / get(P, ND * Q + q)
            s = v * ((p0 + p1) + (p2 + p3))
            x, y, z = get(P, NX * Q + q), get(P, NY * Q + q), get(P, NZ * Q + q)
            gx, gy, gz = x * s, y * s, z * s
            if k < n_inner and get(I, inner + k) == q:
                place = sums + WIDE * k
                ux, uy, uz = v * x, v * y, v * z
                wx, wy, wz = load8(A, place + 8), load8(A, place + 16), load8(A, place + 24)
                s = load8(A, place) - v * (ux * wx + uy * wy + uz * wz)
                gx, gy, gz = (
                    gx + ux * s + v * wx,
                    gy + uy * s + v * wy,
                    gz + uz * s + v * wz,
                )
                k += 1
            j = 24 * get(neighbour, number)
            store(out, j, load8(out, j) + gx)
            store(out, j + 8, load8(out, j + 8) + gy)
            store(out, j + 16, load8(out, j + 16) + gz)
            fx, fy, fz = fx + gx, fy + gy, fz + gz
            if len(virial):
                xx, yy, zz = xx + x * gx, yy + y * gy, zz + z * gz
                yz, xz, xy = yz + z * gy, xz + z * gx, xy + y * gx
    j = 24 * i
    store(out, j, load8(out, j) - fx)
    store(out, j + 8, load8(out, j + 8) - fy)
    store(out, j + 16, load8(out, j + 16) - fz)
    if len(virial):
        for n, value in enumerate((xx, yy, zz, yz, xz, xy)):
            store(virial, 48 * i + 8 * n, value)


@kernel
def _tangents(i, v, m, n_inner, inner, neighbour, Q, P, A, I, V):
    """Tangents of distances and of unit vectors, for the tangent of positions from `v` on."""
    x, y, z = get(V, v + 3 * i), get(V, v + 3 * i + 1), get(V, v + 3 * i + 2)
    k = 0
    for q in range(m):
        number = get(I, q)
        if number < 0:
            put(P, NP * Q + q, f32(0))
            continue
        j = v + 3 * get(neighbour, number)
        dx, dy, dz = get(V, j) - x, get(V, j + 1) - y, get(V, j + 2) - z
        ux, uy, uz = get(P, NX * Q + q), get(P, NY * Q + q), get(P, NZ * Q + q)
        u = f32(1) / get(P, ND * Q + q)
        ux, uy, uz = ux * u, uy * u, uz * u
        along = dx * ux + dy * uy + dz * uz
        put(P, NP * Q + q, along)
        if k < n_inner and get(I, inner + k) == q:
            put(A, WD * Q + k, along)
            put(A, WX * Q + k, (dx - along * ux) * u)
            put(A, WY * Q + k, (dy - along * uy) * u)
            put(A, WZ * Q + k, (dz - along * uz) * u)
            k += 1


@kernel
def _tilt(j, k0, n, t, sizes, table, A, T):
    """Tangents of the triples of j with n partners: weight, mean distance, cosine."""
    Q, eta = sizes[S_LONGEST], table[C_SHELL_ETA]
    x, y, z = get(A, AX * Q + j), get(A, AY * Q + j), get(A, AZ * Q + j)
    tx, ty, tz = get(A, WX * Q + j), get(A, WY * Q + j), get(A, WZ * Q + j)
    along = get(A, WD * Q + j)
    fade = along * get(A, AL * Q + j)
    for o in range(0, n, WIDTH):
        k = k0 + o
        other = load(A, WD * Q + k)
        h = eta * (along + other)
        e = fade + other * load(A, AL * Q + k) - h * load(T, TR * ROW + t + o)
        b = tx * load(A, AX * Q + k) + x * load(A, WX * Q + k)
        b = b + ty * load(A, AY * Q + k) + y * load(A, WY * Q + k)
        b = b + tz * load(A, AZ * Q + k) + z * load(A, WZ * Q + k)
        store(T, TE * ROW + t + o, e)
        store(T, TH * ROW + t + o, h)
        store(T, TB * ROW + t + o, f32(COSINE) * b)


@kernel
def _outer_tangent(T, a, z, sizes, shell, t0, t1, o, out):
    """Add the tangents of one shell times four sections, summed over a run."""
    p0 = p1 = p2 = p3 = splat(f32(0))
    f = (TT + sizes[S_SHELLS] + z) * ROW
    g = f + sizes[S_SECTIONS] * ROW
    for t in range(t0, t1, WIDTH):
        p = load(T, (TT + a) * ROW + t)
        x = p * (load(T, TE * ROW + t) + shell * load(T, TH * ROW + t))
        y = p * load(T, TB * ROW + t)
        p0 += x * load(T, f + t) + y * load(T, g + t)
        p1 += x * load(T, f + ROW + t) + y * load(T, g + ROW + t)
        p2 += x * load(T, f + 2 * ROW + t) + y * load(T, g + 2 * ROW + t)
        p3 += x * load(T, f + 3 * ROW + t) + y * load(T, g + 3 * ROW + t)
    put(out, o, get(out, o) + total(p0))
    put(out, o + 1, get(out, o + 1) + total(p1))
    put(out, o + 2, get(out, o + 2) + total(p2))
    put(out, o + 3, get(out, o + 3) + total(p3))


@kernel
def push(lo, hi, where, sizes, table, P, A, T, I, V, out):
    """Change of the features of atoms lo..hi with the positions, along each tangent.

    `V` is (tangents atoms 3), `out` (tangents atoms features).
    """
    mode = flush_subnormals()
    n_shells, n_sections, Q = sizes[S_SHELLS], sizes[S_SECTIONS], sizes[S_LONGEST]
    n_elements, n_radial = sizes[S_ELEMENTS], sizes[S_RADIAL]
    n_runs = n_elements * (n_elements + 1) // 2
    split = n_elements * n_radial
    length = split + n_runs * n_shells * n_sections
    n_atoms = len(where[2])
    n_tangents = len(V) // max(1, 3 * n_atoms)
    shells = C_LISTS + n_radial
    base = 2 * (Q + n_elements + 1)
    inner = base - Q
    zero = splat(f32(0))
    for i in range(lo, hi):
        m = _gather(i, where, sizes, table, P, I)
        _radial_slopes(m, sizes, table, P)
        n_inner = _inner(m, sizes, table, P, A, I)
        for v in range(n_tangents):
            _tangents(i, 3 * n_atoms * v, m, n_inner, inner, where[4], Q, P, A, I, V)
            o = (v * n_atoms + i) * length
            for s in range(n_elements):
                for r in range(n_radial):
                    p = zero
                    for q in range(get(I, Q + s), get(I, Q + s + 1), WIDTH):
                        p += load(P, NP * Q + q) * load(P, (NE + r) * Q + q)
                    put(out, o + s * n_radial + r, total(p))
            for f in range(o + split, o + length):
                put(out, f, f32(0))
        run, segment = _runs(sizes), 0
        last = run + 5 * _plan(sizes, I)
        while run < last:
            begin, start = run, segment
            run, segment = _block(run, segment, True, sizes, table, A, T, I)
            for v in range(n_tangents):
                o = (v * n_atoms + i) * length + split
                _tangents(i, 3 * n_atoms * v, m, n_inner, inner, where[4], Q, P, A, I, V)
                from_here = start
                for at in range(begin, run, 5):
                    for n in range(base + 4 * from_here, base + 4 * get(I, at + 3), 4):
                        j, k0, w, t = get(I, n), get(I, n + 1), get(I, n + 2), get(I, n + 3)
                        _tilt(j, k0, w, t, sizes, table, A, T)
                    from_here = get(I, at + 3)
                    t0, t1 = get(I, at + 1), get(I, at + 2)
                    for row in range(TE, TT):
                        store(T, row * ROW + t1, zero)
                    p = o + get(I, at) * n_shells * n_sections
                    for a in range(n_shells):
                        shell = get(table, shells + a)
                        for z in range(0, n_sections, 4):
                            b = p + a * n_sections + z
                            _outer_tangent(T, a, z, sizes, shell, t0, t1, b, out)
    restore(mode)


@kernel
def group_pairs(i, j, shift, species, n_elements, start, neighbour, shifts):
    """Sort a neighbour list by centre and element, in its order within; False if impossible.

    Args:
        i: Centre of each pair.
        j: Neighbour of each pair.
        shift: Cell vectors to add, (3 pairs).
        species: Element of each atom.
        n_elements: Number of elements.
        start: For each (atom, element) where it starts, and the end; starts as zeros.
        neighbour: Gets the neighbours.
        shifts: Gets the shifts.
    """
    n_atoms = len(species)
    for p in range(len(i)):
        centre, other = get(i, p), get(j, p)
        if centre < 0 or centre >= n_atoms or other < 0 or other >= n_atoms:
            return False
        at = centre * n_elements + get(species, other) + 1
        put(start, at, get(start, at) + 1)
    for at in range(n_atoms * n_elements):
        put(start, at + 1, get(start, at + 1) + get(start, at))
    for p in range(len(i)):
        other = get(j, p)
        at = get(i, p) * n_elements + get(species, other)
        place = get(start, at)
        put(start, at, place + 1)
        put(neighbour, place, other)
        for axis in range(3):
            put(shifts, 3 * place + axis, get(shift, 3 * p + axis))
    for at in range(n_atoms * n_elements, 0, -1):
        put(start, at, get(start, at - 1))
    put(start, 0, 0)
    return True
