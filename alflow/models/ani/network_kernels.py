"""Stacked networks of a range of atoms of one element, with their gradient, in Numba.

All layers of one member are taken through before the next member, for `SUPER` atoms at a time,
so that what one layer leaves to the next stays in the cache. What an atom gets is summed in the
same order whatever other atoms there are, which no BLAS promises.

Matrices are packed in panels: for every `PANEL` outputs, all inputs, each a row of `PANEL`.
"""

import math

from numba import float32 as f32

from alflow.models.ani.kernels import WIDTH, kernel
from alflow.models.ani.lanes import (
    below,
    exp2,
    flush_subnormals,
    get,
    load,
    put,
    restore,
    splat,
    store,
    total,
)

PANEL = 2 * WIDTH
"""Outputs of a panel."""
ROWS = 6
"""Atoms whose sums fill the registers."""
SUPER = 16 * ROWS
"""Atoms at a time."""
CELU, SILU = range(2)


@kernel
def _product(n_rows, n_in, n_out, X, x, width, B, b, bias, at, Y, y):
    """Y = X B + bias for rows of `width` numbers; `n_rows` is a multiple of `ROWS`."""
    for column in range(0, n_out, PANEL):
        first = b + column * n_in
        for row in range(0, n_rows, ROWS):
            c0 = c1 = c2 = c3 = c4 = c5 = load(bias, at + column)
            d0 = d1 = d2 = d3 = d4 = d5 = load(bias, at + column + WIDTH)
            p, q = first, x + row * width
            for _ in range(n_in):
                u, v = load(B, p), load(B, p + WIDTH)
                a = get(X, q)
                c0 += a * u
                d0 += a * v
                a = get(X, q + width)
                c1 += a * u
                d1 += a * v
                a = get(X, q + 2 * width)
                c2 += a * u
                d2 += a * v
                a = get(X, q + 3 * width)
                c3 += a * u
                d3 += a * v
                a = get(X, q + 4 * width)
                c4 += a * u
                d4 += a * v
                a = get(X, q + 5 * width)
                c5 += a * u
                d5 += a * v
                p += PANEL
                q += 1
            o = y + row * width + column
            for c, d in ((c0, d0), (c1, d1), (c2, d2), (c3, d3), (c4, d4), (c5, d5)):
                store(Y, o, c)
                store(Y, o + WIDTH, d)
                o += width


@kernel
def _activate(kind, n_rows, n_out, width, Y, y, S):
    """Activation in place, and its slope into `S` at the same places."""
    zero = splat(f32(0))
    for row in range(n_rows):
        for at in range(y + row * width, y + row * width + n_out, WIDTH):
            x = load(Y, at)
            if kind == CELU:
                low = below(zero - x, f32(0), zero, x)
                bent = exp2(low * f32(10 * math.log2(math.e)))
                store(S, at, bent)
                store(Y, at, below(x, f32(0), zero, x) + f32(0.1) * bent - f32(0.1))
            else:
                power = x * f32(-math.log2(math.e))
                # Beyond 2^126 float32 ends, and the gate has long been shut.
                power = below(zero - power, f32(-126), splat(f32(126)), power)
                gate = f32(1) / (f32(1) + exp2(power))
                value = x * gate
                store(Y, at, value)
                store(S, at, gate + value * (f32(1) - gate))


@kernel
def infer(lo, hi, chosen, features, shape, forward, bias, backward, Y, S, out, gradient):
    """Energies of atoms `chosen[lo:hi]`, all of one element, and gradients in their features.

    Args:
        lo: First of them.
        hi: Their end.
        chosen: Atoms.
        features: (atoms features).
        shape: Activation, members, atoms, features, then padded widths: input, hidden layers.
        forward: Packed matrices of the hidden layers and the last one, member by member.
        bias: Their biases, in the same order, the last one a whole vector; then zeros.
        backward: Packed transposed matrices of the hidden layers, the last first.
        Y: Scratch for layers and a gradient, (layers + 1, SUPER, widest), input counted.
        S: Scratch for slopes, the same.
        out: Gets energies, (members atoms).
        gradient: Gets gradients, (members atoms features), or is empty.
    """
    mode = flush_subnormals()
    kind, n_members, n_atoms, n_features = shape[0], shape[1], shape[2], shape[3]
    n_layers = len(shape) - 5
    width = 0
    for layer in range(n_layers + 1):
        width = max(width, shape[4 + layer])
    plane = SUPER * width
    per_forward = len(forward) // n_members
    per_backward = len(backward) // n_members
    zeros = len(bias) - width
    per_bias = zeros // n_members
    n_in = shape[4]
    for begin in range(lo, hi, SUPER):
        n = min(SUPER, hi - begin)
        rows = (n + ROWS - 1) // ROWS * ROWS
        for row in range(rows):
            source = get(chosen, begin + min(row, n - 1)) * n_features
            for f in range(n_features):
                put(Y, row * width + f, get(features, source + f))
            for f in range(n_features, n_in):
                put(Y, row * width + f, f32(0))
        for member in range(n_members):
            w, c = member * per_forward, member * per_bias
            for layer in range(n_layers):
                k, m = shape[4 + layer], shape[5 + layer]
                y = (layer + 1) * plane
                _product(rows, k, m, Y, layer * plane, width, forward, w, bias, c, Y, y)
                _activate(kind, rows, m, width, Y, y, S)
                w += k * m
                c += m
            m = shape[4 + n_layers]
            top = n_layers * plane
            for row in range(n):
                energy = splat(f32(0))
                for o in range(0, m, WIDTH):
                    energy += load(Y, top + row * width + o) * load(forward, w + o)
                atom = get(chosen, begin + row)
                put(out, member * n_atoms + atom, total(energy) + get(bias, c))
            if not len(gradient):
                continue
            for row in range(rows):
                for o in range(0, m, WIDTH):
                    at = top + row * width + o
                    store(Y, at, load(S, at) * load(forward, w + o))
            b = member * per_backward
            for layer in range(n_layers - 1, -1, -1):
                k, m = shape[4 + layer], shape[5 + layer]
                x = (layer + 1) * plane
                y = layer * plane if layer else (n_layers + 1) * plane
                _product(rows, m, k, Y, x, width, backward, b, bias, zeros, Y, y)
                b += k * m
                if layer:
                    for row in range(rows):
                        for at in range(y + row * width, y + row * width + k, WIDTH):
                            store(Y, at, load(Y, at) * load(S, at))
            spare = (n_layers + 1) * plane if n_layers else top
            for row in range(n):
                target = (member * n_atoms + get(chosen, begin + row)) * n_features
                for f in range(n_features):
                    put(gradient, target + f, get(Y, spare + row * width + f))
    restore(mode)
