"""The ANI descriptor and the product with its derivative in Triton, for graphics processors.

Neighbours stand sorted by (centre, element of the neighbour): a group is one centre and one
element. No two programs write to the same place and no sum is atomic, so equal input gives equal
bits, and a system's bits do not depend on the company:

    spokes   for each group: vectors to its neighbours, radial functions, and the neighbours
             within the angular cutoff moved together to the group's first places
    angles   for each centre and pair of elements: angular functions, triples walked in tiles
    stretch  for each group and block of members: what the radial part does to each spoke
    turn     the same for the angular part; every triple is met from either of its two spokes
    gather   for each atom: what its own spokes and those that end at it add up to
    energies for each system and member: sum over the atoms, in float64

Neighbours and triples are the last axis of what a program holds: each of the 32 lanes of a warp has
one of them with all its functions, which are evaluated once, and sums over functions stay in it.

`alflow.models.ani.triton_descriptor` prepares the arguments; arrays are flat and contiguous:

    positions (3 atoms), cells (9 systems) of one floating-point type; system (atoms)
    start     first neighbour of each group, and the end; neighbour, shift (3 each)
    spoke     unit vector and distance of each neighbour, -1 out of reach (4 each)
    table     of inner neighbours: unit vector, distance, cutoff function and its slope (6 each)
    place     which neighbour each inner one is; count: how many inner ones a group has
    lists     radial shifts, shells, half cosines and half sines of the sections
    pairs     channel of two elements, (elements²); then the first and the second of each channel
    slope     gradient in the features, (members, atoms, features)
    pull      gradient in the vector of each neighbour, (neighbours, 3, members)
"""

import inspect

import triton
import triton.language as tl

COSINE = tl.constexpr(0.95)
"""Keeps the angle away from 0 and 180 degrees, where it has no derivative."""
PI = tl.constexpr(3.141592653589793)
CHANGING = ("n_atoms", "n_members", "n_systems")
"""Numbers for whose special values (1, multiples of 16) nothing is compiled anew."""


def kernel(function):
    """Compile when first called; what only Python understands is peeled off."""
    return triton.jit(inspect.unwrap(function), do_not_specialize=CHANGING)


@kernel
def spokes(
    positions,
    cells,
    system,
    start,
    neighbour,
    shift,
    lists,
    reach,
    eta,
    inner_reach,
    features,
    spoke,
    table,
    place,
    count,
    N_ELEMENTS: tl.constexpr,
    N_RADIAL: tl.constexpr,
    WIDE_RADIAL: tl.constexpr,
    N_FEATURES: tl.constexpr,
    TILE: tl.constexpr,
):
    group = tl.program_id(0).to(tl.int64)
    centre = group // N_ELEMENTS
    lo = tl.load(start + group)
    hi = tl.load(start + group + 1)
    cell = cells + 9 * tl.load(system + centre)
    # Differences of large coordinates lose nothing in float64, and there are few of them.
    ax = tl.load(cell).to(tl.float64)
    ay = tl.load(cell + 1).to(tl.float64)
    az = tl.load(cell + 2).to(tl.float64)
    bx = tl.load(cell + 3).to(tl.float64)
    by = tl.load(cell + 4).to(tl.float64)
    bz = tl.load(cell + 5).to(tl.float64)
    cx = tl.load(cell + 6).to(tl.float64)
    cy = tl.load(cell + 7).to(tl.float64)
    cz = tl.load(cell + 8).to(tl.float64)
    x0 = tl.load(positions + 3 * centre).to(tl.float64)
    y0 = tl.load(positions + 3 * centre + 1).to(tl.float64)
    z0 = tl.load(positions + 3 * centre + 2).to(tl.float64)
    function = tl.arange(0, WIDE_RADIAL)
    shifts = tl.load(lists + function, mask=function < N_RADIAL, other=0.0)
    radial = tl.zeros((WIDE_RADIAL,), tl.float32)
    n_inner = tl.zeros((), tl.int32)
    for first in range(lo, hi, TILE):
        k = first + tl.arange(0, TILE)
        inside = k < hi
        j = tl.load(neighbour + k, mask=inside, other=0)
        a = tl.load(shift + 3 * k, mask=inside, other=0.0).to(tl.float64)
        b = tl.load(shift + 3 * k + 1, mask=inside, other=0.0).to(tl.float64)
        c = tl.load(shift + 3 * k + 2, mask=inside, other=0.0).to(tl.float64)
        x = tl.load(positions + 3 * j, mask=inside, other=0.0).to(tl.float64)
        y = tl.load(positions + 3 * j + 1, mask=inside, other=0.0).to(tl.float64)
        z = tl.load(positions + 3 * j + 2, mask=inside, other=0.0).to(tl.float64)
        x = (x - x0 + (a * ax + b * bx + c * cx)).to(tl.float32)
        y = (y - y0 + (a * ay + b * by + c * cy)).to(tl.float32)
        z = (z - z0 + (a * az + b * bz + c * cz)).to(tl.float32)
        square = x * x + y * y + z * z
        near = inside & (square < reach * reach)
        d = tl.sqrt(tl.where(near, square, 1.0))
        x, y, z = x / d, y / d, z / d
        tl.store(spoke + 4 * k, x, mask=inside)
        tl.store(spoke + 4 * k + 1, y, mask=inside)
        tl.store(spoke + 4 * k + 2, z, mask=inside)
        tl.store(spoke + 4 * k + 3, tl.where(near, d, -1.0), mask=inside)
        # The prefactor 1/4 is NeuroChem's.
        fade = tl.where(near, 0.125 * tl.cos(d * (PI / reach)) + 0.125, 0.0)
        offset = d[None, :] - shifts[:, None]
        radial += tl.sum(tl.exp(-eta * offset * offset) * fade[None, :], 1)
        close = near & (square < inner_reach * inner_reach)
        one = close.to(tl.int32)
        row = lo + n_inner + tl.cumsum(one, 0) - one
        rate = PI / inner_reach
        tl.store(table + 6 * row, x, mask=close)
        tl.store(table + 6 * row + 1, y, mask=close)
        tl.store(table + 6 * row + 2, z, mask=close)
        tl.store(table + 6 * row + 3, d, mask=close)
        tl.store(table + 6 * row + 4, 0.5 * tl.cos(d * rate) + 0.5, mask=close)
        tl.store(table + 6 * row + 5, -0.5 * rate * tl.sin(d * rate), mask=close)
        tl.store(place + row, k, mask=close)
        n_inner += tl.sum(one, 0)
    where = centre * N_FEATURES + (group % N_ELEMENTS) * N_RADIAL + function
    tl.store(features + where, radial, mask=function < N_RADIAL)
    tl.store(count + group, n_inner)


@kernel
def angles(
    start,
    count,
    table,
    lists,
    pairs,
    eta,
    zeta,
    features,
    N_ELEMENTS: tl.constexpr,
    N_PAIRS: tl.constexpr,
    N_RADIAL: tl.constexpr,
    N_SHELLS: tl.constexpr,
    N_SECTIONS: tl.constexpr,
    WIDE_SHELLS: tl.constexpr,
    WIDE_SECTIONS: tl.constexpr,
    N_FEATURES: tl.constexpr,
    TILE: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    centre = program // N_PAIRS
    channel = program % N_PAIRS
    one = tl.load(pairs + N_ELEMENTS * N_ELEMENTS + channel)
    two = tl.load(pairs + N_ELEMENTS * N_ELEMENTS + N_PAIRS + channel)
    same = one == two
    n_p = tl.load(count + centre * N_ELEMENTS + one)
    n_q = tl.load(count + centre * N_ELEMENTS + two)
    first_p = tl.load(start + centre * N_ELEMENTS + one)
    first_q = tl.load(start + centre * N_ELEMENTS + two)
    # Two of one element: line k of the triangle is followed by line n - 1 - k, which fills it up.
    columns = tl.maximum(tl.where(same, n_p - 1, n_q), 1)
    total = tl.where(same, n_p * (n_p - 1) // 2, n_p * n_q)
    s = tl.arange(0, WIDE_SHELLS)
    a = tl.arange(0, WIDE_SECTIONS)
    shells = tl.load(lists + N_RADIAL + s, mask=s < N_SHELLS, other=0.0)
    sections = lists + N_RADIAL + N_SHELLS + a
    half_cos = tl.load(sections, mask=a < N_SECTIONS, other=0.0)
    half_sin = tl.load(sections + N_SECTIONS, mask=a < N_SECTIONS, other=0.0)
    found = tl.zeros((WIDE_SHELLS, WIDE_SECTIONS, TILE), tl.float32)
    for first in range(0, total, TILE):
        t = first + tl.arange(0, TILE)
        used = t < total
        t = tl.where(used, t, 0)
        line = t // columns
        column = t - line * columns
        left = n_p - 1 - line
        is_own = column < left
        p = tl.where(same & (is_own == 0), left, line)
        q = tl.where(same, tl.where(is_own, line, 0) + 1 + column, column)
        at_p = table + 6 * (first_p + p)
        at_q = table + 6 * (first_q + q)
        cos = tl.zeros((TILE,), tl.float32)
        for axis in tl.static_range(3):
            along = tl.load(at_p + axis, mask=used, other=0.0)
            cos += along * tl.load(at_q + axis, mask=used, other=0.0)
        cos *= COSINE
        sin = tl.sqrt(1.0 - cos * cos)
        mean = tl.load(at_p + 3, mask=used, other=0.0)
        mean = 0.5 * (mean + tl.load(at_q + 3, mask=used, other=0.0))
        weight = 2.0 * tl.load(at_p + 4, mask=used, other=0.0)
        weight *= tl.load(at_q + 4, mask=used, other=0.0)
        offset = mean[None, :] - shells[:, None]
        shell = tl.exp(-eta * offset * offset) * weight[None, :]
        base = half_cos[:, None] * cos[None, :] + half_sin[:, None] * sin[None, :] + 0.5
        section = tl.exp(zeta * tl.log(base))
        found += shell[:, None, :] * section[None, :, :]
    where = features + centre * N_FEATURES + N_ELEMENTS * N_RADIAL
    where += channel * (N_SHELLS * N_SECTIONS)
    tl.store(
        where + s[:, None] * N_SECTIONS + a[None, :],
        tl.sum(found, 2),
        mask=(s < N_SHELLS)[:, None] & (a < N_SECTIONS)[None, :],
    )


@kernel
def stretch(
    start,
    spoke,
    lists,
    slope,
    reach,
    eta,
    n_atoms,
    n_members,
    pull,
    N_ELEMENTS: tl.constexpr,
    N_RADIAL: tl.constexpr,
    N_FEATURES: tl.constexpr,
    MEMBERS: tl.constexpr,
    TILE: tl.constexpr,
):
    group = tl.program_id(0).to(tl.int64)
    centre = group // N_ELEMENTS
    member = tl.program_id(1) * MEMBERS + tl.arange(0, MEMBERS)
    exists = member < n_members
    own = slope + (member.to(tl.int64) * n_atoms + centre) * N_FEATURES
    own += (group % N_ELEMENTS) * N_RADIAL
    lo = tl.load(start + group)
    hi = tl.load(start + group + 1)
    rate = PI / reach
    for first in range(lo, hi, TILE):
        k = first + tl.arange(0, TILE)
        inside = k < hi
        d = tl.load(spoke + 4 * k + 3, mask=inside, other=-1.0)
        near = d >= 0
        fade = tl.where(near, 0.125 * tl.cos(d * rate) + 0.125, 0.0)
        fall = tl.where(near, -0.125 * rate * tl.sin(d * rate), 0.0)
        along = tl.zeros((MEMBERS, TILE), tl.float32)
        for function in range(N_RADIAL):
            offset = d - tl.load(lists + function)
            steep = tl.exp(-eta * offset * offset) * (fall - 2.0 * eta * offset * fade)
            weight = tl.load(own + function, mask=exists, other=0.0)
            along += weight[:, None] * steep[None, :]
        along = tl.where(near[None, :], along, 0.0)
        out = pull + 3 * k[None, :] * n_members + member[:, None]
        mask = exists[:, None] & inside[None, :]
        for axis in tl.static_range(3):
            unit = tl.load(spoke + 4 * k + axis, mask=near, other=0.0)
            tl.store(out + axis * n_members, along * unit[None, :], mask=mask)


@kernel
def turn(
    start,
    count,
    table,
    place,
    lists,
    pairs,
    slope,
    eta,
    zeta,
    n_atoms,
    n_members,
    pull,
    N_ELEMENTS: tl.constexpr,
    N_RADIAL: tl.constexpr,
    N_SHELLS: tl.constexpr,
    N_SECTIONS: tl.constexpr,
    WIDE_SECTIONS: tl.constexpr,
    N_FEATURES: tl.constexpr,
    MEMBERS: tl.constexpr,
    TILE: tl.constexpr,
):
    group = tl.program_id(0).to(tl.int64)
    centre = group // N_ELEMENTS
    element = group % N_ELEMENTS
    member = tl.program_id(1) * MEMBERS + tl.arange(0, MEMBERS)
    exists = member < n_members
    a = tl.arange(0, WIDE_SECTIONS)
    sections = lists + N_RADIAL + N_SHELLS + a
    half_cos = tl.load(sections, mask=a < N_SECTIONS, other=0.0)
    half_sin = tl.load(sections + N_SECTIONS, mask=a < N_SECTIONS, other=0.0)
    own = slope + (member.to(tl.int64) * n_atoms + centre) * N_FEATURES
    own = (own + N_ELEMENTS * N_RADIAL)[:, None] + a[None, :]
    wanted = exists[:, None] & (a < N_SECTIONS)[None, :]
    first_p = tl.load(start + group)
    n_p = tl.load(count + group)
    for p in range(n_p):
        at_p = table + 6 * (first_p + p)
        px = tl.load(at_p)
        py = tl.load(at_p + 1)
        pz = tl.load(at_p + 2)
        pd = tl.load(at_p + 3)
        p_fade = 2.0 * tl.load(at_p + 4)
        p_fall = 2.0 * tl.load(at_p + 5)
        along = tl.zeros((MEMBERS,), tl.float32)
        tx = tl.zeros((MEMBERS,), tl.float32)
        ty = tl.zeros((MEMBERS,), tl.float32)
        tz = tl.zeros((MEMBERS,), tl.float32)
        for other in range(N_ELEMENTS):
            first_q = tl.load(start + centre * N_ELEMENTS + other)
            n_q = tl.load(count + centre * N_ELEMENTS + other)
            channel = tl.load(pairs + element * N_ELEMENTS + other)
            of_pair = own + channel * (N_SHELLS * N_SECTIONS)
            for first in range(0, n_q, TILE):
                q = first + tl.arange(0, TILE)
                mine = tl.where(element == other, p, -1)
                used = (q < n_q) & (q != mine)
                at_q = table + 6 * (first_q + q)
                qx = tl.load(at_q, mask=used, other=0.0)
                qy = tl.load(at_q + 1, mask=used, other=0.0)
                qz = tl.load(at_q + 2, mask=used, other=0.0)
                q_fade = tl.load(at_q + 4, mask=used, other=0.0)
                mean = 0.5 * (pd + tl.load(at_q + 3, mask=used, other=0.0))
                cos = COSINE * (px * qx + py * qy + pz * qz)
                sin = tl.sqrt(1.0 - cos * cos)
                base = half_cos[:, None] * cos[None, :] + 0.5
                base += half_sin[:, None] * sin[None, :]
                power = tl.exp((zeta - 1.0) * tl.log(base))
                steep = half_cos[:, None] - half_sin[:, None] * (cos / sin)[None, :]
                steep *= power * (zeta * COSINE)
                section = base * power
                by_shell = tl.zeros((MEMBERS, WIDE_SECTIONS, TILE), tl.float32)
                by_moment = tl.zeros((MEMBERS, WIDE_SECTIONS, TILE), tl.float32)
                for s in range(N_SHELLS):
                    offset = mean - tl.load(lists + N_RADIAL + s)
                    shell = tl.exp(-eta * offset * offset)
                    weights = tl.load(of_pair + s * N_SECTIONS, mask=wanted, other=0.0)
                    by_shell += weights[:, :, None] * shell[None, None, :]
                    by_moment += weights[:, :, None] * (shell * offset)[None, None, :]
                value = tl.sum(by_shell * section[None, :, :], 1)
                moment = tl.sum(by_moment * section[None, :, :], 1)
                twist = tl.sum(by_shell * steep[None, :, :], 1)
                # Half, because the mean distance moves half as far; -2 eta: a Gaussian.
                weight = p_fade * q_fade
                moment *= (-eta * weight)[None, :]
                along += tl.sum(moment + value * (p_fall * q_fade)[None, :], 1)
                twist *= weight[None, :]
                tx += tl.sum(twist * qx[None, :], 1)
                ty += tl.sum(twist * qy[None, :], 1)
                tz += tl.sum(twist * qz[None, :], 1)
        # Only what is perpendicular to a spoke turns it.
        within = tx * px + ty * py + tz * pz
        out = pull + 3 * tl.load(place + first_p + p) * n_members + member
        x = (tx - within * px) / pd + along * px
        y = (ty - within * py) / pd + along * py
        z = (tz - within * pz) / pd + along * pz
        for_y, for_z = out + n_members, out + 2 * n_members
        tl.store(out, tl.load(out, mask=exists, other=0.0) + x, mask=exists)
        tl.store(for_y, tl.load(for_y, mask=exists, other=0.0) + y, mask=exists)
        tl.store(for_z, tl.load(for_z, mask=exists, other=0.0) + z, mask=exists)


@kernel
def gather(
    start,
    end,
    reverse,
    pull,
    n_atoms,
    n_members,
    out,
    N_ELEMENTS: tl.constexpr,
    COLUMNS: tl.constexpr,
    TILE: tl.constexpr,
):
    atom = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, COLUMNS)
    exists = column < 3 * n_members
    total = tl.zeros((COLUMNS,), tl.float32)
    lo = tl.load(end + atom)
    hi = tl.load(end + atom + 1)
    for first in range(lo, hi, TILE):
        k = first + tl.arange(0, TILE)
        row = tl.load(reverse + k, mask=k < hi, other=0)
        mask = (k < hi)[:, None] & exists[None, :]
        where = pull + 3 * row[:, None] * n_members + column[None, :]
        total += tl.sum(tl.load(where, mask=mask, other=0.0), 0)
    lo = tl.load(start + atom * N_ELEMENTS)
    hi = tl.load(start + (atom + 1) * N_ELEMENTS)
    for first in range(lo, hi, TILE):
        k = first + tl.arange(0, TILE)
        mask = (k < hi)[:, None] & exists[None, :]
        where = pull + 3 * k[:, None] * n_members + column[None, :]
        total -= tl.sum(tl.load(where, mask=mask, other=0.0), 0)
    place = ((column % n_members).to(tl.int64) * n_atoms + atom) * 3 + column // n_members
    tl.store(out + place, total, mask=exists)


@kernel
def energies(atomic, bounds, n_atoms, n_systems, out, TILE: tl.constexpr):
    system = tl.program_id(0).to(tl.int64)
    member = tl.program_id(1).to(tl.int64)
    lo = tl.load(bounds + system)
    hi = tl.load(bounds + system + 1)
    total = tl.zeros((TILE,), tl.float64)
    for first in range(lo, hi, TILE):
        k = first + tl.arange(0, TILE)
        own = tl.load(atomic + member * n_atoms + k, mask=k < hi, other=0.0)
        total += own.to(tl.float64)
    tl.store(out + member * n_systems + system, tl.sum(total, 0))
